//! Same model, same text, same bytes, for the heads too: whatever the kernel, the threads, and what else is in the batch.

use super::{case, strings};
use crate::support::{Checkpoint, golden_folder};
use bertlet::kernels::Kernel;
use bertlet::{
    Answerer, AnswererOptions, Candidates, Filler, FillerOptions, LineScorer, Model, PairScorer,
    Question, RunOptions, Tagger, TaggerOptions, Task, TextOptions,
};
use serde_json::{Value, json};
use std::fmt::Debug;

/// Fails if a task's answers differ between kernels, threads or batches.
fn same<T: Task>(model: &Model, task: impl Fn(&Model) -> T, inputs: &[T::Input<'_>])
where
    T::Answer: Debug,
{
    let run = |model: &Model, threads, batch_tokens| {
        let run = RunOptions {
            threads: Some(threads),
            batch_tokens,
        };
        // Debug shows a float with all the digits that tell it from others.
        format!("{:?}", task(model).run(inputs, run).unwrap())
    };
    let oracle = model.with_kernel(Kernel::by_name("generic").unwrap());
    let expected = run(&oracle, 1, 1);
    for kernel in Kernel::available() {
        let model = model.with_kernel(kernel);
        for (threads, batch_tokens) in [(1, 1), (1, 10_000), (3, 50)] {
            let found = run(&model, threads, batch_tokens);
            assert!(
                found == expected,
                "{}: {threads} threads, {batch_tokens} tokens",
                kernel.name()
            );
        }
    }
}

#[test]
fn kernels_threads_and_batches_do_not_matter() {
    let tag = case("tag-cased", "int8");
    let texts: Vec<String> = (0..12)
        .map(|index| "The Café sat on the mat, and NASA plays. ".repeat(index % 4))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tagger = |model: &Model| Tagger::new(model, TaggerOptions::default()).unwrap();
    same(&tag.model, tagger, &texts);

    let answer = case("answer", "int8");
    let questions: Vec<Question<'_>> = texts
        .iter()
        .map(|context| Question {
            question: "where is the cat?",
            context,
        })
        .collect();
    let answerer = |model: &Model| Answerer::new(model, AnswererOptions::default()).unwrap();
    same(&answer.model, answerer, &questions);

    for name in ["fill", "pretraining"] {
        let fill = case(name, "int8");
        let masked = strings(&fill.meta["texts"]);
        let filler = |model: &Model| Filler::new(model, FillerOptions::default()).unwrap();
        same(&fill.model, filler, &masked);
        same(
            &fill.model,
            |model| LineScorer::new(model, None).unwrap(),
            &masked,
        );
    }

    let choice = case("choice", "int8");
    let candidates: Vec<Candidates<'_>> = texts
        .iter()
        .map(|first| Candidates {
            first,
            seconds: vec!["a cat".into(), "the dog plays".into(), "no".into()],
        })
        .collect();
    let scorer =
        |model: &Model| PairScorer::multiple_choice(model, TextOptions::default()).unwrap();
    same(&choice.model, scorer, &candidates);
}

/// A golden masked language model with so many words that the threads of one text share them.
fn large_vocabulary(name: &str, precision: &str) -> Model {
    const WORDS: usize = 70_001;
    let checkpoint = Checkpoint::copy(name, "shared-vocabulary");
    let recipe = std::fs::read(golden_folder().join(name).join("weights.json")).unwrap();
    let mut recipe: Value = serde_json::from_slice(&recipe).unwrap();
    for tensor in recipe["tensors"].as_array_mut().unwrap() {
        if tensor[1][0] == 153 {
            tensor[1][0] = json!(WORDS);
        }
    }
    let checkpoint = checkpoint
        .set("weights.json", "tensors", recipe["tensors"].take())
        .set("config.json", "vocab_size", json!(WORDS));
    crate::recipe::write_weights(checkpoint.folder());
    Model::open(checkpoint.convert(precision)).unwrap()
}

#[test]
fn threads_share_a_vocabulary() {
    for (name, precision) in [
        ("head-fill", "int8"),
        ("head-fill", "f16"),
        ("head-fill-untied", "f16"),
    ] {
        let model = large_vocabulary(name, precision);
        let options = FillerOptions {
            top: 100,
            ..FillerOptions::default()
        };
        let filler = Filler::new(&model, options).unwrap();
        for text in ["the [MASK] sat", "[MASK] [MASK] on [MASK] [MASK] [MASK]"] {
            let run = |threads| {
                let run = RunOptions {
                    threads: Some(threads),
                    ..RunOptions::default()
                };
                format!("{:?}", filler.run(&[text], run).unwrap())
            };
            let expected = run(1);
            for threads in [2, 5] {
                assert!(run(threads) == expected, "{name}: {threads} threads");
            }
        }
    }
}

#[test]
fn a_model_of_another_task_is_one_clear_error() {
    let tag = case("tag-cased", "f16").model;
    let bare = case("features", "f16").model;
    let fill = case("fill", "f16").model;
    let text = TextOptions::default;
    let errors = [
        Tagger::new(&fill, TaggerOptions::default()).map(|_| ()),
        Answerer::new(&tag, AnswererOptions::default()).map(|_| ()),
        Filler::new(&bare, FillerOptions::default()).map(|_| ()),
        LineScorer::new(&tag, None).map(|_| ()),
        PairScorer::cross_encoder(&tag, text(), None).map(|_| ()),
        PairScorer::next_sentence(&fill, text()).map(|_| ()),
        PairScorer::multiple_choice(&bare, text()).map(|_| ()),
    ];
    let expected = [
        "made for token classification: its head is for masked language modelling",
        "made for question answering: its head is for token classification",
        "made for masked language modelling: it has no task head",
        "made for masked language modelling: its head is for token classification",
        "made for sequence classification: its head is for token classification",
        "made for next-sentence prediction: its head is for masked language modelling",
        "made for multiple choice: it has no task head",
    ];
    for (error, expected) in errors.into_iter().zip(expected) {
        let said = error.unwrap_err().to_string();
        assert!(said.contains(expected) && !said.contains('\n'), "{said}");
    }
}

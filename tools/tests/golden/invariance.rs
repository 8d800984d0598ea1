//! Same model, same text, same bytes: an int8 model's results do not depend on the kernel, the number of threads, or
//! what else is in the batch and in which order; an f16 model's not on the number of threads.

use crate::support::{Checkpoint, FAMILIES, Golden, Input, MODELS, PRECISIONS, converted};
use crate::weights;
use bertlet::format::header::{HeadConfig, Pooling};
use bertlet::kernels::Kernel;
use bertlet::{
    Batch, Classifier, ClassifierOptions, Embedder, EmbedderOptions, EmbeddingOptions, Encoder,
    Model, Text,
};
use std::fs;

/// An int8 model on a kernel, and the inputs of its reference.
fn model(name: &str) -> (Model, Vec<Input>) {
    let path = converted(name, "int8");
    (Model::open(path).unwrap(), Golden::read(name).meta.inputs)
}

/// Every bit that the encoder gives for `inputs` in one batch, for each input by itself: hidden states of all stages,
/// sentence vector, logits.
fn results(model: &Model, inputs: &[&Input]) -> Vec<Vec<u32>> {
    let mut batch = Batch::new();
    for input in inputs {
        batch.push(&input.input_ids, &input.token_type_ids);
    }
    let hidden_size = model.header().config.hidden_size;
    let mut results = vec![Vec::new(); inputs.len()];
    let mut encoder = Encoder::new(model);
    let observe = |_: usize, hidden: &[f32]| {
        for (result, range) in results.iter_mut().zip(batch.sequences().ranges()) {
            append_bits(
                result,
                &hidden[range.start * hidden_size..range.end * hidden_size],
            );
        }
    };
    encoder.hidden_states(&batch, observe).unwrap();
    let mut vectors = Vec::new();
    encoder
        .embed(&batch, &EmbeddingOptions::default(), &mut vectors)
        .unwrap();
    let mut parts = vec![vectors];
    if scores_texts(model) {
        let mut logits = Vec::new();
        encoder.classify(&batch, &mut logits).unwrap();
        parts.push(logits);
    }
    for part in parts {
        let width = part.len() / inputs.len();
        for (result, row) in results.iter_mut().zip(part.chunks_exact(width)) {
            append_bits(result, row);
        }
    }
    results
}

/// Whether the model's head scores a text as a whole.
fn scores_texts(model: &Model) -> bool {
    let head = &model.header().head;
    matches!(head, Some(HeadConfig::SequenceClassification { .. }))
}

fn append_bits(result: &mut Vec<u32>, values: &[f32]) {
    assert!(values.iter().all(|value| value.is_finite()));
    result.extend(values.iter().map(|value| value.to_bits()));
}

/// The results of every input in a batch of its own.
fn alone(model: &Model, inputs: &[Input]) -> Vec<Vec<u32>> {
    let single = |input| results(model, &[input]).remove(0);
    inputs.iter().map(single).collect()
}

#[test]
fn kernels_agree_to_the_bit() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let (model, inputs) = model(name);
        let inputs: Vec<&Input> = inputs.iter().collect();
        let oracle = Kernel::by_name("generic").unwrap();
        let expected = results(&model.with_kernel(oracle), &inputs);
        for kernel in Kernel::available() {
            let found = results(&model.with_kernel(kernel), &inputs);
            assert!(found == expected, "{name}: {} differs", kernel.name());
        }
    }
}

#[test]
fn the_batch_does_not_matter() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let (model, inputs) = model(name);
        for kernel in Kernel::available() {
            let model = model.with_kernel(kernel);
            let expected = alone(&model, &inputs);
            let forward: Vec<usize> = (0..inputs.len()).collect();
            let backward: Vec<usize> = forward.iter().rev().copied().collect();
            let twice: Vec<usize> = forward.iter().chain(&backward).copied().collect();
            for order in [&forward, &backward, &twice] {
                for size in [1, 2, 3, 5, order.len()] {
                    for part in order.chunks(size) {
                        let batch: Vec<&Input> = part.iter().map(|index| &inputs[*index]).collect();
                        for (index, found) in part.iter().zip(results(&model, &batch)) {
                            assert!(
                                found == expected[*index],
                                "{name}, {}: {:?} differs in a batch of {size}",
                                kernel.name(),
                                inputs[*index].texts
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn threads_and_batch_sizes_do_not_matter() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let (model, inputs) = model(name);
        // Enough texts for several batches on each thread.
        let texts: Vec<Text<'_>> = (0..97)
            .map(|index| text_of(&inputs[(index * 7) % inputs.len()]))
            .collect();
        let run = |threads, batch_tokens| {
            let options = EmbedderOptions {
                threads: Some(threads),
                batch_tokens,
                ..EmbedderOptions::default()
            };
            let embedder = Embedder::with_options(&model, options).unwrap();
            let mut bits = Vec::new();
            append_bits(&mut bits, embedder.embed(&texts).unwrap().values());
            if scores_texts(&model) {
                let options = ClassifierOptions {
                    threads: Some(threads),
                    batch_tokens,
                    ..ClassifierOptions::default()
                };
                let classifier = Classifier::with_options(&model, options).unwrap();
                for answer in classifier.classify(&texts).unwrap() {
                    append_bits(&mut bits, answer.scores());
                }
            }
            bits
        };
        let expected = run(1, usize::MAX / 8);
        for threads in [1, 2, 3, 5] {
            // All texts in one batch are computed by all threads together.
            for batch_tokens in [1, 30, 200, usize::MAX / 8] {
                let found = run(threads, batch_tokens);
                assert!(
                    found == expected,
                    "{name}: {threads} threads, {batch_tokens} tokens differ"
                );
            }
        }
    }
}

#[test]
fn teams_and_the_first_token_alone_give_the_same() {
    for name in MODELS.into_iter().chain(FAMILIES) {
        let (model, inputs) = model(name);
        // Dense layers would follow the pooling.
        if !model.header().embedding.dense.is_empty() {
            continue;
        }
        let mut batch = Batch::new();
        for input in inputs.iter().cycle().take(40) {
            batch.push(&input.input_ids, &input.token_type_ids);
        }
        check_teams(name, &model, &batch);
    }
}

#[test]
fn heads_of_any_size_are_shared() {
    // Panels of weights have sixteen columns.
    for (hidden_size, heads) in [
        (1, 1),
        (2, 1),
        (6, 2),
        (40, 5),
        (96, 6),
        (104, 4),
        (312, 12),
    ] {
        let name = format!("{hidden_size} in {heads} heads");
        let checkpoint = Checkpoint::copy("plain-cased", &format!("heads-{hidden_size}"))
            .set("config.json", "hidden_size", hidden_size.into())
            .set("config.json", "num_attention_heads", heads.into())
            .set("config.json", "intermediate_size", (2 * hidden_size).into())
            .set("config.json", "max_position_embeddings", 300.into())
            .set("config.json", "num_hidden_layers", 2.into());
        let config = fs::read(checkpoint.folder().join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let vocab_size = config["vocab_size"].as_u64().unwrap();
        let tensors = weights::bert(vocab_size as usize, hidden_size, 2 * hidden_size, 300, 2);
        let checkpoint = checkpoint.with_weights(&tensors);
        for precision in PRECISIONS {
            let model = Model::open(checkpoint.convert(precision)).unwrap();
            // Alone, and several in a block.
            for lengths in [&[300][..], &[1], &[70, 1, 33, 129, 16]] {
                let mut batch = Batch::new();
                for length in lengths {
                    let ids: Vec<u32> = (0..*length).map(|i| i * 7 % vocab_size as u32).collect();
                    batch.push(&ids, &vec![0; ids.len()]);
                }
                check_teams(&format!("{name}, {precision}, {lengths:?}"), &model, &batch);
            }
        }
    }
}

/// Teams of several sizes give the same hidden states, and those of first tokens by themselves are the same.
fn check_teams(name: &str, model: &Model, batch: &Batch) {
    let width = model.header().config.hidden_size;
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let mut by_one = Vec::new();
    for threads in [1, 3, 8] {
        let mut encoder = Encoder::new(model);
        encoder.set_threads(threads);
        let mut last = Vec::new();
        let observe = |_: usize, hidden: &[f32]| last = hidden.to_vec();
        encoder.hidden_states(batch, observe).unwrap();
        assert!(last.iter().all(|x| x.is_finite()), "{name}");
        if threads == 1 {
            by_one.clone_from(&last);
        }
        assert!(bits(&last) == bits(&by_one), "{name}, {threads} threads");
        let ranges = batch.sequences().ranges();
        let expected: Vec<f32> = ranges
            .flat_map(|range| last[range.start * width..][..width].to_vec())
            .collect();
        let options = EmbeddingOptions {
            pooling: Some(vec![Pooling::Cls]),
            normalize: Some(false),
            dimensions: None,
        };
        let mut found = Vec::new();
        encoder.embed(batch, &options, &mut found).unwrap();
        assert!(bits(&found) == bits(&expected), "{name}, {threads} threads");
    }
}

fn text_of(input: &Input) -> Text<'_> {
    Text {
        first: &input.texts[0],
        second: input.texts.get(1).map(String::as_str),
    }
}

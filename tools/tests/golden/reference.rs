//! Against pinned transformers and sentence-transformers, on tiny checkpoints: tokens
//! exact; hidden states after each layer, logits, scores and sentence vectors within what arithmetic alone explains.

use crate::support::{Checkpoint, Golden, MODELS, PRECISIONS, converted, largest_difference};
use bertlet::tokenizer::Tokens;
use bertlet::{
    Batch, Classifier, Embedder, EmbedderOptions, Encoder, Model, Text, TextEncoder, TextOptions,
};
use serde_json::json;
use std::path::Path;

/// Those with a classification head.
const CLASSIFIERS: [&str; 3] = ["classifier", "odd-shapes", "wide-head"];

/// An f16 model may depart so far from transformers in f64: the weights are exact, f32 arithmetic is left. PyTorch's
/// own f32 departs by up to 2.8e-6 (`float32_error` in the references), and the smallest mistake that must be seen,
/// one GELU for the other, by 1.3e-4.
const F16_TOLERANCE: f32 = 1e-5;

fn batch_of(golden: &Golden) -> Batch {
    let mut batch = Batch::new();
    for input in &golden.meta.inputs {
        batch.push(&input.input_ids, &input.token_type_ids);
    }
    batch
}

/// Hidden states behind the embeddings and each layer, `[tokens, hidden_size]` each.
fn hidden_states(model: &Model, batch: &Batch) -> Vec<Vec<f32>> {
    let mut stages = Vec::new();
    let observe = |stage: usize, hidden: &[f32]| {
        assert_eq!(stage, stages.len());
        stages.push(hidden.to_vec());
    };
    Encoder::new(model).hidden_states(batch, observe).unwrap();
    stages
}

fn logits(model: &Model, batch: &Batch) -> Vec<f32> {
    let mut out = Vec::new();
    Encoder::new(model).classify(batch, &mut out).unwrap();
    out
}

/// Largest difference from the reference behind the embeddings, behind each layer, and of the logits if there are any.
fn differences(model: &Model, golden: &Golden) -> Vec<f32> {
    let batch = batch_of(golden);
    let mut found: Vec<f32> = hidden_states(model, &batch)
        .iter()
        .enumerate()
        .map(|(stage, hidden)| {
            largest_difference(hidden, golden.tensor(&format!("hidden.{stage}")))
        })
        .collect();
    if let Some(expected) = golden.tensors.get("logits") {
        found.push(largest_difference(&logits(model, &batch), expected));
    }
    found
}

fn open(path: &Path) -> Model {
    Model::open(path).unwrap()
}

fn text_of(texts: &[String]) -> Text<'_> {
    Text {
        first: &texts[0],
        second: texts.get(1).map(String::as_str),
    }
}

/// Called with one pair whose second text is empty, transformers takes the first text alone; called with a list of
/// pairs, it takes the pair, as `tokenizers` and bertlet do. The golden data were made by the former.
fn drops_second(texts: &[String]) -> bool {
    texts.get(1).is_some_and(String::is_empty)
}

#[test]
fn tokens_are_those_of_transformers() {
    for name in MODELS {
        let golden = Golden::read(name);
        let model = open(&converted(name, "int8"));
        assert_eq!(model.header().max_length, golden.meta.max_length, "{name}");
        let mut encoder = TextEncoder::new(&model, TextOptions::default()).unwrap();
        for input in &golden.meta.inputs {
            if drops_second(&input.texts) {
                continue;
            }
            let mut batch = Batch::new();
            encoder.encode(&text_of(&input.texts), &mut batch).unwrap();
            let sequences = batch.sequences();
            assert_eq!(
                sequences.ids(),
                input.input_ids,
                "{name}: {:?}",
                input.texts
            );
            assert_eq!(
                sequences.type_ids(),
                input.token_type_ids,
                "{name}: {:?}",
                input.texts
            );
        }
    }
}

#[test]
fn offsets_are_those_of_transformers() {
    for name in MODELS {
        let model = open(&converted(name, "int8"));
        let (mut tokens, mut offsets) = (Tokens::new(), Vec::new());
        for input in &Golden::read(name).meta.inputs {
            let types = &input.token_type_ids;
            let split = types.iter().position(|id| *id == 1).unwrap_or(types.len());
            // [CLS] first [SEP], and of a pair second [SEP].
            let kept = [
                1..split - 1,
                split..types.len().saturating_sub(1).max(split),
            ];
            for (text, kept) in input.texts.iter().zip(kept) {
                model.tokenizer().tokenize(text, &mut tokens);
                tokens.char_offsets(text, &mut offsets);
                let count = kept.len();
                assert_eq!(
                    tokens.ids[..count],
                    input.input_ids[kept.clone()],
                    "{name}: {text:?}"
                );
                assert_eq!(offsets[..count], input.offsets[kept], "{name}: {text:?}");
                // What was cut off was cut off because there is no room.
                assert!(
                    tokens.ids.len() == count || types.len() == model.header().max_length,
                    "{name}: {text:?}"
                );
            }
        }
    }
}

#[test]
fn f16_models_compute_what_transformers_computes() {
    for name in MODELS {
        let model = open(&converted(name, "f16"));
        let found = differences(&model, &Golden::read(name));
        println!("{name}: {found:?}");
        assert!(
            found.iter().all(|difference| *difference <= F16_TOLERANCE),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn scores_are_those_of_the_pipeline() {
    for name in CLASSIFIERS {
        let golden = Golden::read(name);
        let classifier = Classifier::new(&open(&converted(name, "f16"))).unwrap();
        let texts: Vec<Text<'_>> = golden
            .meta
            .inputs
            .iter()
            .map(|i| text_of(&i.texts))
            .collect();
        let answers = classifier.classify(&texts).unwrap();
        let found: Vec<f32> = answers
            .iter()
            .flat_map(|answer| answer.scores())
            .copied()
            .collect();
        let labels = classifier.labels().len();
        let rows = found
            .chunks(labels)
            .zip(golden.tensor("scores").chunks(labels));
        for (input, (found, expected)) in golden.meta.inputs.iter().zip(rows) {
            let difference = largest_difference(found, expected);
            assert!(
                difference <= F16_TOLERANCE || drops_second(&input.texts),
                "{name}, {:?}: {difference:e}",
                input.texts
            );
        }
    }
}

#[test]
fn sentence_vectors_are_those_of_sentence_transformers() {
    let golden = Golden::read("sentence");
    let texts: Vec<&str> = golden
        .meta
        .inputs
        .iter()
        .filter(|input| input.texts.len() == 1)
        .map(|input| input.texts[0].as_str())
        .collect();
    for vectors in &golden.meta.vectors {
        let mut checkpoint = Checkpoint::copy("sentence", "vectors");
        if let Some(overlay) = &vectors.overlay {
            checkpoint = checkpoint.lay_over(overlay);
        }
        let model = open(&checkpoint.convert("f16"));
        let mut options = EmbedderOptions::default();
        if let Some(name) = &vectors.prompt_name {
            options.text.prompt = Some(model.header().embedding.prompts[name].clone());
        }
        let embedder = Embedder::with_options(&model, options).unwrap();
        let found = embedder.embed(&texts).unwrap();
        let difference = largest_difference(found.values(), golden.tensor(&vectors.tensor));
        println!("{}: {difference:e}", vectors.tensor);
        assert!(
            difference <= F16_TOLERANCE,
            "{}: {difference:e}",
            vectors.tensor
        );
    }
}

/// Largest differences of int8 models, behind the embeddings, each layer, and of the logits: measured, plus a half, because the
/// converter's rounding may differ in a step between CPUs.
/// Random weights quantize far worse than trained ones; tools/accuracy.py measures real models.
const INT8_TOLERANCES: [(&str, &[f32]); 5] = [
    ("classifier", &[0.00758, 0.205, 0.186, 0.0829]),
    ("odd-shapes", &[0.00918, 0.124, 0.0487]),
    ("wide-head", &[0.00925, 0.0809, 0.198]),
    ("plain-cased", &[0.00735, 0.102, 0.255]),
    ("sentence", &[0.00921, 0.148]),
];

#[test]
fn int8_models_stay_near_transformers() {
    let mut failures = Vec::new();
    for (name, tolerances) in INT8_TOLERANCES {
        let model = open(&converted(name, "int8"));
        let found = differences(&model, &Golden::read(name));
        println!("{name}: {found:?}");
        assert_eq!(found.len(), tolerances.len(), "{name}");
        let mut pairs = found.iter().zip(tolerances);
        if !pairs.all(|(found, most)| found <= most) {
            failures.push(format!("{name}: {found:?}, at most {tolerances:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_other_gelu_is_seen_in_every_layer() {
    for (name, other) in [
        ("classifier", "gelu_new"),
        ("sentence", "gelu_new"),
        ("odd-shapes", "gelu"),
    ] {
        let swapped = Checkpoint::copy(name, "gelu").set("config.json", "hidden_act", json!(other));
        let found = differences(&open(&swapped.convert("f16")), &Golden::read(name));
        println!("{name}: {found:?}");
        // The embeddings know no activation.
        assert!(found[0] <= F16_TOLERANCE, "{name}: {found:?}");
        let seen = &found[1..];
        assert!(
            seen.iter()
                .all(|difference| *difference > 5.0 * F16_TOLERANCE),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn another_epsilon_is_seen_at_every_stage() {
    for (name, other) in [
        ("classifier", 1e-5),
        ("wide-head", 1e-5),
        ("sentence", 1e-5),
        ("plain-cased", 1e-5),
        ("odd-shapes", 1e-12),
    ] {
        let swapped =
            Checkpoint::copy(name, "epsilon").set("config.json", "layer_norm_eps", json!(other));
        let found = differences(&open(&swapped.convert("f16")), &Golden::read(name));
        println!("{name}, {other:e}: {found:?}");
        // A tenth of the smallest effect of 1e-5 in place of 1e-12.
        assert!(
            found
                .iter()
                .all(|difference| *difference > 10.0 * F16_TOLERANCE),
            "{name}, {other:e}: {found:?}"
        );
    }
}

#[test]
fn every_form_of_a_checkpoint_gives_the_same_file() {
    for precision in PRECISIONS {
        let expected =
            std::fs::read(Checkpoint::copy("classifier", "forms").convert(precision)).unwrap();
        type Change = fn(Checkpoint) -> Checkpoint;
        let forms: [(&str, Change); 5] = [
            ("again", |c| c),
            ("pickle", |c| {
                c.without("model.safetensors").lay_over("classifier-pickle")
            }),
            ("shards", |c| {
                c.without("model.safetensors").lay_over("classifier-shards")
            }),
            ("vocab.txt alone", |c| c.without("tokenizer.json")),
            ("tokenizer.json alone", |c| c.without("vocab.txt")),
        ];
        for (form, change) in forms {
            let checkpoint = change(Checkpoint::copy("classifier", "other-forms"));
            let found = std::fs::read(checkpoint.convert(precision)).unwrap();
            assert!(found == expected, "{form}, {precision}: the files differ");
        }
    }
}

/// How much of the effect that a changed configuration has on an f16 model the int8 model shows too: 1 for all of it,
/// 0 if int8 models pay no heed to it. For each stage.
fn shared_effect(name: &str, key: &str, other: serde_json::Value) -> Vec<f64> {
    let batch = batch_of(&Golden::read(name));
    let stages = |precision: &str, test: &str, change: bool| {
        let mut checkpoint = Checkpoint::copy(name, test);
        if change {
            checkpoint = checkpoint.set("config.json", key, other.clone());
        }
        hidden_states(&open(&checkpoint.convert(precision)), &batch)
    };
    let test = format!("effect-{key}");
    let [f16, int8] =
        PRECISIONS.map(|precision| [false, true].map(|change| stages(precision, &test, change)));
    let effect = |[before, after]: &[Vec<Vec<f32>>; 2], stage: usize| -> Vec<f64> {
        let pairs = before[stage].iter().zip(&after[stage]);
        pairs
            .map(|(before, after)| f64::from(after - before))
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    (0..f16[0].len())
        .map(|stage| {
            let (exact, found) = (effect(&f16, stage), effect(&int8, stage));
            dot(&exact, &found) / dot(&exact, &exact)
        })
        .collect()
}

#[test]
fn int8_models_heed_activation_and_epsilon_as_f16_models_do() {
    for (name, key, other) in [
        ("classifier", "layer_norm_eps", json!(1e-5)),
        ("odd-shapes", "layer_norm_eps", json!(1e-12)),
        ("classifier", "hidden_act", json!("gelu_new")),
        ("odd-shapes", "hidden_act", json!("gelu")),
    ] {
        let shared = shared_effect(name, key, other);
        println!("{name}, {key}: {shared:?}");
        // The first stage that knows of it: an activation does nothing to the embeddings. Behind it, rounding to 8 bits
        // makes more of a difference than either change.
        let share = shared[usize::from(key == "hidden_act")];
        assert!((0.5..1.5).contains(&share), "{name}, {key}: {shared:?}");
    }
}

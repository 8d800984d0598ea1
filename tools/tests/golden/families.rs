//! BERT's relatives against pinned transformers, on tiny checkpoints: `tests/golden/families.py` makes them.

use crate::support::{
    Checkpoint, FAMILIES, Golden, Input, PRECISIONS, golden_folder, largest_difference,
};
use crate::weights;
use bertlet::format::header::Pooling;
use bertlet::tokenizer::Tokens;
use bertlet::{
    Batch, Classifier, Embedder, EmbedderOptions, Encoder, LongText, Model, Text, TextEncoder,
    TextOptions,
};
use serde_json::json;

fn open(name: &str, test: &str, precision: &str) -> Model {
    Model::open(Checkpoint::copy(name, test).convert(precision)).unwrap()
}

fn text_of(input: &Input) -> Text<'_> {
    Text {
        first: &input.texts[0],
        second: input.texts.get(1).map(String::as_str),
    }
}

/// Largest difference from the reference of each tensor that the reference has: hidden states of all stages in order,
/// then logits.
fn differences(model: &Model, golden: &Golden) -> Vec<(String, f32)> {
    let mut batch = Batch::new();
    for input in &golden.meta.inputs {
        batch.push(&input.input_ids, &input.token_type_ids);
    }
    let mut found = Vec::new();
    let mut encoder = Encoder::new(model);
    encoder
        .hidden_states(&batch, |stage, hidden| {
            let name = format!("hidden.{stage}");
            let difference = largest_difference(hidden, golden.tensor(&name));
            found.push((name, difference));
        })
        .unwrap();
    if let Some(expected) = golden.tensors.get("logits")
        && model.header().head.is_some()
    {
        let mut logits = Vec::new();
        encoder.classify(&batch, &mut logits).unwrap();
        found.push(("logits".to_owned(), largest_difference(&logits, expected)));
    }
    found
}

/// How far an f16 model may be from transformers in f64: the weights are exact, f32 arithmetic is left, so it is measured
/// by what PyTorch's own f32 loses.
fn tolerance(golden: &Golden, name: &str) -> f32 {
    let tolerance = 2e-6 + 6.0 * golden.meta.float32_error[name];
    // What the project promises.
    assert!(tolerance < 2e-3);
    tolerance
}

#[test]
fn tokens_are_those_of_transformers() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        let model = open(name, "family-tokens", "f16");
        assert_eq!(model.header().max_length, golden.meta.max_length, "{name}");
        let mut encoder = TextEncoder::new(&model, TextOptions::default()).unwrap();
        for input in &golden.meta.inputs {
            let mut batch = Batch::new();
            encoder.encode(&text_of(input), &mut batch).unwrap();
            let sequences = batch.sequences();
            assert_eq!(
                (sequences.ids(), sequences.type_ids()),
                (&input.input_ids[..], &input.token_type_ids[..]),
                "{name}: {:?}",
                input.texts
            );
        }
    }
}

#[test]
fn offsets_are_those_of_transformers() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        let model = open(name, "family-offsets", "f16");
        let tokenizer = model.tokenizer();
        let (mut tokens, mut ids_only) = (Tokens::new(), Tokens::ids_only());
        let mut offsets = Vec::new();
        for input in &golden.meta.inputs {
            for (sequence, text) in input.texts.iter().enumerate() {
                tokenizer.tokenize(text, &mut tokens);
                tokenizer.tokenize(text, &mut ids_only);
                assert_eq!(tokens.ids, ids_only.ids, "{name}: {text:?}");
                tokens.char_offsets(text, &mut offsets);
                let kept: Vec<usize> = (0..input.sequences.len())
                    .filter(|token| input.sequences[*token] == Some(sequence))
                    .collect();
                let expected: Vec<_> = kept.iter().map(|token| input.offsets[*token]).collect();
                let ids: Vec<_> = kept.iter().map(|token| input.input_ids[*token]).collect();
                assert_eq!(tokens.ids[..kept.len()], ids, "{name}: {text:?}");
                assert_eq!(offsets[..kept.len()], expected, "{name}: {text:?}");
                // What was cut off was cut off because there is no room.
                assert!(
                    tokens.ids.len() == kept.len()
                        || input.input_ids.len() == golden.meta.max_length,
                    "{name}: {text:?}"
                );
                for id in &tokens.ids {
                    let token = tokenizer.token(*id).unwrap();
                    assert_eq!(tokenizer.token_to_id(token), Some(*id), "{name}: {token:?}");
                }
            }
        }
    }
}

#[test]
fn windows_cover_long_texts() {
    for name in FAMILIES {
        let model = open(name, "family-windows", "f16");
        let text = "the cat sat on the mat. ".repeat(20);
        let mut tokens = Tokens::ids_only();
        model.tokenizer().tokenize(&text, &mut tokens);
        for (text, special) in [
            (Text::from(text.as_str()), 2),
            (
                Text::from(("who?", text.as_str())),
                model.tokenizer().rules().template().special_count(true),
            ),
        ] {
            let options = TextOptions {
                long: LongText::Window,
                ..TextOptions::default()
            };
            let mut batch = Batch::new();
            let mut encoder = TextEncoder::new(&model, options).unwrap();
            let encoded = encoder.encode(&text, &mut batch).unwrap();
            assert!(encoded.windows > 1 && !encoded.truncated, "{name}");
            let most = model.header().max_length;
            let ranges: Vec<_> = batch.sequences().ranges().collect();
            assert!(ranges.iter().all(|range| range.len() <= most), "{name}");
            // The last window ends as the text does, in front of the last special token.
            let last = &batch.sequences().ids()[ranges.last().unwrap().clone()];
            let end = &last[..last.len() - 1];
            assert!(
                last.len() > special && tokens.ids.ends_with(&end[end.len() - 2..]),
                "{name}"
            );
        }
    }
}

#[test]
fn f16_models_compute_what_transformers_computes() {
    let mut failures = Vec::new();
    for name in FAMILIES {
        let golden = Golden::read(name);
        let found = differences(&open(name, "family-f16", "f16"), &golden);
        println!("{name}: {found:?}");
        for (tensor, difference) in found {
            let most = tolerance(&golden, &tensor);
            if difference > most {
                failures.push(format!(
                    "{name}, {tensor}: {difference:e}, at most {most:e}"
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Largest differences of int8 models, behind the embeddings, each layer, and of the logits: measured, plus a half.
/// Random weights quantize far worse than trained ones.
const INT8_TOLERANCES: [(&str, &[f32]); 0] = [];

#[test]
fn int8_models_stay_near_transformers() {
    let mut failures = Vec::new();
    for name in FAMILIES {
        let found = differences(&open(name, "family-int8", "int8"), &Golden::read(name));
        println!("{name}: {found:?}");
        let tolerances = INT8_TOLERANCES.iter().find(|(other, _)| *other == name);
        let Some((_, tolerances)) = tolerances else {
            failures.push(format!("{name}: no tolerances; found {found:?}"));
            continue;
        };
        assert_eq!(found.len(), tolerances.len(), "{name}");
        for ((tensor, difference), most) in found.iter().zip(*tolerances) {
            if difference > most {
                failures.push(format!("{name}, {tensor}: {difference}, at most {most}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn scores_are_those_of_the_pipeline() {
    for name in FAMILIES {
        let golden = Golden::read(name);
        let Some(expected) = golden.tensors.get("scores") else {
            continue;
        };
        let classifier = Classifier::new(&open(name, "family-scores", "f16")).unwrap();
        let texts: Vec<Text<'_>> = golden.meta.inputs.iter().map(text_of).collect();
        let answers = classifier.classify(&texts).unwrap();
        let found: Vec<f32> = answers.iter().flat_map(|a| a.scores()).copied().collect();
        let difference = largest_difference(&found, expected);
        let most = tolerance(&golden, "logits");
        assert!(
            difference <= most,
            "{name}: {difference:e}, at most {most:e}"
        );
    }
}

/// The bare model of a family: its tensors without prefix and heads, as `AutoModel` saves it, and the mean of its last hidden
/// states as a sentence vector.
#[test]
fn bare_models_give_the_same_hidden_states_and_vectors() {
    for (name, prefix, class) in [
        ("families/roberta", "roberta.", "RobertaModel"),
        ("families/distilbert", "distilbert.", "DistilBertModel"),
        ("families/xlm-roberta", "roberta.", "XLMRobertaModel"),
        ("families/electra", "electra.", "ElectraModel"),
        ("families/electra-generator", "electra.", "ElectraModel"),
        ("families/albert", "albert.", "AlbertModel"),
        ("families/mpnet", "mpnet.", "MPNetModel"),
    ] {
        let golden = Golden::read(name);
        let mut tensors = weights::made(&golden_folder().join(name).join("weights.json"));
        tensors.retain_mut(|tensor| {
            let bare = tensor.name.strip_prefix(prefix).map(str::to_owned);
            tensor.name = bare.clone().unwrap_or_default();
            bare.is_some()
        });
        let checkpoint = Checkpoint::copy(name, "family-bare")
            .with_weights(&tensors)
            .set("config.json", "architectures", json!([class]));
        let model = Model::open(checkpoint.convert("f16")).unwrap();
        assert_eq!(model.header().head, None, "{name}");
        for (tensor, difference) in differences(&model, &golden) {
            let most = tolerance(&golden, &tensor);
            assert!(difference <= most, "{name}, {tensor}: {difference:e}");
        }
        check_vectors(&model, &golden, name);
    }
    let golden = Golden::read("families/camembert");
    check_vectors(
        &open("families/camembert", "family-bare", "f16"),
        &golden,
        "camembert",
    );
}

/// Mean vectors of texts against means of the reference's last hidden states.
fn check_vectors(model: &Model, golden: &Golden, name: &str) {
    let config = &model.header().config;
    let last = format!("hidden.{}", config.num_hidden_layers);
    let hidden = golden.tensor(&last);
    let options = EmbedderOptions {
        embedding: bertlet::EmbeddingOptions {
            pooling: Some(vec![Pooling::Mean]),
            normalize: Some(false),
            dimensions: None,
        },
        ..EmbedderOptions::default()
    };
    let embedder = Embedder::with_options(model, options).unwrap();
    let texts: Vec<Text<'_>> = golden.meta.inputs.iter().map(text_of).collect();
    let vectors = embedder.embed(&texts).unwrap();
    let most = tolerance(golden, &last);
    let mut start = 0;
    for (input, vector) in golden.meta.inputs.iter().zip(vectors.iter()) {
        let tokens = input.input_ids.len();
        let rows = &hidden[start * config.hidden_size..][..tokens * config.hidden_size];
        start += tokens;
        let mean: Vec<f32> = (0..config.hidden_size)
            .map(|channel| {
                let column = rows.iter().skip(channel).step_by(config.hidden_size);
                column.sum::<f32>() / tokens as f32
            })
            .collect();
        let difference = largest_difference(vector, &mean);
        assert!(
            difference <= most,
            "{name}, {:?}: {difference:e}",
            input.texts
        );
    }
}

#[test]
fn a_family_is_the_same_in_both_precisions_as_to_its_header() {
    for name in FAMILIES {
        let [f16, int8] = PRECISIONS.map(|precision| open(name, "family-headers", precision));
        let config = &f16.header().config;
        assert_eq!(*config, int8.header().config, "{name}");
        assert_eq!(f16.header().tokenizer, int8.header().tokenizer, "{name}");
        f16.verify().unwrap();
        int8.verify().unwrap();
    }
}

//! BERT's relatives against pinned transformers, on tiny checkpoints: `tests/golden/families.py` makes them.

use crate::support::{
    Checkpoint, FAMILIES, Golden, Input, PRECISIONS, converted, golden_folder, largest_difference,
};
use crate::weights;
use bertlet::format::header::Pooling;
use bertlet::tokenizer::Tokens;
use bertlet::{
    Batch, Classifier, Embedder, EmbedderOptions, Encoder, LongText, Model, Text, TextEncoder,
    TextOptions,
};
use serde_json::json;

fn open(name: &str, precision: &str) -> Model {
    Model::open(converted(name, precision)).unwrap()
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
        let model = open(name, "f16");
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
        let model = open(name, "f16");
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
        let model = open(name, "f16");
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
        let found = differences(&open(name, "f16"), &golden);
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

/// Largest differences of int8 models, behind the embeddings, each layer, and of the logits: the largest of
/// some measurements with different calibration, plus a half. Random weights quantize far worse than trained ones.
const INT8_TOLERANCES: [(&str, &[f32]); 8] = [
    ("families/roberta", &[0.0033, 0.0326, 0.0845, 0.325]),
    ("families/distilbert", &[0.0028, 0.0379, 0.134]),
    ("families/xlm-roberta", &[0.00631, 0.0227, 0.326, 0.249]),
    ("families/camembert", &[0.00342, 0.0822, 0.125]),
    ("families/electra", &[0.00222, 0.0214, 0.269, 0.104]),
    ("families/electra-generator", &[0.00131, 0.0112, 0.0538]),
    (
        "families/albert",
        &[0.0017, 0.0971, 0.305, 0.252, 0.287, 0.0872],
    ),
    ("families/mpnet", &[0.00249, 0.0311, 0.131]),
];

#[test]
fn int8_models_stay_near_transformers() {
    let mut failures = Vec::new();
    for name in FAMILIES {
        let found = differences(&open(name, "int8"), &Golden::read(name));
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
        let classifier = Classifier::new(&open(name, "f16")).unwrap();
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
    check_vectors(&open("families/camembert", "f16"), &golden, "camembert");
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
        let [f16, int8] = PRECISIONS.map(|precision| open(name, precision));
        let config = &f16.header().config;
        assert_eq!(*config, int8.header().config, "{name}");
        assert_eq!(f16.header().tokenizer, int8.header().tokenizer, "{name}");
        f16.verify().unwrap();
        int8.verify().unwrap();
        // Shared layers are there once.
        let stored = config.num_hidden_groups.unwrap_or(config.num_hidden_layers);
        for model in [f16, int8] {
            let has = |layer: usize| {
                let name = format!("layer.{layer}.output.bias");
                model
                    .header()
                    .tensors
                    .iter()
                    .any(|tensor| tensor.name == name)
            };
            assert!(has(stored - 1) && !has(stored), "{name}");
        }
    }
    let albert = open("families/albert", "f16");
    let config = &albert.header().config;
    assert_eq!(
        (config.num_hidden_layers, config.num_hidden_groups),
        (4, Some(2))
    );
}

/// What the converter says of a golden checkpoint with one setting changed.
fn refusal(name: &str, key: &str, value: serde_json::Value) -> String {
    let checkpoint = Checkpoint::copy(name, "family-refusals").set("config.json", key, value);
    match bertlet_tools::checkpoint::open(checkpoint.folder()) {
        Ok(_) => panic!("{name}, {key}: was not refused"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn settings_that_are_not_understood_are_refused() {
    for (name, key, value, part) in [
        (
            "families/albert",
            "inner_group_num",
            json!(2),
            "'inner_group_num': 2 layers in a group",
        ),
        (
            "families/albert",
            "num_hidden_groups",
            json!(3),
            "3 groups do not divide 4 layers",
        ),
        (
            "families/albert",
            "embedding_size",
            json!(21),
            "tensor 'albert.embeddings",
        ),
        (
            "families/roberta",
            "max_position_embeddings",
            json!(2),
            "leave none behind the padding's",
        ),
        (
            "families/roberta",
            "position_embedding_type",
            json!("relative_key"),
            "'relative_key' is not known",
        ),
        (
            "families/roberta",
            "is_decoder",
            json!(true),
            "only encoders",
        ),
        (
            "families/mpnet",
            "relative_attention_num_buckets",
            json!(64),
            "64 is not supported",
        ),
        (
            "families/distilbert",
            "activation",
            json!("gelu_10"),
            "'gelu_10' is not known",
        ),
        (
            "families/distilbert",
            "n_layers",
            json!(2),
            "tensor 'transformer.layer.1.sa_layer_norm.bias' of shape [312] is missing",
        ),
        (
            "families/distilbert",
            "model_type",
            json!("bert"),
            "'hidden_size': is missing",
        ),
        (
            "families/electra",
            "architectures",
            json!(["ElectraForCausalLM"]),
            "'ElectraForCausalLM' is not supported",
        ),
        (
            "families/electra",
            "model_type",
            json!("deberta"),
            "'deberta' is not supported",
        ),
    ] {
        let message = refusal(name, key, value);
        assert!(
            message.contains(part),
            "{name}: {part:?} is not in {message:?}"
        );
    }
}

#[test]
fn tokenizers_without_their_file_or_of_another_class_are_refused() {
    for (name, files) in [
        ("families/roberta", "vocab.json and merges.txt"),
        ("families/xlm-roberta", "sentencepiece.bpe.model"),
        ("families/albert", "spiece.model"),
        ("families/mpnet", "vocab.txt"),
    ] {
        let checkpoint = Checkpoint::copy(name, "family-no-tokenizer").without("tokenizer.json");
        let error = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap_err();
        let message = format!("{error:#}");
        let expected = format!("no tokenizer found; expected tokenizer.json or {files}.");
        assert!(
            message.contains(&expected) && message.contains("save_pretrained"),
            "{name}: {message}"
        );
    }
    let checkpoint = Checkpoint::copy("families/roberta", "family-class").set(
        "tokenizer_config.json",
        "tokenizer_class",
        json!("BartTokenizer"),
    );
    let error = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap_err();
    assert!(format!("{error:#}").contains("'BartTokenizer' is not supported"));
}

#[test]
fn settings_beside_tokenizer_json_win_over_it() {
    let checkpoint = Checkpoint::copy("families/roberta", "family-prefix-space").set(
        "tokenizer_config.json",
        "add_prefix_space",
        json!(true),
    );
    let opened = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap();
    let notices = opened.notices.join("\n");
    assert!(notices.contains("add_prefix_space true"), "{notices}");
    let with = Model::open(checkpoint.convert("f16")).unwrap();
    let without = open("families/roberta", "f16");
    let ids = |model: &Model, text: &str| {
        let mut tokens = Tokens::ids_only();
        model.tokenizer().tokenize(text, &mut tokens);
        tokens.ids
    };
    assert_eq!(ids(&with, "the cat"), ids(&without, " the cat"));
    assert_ne!(ids(&without, "the cat"), ids(&without, " the cat"));
}

/// Many checkpoints of RoBERTa have no `tokenizer.json`.
#[test]
fn vocab_json_and_merges_txt_make_the_same_tokenizer() {
    let name = "families/roberta";
    let json = std::fs::read(golden_folder().join(name).join("tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let lines: String = merges
        .map(|merge| {
            let [first, second] = [&merge[0], &merge[1]].map(|token| token.as_str().unwrap());
            format!("{first} {second}\n")
        })
        .collect();
    let mask = json!({"content": "<mask>", "lstrip": true, "rstrip": false, "single_word": false, "normalized": false});
    let checkpoint = Checkpoint::copy(name, "family-merges")
        .without("tokenizer.json")
        .set("tokenizer_config.json", "mask_token", mask);
    let write = |file: &str, text: &str| {
        std::fs::write(checkpoint.folder().join(file), text).unwrap();
    };
    write("vocab.json", &json["model"]["vocab"].to_string());
    write("merges.txt", &format!("#version: 0.2\n{lines}"));
    let made = Model::open(checkpoint.convert("f16")).unwrap();
    let expected = open(name, "f16");
    assert_eq!(made.header().tokenizer, expected.header().tokenizer);
    let ids = |model: &Model, text: &str| {
        let mut tokens = Tokens::new();
        model.tokenizer().tokenize(text, &mut tokens);
        (tokens.ids, tokens.offsets)
    };
    for input in Golden::read(name).meta.inputs {
        for text in &input.texts {
            assert_eq!(ids(&made, text), ids(&expected, text), "{text:?}");
        }
    }
    write("merges.txt", "#version: 0.2\nh e\nt h e\n");
    let error = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap_err();
    let message = format!("{error:#}");
    assert!(
        message.contains("merges.txt: line 3: expected two tokens with a blank between them"),
        "{message}"
    );
}

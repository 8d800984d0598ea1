//! Every head of BERT's relatives against pinned transformers: `tests/golden/family_heads.py` makes the references.
//!
//! A family gets all tests at once, by [`families!`]. f16 models may depart by [`F16`]; int8 models by what
//! `int8.json` says: measured, plus a half. Random weights quantize far worse than trained ones.

use crate::heads::{Case, F16, answers, features, masks, pairs, tags};
use crate::support::{Checkpoint, golden_folder, largest_difference, read_safetensors};
use crate::weights;
use bertlet::{Classifier, Model, Text};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Largest difference of a logit, or of a probability's logarithm, of an f16 model from transformers in f64. The project
/// promises 2e-3.
const LOGIT: f32 = 1e-4;
/// The same of a hidden state or an attention weight.
const STATE: f32 = 4e-5;

/// How far an int8 model may be from transformers: logits of a sequence's labels and of choices, the score of a token's label
/// and of a best answer, the probability of a word, an attention weight. `family-heads/int8.json` says it.
fn int8(family: &str, what: &str) -> f32 {
    let path = golden_folder().join("family-heads/int8.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all[family][what].as_f64().unwrap() as f32
}

/// What the reference says of a head, and its tensors.
fn reference(family: &str, head: &str) -> (Value, HashMap<String, Vec<f32>>) {
    let folder = golden_folder().join("family-heads");
    let json = std::fs::read(folder.join(format!("{family}.json"))).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    let tensors = read_safetensors(&folder.join(format!("{family}.safetensors")));
    let part = format!("{head}.");
    let tensors = tensors
        .into_iter()
        .filter_map(|(name, values)| Some((name.strip_prefix(&part)?.to_owned(), values)));
    (json[head].take(), tensors.collect())
}

/// A family's checkpoint with a head, in a folder of this test's own.
fn checkpoint(family: &str, meta: &Value) -> Checkpoint {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("family_heads").replace("::", "-");
    let bare = Checkpoint::copy(&format!("families/{family}"), &test);
    let config = meta["config"].as_object().unwrap().iter();
    config.fold(
        bare.with_weights(&with_head(family, meta)),
        |checkpoint, (key, value)| checkpoint.set("config.json", key, value.clone()),
    )
}

/// The same, converted, and the reference.
fn case(family: &str, head: &str, precision: &str) -> Case {
    let (meta, tensors) = reference(family, head);
    let checkpoint = checkpoint(family, &meta);
    Case {
        model: Model::open(checkpoint.convert(precision)).unwrap(),
        meta,
        tensors,
    }
}

/// The family's encoder, and the tensors of the head.
fn with_head(family: &str, meta: &Value) -> Vec<weights::Tensor> {
    let recipes = golden_folder()
        .join("families")
        .join(family)
        .join("weights.json");
    let mut tensors = weights::made(&recipes);
    let prefix = match family {
        "xlm-roberta" | "camembert" => "roberta.",
        "electra-generator" => "electra.",
        family => &format!("{family}."),
    };
    if tensors.iter().any(|tensor| tensor.name.starts_with(prefix)) {
        tensors.retain(|tensor| tensor.name.starts_with(prefix));
    } else {
        for tensor in &mut tensors {
            tensor.name.insert_str(0, prefix);
        }
    }
    let mut head = weights::from_recipes(meta["tensors"].clone());
    let stated: &Map<String, Value> = meta["values"].as_object().unwrap();
    for tensor in &mut head {
        if let Some(values) = stated.get(&tensor.name) {
            tensor.values = serde_json::from_value(values.clone()).unwrap();
        }
    }
    tensors.append(&mut head);
    tensors
}

fn sequence_classification(family: &str) {
    let int8 = int8(family, "sequence");
    let logits = |precision: &str, problem: &str| -> (Vec<f32>, Case) {
        let (meta, tensors) = reference(family, "sequence");
        let checkpoint =
            checkpoint(family, &meta).set("config.json", "problem_type", json!(problem));
        let case = Case {
            model: Model::open(checkpoint.convert(precision)).unwrap(),
            meta,
            tensors,
        };
        let classifier = Classifier::new(&case.model).unwrap();
        let inputs: Vec<Vec<String>> = case.meta["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| serde_json::from_value(input["texts"].clone()).unwrap())
            .collect();
        let texts: Vec<Text<'_>> = inputs
            .iter()
            .map(|texts| Text {
                first: &texts[0],
                second: texts.get(1).map(String::as_str),
            })
            .collect();
        let answers = classifier.classify(&texts).unwrap();
        (
            answers.iter().flat_map(|a| a.scores()).copied().collect(),
            case,
        )
    };
    for problem in [
        "single_label_classification",
        "multi_label_classification",
        "regression",
    ] {
        let (found, case) = logits("f16", problem);
        let difference = largest_difference(&found, &case.tensors[problem]);
        println!("{family}, f16, {problem}: {difference:e}");
        let most = if problem == "regression" { LOGIT } else { F16 };
        assert!(difference <= most, "{problem}: {difference:e}");
    }
    let (found, case) = logits("int8", "regression");
    let difference = largest_difference(&found, &case.tensors["logits"]);
    println!("{family}, int8, sequence: {difference}");
    assert!(difference <= int8, "{difference}, at most {int8}");
}

fn token_classification(family: &str) {
    let int8 = int8(family, "token");
    let exact = case(family, "tag", "f16");
    tags::check_entities(&exact);
    let (largest, agree) = tags::label_differences(&exact);
    println!("{family}, f16, token: {largest:?}");
    assert!(largest.log <= LOGIT && agree == 1.0, "{largest:?}, {agree}");
    let (largest, agree) = tags::label_differences(&case(family, "tag", "int8"));
    println!("{family}, int8, token: {largest:?}, {agree} of the labels agree");
    assert!(largest.score <= int8, "{largest:?}, at most {int8}");
}

fn question_answering(family: &str) {
    let int8 = int8(family, "answer");
    let exact = case(family, "answer", "f16");
    answers::check_spans(&exact);
    answers::check_no_answer(&exact, F16);
    let largest = answers::span_differences(&exact);
    println!("{family}, f16, answer: {largest:?}");
    assert!(largest.log <= LOGIT, "{largest:?}");
    let largest = answers::span_differences(&case(family, "answer", "int8"));
    println!("{family}, int8, answer: {largest:?}");
    assert!(largest.score <= int8, "{largest:?}, at most {int8}");
}

fn masked_words(family: &str) {
    let int8 = int8(family, "word");
    let exact = case(family, "fill", "f16");
    masks::check_fills(&exact);
    masks::check_lines(&exact);
    let largest = masks::word_differences(&exact);
    println!("{family}, f16, word: {largest:?}");
    assert!(largest.log <= LOGIT, "{largest:?}");
    let largest = masks::word_differences(&case(family, "fill", "int8"));
    println!("{family}, int8, word: {largest:?}");
    assert!(largest.score <= int8, "{largest:?}, at most {int8}");
}

fn multiple_choice(family: &str) {
    let int8 = int8(family, "choice");
    for (precision, most) in [("f16", LOGIT), ("int8", int8)] {
        let case = case(family, "choice", precision);
        let found = pairs::choose(&case, true).concat();
        let difference = largest_difference(&found, &case.tensors["logits"]);
        println!("{family}, {precision}, choice: {difference:e}");
        assert!(
            difference <= most,
            "{precision}: {difference}, at most {most}"
        );
        for scores in pairs::choose(&case, false) {
            assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}

fn hidden_states(family: &str) {
    features::check_states(&case(family, "features", "f16"), STATE);
}

fn attention(family: &str) {
    let int8 = int8(family, "attention");
    for (precision, most) in [("f16", STATE), ("int8", int8)] {
        let case = case(family, "features", precision);
        let difference = features::attention_difference(&case);
        println!("{family}, {precision}, attention: {difference:e}");
        assert!(
            difference <= most,
            "{precision}: {difference}, at most {most}"
        );
    }
}

/// A tokenizer of transformers 5 gives ALBERT no segment ids, and a checkpoint may say so.
#[test]
fn segments_are_left_out_where_the_tokenizer_says_so() {
    let (meta, tensors) = reference("albert", "choice");
    let names = json!(["input_ids", "attention_mask"]);
    let without =
        checkpoint("albert", &meta).set("tokenizer_config.json", "model_input_names", names);
    let opened = bertlet_tools::checkpoint::open(without.folder()).unwrap();
    let notices = opened.notices.join("\n");
    assert!(notices.contains("leaves token_type_ids out"), "{notices:?}");
    let case = Case {
        model: Model::open(without.convert("f16")).unwrap(),
        meta,
        tensors,
    };
    let found = pairs::choose(&case, true).concat();
    let difference = largest_difference(&found, &case.tensors["without_segments"]);
    assert!(difference <= LOGIT, "{difference:e}");
    // It makes a difference.
    assert!(largest_difference(&found, &case.tensors["logits"]) > 0.1);
}

/// All tests of a family.
macro_rules! families {
    ($($module:ident $folder:literal;)*) => {
        $(mod $module {
            const FAMILY: &str = $folder;

            #[test]
            fn sequence_classification() {
                super::sequence_classification(FAMILY);
            }
            #[test]
            fn token_classification() {
                super::token_classification(FAMILY);
            }
            #[test]
            fn question_answering() {
                super::question_answering(FAMILY);
            }
            #[test]
            fn masked_words() {
                super::masked_words(FAMILY);
            }
            #[test]
            fn multiple_choice() {
                super::multiple_choice(FAMILY);
            }
            #[test]
            fn hidden_states() {
                super::hidden_states(FAMILY);
            }
            #[test]
            fn attention() {
                super::attention(FAMILY);
            }
        })*
    };
}

families! {
    distilbert "distilbert";
    roberta "roberta";
    xlm_roberta "xlm-roberta";
    camembert "camembert";
    electra "electra";
    electra_generator "electra-generator";
    albert "albert";
    mpnet "mpnet";
}

//! Token classification.

use super::{Case, F16, Largest, answers, case, log_probabilities, near};
use crate::support::largest_difference;
use bertlet::{Aggregation, Entity, Long, RunOptions, Tagger, TaggerOptions, Task};
use serde_json::Value;

const MODELS: [&str; 2] = ["tag", "tag-cased"];

const AGGREGATIONS: [(&str, Aggregation); 5] = [
    ("none", Aggregation::None),
    ("simple", Aggregation::Simple),
    ("first", Aggregation::First),
    ("average", Aggregation::Average),
    ("max", Aggregation::Max),
];

fn texts(meta: &Value) -> Vec<&str> {
    let inputs = meta["inputs"].as_array().unwrap().iter();
    inputs
        .map(|input| input["text"].as_str().unwrap())
        .collect()
}

fn options(aggregation: Aggregation) -> TaggerOptions {
    TaggerOptions {
        aggregation,
        ..TaggerOptions::default()
    }
}

fn check(found: &Entity, expected: &Value, tolerance: f32, text: &str) {
    let what = format!("{text:?}: {found:?}");
    let label = expected.get("entity_group").unwrap_or(&expected["entity"]);
    assert_eq!(label, &found.label, "{what}");
    assert_eq!(expected["word"], found.word, "{what}");
    assert_eq!(expected["start"], found.start, "{what}");
    assert_eq!(expected["end"], found.end, "{what}");
    let index = expected.get("index").and_then(Value::as_u64);
    assert_eq!(index, found.index.map(|index| index as u64), "{what}");
    near(found.score, &expected["score"], tolerance, &what);
    let chars: String = text
        .chars()
        .skip(found.start)
        .take(found.end - found.start)
        .collect();
    assert_eq!(text[found.bytes.clone()], chars, "{what}");
}

#[test]
fn entities_are_those_of_the_pipeline() {
    for name in MODELS {
        check_entities(&case(name, "f16"));
    }
}

/// Entities of all strategies are the pipeline's.
pub fn check_entities(case: &Case) {
    let texts = texts(&case.meta);
    for (strategy, aggregation) in AGGREGATIONS {
        let tagger = Tagger::new(&case.model, options(aggregation)).unwrap();
        let found = answers(&tagger, &texts);
        for (index, (text, found)) in texts.iter().zip(found).enumerate() {
            let expected = case.meta["entities"][strategy][index].as_array().unwrap();
            assert_eq!(
                found.len(),
                expected.len(),
                "{strategy}, {text:?}: {found:?}"
            );
            for (found, expected) in found.iter().zip(expected) {
                check(found, expected, F16, text);
            }
        }
    }
}

#[test]
fn int8_entities_stay_near_the_pipeline() {
    for (name, most) in [("tag", 0.030), ("tag-cased", 0.034)] {
        let (largest, agree) = label_differences(&case(name, "int8"));
        println!("{name}: {largest:?}, {agree} of the labels agree");
        assert!(
            largest.score <= most && agree >= 0.8,
            "{name}: {largest:?}, {agree}"
        );
    }
}

/// The label that each token gets: its score against the softmax of the reference's logits, and how many labels are the
/// reference's.
pub fn label_differences(case: &Case) -> (Largest, f32) {
    let all = TaggerOptions {
        aggregation: Aggregation::None,
        ignore: Vec::new(),
        long: Long::default(),
    };
    let tagger = Tagger::new(&case.model, all).unwrap();
    let labels = tagger.labels();
    let mut logits = case.tensors["logits"].chunks_exact(labels.len());
    let mut largest = Largest::default();
    let (mut agree, mut all) = (0, 0);
    for found in answers(&tagger, &texts(&case.meta)) {
        logits.next().unwrap(); // [CLS]
        for entity in found {
            let row = log_probabilities(logits.next().unwrap());
            let mut names = labels.iter();
            let label = names.position(|label| *label == entity.label).unwrap();
            largest.note(entity.score, row[label]);
            agree += usize::from(row.iter().all(|other| *other <= row[label]));
            all += 1;
        }
        logits.next().unwrap(); // [SEP]
    }
    assert!(logits.next().is_none());
    (largest, agree as f32 / all as f32)
}

#[test]
fn windows_neither_repeat_nor_lose_a_token() {
    let case = case("tag", "f16");
    let long = texts(&case.meta)[..3].join(" ").repeat(4);
    for (max_length, stride) in [(32, None), (12, Some(0)), (12, Some(3)), (12, Some(8))] {
        let all = TaggerOptions {
            aggregation: Aggregation::None,
            ignore: Vec::new(),
            long: Long {
                max_length: Some(max_length),
                stride,
            },
        };
        let tagger = Tagger::new(&case.model, all.clone()).unwrap();
        let tokens = answers(&tagger, &[&long]).remove(0);
        let mut expected = bertlet::tokenizer::Tokens::new();
        case.model.tokenizer().tokenize(&long, &mut expected);
        let found: Vec<_> = tokens
            .iter()
            .map(|t| (t.bytes.start, t.bytes.end))
            .collect();
        assert_eq!(found, expected.offsets, "{max_length}, {stride:?}");
        let indices: Vec<_> = tokens.iter().filter_map(|token| token.index).collect();
        assert_eq!(indices, (1..=found.len()).collect::<Vec<_>>());
        // Grouped: in order, without overlap.
        let simple = TaggerOptions {
            aggregation: Aggregation::Simple,
            ..all
        };
        let tagger = Tagger::new(&case.model, simple).unwrap();
        let entities = answers(&tagger, &[&long]).remove(0);
        assert!(entities.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let covered: usize = entities.iter().map(|e| e.bytes.len()).sum();
        assert!(covered >= found.iter().map(|(start, end)| end - start).sum());
    }
}

#[test]
fn a_window_gives_its_middle_what_it_gives_alone() {
    // Of three windows over a text, each decides for its own middle: the same scores as for the window's text by itself.
    let case = case("tag", "f16");
    let words = ["the", "cat", "dog", "mat", "city", "film"];
    let text: Vec<&str> = (0..16).map(|index| words[index * 5 % 6]).collect();
    let all = |max_length| TaggerOptions {
        aggregation: Aggregation::None,
        ignore: Vec::new(),
        long: Long {
            max_length: Some(max_length),
            stride: Some(2),
        },
    };
    let scores = |text: &[&str], max_length| -> Vec<f32> {
        let tagger = Tagger::new(&case.model, all(max_length)).unwrap();
        let text = text.join(" ");
        let entities = answers(&tagger, &[&text]).remove(0);
        entities.iter().map(|entity| entity.score).collect()
    };
    // Windows of 8 words: 0..8, 6..14, 12..16; tokens 7..13 belong to the second.
    let whole = scores(&text, 10);
    let second = scores(&text[6..14], 10);
    assert!(largest_difference(&whole[7..13], &second[1..7]) < 1e-6);
    let first = scores(&text[..8], 10);
    assert!(largest_difference(&whole[..7], &first[..7]) < 1e-6);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let case = case("tag", "f16");
    let long = |max_length, stride| TaggerOptions {
        long: Long { max_length, stride },
        ..TaggerOptions::default()
    };
    for (options, said) in [
        (long(Some(41), None), "the model has 40 positions"),
        (long(Some(2), None), "leaves 0 beside 2 special tokens"),
        (long(Some(10), Some(8)), "the stride must be less"),
    ] {
        let error = Tagger::new(&case.model, options).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let run = RunOptions::default();
    let tagger = Tagger::new(&case.model, TaggerOptions::default()).unwrap();
    assert!(tagger.run(&[], run).unwrap().is_empty());
}

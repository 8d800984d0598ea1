//! Heads that look at pairs: several values, cross-encoders, next sentences, multiple choice.

use super::{Case, F16, answers, case, strings};
use crate::support::largest_difference;
use bertlet::{Candidates, Classifier, Function, PairScorer, Text, TextOptions};
use serde_json::Value;

fn pairs(meta: &Value) -> Vec<(&str, &str)> {
    let pairs = meta["pairs"].as_array().unwrap().iter();
    pairs
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect()
}

/// Largest differences of f16 and int8 models from `expected`.
fn differences(name: &str, mut found: impl FnMut(&Case) -> Vec<f32>, tensor: &str) -> [f32; 2] {
    ["f16", "int8"].map(|precision| {
        let case = case(name, precision);
        let difference = largest_difference(&found(&case), &case.tensors[tensor]);
        println!("{name}, {precision}: {difference}");
        difference
    })
}

#[test]
fn a_regression_has_several_values() {
    let [f16, int8] = differences(
        "regression",
        |case| {
            let classifier = Classifier::new(&case.model).unwrap();
            let texts: Vec<Text<'_>> = pairs(&case.meta).into_iter().map(Text::from).collect();
            let answers = classifier.classify(&texts).unwrap();
            // What the pipeline shows: the logits, each under its label, best first.
            for (answer, expected) in answers
                .iter()
                .zip(case.meta["pipeline"].as_array().unwrap())
            {
                if case.model.header().precision == bertlet::format::header::Precision::F16 {
                    for ((label, score), expected) in
                        answer.ranked().iter().zip(expected.as_array().unwrap())
                    {
                        assert_eq!(expected["label"], *label);
                        super::near(*score, &expected["score"], F16, label);
                    }
                }
            }
            answers
                .iter()
                .flat_map(|answer| answer.scores().to_vec())
                .collect()
        },
        "logits",
    );
    assert!(f16 <= F16 && int8 <= 0.52, "{f16} {int8}");
}

#[test]
fn a_cross_encoder_scores_texts_for_a_query() {
    let scores = |case: &Case, function| -> Vec<f32> {
        let scorer =
            PairScorer::cross_encoder(&case.model, TextOptions::default(), function).unwrap();
        let query = case.meta["query"].as_str().unwrap();
        let lines = strings(&case.meta["lines"]);
        let inputs: Vec<Candidates<'_>> =
            lines.into_iter().map(|line| (query, line).into()).collect();
        answers(&scorer, &inputs).concat()
    };
    let logits = |case: &Case| scores(case, Some(Function::None));
    let [f16, int8] = differences("cross-encoder", logits, "logits");
    assert!(f16 <= F16 && int8 <= 0.33, "{f16} {int8}");
    let [f16, _] = differences("cross-encoder", |case| scores(case, None), "scores");
    assert!(f16 <= F16, "{f16}");
}

#[test]
fn next_sentences() {
    for (name, tensor) in [("next", "logits"), ("pretraining", "next")] {
        let logits = |case: &Case| {
            let scorer = PairScorer::next_sentence(&case.model, TextOptions::default())
                .unwrap()
                .with_logits();
            let pairs = pairs(&case.meta).into_iter().map(Candidates::from);
            answers(&scorer, &pairs.collect::<Vec<_>>()).concat()
        };
        let [f16, int8] = differences(name, logits, tensor);
        assert!(f16 <= F16 && int8 <= 0.04, "{f16} {int8}");
    }
    let case = case("next", "f16");
    let scorer = PairScorer::next_sentence(&case.model, TextOptions::default()).unwrap();
    for scores in answers(&scorer, &[("one", "two").into()]) {
        assert!(
            (scores.iter().sum::<f32>() - 1.0).abs() < 1e-6,
            "{scores:?}"
        );
    }
}

#[test]
fn choices() {
    let logits = |case: &Case| choose(case, true).concat();
    let [f16, int8] = differences("choice", logits, "logits");
    assert!(f16 <= F16 && int8 <= 0.56, "{f16} {int8}");
    let case = case("choice", "f16");
    for scores in choose(&case, false) {
        assert!(
            (scores.iter().sum::<f32>() - 1.0).abs() < 1e-6,
            "{scores:?}"
        );
    }
}

/// Scores of the candidates of each case, or their logits.
pub fn choose(case: &Case, with_logits: bool) -> Vec<Vec<f32>> {
    let mut scorer = PairScorer::multiple_choice(&case.model, TextOptions::default()).unwrap();
    if with_logits {
        scorer = scorer.with_logits();
    }
    let cases = case.meta["cases"].as_array().unwrap().iter();
    let inputs: Vec<Candidates<'_>> = cases
        .map(|case| Candidates {
            first: case["context"].as_str().unwrap(),
            seconds: strings(&case["candidates"])
                .into_iter()
                .map(Into::into)
                .collect(),
        })
        .collect();
    answers(&scorer, &inputs)
}

#[test]
fn long_pairs_may_be_read_in_windows() {
    use bertlet::LongText;
    let case = case("cross-encoder", "f16");
    let windows = TextOptions {
        long: LongText::Window,
        ..TextOptions::default()
    };
    let scorer = PairScorer::cross_encoder(&case.model, windows, Some(Function::None)).unwrap();
    let long = "the dog plays in the street ".repeat(10);
    let found = answers(&scorer, &[("the cat", long.as_str()).into()]).concat();
    let texts = [Text::from(("the cat", long.as_str()))];
    let classifier = Classifier::with_options(
        &case.model,
        bertlet::ClassifierOptions {
            text: TextOptions {
                long: LongText::Window,
                ..TextOptions::default()
            },
            function: Some(Function::None),
            ..bertlet::ClassifierOptions::default()
        },
    )
    .unwrap();
    let expected = classifier.classify(&texts).unwrap()[0].scores().to_vec();
    assert!(largest_difference(&found, &expected) < 1e-6);
}

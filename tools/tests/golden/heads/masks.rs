//! Masked language models.

use super::{Case, F16, Largest, answers, case, log_probabilities, near, strings};
use bertlet::{Fill, Filler, FillerOptions, LineScorer, RunOptions, Task};
use serde_json::Value;

/// transformers gives a list for one mask, a list of lists for several.
fn masks(answer: &Value) -> Vec<&Vec<Value>> {
    let list = answer.as_array().unwrap();
    match list[0].as_array() {
        None => vec![list],
        Some(_) => list.iter().map(|mask| mask.as_array().unwrap()).collect(),
    }
}

fn check(found: &[Vec<Fill>], expected: &Value) {
    let expected = masks(expected);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let what = format!("{found:?}");
            assert_eq!(expected["token"], found.token, "{what}");
            assert_eq!(expected["token_str"], found.token_str, "{what}");
            assert_eq!(expected["sequence"], found.sequence, "{what}");
            near(found.score, &expected["score"], F16, &what);
        }
    }
}

fn options(top: usize) -> FillerOptions {
    FillerOptions {
        top,
        ..FillerOptions::default()
    }
}

#[test]
fn words_are_those_of_the_pipeline() {
    for name in ["fill", "fill-untied"] {
        check_fills(&case(name, "f16"));
    }
}

/// The best words are the pipeline's, out of all and out of some.
pub fn check_fills(case: &Case) {
    let texts = strings(&case.meta["texts"]);
    let found = answers(&Filler::new(&case.model, options(4)).unwrap(), &texts);
    for (index, found) in found.iter().enumerate() {
        check(found, &case.meta["answers"][index]);
    }
    let targets = strings(&case.meta["targets"]);
    let targeted = FillerOptions {
        targets: Some(targets.into_iter().map(str::to_owned).collect()),
        ..FillerOptions::default()
    };
    let found = answers(&Filler::new(&case.model, targeted).unwrap(), &texts);
    for (index, found) in found.iter().enumerate() {
        check(found, &case.meta["targeted"][index]);
    }
}

/// Probabilities against the softmax of the reference's logits, over all words and masks.
pub fn word_differences(case: &Case) -> Largest {
    let words = case.model.header().config.vocab_size;
    let texts = strings(&case.meta["texts"]);
    let found = answers(&Filler::new(&case.model, options(words)).unwrap(), &texts);
    let rows: Vec<_> = case.tensors["logits"].chunks_exact(words).collect();
    let found: Vec<_> = found.iter().flatten().collect();
    assert_eq!(found.len(), rows.len());
    let mut largest = Largest::default();
    for (found, row) in found.iter().zip(rows) {
        assert_eq!(found.len(), words);
        let row = log_probabilities(row);
        for fill in *found {
            largest.note(fill.score, row[fill.token as usize]);
        }
    }
    largest
}

#[test]
fn every_words_probability_is_that_of_transformers() {
    for (name, int8) in [
        ("fill", 0.002),
        ("fill-untied", 0.009),
        ("pretraining", 0.0007),
    ] {
        for (precision, most) in [("f16", F16), ("int8", int8)] {
            let found = word_differences(&case(name, precision));
            println!("{name}, {precision}: {found:?}");
            assert!(found.score <= most, "{name}, {precision}: {found:?}");
        }
    }
}

#[test]
fn lines_are_scored_a_token_at_a_time() {
    check_lines(&case("fill", "f16"));
}

/// Log-likelihoods are the reference's.
pub fn check_lines(case: &Case) {
    let scorer = LineScorer::new(&case.model, None).unwrap();
    for expected in case.meta["scores"].as_array().unwrap() {
        let found = answers(&scorer, &[expected["text"].as_str().unwrap()])[0];
        assert_eq!(expected["tokens"], found.tokens);
        near(
            found.log_likelihood as f32,
            &expected["log_likelihood"],
            1e-3,
            "log-likelihood",
        );
        let perplexity = found.pseudo_perplexity.unwrap();
        let expected = expected["pseudo_perplexity"].as_f64().unwrap();
        assert!(
            (perplexity / expected - 1.0).abs() < 1e-3,
            "{perplexity}, expected {expected}"
        );
    }
    let empty = answers(&scorer, &[""])[0];
    assert_eq!((empty.tokens, empty.pseudo_perplexity), (0, None));
}

#[test]
fn what_cannot_be_filled_is_one_clear_error() {
    let case = case("fill", "f16");
    let filler = Filler::new(&case.model, options(1)).unwrap();
    let run = |text: &str| {
        filler
            .run(&[text], RunOptions::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        run("the cat"),
        "the text has no mask; write [MASK] in the place of a word"
    );
    let far = format!("{} [MASK]", "the cat ".repeat(20));
    assert!(
        run(&far).contains("stands behind the 30 tokens"),
        "{}",
        run(&far)
    );
    let target = |word: &str| {
        let options = FillerOptions {
            targets: Some(vec![word.to_owned()]),
            ..FillerOptions::default()
        };
        Filler::new(&case.model, options)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        target("Cat"),
        Ok(()),
        "lower-cased to a word of the vocabulary"
    );
    let said = target("films").unwrap_err();
    assert!(
        said.contains("is not one token of the vocabulary, but film ##s"),
        "{said}"
    );
}

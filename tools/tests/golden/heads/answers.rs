//! Question answering.

use super::{Case, F16, Largest, answers, case, near};
use bertlet::{Answer, Answerer, AnswererOptions, Long, Question};
use serde_json::Value;

fn question(case: &Value) -> Question<'_> {
    Question {
        question: case["question"].as_str().unwrap(),
        context: case["context"].as_str().unwrap(),
    }
}

fn check(found: &Answer, expected: &Value, context: &str) {
    let what = format!("{found:?}");
    assert_eq!(
        expected["answer"], found.text,
        "{what}, expected {expected}"
    );
    assert_eq!(expected["start"], found.start, "{what}");
    assert_eq!(expected["end"], found.end, "{what}");
    assert_eq!(context[found.bytes.clone()], found.text, "{what}");
    near(found.score, &expected["score"], F16, &what);
}

#[test]
fn answers_are_the_best_spans() {
    check_spans(&case("answer", "f16"));
}

/// The best answers are those of the pipeline.
pub fn check_spans(case: &Case) {
    for longest in [15, 2] {
        let options = AnswererOptions {
            top: 5,
            max_answer_length: longest,
            ..AnswererOptions::default()
        };
        let answerer = Answerer::new(&case.model, options).unwrap();
        for asked in case.meta["cases"].as_array().unwrap() {
            let question = question(asked);
            let found = answers(&answerer, &[question]).remove(0);
            let expected = asked["spans"][longest.to_string()].as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                check(found, expected, question.context);
            }
        }
    }
}

#[test]
fn no_answer_has_its_score() {
    for (precision, tolerance) in [("f16", F16), ("int8", 0.01)] {
        check_no_answer(&case("answer", precision), tolerance);
    }
}

/// "No answer" is there once, with its score.
pub fn check_no_answer(case: &Case, tolerance: f32) {
    let options = AnswererOptions {
        top: 1000,
        no_answer: true,
        ..AnswererOptions::default()
    };
    let answerer = Answerer::new(&case.model, options).unwrap();
    for asked in case.meta["cases"].as_array().unwrap() {
        let found = answers(&answerer, &[question(asked)]).remove(0);
        let none: Vec<&Answer> = found.iter().filter(|a| a.text.is_empty()).collect();
        assert_eq!(none.len(), 1, "{found:?}");
        assert_eq!((none[0].start, none[0].end), (0, 0));
        near(none[0].score, &asked["null_score"], tolerance, "no answer");
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }
}

#[test]
fn int8_answers_stay_near() {
    let largest = span_differences(&case("answer", "int8"));
    println!("{largest:?}");
    assert!(largest.score <= 0.0071, "{largest:?}");
}

/// Scores that a model gives to the reference's best answers, where all spans are candidates.
pub fn span_differences(case: &Case) -> Largest {
    let options = AnswererOptions {
        top: 1000,
        ..AnswererOptions::default()
    };
    let answerer = Answerer::new(&case.model, options).unwrap();
    let mut largest = Largest::default();
    for asked in case.meta["cases"].as_array().unwrap() {
        let found = answers(&answerer, &[question(asked)]).remove(0);
        for best in asked["spans"]["all"].as_array().unwrap() {
            let wanted = best["answer"].as_str().unwrap().to_lowercase();
            let same = found.iter().find(|a| a.text.to_lowercase() == wanted);
            let expected = best["score"].as_f64().unwrap().ln() as f32;
            largest.note(same.unwrap().score, expected);
        }
    }
    largest
}

#[test]
fn long_contexts_are_read_in_windows() {
    let case = case("answer", "f16");
    let sentence = |number: usize| format!("The cat sat on mat {number}, and dog {number} plays. ");
    let context: String = (1..=6).map(sentence).collect();
    let question = Question {
        question: "where is the cat?",
        context: &context,
    };
    for stride in [None, Some(0), Some(5)] {
        let options = AnswererOptions {
            top: 20,
            long: Long {
                max_length: Some(24),
                stride,
            },
            ..AnswererOptions::default()
        };
        let answerer = Answerer::new(&case.model, options).unwrap();
        let found = answers(&answerer, &[question]).remove(0);
        // Of the fifty best spans, some say the same.
        assert!((10..=20).contains(&found.len()), "{found:?}");
        let mut texts: Vec<_> = found.iter().map(|a| a.text.to_lowercase()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), found.len(), "an answer is there twice");
        assert!(found.iter().map(|a| a.score).sum::<f32>() <= 1.0 + 1e-5);
        assert!(found.iter().any(|a| a.end > context.len() / 2), "{found:?}");
    }
}

#[test]
fn a_question_longer_than_the_window_is_one_clear_error() {
    use bertlet::{RunOptions, Task};
    let case = case("answer", "f16");
    let answerer = Answerer::new(&case.model, AnswererOptions::default()).unwrap();
    let long = "where is the cat ".repeat(10);
    let asked = [Question {
        question: &long,
        context: "on the mat",
    }];
    let error = answerer.run(&asked, RunOptions::default()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("the question has 40 tokens") && said.contains("shorten the question"),
        "{said}"
    );
    assert!(!said.contains('\n'));
    // An empty context has no answer.
    let asked = [Question {
        question: "where?",
        context: "",
    }];
    assert!(answers(&answerer, &asked)[0].is_empty());
}

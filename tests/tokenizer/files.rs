//! The comparison with `tokenizers` on a real vocabulary and real text, and on as many random lines as time is given.
//!
//! `BERTLET_TOKENIZER_JSON=tokenizer.json BERTLET_TEXTS=a.txt:b.tsv BERTLET_RANDOM_LINES=200000 BERTLET_SEED=1 cargo test
//! --release --test tokenizer files -- --nocapture` compares every line, uncased and cased. Without the first variable the tests'
//! own vocabulary is used, without the second only random lines are compared; the test says so and counts both.

use crate::support::{Both, CASED, Random, UNCASED, line, special_tokens, vocabulary};
use serde_json::{Value, json};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number"))
    })
}

/// The tokenizer as it is, and with the normalizer of a cased model.
fn pair() -> [(&'static str, Both); 2] {
    if let Ok(path) = std::env::var("BERTLET_TOKENIZER_JSON") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let given: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut cased = given.clone();
        cased["normalizer"]["lowercase"] = json!(false);
        cased["normalizer"]["strip_accents"] = json!(false);
        [
            ("as given", Both::from_json(&given)),
            ("cased", Both::from_json(&cased)),
        ]
    } else {
        println!(
            "BERTLET_TOKENIZER_JSON is not set: comparing with the tests' own vocabulary only"
        );
        let tokens = vocabulary(3000);
        let specials = special_tokens(&tokens);
        [
            ("uncased", Both::new(&tokens, UNCASED, &specials)),
            ("cased", Both::new(&tokens, CASED, &specials)),
        ]
    }
}

#[test]
fn files_and_random_lines() {
    let random_lines = number("BERTLET_RANDOM_LINES", 3000);
    let seed = number("BERTLET_SEED", 1);
    let files: Vec<String> = std::env::var("BERTLET_TEXTS")
        .map(|list| list.split(':').map(String::from).collect())
        .unwrap_or_default();
    if files.is_empty() {
        println!("BERTLET_TEXTS is not set: comparing random lines only");
    }
    for (name, mut both) in pair() {
        let (mut compared, mut differing) = (0u64, 0u64);
        let mut compare = |text: &str| {
            compared += 1;
            if let Some(difference) = both.difference(text) {
                differing += 1;
                if differing <= 5 {
                    println!("{name}: {difference}");
                }
            }
        };
        for file in &files {
            let text =
                std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
            text.lines().for_each(&mut compare);
        }
        let mut random = Random(seed);
        for _ in 0..random_lines {
            compare(&line(&mut random));
        }
        println!(
            "{name}: {} files, {random_lines} random lines, {compared} compared, {differing} differ",
            files.len()
        );
        assert_eq!(differing, 0, "{name}");
        assert!(compared > 0, "{name}: nothing was compared");
    }
}

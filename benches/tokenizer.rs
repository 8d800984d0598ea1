//! Tokens a second on one thread, beside Hugging Face's `tokenizers` on the same text.
//!
//! `BERTLET_TOKENIZER_JSON=tokenizer.json BERTLET_TEXTS=lines.txt cargo bench --bench tokenizer`; without the variables the
//! tests' vocabulary and the tests' hard lines, few of them English, are measured, and the heading says so.

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/tokenizer/support.rs"]
mod support;

use bertlet::tokenizer::Tokens;
use divan::{Bencher, counter::ItemsCount};
use std::sync::LazyLock;
use support::{Both, UNCASED, line, special_tokens, vocabulary};

struct Input {
    both: Both,
    lines: Vec<String>,
    tokens: usize,
}

static INPUT: LazyLock<Input> = LazyLock::new(|| {
    let both = match std::env::var("BERTLET_TOKENIZER_JSON") {
        Ok(path) => {
            let text = std::fs::read_to_string(&path).expect("a readable tokenizer.json");
            Both::from_json(&serde_json::from_str(&text).expect("JSON"))
        }
        Err(_) => {
            let tokens = vocabulary(8000);
            Both::new(&tokens, UNCASED, &special_tokens(&tokens))
        }
    };
    let lines: Vec<String> = match std::env::var("BERTLET_TEXTS") {
        Ok(path) => std::fs::read_to_string(&path)
            .expect("a readable text file")
            .lines()
            .map(String::from)
            .collect(),
        Err(_) => {
            let mut random = support::Random(1);
            (0..2000).map(|_| line(&mut random)).collect()
        }
    };
    let tokenizer = both.rules.with(both.tables.view().expect("valid tables"));
    let mut out = Tokens::ids_only();
    let mut tokens = 0;
    for line in &lines {
        tokenizer.tokenize(line, &mut out);
        tokens += out.ids.len();
    }
    Input {
        both,
        lines,
        tokens,
    }
});

fn main() {
    let real =
        std::env::var("BERTLET_TOKENIZER_JSON").is_ok() && std::env::var("BERTLET_TEXTS").is_ok();
    let input = &*INPUT;
    println!(
        "{} lines, {} bytes, {} tokens; {} trie units; {}",
        input.lines.len(),
        input.lines.iter().map(String::len).sum::<usize>(),
        input.tokens,
        input.both.tables.trie.len(),
        if real {
            "vocabulary and text as given"
        } else {
            "generated vocabulary or text"
        }
    );
    divan::main();
}

fn ours(bencher: Bencher, mut out: Tokens) {
    let input = &*INPUT;
    let tokenizer = input
        .both
        .rules
        .with(input.both.tables.view().expect("valid tables"));
    bencher
        .counter(ItemsCount::new(input.tokens))
        .bench_local(|| {
            let mut tokens = 0;
            for line in &input.lines {
                tokenizer.tokenize(line, &mut out);
                tokens += out.ids.len();
            }
            tokens
        });
}

#[divan::bench]
fn bertlet_ids(bencher: Bencher) {
    ours(bencher, Tokens::ids_only());
}

#[divan::bench]
fn bertlet_ids_and_offsets(bencher: Bencher) {
    ours(bencher, Tokens::new());
}

#[divan::bench(sample_count = 5)]
fn tokenizers_ids(bencher: Bencher) {
    let input = &*INPUT;
    bencher
        .counter(ItemsCount::new(input.tokens))
        .bench_local(|| {
            input
                .lines
                .iter()
                .map(|line| {
                    input
                        .both
                        .reference
                        .encode_fast(line.as_str(), false)
                        .expect("ids")
                        .len()
                })
                .sum::<usize>()
        });
}

#[divan::bench(sample_count = 5)]
fn tokenizers_ids_and_offsets(bencher: Bencher) {
    let input = &*INPUT;
    bencher
        .counter(ItemsCount::new(input.tokens))
        .bench_local(|| {
            input
                .lines
                .iter()
                .map(|line| {
                    input
                        .both
                        .reference
                        .encode(line.as_str(), false)
                        .expect("ids")
                        .len()
                })
                .sum::<usize>()
        });
}

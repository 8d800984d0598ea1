//! Byte-pair encoding and Unigram by `tokenizer.json`: what comes out is what `tokenizers` gives, with offsets at
//! characters; what cannot encode every text is refused.

use crate::support::{Random, line};
use bertlet::format::header::{TemplatePiece, TokenizerConfig, TokenizerJsonConfig};
use bertlet::tokenizer::{Tokenizer, Tokens};
use serde_json::{Value, json};
use std::path::Path;

fn read(family: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let path = folder.join(family).join("tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).expect("a golden file")).expect("JSON")
}

/// The header's part of a tokenizer: its added tokens, and the plainest template.
fn config(json: &Value) -> TokenizerConfig {
    let first = TemplatePiece::First { type_id: 0 };
    let config = TokenizerJsonConfig {
        added_tokens: serde_json::from_value(json["added_tokens"].clone()).expect("added tokens"),
        single: vec![first.clone()],
        pair: vec![first, TemplatePiece::Second { type_id: 0 }],
    };
    match json["model"]["type"].as_str() {
        Some("BPE") => TokenizerConfig::Bpe(config),
        Some("Unigram") => TokenizerConfig::Unigram(config),
        other => panic!("{other:?}"),
    }
}

fn tokenizer(json: &Value) -> bertlet::Result<Tokenizer> {
    Tokenizer::from_json(&config(json), json.to_string().as_bytes())
}

/// Text around what the tokenizers of these families treat in their own way.
fn texts() -> impl Iterator<Item = String> {
    const PARTS: [&str; 14] = [
        " ",
        "  ",
        "<mask>",
        " <mask>",
        "\u{3000}<mask>",
        "\u{a0} <mask> ",
        "<pad>",
        "</s>",
        "ﬁ①Ａ",
        "e\u{301}",
        "soft\u{ad}hyphen",
        "👍🏽",
        "\n",
        "▁Ġ",
    ];
    let mut random = Random(77);
    (0..1500).map(move |_| {
        let (before, after) = (line(&mut random), line(&mut random));
        let part = PARTS[random.below(PARTS.len())];
        format!("{before}{part}{after}")
    })
}

#[test]
fn ids_and_offsets_are_those_of_tokenizers() {
    for family in ["roberta", "xlm-roberta", "camembert", "albert"] {
        let json = read(family);
        let found = tokenizer(&json).expect("a good file");
        let bound = found.with(None);
        let reference: tokenizers::Tokenizer = json.to_string().parse().expect("a good file");
        let (mut tokens, mut ids_only) = (Tokens::new(), Tokens::ids_only());
        let mut characters = Vec::new();
        for text in texts() {
            let expected = reference
                .encode_char_offsets(text.as_str(), false)
                .expect("tokenizers encodes every text");
            bound.tokenize(&text, &mut tokens);
            bound.tokenize(&text, &mut ids_only);
            assert_eq!(tokens.ids, expected.get_ids(), "{family}: {text:?}");
            assert_eq!(ids_only.ids, tokens.ids, "{family}: {text:?}");
            for &(start, end) in &tokens.offsets {
                // Slicing would panic inside a character.
                assert!(text.get(start..end).is_some(), "{family}: {text:?}");
            }
            tokens.char_offsets(&text, &mut characters);
            assert_eq!(characters, expected.get_offsets(), "{family}: {text:?}");
            let largest = tokens.ids.iter().max().map_or(0, |id| *id as usize);
            assert!(largest < found.id_bound(), "{family}: {text:?}");
        }
    }
}

#[test]
fn the_beginning_of_a_long_text_has_the_tokens_of_the_whole() {
    for family in ["roberta", "xlm-roberta", "camembert", "albert"] {
        let found = tokenizer(&read(family)).expect("a good file");
        let bound = found.with(None);
        let (mut whole, mut some) = (Tokens::new(), Tokens::new());
        let mut random = Random(5);
        let mut cut = 0;
        for limit in [1, 2, 7, 40] {
            for _ in 0..40 {
                let text: String = (0..limit * 4 + 4)
                    .map(|_| line(&mut random) + [" ", " a b ", "  ", ""][random.below(4)])
                    .collect();
                bound.tokenize(&text, &mut whole);
                bound.tokenize_some(&text, limit, &mut some);
                let count = whole.ids.len().min(limit);
                assert!(some.ids.len() >= count, "{family}: {text:?}");
                assert_eq!(some.ids[..count], whole.ids[..count], "{family}: {text:?}");
                assert_eq!(
                    some.offsets[..count],
                    whole.offsets[..count],
                    "{family}: {text:?}"
                );
                cut += usize::from(some.ids.len() < whole.ids.len());
            }
        }
        assert!(cut > 40, "{family}: only {cut} texts were cut");
    }
}

/// A line of megabytes costs no more than its beginning, and that gives the tokens of the whole.
#[test]
fn a_long_text_without_blanks_has_the_tokens_of_its_beginning() {
    for family in ["roberta", "xlm-roberta", "camembert", "albert"] {
        let found = tokenizer(&read(family)).expect("a good file");
        let bound = found.with(None);
        let (mut whole, mut some) = (Tokens::new(), Tokens::new());
        for word in ["a", "films", "fi\u{301}lm", "中文", "\u{1f600}a"] {
            let text = word.repeat((200 << 10) / word.len());
            bound.tokenize(&text, &mut whole);
            bound.tokenize_some(&text, 512, &mut some);
            let count = some.ids.len().min(512);
            assert_eq!(some.ids[..count], whole.ids[..count], "{family}: {word}");
            let end = some.offsets[some.offsets.len() - 1].1;
            assert!((100 << 10..=128 << 10).contains(&end), "{family}: {word}");
        }
    }
}

#[test]
fn tokens_have_their_names() {
    let json = read("roberta");
    let tokenizer_ = tokenizer(&json).expect("a good file");
    assert_eq!(tokenizer_.unk_id(), None);
    let bound = tokenizer_.with(None);
    let mut tokens = Tokens::new();
    bound.tokenize("the cat<mask>", &mut tokens);
    let names: Vec<_> = tokens.ids.iter().map(|id| bound.token(*id)).collect();
    assert_eq!(names.last(), Some(&Some("<mask>")));
    assert!(
        names.iter().flatten().any(|name| name.starts_with('Ġ')),
        "{names:?}"
    );
    assert_eq!(bound.token_to_id("<mask>"), tokens.ids.last().copied());
    assert_eq!(bound.token(u32::MAX), None);
    assert_eq!(bound.token_to_id("no such token"), None);

    let json = read("xlm-roberta");
    assert_eq!(tokenizer(&json).expect("a good file").unk_id(), Some(3));
}

/// A golden file with one change is refused with a message that says so.
#[track_caller]
fn assert_refused(family: &str, change: impl FnOnce(&mut Value), part: &str) {
    let mut json = read(family);
    let config = config(&json);
    change(&mut json);
    let error = Tokenizer::from_json(&config, json.to_string().as_bytes())
        .expect_err("a file that cannot be used")
        .to_string();
    assert!(error.contains(part), "{part:?} is not in {error:?}");
}

#[test]
fn what_cannot_encode_every_text_is_refused() {
    assert_refused(
        "roberta",
        |json| json["model"]["dropout"] = json!(0.1),
        "at random",
    );
    assert_refused(
        "roberta",
        |json| json["model"]["unk_token"] = json!("<nothing>"),
        "no token \"<nothing>\"",
    );
    assert_refused(
        "xlm-roberta",
        |json| json["model"]["unk_id"] = Value::Null,
        "cannot encode what its vocabulary lacks",
    );
    assert_refused(
        "xlm-roberta",
        |json| json["added_tokens"][4]["content"] = json!("<other>"),
        "the added token with id 96",
    );
    let other = read("roberta")["model"].clone();
    assert_refused("xlm-roberta", |json| json["model"] = other, "another model");
    assert_refused(
        "xlm-roberta",
        // Two units, of which the first has its children far outside.
        |json| json["normalizer"]["precompiled_charsmap"] = json!("CAAAAAD8/wAAAAAA"),
        "charsmap",
    );
    for bytes in [&b""[..], b"{}", b"\xFF\xFE", b"[1, 2"] {
        let config = config(&read("roberta"));
        assert!(Tokenizer::from_json(&config, bytes).is_err());
    }
}

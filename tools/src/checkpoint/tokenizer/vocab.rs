//! A tokenizer described by `vocab.txt`: the `tokenizer.json` that transformers' `BertTokenizer` makes of it.

use super::Settings;
use super::settings::{SpecialToken, SpecialTokens};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// `BertTokenizer`'s defaults; the template and WordPiece need some of them.
const SPECIAL: [SpecialToken; 5] = [
    ("pad_token", "[PAD]", false),
    ("unk_token", "[UNK]", true),
    ("cls_token", "[CLS]", true),
    ("sep_token", "[SEP]", true),
    ("mask_token", "[MASK]", false),
];
/// Longest word in characters; `BertTokenizer` has no setting for it.
const MAX_INPUT_CHARS_PER_WORD: usize = 100;

/// Builds the equivalent `tokenizer.json`.
pub(super) fn tokenizer_json(directory: &Path, settings: &Settings) -> Result<Value> {
    let path = directory.join("vocab.txt");
    ensure!(
        path.exists(),
        "{}: no tokenizer found; expected tokenizer.json or vocab.txt",
        directory.display()
    );
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let vocabulary = read(&text);
    let SpecialTokens { added, names } = settings.special_tokens(&SPECIAL, &vocabulary, &path)?;
    let normalizer = settings.normalizer()?;
    let (cls, sep) = (&names["cls_token"], &names["sep_token"]);
    let special =
        |token: &Value, type_id: u32| json!({"SpecialToken": {"id": token, "type_id": type_id}});
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let ids = |token: &Value| {
        let id = &vocabulary[token.as_str().unwrap_or_default()];
        json!({"id": token, "ids": [id], "tokens": [token]})
    };
    let special_tokens: Map<String, Value> = [cls, sep]
        .into_iter()
        .map(|token| (token.as_str().unwrap_or_default().to_owned(), ids(token)))
        .collect();
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": normalizer.handle_chinese_chars.unwrap_or(true),
            "strip_accents": normalizer.strip_accents,
            "lowercase": normalizer.lowercase.unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(cls, 0), text("A", 0), special(sep, 0)],
            "pair": [special(cls, 0), text("A", 0), special(sep, 0), text("B", 1), special(sep, 1)],
            "special_tokens": special_tokens,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": names["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": MAX_INPUT_CHARS_PER_WORD,
            "vocab": vocabulary,
        },
    }))
}

/// A token a line, its id the line's number from 0; of a repeated token the last line counts. Lines end where Python's
/// text files end them: at LF, CR LF or CR, and nowhere else.
fn read(text: &str) -> Map<String, Value> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    text.split('\n')
        .enumerate()
        .map(|(id, token)| (token.to_owned(), id.into()))
        .collect()
}

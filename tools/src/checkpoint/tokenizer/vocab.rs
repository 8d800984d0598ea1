//! A tokenizer described by `vocab.txt`: the `tokenizer.json` that transformers' `BertTokenizer` or `MPNetTokenizer` makes of it.

use super::Settings;
use super::settings::{SpecialToken, SpecialTokens};
use crate::files;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// `BertTokenizer`'s defaults; the template and WordPiece need some of them.
pub(super) const BERT: [SpecialToken; 5] = [
    ("pad_token", "[PAD]", false),
    ("unk_token", "[UNK]", true),
    ("cls_token", "[CLS]", true),
    ("sep_token", "[SEP]", true),
    ("mask_token", "[MASK]", false),
];
/// `MPNetTokenizer`'s, which has RoBERTa's template too.
pub(super) const MPNET: [SpecialToken; 7] = [
    ("bos_token", "<s>", false),
    ("eos_token", "</s>", false),
    ("unk_token", "[UNK]", true),
    ("sep_token", "</s>", true),
    ("pad_token", "<pad>", false),
    ("cls_token", "<s>", true),
    ("mask_token", "<mask>", false),
];
/// Longest word in characters; `BertTokenizer` has no setting for it.
const MAX_INPUT_CHARS_PER_WORD: usize = 100;

/// Builds the equivalent `tokenizer.json`; `special` says which of the two tokenizers it is.
pub(super) fn tokenizer_json(
    directory: &Path,
    settings: &Settings,
    special: &[SpecialToken],
) -> Result<Value> {
    let path = directory.join("vocab.txt");
    let text = files::read_text(&path).with_context(|| format!("{}", path.display()))?;
    let vocabulary = read(&text);
    let is_mpnet = special == MPNET;
    let mut special = settings.special_tokens(special, &vocabulary, &path)?;
    if is_mpnet {
        settings.let_mask_take_blank(&mut special)?;
    }
    let SpecialTokens { added, names } = special;
    let normalizer = settings.normalizer()?;
    let template = match is_mpnet {
        true => template_of_mpnet(&names, &vocabulary),
        false => template_of_bert(&names, &vocabulary),
    };
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
        "post_processor": template,
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

fn template_of_bert(names: &Map<String, Value>, vocabulary: &Map<String, Value>) -> Value {
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
    json!({
        "type": "TemplateProcessing",
        "single": [special(cls, 0), text("A", 0), special(sep, 0)],
        "pair": [special(cls, 0), text("A", 0), special(sep, 0), text("B", 1), special(sep, 1)],
        "special_tokens": special_tokens,
    })
}

fn template_of_mpnet(names: &Map<String, Value>, vocabulary: &Map<String, Value>) -> Value {
    let with_id = |setting: &str| {
        let token = &names[setting];
        json!([token, vocabulary[token.as_str().unwrap_or_default()]])
    };
    json!({
        "type": "RobertaProcessing", "sep": with_id("sep_token"), "cls": with_id("cls_token"),
        "trim_offsets": true, "add_prefix_space": false,
    })
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

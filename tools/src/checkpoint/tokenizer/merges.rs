//! A tokenizer described by `vocab.json` and `merges.txt`: the `tokenizer.json` that transformers' `RobertaTokenizer` makes of
//! them.

use super::Settings;
use super::settings::{SpecialToken, SpecialTokens};
use crate::checkpoint::json::Object;
use crate::files;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The files, in a checkpoint's directory.
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
pub(super) const FILES: [&str; 2] = [VOCABULARY, MERGES];

/// `RobertaTokenizer`'s defaults; the template needs some of them.
const SPECIAL: [SpecialToken; 7] = [
    ("bos_token", "<s>", false),
    ("eos_token", "</s>", false),
    ("unk_token", "<unk>", false),
    ("sep_token", "</s>", true),
    ("pad_token", "<pad>", false),
    ("cls_token", "<s>", true),
    ("mask_token", "<mask>", false),
];

/// Builds the equivalent `tokenizer.json`.
pub(super) fn tokenizer_json(directory: &Path, settings: &Settings) -> Result<Value> {
    let path = directory.join(VOCABULARY);
    let file = Object::read(&path)?.with_context(|| format!("{}: not found", path.display()))?;
    let vocabulary: Map<String, Value> = file
        .iter()
        .map(|(token, id)| (token.to_owned(), id.clone()))
        .collect();
    let path = directory.join(MERGES);
    let merges = files::read_text(&path).with_context(|| format!("{}", path.display()))?;
    let merges = read(&merges).with_context(|| format!("{}", path.display()))?;
    let SpecialTokens { added, names } =
        settings.special_tokens(&SPECIAL, &vocabulary, &directory.join(VOCABULARY))?;
    let with_id = |setting: &str| {
        let token = &names[setting];
        json!([token, vocabulary[token.as_str().unwrap_or_default()]])
    };
    let add_prefix_space = settings.flag("add_prefix_space")?.unwrap_or(false);
    let trim_offsets = settings.flag("trim_offsets")?.unwrap_or(true);
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true,
        },
        "post_processor": {
            "type": "RobertaProcessing", "sep": with_id("sep_token"), "cls": with_id("cls_token"),
            "trim_offsets": trim_offsets, "add_prefix_space": add_prefix_space,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// A merge a line, two tokens with a blank between them; the first line may say the version.
fn read(text: &str) -> Result<Vec<[&str; 2]>> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|(number, line)| {
            let mut tokens = line.split(' ');
            let merge = (tokens.next(), tokens.next(), tokens.next());
            let (Some(first), Some(second), None) = merge else {
                anyhow::bail!(
                    "line {number}: expected two tokens with a blank between them, found {line:?}"
                );
            };
            ensure!(
                !first.is_empty() && !second.is_empty(),
                "line {number}: a token is empty"
            );
            Ok([first, second])
        })
        .collect()
}

//! A tokenizer described by SentencePiece's model file: the `tokenizer.json` that transformers' tokenizers of XLM-RoBERTa,
//! CamemBERT and ALBERT make of it.

use super::Settings;
use super::protobuf::{self, Field};
use super::settings::{SpecialToken, SpecialTokens};
use crate::files;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What sets one of the tokenizers apart.
pub(super) struct Layout {
    /// The file, in a checkpoint's directory.
    pub file: &'static str,
    /// The class's name, for messages.
    class: &'static str,
    special: [SpecialToken; 7],
    /// Pieces that the class puts in front of the file's.
    first: &'static [(&'static str, f64)],
    /// How many of the file's pieces they replace.
    replaced: usize,
    /// Whether `<mask>` follows behind the last.
    mask_follows: bool,
    unk_id: usize,
    /// Whether the mask token swallows the blank in front of it where the files do not say.
    mask_takes_blank: bool,
    /// ALBERT's further steps of normalization, and its segments.
    albert: bool,
}

const fn special(bos: &'static str, eos: &'static str, mask: &'static str) -> [SpecialToken; 7] {
    [
        ("bos_token", bos, false),
        ("eos_token", eos, false),
        ("unk_token", "<unk>", true),
        ("sep_token", eos, true),
        ("pad_token", "<pad>", false),
        ("cls_token", bos, true),
        ("mask_token", mask, false),
    ]
}

pub(super) const XLM_ROBERTA: Layout = Layout {
    file: "sentencepiece.bpe.model",
    class: "XLMRobertaTokenizer",
    special: special("<s>", "</s>", "<mask>"),
    first: &[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)],
    // <unk>, <s> and </s>.
    replaced: 3,
    mask_follows: true,
    unk_id: 3,
    mask_takes_blank: false,
    albert: false,
};

pub(super) const CAMEMBERT: Layout = Layout {
    class: "CamembertTokenizer",
    first: &[
        ("<s>NOTUSED", 0.0),
        ("<pad>", 0.0),
        ("</s>NOTUSED", 0.0),
        ("<unk>", 0.0),
        ("<unk>NOTUSED", -100.0),
    ],
    // <unk>.
    replaced: 1,
    mask_takes_blank: true,
    ..XLM_ROBERTA
};

pub(super) const ALBERT: Layout = Layout {
    file: "spiece.model",
    class: "AlbertTokenizer",
    special: special("[CLS]", "[SEP]", "[MASK]"),
    first: &[],
    replaced: 0,
    mask_follows: false,
    unk_id: 1,
    mask_takes_blank: false,
    albert: true,
};

/// A piece of the vocabulary.
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// Kinds of pieces that text does not contain, or only as a whole.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// What a model file says.
struct SentencePiece<'a> {
    pieces: Vec<Piece>,
    /// The compiled normalization, a double array and replacements.
    charsmap: &'a [u8],
}

/// Builds the equivalent `tokenizer.json`.
///
/// # Errors
/// The file is damaged, or asks for something that transformers' tokenizer does not do.
pub(super) fn tokenizer_json(
    directory: &Path,
    settings: &Settings,
    layout: &Layout,
) -> Result<Value> {
    let path = directory.join(layout.file);
    let bytes = files::read(&path).with_context(|| format!("{}", path.display()))?;
    let model = read(&bytes).with_context(|| format!("{}", path.display()))?;
    ensure!(
        model.pieces.len() > layout.replaced.max(layout.unk_id),
        "{}: {} pieces are too few for {}",
        path.display(),
        model.pieces.len(),
        layout.class
    );
    let first = layout.first.iter();
    let mut pieces: Vec<(&str, f64)> = first.copied().collect();
    // By how much ids differ from the file's.
    let shift = layout.first.len() - layout.replaced;
    let rest = model.pieces[layout.replaced..].iter();
    pieces.extend(rest.map(|piece| (&piece.text[..], f64::from(piece.score))));
    if layout.mask_follows {
        pieces.push(("<mask>", 0.0));
    }
    let ids: Map<String, Value> = (0u32..)
        .zip(&pieces)
        .map(|(id, (text, _))| ((*text).to_owned(), id.into()))
        .collect();
    let mut special = settings.special_tokens(&layout.special, &ids, &path)?;
    if layout.mask_takes_blank {
        settings.let_mask_take_blank(&mut special)?;
    }
    let SpecialTokens { mut added, names } = special;
    for (index, piece) in model.pieces.iter().enumerate().skip(layout.replaced) {
        let is_known = added.iter().any(|token| token["content"] == piece.text[..]);
        if matches!(piece.kind, CONTROL | USER_DEFINED) && !is_known {
            added.push(json!({
                "id": index + shift, "content": piece.text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": piece.kind == CONTROL,
            }));
        }
    }
    added.sort_by_key(|token| token["id"].as_u64());
    let (cls, sep) = (&names["cls_token"], &names["sep_token"]);
    let special_tokens: Map<String, Value> = [cls, sep]
        .into_iter()
        .map(|token| {
            let name = token.as_str().unwrap_or_default();
            let entry = json!({"id": token, "ids": [ids[name]], "tokens": [token]});
            (name.to_owned(), entry)
        })
        .collect();
    let token =
        |token: &Value, segment: u32| json!({"SpecialToken": {"id": token, "type_id": segment}});
    let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
    let single = vec![token(cls, 0), text("A", 0), token(sep, 0)];
    let mut pair = single.clone();
    pair.extend(match layout.albert {
        true => vec![text("B", 1), token(sep, 1)],
        false => vec![token(sep, 0), text("B", 0), token(sep, 0)],
    });
    let add_prefix_space = settings.flag("add_prefix_space")?.unwrap_or(true);
    let metaspace = json!({
        "type": "Metaspace", "replacement": "▁", "split": true,
        "prepend_scheme": if add_prefix_space { "always" } else { "never" },
    });
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": normalizer(&model, settings, layout)?,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special_tokens,
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": layout.unk_id, "vocab": pieces, "byte_fallback": false},
    }))
}

fn normalizer(model: &SentencePiece, settings: &Settings, layout: &Layout) -> Result<Value> {
    let mut steps = Vec::new();
    if layout.albert {
        for quotes in ["``", "''"] {
            steps.push(json!({"type": "Replace", "pattern": {"String": quotes}, "content": "\""}));
        }
        if !settings.flag("keep_accents")?.unwrap_or(false) {
            steps.push(json!({"type": "NFKD"}));
            steps.push(json!({"type": "StripAccents"}));
        }
        if settings.flag("do_lower_case")?.unwrap_or(true) {
            steps.push(json!({"type": "Lowercase"}));
        }
    }
    if !model.charsmap.is_empty() {
        let map = base64(model.charsmap);
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    }
    Ok(match steps.len() {
        0 => Value::Null,
        1 => steps.remove(0),
        _ => json!({"type": "Sequence", "normalizers": steps}),
    })
}

/// Reads the parts of `ModelProto` (sentencepiece_model.proto) that decide ids.
fn read(bytes: &[u8]) -> Result<SentencePiece<'_>> {
    let mut model = SentencePiece {
        pieces: Vec::new(),
        charsmap: &[],
    };
    for field in protobuf::fields(bytes).context("is not a model of SentencePiece")? {
        match field {
            (1, Field::Bytes(bytes)) => {
                let index = model.pieces.len();
                let piece = piece(bytes).with_context(|| format!("piece {index}"))?;
                model.pieces.push(piece);
            }
            (2, Field::Bytes(bytes)) => check_trainer(bytes).context("trainer_spec")?,
            (3, Field::Bytes(bytes)) => {
                model.charsmap = charsmap(bytes).context("normalizer_spec")?;
            }
            _ => {}
        }
    }
    Ok(model)
}

fn piece(bytes: &[u8]) -> Result<Piece> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: 1,
    };
    for field in protobuf::fields(bytes)? {
        match field {
            (1, Field::Bytes(text)) => piece.text = std::str::from_utf8(text)?.to_owned(),
            (2, Field::Float(score)) => piece.score = score,
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    ensure!(
        piece.score.is_finite(),
        "'{}' has score {}",
        piece.text,
        piece.score
    );
    Ok(piece)
}

/// transformers' tokenizers know Unigram models alone, and no pieces of bytes.
fn check_trainer(bytes: &[u8]) -> Result<()> {
    for field in protobuf::fields(bytes)? {
        match field {
            (3, Field::Number(kind)) => ensure!(
                kind == 1,
                "model_type {kind} is not supported; supported is 1 (Unigram)"
            ),
            (24, Field::Number(suffix)) => {
                ensure!(suffix == 0, "treat_whitespace_as_suffix is not supported")
            }
            (35, Field::Number(fallback)) => {
                ensure!(fallback == 0, "byte_fallback is not supported");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The compiled normalization; settings that transformers' tokenizers have otherwise are refused.
fn charsmap(bytes: &[u8]) -> Result<&[u8]> {
    let mut map: &[u8] = &[];
    for field in protobuf::fields(bytes)? {
        match field {
            (2, Field::Bytes(bytes)) => map = bytes,
            (3, Field::Number(prefix)) => {
                ensure!(
                    prefix == 1,
                    "add_dummy_prefix: false is not supported; supported is true"
                );
            }
            (5, Field::Number(escape)) => ensure!(
                escape == 1,
                "escape_whitespaces: false is not supported; supported is true"
            ),
            _ => {}
        }
    }
    Ok(map)
}

/// Base64 (RFC 4648, with padding).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(group >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_digits_of_the_standard() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xFF, 0xEF, 0xBE]), "/+++");
    }
}

//! `tokenizer.json` taken apart and looked over, before the `tokenizers` crate gets it: there, some of what a file may say
//! ends in a panic, an endless amount of text, or an error in the middle of a text.

use super::{charsmap, construct};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// How many times as long as the text the normalizers' own replacements may make it.
const GROWTH: usize = 64;

/// The file's parts. Its truncation and padding are not looked at.
#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(default)]
    version: Value,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// The kind of model in a file.
#[derive(serde::Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    name: Option<Cow<'a, str>>,
}

pub(super) type Checked<T = ()> = Result<T, String>;

/// Why a file with this JSON must not be given to the `tokenizers` crate, if there is a reason.
pub(super) fn check(json: &[u8]) -> Checked {
    let file = File::read(json)?;
    file.check()?;
    match kind(file.model)?.as_deref() {
        // Files without a kind are told apart by what works.
        Some("BPE") | None => check_merges(file.model.get()),
        Some(_) => Ok(()),
    }
}

/// Makes a tokenizer of byte-pair encoding or Unigram, and says whether its words stand alone: whether the tokens in front
/// of a blank between two letters are the same whatever follows.
pub(super) fn open(json: &[u8], kind: super::json::Model) -> Checked<(Tokenizer, bool)> {
    let file = File::read(json)?;
    file.check()?;
    let words_stand_alone = is_local(&file.normalizer) && splits_words(&file.pre_tokenizer);
    let model = file.model.get();
    let wrong = |error: serde_json::Error| match self::kind(file.model) {
        Ok(Some(name)) if name != kind.name() => format!(
            "holds another model than the header says, {name} instead of {}",
            kind.name()
        ),
        _ => format!("model: {error}"),
    };
    let model = match kind {
        super::json::Model::Bpe => {
            check_merges(model).or_else(|reason| match self::kind(file.model)? {
                Some(name) if name != kind.name() => Ok(()), // said below
                _ => Err(reason),
            })?;
            ModelWrapper::BPE(serde_json::from_str::<BPE>(model).map_err(wrong)?)
        }
        super::json::Model::Unigram => {
            ModelWrapper::Unigram(serde_json::from_str::<Unigram>(model).map_err(wrong)?)
        }
    };
    let mut tokenizer = Tokenizer::new(model);
    let text = |error: tokenizers::Error| error.to_string();
    tokenizer
        .with_normalizer(part(file.normalizer, "normalizer", construct::normalizer)?)
        .map_err(text)?;
    tokenizer.with_pre_tokenizer(part(
        file.pre_tokenizer,
        "pre_tokenizer",
        construct::pre_tokenizer,
    )?);
    tokenizer.with_post_processor(part(
        trimming(file.post_processor).map_err(|reason| format!("post_processor: {reason}"))?,
        "post_processor",
        construct::post_processor,
    )?);
    tokenizer.with_decoder(part(file.decoder, "decoder", construct::decoder)?);
    // A token with a blank inside may reach over any place.
    let whole = file
        .added_tokens
        .iter()
        .all(|token| !token.content.contains(' '));
    tokenizer.add_tokens(file.added_tokens).map_err(text)?;
    Ok((tokenizer, words_stand_alone && whole))
}

/// What of a post-processor trims offsets; the template, which is its other work, is the header's.
fn trimming(mut part: Value) -> Checked<Value> {
    match type_of(&part)? {
        "ByteLevel" | "RobertaProcessing" => Ok(part),
        "Sequence" => {
            let kept: Checked<Vec<Value>> = items(&part, "processors")?
                .iter()
                .map(|part| trimming(part.clone()))
                .filter(|part| part.as_ref() != Ok(&Value::Null))
                .collect();
            part["processors"] = kept?.into();
            Ok(part)
        }
        "" | "BertProcessing" | "TemplateProcessing" => Ok(Value::Null),
        name => unknown(name),
    }
}

/// Whether a normalizer changes nothing in front of a blank because of what is behind it.
fn is_local(part: &Value) -> bool {
    match part["type"].as_str() {
        Some("Sequence") => {
            items(part, "normalizers").is_ok_and(|parts| parts.iter().all(is_local))
        }
        // Runs of blanks, or something without any.
        Some("Replace") => match &part["pattern"] {
            pattern if pattern["Regex"].is_string() => pattern["Regex"] == " {2,}",
            pattern => pattern["String"]
                .as_str()
                .is_some_and(|text| !text.contains(' ')),
        },
        _ => true,
    }
}

/// Whether a pre-tokenizer makes a blank between two letters the border of two words.
fn splits_words(part: &Value) -> bool {
    match part["type"].as_str() {
        Some("Sequence") => {
            items(part, "pretokenizers").is_ok_and(|parts| parts.iter().any(splits_words))
        }
        Some("ByteLevel") => part["use_regex"] != false,
        Some("Metaspace") => part["split"] != false,
        Some("BertPreTokenizer" | "Whitespace" | "WhitespaceSplit") => true,
        _ => false,
    }
}

impl File<'_> {
    fn read(json: &[u8]) -> Checked<File<'_>> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    fn check(&self) -> Checked {
        if !self.version.is_null() && self.version != "1.0" {
            return Err(format!("version is {}, expected \"1.0\"", self.version));
        }
        check_normalizer(&self.normalizer, &mut 1)
            .map_err(|reason| format!("normalizer: {reason}"))?;
        check_pre_tokenizer(&self.pre_tokenizer)
            .map_err(|reason| format!("pre_tokenizer: {reason}"))?;
        check_decoder(&self.decoder, &mut 1).map_err(|reason| format!("decoder: {reason}"))
    }
}

/// The name of a model's kind.
fn kind(model: &RawValue) -> Checked<Option<Cow<'_, str>>> {
    match serde_json::from_str::<Kind>(model.get()) {
        Ok(kind) => Ok(kind.name),
        Err(error) => Err(format!("model: {error}")),
    }
}

/// A part that was checked, if there is one.
fn part<T>(value: Value, name: &str, construct: fn(&Value) -> Checked<T>) -> Checked<Option<T>> {
    match value {
        Value::Null => Ok(None),
        value => construct(&value)
            .map(Some)
            .map_err(|reason| format!("{name}: {reason}")),
    }
}

/// The name of a part's type, `""` for no part.
pub(super) fn type_of(part: &Value) -> Checked<&str> {
    match part {
        Value::Null => Ok(""),
        part => part["type"]
            .as_str()
            .ok_or_else(|| "a part has no type".to_owned()),
    }
}

/// The parts of a sequence.
pub(super) fn items<'a>(part: &'a Value, field: &str) -> Checked<&'a [Value]> {
    part[field]
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| format!("a sequence has no {field}"))
}

pub(super) fn unknown<T>(name: &str) -> Checked<T> {
    Err(format!("{name} is not known"))
}

/// Looks at a normalizer; `growth` is how many times longer those before it make a text.
fn check_normalizer(part: &Value, growth: &mut usize) -> Checked {
    match type_of(part)? {
        "" | "BertNormalizer" | "Strip" | "StripAccents" | "NFC" | "NFD" | "NFKC" | "NFKD"
        | "Lowercase" | "Nmt" | "ByteLevel" => Ok(()),
        "Sequence" => items(part, "normalizers")?
            .iter()
            .try_for_each(|part| check_normalizer(part, growth)),
        "Precompiled" => {
            charsmap::check(part)?;
            construct::precompiled(part).map(drop)
        }
        "Replace" => check_content(part, "content", growth),
        "Prepend" => check_content(part, "prepend", growth),
        name => unknown(name),
    }
}

/// A replacement must not make much of little: `a` → `aaaaaaaa` ten times over would fill any memory.
fn check_content(part: &Value, field: &str, growth: &mut usize) -> Checked {
    let length = part[field].as_str().map_or(0, str::len);
    *growth = growth.saturating_mul(length.max(1));
    match *growth <= GROWTH {
        true => Ok(()),
        false => Err(format!(
            "replacements make a text {growth} times as long, at most {GROWTH} is allowed"
        )),
    }
}

fn check_pre_tokenizer(part: &Value) -> Checked {
    match type_of(part)? {
        "" | "BertPreTokenizer" | "ByteLevel" | "CharDelimiterSplit" | "Digits" | "Metaspace"
        | "Punctuation" | "UnicodeScripts" | "Whitespace" | "WhitespaceSplit" => Ok(()),
        "Sequence" => items(part, "pretokenizers")?
            .iter()
            .try_for_each(check_pre_tokenizer),
        "FixedLength" if part["length"] == 0 => Err("FixedLength has the length 0".to_owned()),
        "FixedLength" => Ok(()),
        "Split" => match part["pattern"]["Regex"].as_str() {
            Some(pattern) => check_pattern(pattern),
            None => Ok(()),
        },
        name => unknown(name),
    }
}

fn check_decoder(part: &Value, growth: &mut usize) -> Checked {
    match type_of(part)? {
        "" | "BPEDecoder" | "ByteLevel" | "ByteFallback" | "CTC" | "Fuse" | "Metaspace"
        | "WordPiece" => Ok(()),
        "Sequence" => items(part, "decoders")?
            .iter()
            .try_for_each(|part| check_decoder(part, growth)),
        // The crate counts back from the end of a token that may be shorter.
        "Strip" if part["stop"] != 0 => Err("Strip cuts at the end of tokens".to_owned()),
        "Strip" => Ok(()),
        "Replace" => check_content(part, "content", growth),
        name => unknown(name),
    }
}

/// A pattern that splits must not need backtracking: the engine for that gives up on some texts.
fn check_pattern(pattern: &str) -> Checked {
    use regex_syntax::ast::{self, Ast};

    /// Finds repeated repetitions, which another engine takes for possessive ones.
    struct Possessive;

    impl ast::Visitor for Possessive {
        type Output = ();
        type Err = ();

        fn finish(self) -> Result<(), ()> {
            Ok(())
        }

        fn visit_pre(&mut self, node: &Ast) -> Result<(), ()> {
            match node {
                Ast::Repetition(outer) if matches!(*outer.ast, Ast::Repetition(_)) => Err(()),
                _ => Ok(()),
            }
        }
    }

    let parsed = ast::parse::Parser::new().parse(pattern);
    let plain = parsed.is_ok_and(|parsed| ast::visit(&parsed, Possessive).is_ok());
    match plain {
        true => Ok(()),
        false => Err(format!(
            "the pattern {pattern:?} of Split is not plain: it may give up on some texts"
        )),
    }
}

/// What is looked at of a byte-pair encoding.
#[derive(serde::Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    continuing_subword_prefix: Option<Cow<'a, str>>,
    vocab: Longest,
    merges: Vec<Merge>,
}

/// The length of a vocabulary's longest token.
struct Longest(usize);

impl<'de> Deserialize<'de> for Longest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;

        impl<'de> Visitor<'de> for Tokens {
            type Value = Longest;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Longest, A::Error> {
                let mut longest = 0;
                while let Some((token, IgnoredAny)) = map.next_entry::<Cow<str>, _>()? {
                    longest = longest.max(token.len());
                }
                Ok(Longest(longest))
            }
        }
        deserializer.deserialize_map(Tokens)
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// A merged token must have room where the crate puts it together, and must be text.
fn check_merges(model: &str) -> Checked {
    let shape: Shape = serde_json::from_str(model).map_err(|error| format!("model: {error}"))?;
    let prefix = shape.continuing_subword_prefix.map_or(0, |text| text.len());
    for merge in &shape.merges {
        let (first, second) = match merge {
            Merge::Pair(first, second) => (&**first, &**second),
            // The crate passes over this comment, with which files of merges begin.
            Merge::Line(line) if line.starts_with("#version") => continue,
            Merge::Line(line) => match line.split_once(' ') {
                Some(pair) => pair,
                None => continue, // an error of the crate's
            },
        };
        let Some(second) = second.get(prefix..) else {
            return Err(format!(
                "model: the second token of the merge {first:?} {second:?} is shorter than the prefix of its kind"
            ));
        };
        if first.len() + second.len() > shape.vocab.0 {
            return Err(format!(
                "model: the merge of {first:?} and {second:?} is not in the vocabulary"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(checked: Checked, reason: &str) {
        let error = checked.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    fn with(part: &str, value: Value) -> Checked {
        let mut file = json!({"version": "1.0", "model": {"type": "Unigram"}});
        file[part] = value;
        check(file.to_string().as_bytes())
    }

    #[test]
    fn parts_that_the_crate_would_panic_on_are_refused() {
        refused(with("version", json!("2.0")), "version is \"2.0\"");
        refused(
            with("normalizer", json!(7)),
            "normalizer: a part has no type",
        );
        refused(
            with("normalizer", json!({"type": "Surprise"})),
            "Surprise is not known",
        );
        refused(
            with("normalizer", json!({"type": "Sequence"})),
            "no normalizers",
        );
        for map in [json!({}), json!("AA"), json!("A"), json!("AAAA")] {
            let part = json!({"type": "Precompiled", "precompiled_charsmap": map});
            refused(with("normalizer", part), "precompiled_charsmap");
        }
        refused(
            with("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
            "length 0",
        );
        refused(
            with(
                "decoder",
                json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}),
            ),
            "Strip cuts at the end",
        );
        let deep = "[".repeat(1000);
        assert!(check(format!("{{\"model\": {{}}, \"decoder\": {deep}").as_bytes()).is_err());
        assert!(check(br#"{"model": {}, "model": {}}"#).is_err());
    }

    #[test]
    fn replacements_stay_small() {
        let replace = |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
        let sequence = |parts: &[Value]| json!({"type": "Sequence", "normalizers": parts});
        assert_eq!(
            with(
                "normalizer",
                sequence(&[replace("aaaaaaaa"), replace("aaaaaaaa")])
            ),
            Ok(())
        );
        refused(
            with("normalizer", sequence(&vec![replace("aaaaaaaa"); 3])),
            "512 times as long, at most 64",
        );
        refused(
            with(
                "normalizer",
                json!({"type": "Prepend", "prepend": "a".repeat(100)}),
            ),
            "100 times as long",
        );
    }

    #[test]
    fn patterns_that_may_give_up_are_refused() {
        for (pattern, plain) in [
            (r"\s+|[^\w]", true),
            (r" {2,}", true),
            (r"(?i)ab|\p{L}+", true),
            (r"\s+(?!\S)", false),
            (r"(a+)+\1", false),
            (r"(?>a+)b", false),
            (r"a++b", false),
            ("(", false),
        ] {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            assert_eq!(with("pre_tokenizer", split).is_ok(), plain, "{pattern}");
        }
    }

    #[test]
    fn merges_fit_the_vocabulary() {
        let merges = |prefix: Option<&str>, merges: Value| {
            let model = json!({"type": "BPE", "continuing_subword_prefix": prefix, "merges": merges,
                "vocab": {"a": 0, "b": 1, "ab": 2, "#é": 3}});
            with("model", model)
        };
        assert_eq!(merges(None, json!([["a", "b"]])), Ok(()));
        assert_eq!(merges(None, json!(["#version: 0.2", "a b"])), Ok(()));
        refused(merges(None, json!([["ab", "ab"]])), "not in the vocabulary");
        refused(merges(None, json!(["ab ab"])), "not in the vocabulary");
        refused(
            merges(Some("##"), json!([["a", "b"]])),
            "shorter than the prefix",
        );
        refused(
            merges(Some("##"), json!([["a", "#é"]])),
            "shorter than the prefix",
        );
        assert_eq!(merges(Some("#"), json!([["a", "#é"]])), Ok(()));
        refused(
            with("model", json!({"type": "BPE"})),
            "model: missing field",
        );
    }
}

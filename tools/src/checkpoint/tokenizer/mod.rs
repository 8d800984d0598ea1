//! The checkpoint's tokenizer. Whatever files describe it, they are first brought into the one form of
//! `tokenizer.json`, then read by one parser; the same JSON, loaded by the `tokenizers` crate, is the reference that
//! bertlet's own tokenizer is checked against.

mod check;
mod json;
mod merges;
mod protobuf;
mod sentencepiece;
mod settings;
mod vocab;

pub use check::Encoded;
pub(crate) use check::compare;
pub(crate) use settings::Settings;

use super::families::TokenizerKind;
use super::json::Object;
use crate::files;
use anyhow::{Context, Result, ensure};
use bertlet::format::header::{TemplatePiece, TokenizerConfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// BERT's and RoBERTa's, where no file names one.
const DEFAULT_MASK_TOKENS: [&str; 2] = ["[MASK]", "<mask>"];
const DEFAULT_PAD_TOKENS: [&str; 2] = ["[PAD]", "<pad>"];

/// How text becomes ids, and where that came from.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    pub config: TokenizerConfig,
    /// The model's vocabulary by id. Added tokens that are not in it are in `config.added_tokens` only.
    pub vocabulary: Vec<(String, u32)>,
    /// Longest input in tokens, where `tokenizer_config.json` has one.
    pub model_max_length: Option<usize>,
    pub notices: Vec<String>,
    /// Whether the settings leave blanks in front of punctuation out of the text that tokens spell.
    pub cleans_up: bool,
    /// Whether the settings let the model have segment ids.
    pub gives_segments: bool,
    /// `tokenizer.json` for a tokenizer that bertlet runs by it: the file's own bytes, unless a setting changes it.
    pub json: Option<Vec<u8>>,
    /// The token that stands for what a masked language model is to find, where a file names one.
    mask_token: Option<String>,
    /// The token that fills up short texts, where a file names one.
    pad_token: Option<String>,
    /// `tokenizer.json` as it is obeyed.
    reference: Value,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or where there is none the files of the class that `tokenizer_config.json` names, else of
    /// `kind`, the model's own. Obeys `tokenizer_config.json`.
    ///
    /// `lowercase` is sentence-transformers' `do_lower_case`: it puts a lowercase step in front of the normalizer.
    pub fn read(directory: &Path, lowercase: bool, kind: TokenizerKind) -> Result<Tokenizer> {
        let settings = Settings::read(directory)?;
        let mut notices = Vec::new();
        let path = directory.join("tokenizer.json");
        let (place, mut reference) = match Object::read(&path)? {
            Some(file) => {
                let mut file: Value = file.into();
                settings.override_normalizer(&mut file, &mut notices)?;
                settings.override_prefix_space(&mut file, &mut notices)?;
                (path.clone(), file)
            }
            None => of_plain_files(directory, &settings, settings.tokenizer()?.unwrap_or(kind))?,
        };
        let added = settings.add_tokens(&mut reference);
        added.with_context(|| directory.display().to_string())?;
        // How much text to keep is the caller's choice here, and batches are never padded.
        reference["truncation"] = Value::Null;
        reference["padding"] = Value::Null;
        if lowercase {
            let inner = reference["normalizer"].take();
            let steps: Vec<Value> = [json!({"type": "Lowercase"}), inner]
                .into_iter()
                .filter(|step| !step.is_null())
                .collect();
            reference["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        }
        let file = Object::from_value(place.display().to_string(), reference.clone())?;
        let (config, vocabulary) = json::parse(&file)?;
        let json = match config {
            TokenizerConfig::WordPiece(_) => None,
            TokenizerConfig::Bpe(_) | TokenizerConfig::Unigram(_) => {
                // Made of plain files, it is there in memory alone.
                Some(match place == path {
                    true => as_obeyed(&path, &reference)?,
                    false => reference.to_string().into_bytes(),
                })
            }
        };
        let special = |key: &str| -> Result<Option<String>> {
            Ok(settings.special_token(key)?.map(|(token, _)| token))
        };
        // transformers 5 does not for BPE, whatever the setting is.
        let cleans_up = settings.flag("clean_up_tokenization_spaces")? == Some(true)
            && !matches!(config, TokenizerConfig::Bpe(_));
        Ok(Tokenizer {
            json,
            config,
            cleans_up,
            vocabulary,
            model_max_length: settings.model_max_length()?,
            gives_segments: settings.gives_segments()?,
            mask_token: special("mask_token")?,
            pad_token: special("pad_token")?,
            notices,
            reference,
        })
    }

    /// Id of the mask token.
    ///
    /// # Errors
    /// If no token has its text.
    pub fn mask_id(&self) -> Result<u32> {
        let token = self.mask_token.as_deref();
        let found = self.id_of(token, DEFAULT_MASK_TOKENS);
        found.with_context(|| {
            format!(
                "the mask token '{}' is not in the tokenizer's vocabulary; a masked language model needs it",
                token.unwrap_or(DEFAULT_MASK_TOKENS[0])
            )
        })
    }

    /// Id of the padding token, if there is one.
    pub fn pad_id(&self) -> Option<u32> {
        self.id_of(self.pad_token.as_deref(), DEFAULT_PAD_TOKENS)
    }

    /// Id of a token, or of the first of `defaults` that there is.
    fn id_of(&self, token: Option<&str>, defaults: [&str; 2]) -> Option<u32> {
        let added = self.config.added_tokens().iter();
        let added = added.map(|token| (token.content.as_str(), token.id));
        let words = self.vocabulary.iter();
        let words = words.map(|(token, id)| (token.as_str(), *id));
        let all: Vec<(&str, u32)> = added.chain(words).collect();
        let id = |wanted: &str| {
            let found = all.iter().find(|(token, _)| *token == wanted);
            found.map(|(_, id)| *id)
        };
        match token {
            Some(token) => id(token),
            None => defaults.into_iter().find_map(id),
        }
    }

    /// Largest id that the tokenizer can give.
    pub fn largest_id(&self) -> Option<(&str, u32)> {
        let words = self
            .vocabulary
            .iter()
            .map(|(token, id)| (token.as_str(), *id));
        let added = self
            .config
            .added_tokens()
            .iter()
            .map(|token| (token.content.as_str(), token.id));
        words.chain(added).max_by_key(|&(_, id)| id)
    }

    /// Gives every token segment 0, for a model that has no other; whether one had another.
    pub fn drop_segments(&mut self) -> bool {
        let mut had_others = false;
        let (single, pair) = match &mut self.config {
            TokenizerConfig::WordPiece(config) => (&mut config.single, &mut config.pair),
            TokenizerConfig::Bpe(config) | TokenizerConfig::Unigram(config) => {
                (&mut config.single, &mut config.pair)
            }
        };
        for piece in single.iter_mut().chain(pair) {
            let (TemplatePiece::Special { type_id, .. }
            | TemplatePiece::First { type_id }
            | TemplatePiece::Second { type_id }) = piece;
            had_others |= *type_id != 0;
            *type_id = 0;
        }
        had_others
    }

    /// The same tokenizer in Hugging Face's implementation.
    pub fn reference(&self) -> Result<tokenizers::Tokenizer> {
        let json = self.reference.to_string();
        bertlet::tokenizer::check_json(json.as_bytes())?;
        tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("Hugging Face's tokenizers cannot load this tokenizer")
    }
}

/// The `tokenizer.json` that transformers makes of a tokenizer's files, and the file that its vocabulary is in.
fn of_plain_files(
    directory: &Path,
    settings: &Settings,
    kind: TokenizerKind,
) -> Result<(PathBuf, Value)> {
    let (files, json): (&[&str], Make) = match kind {
        TokenizerKind::Bert => (&["vocab.txt"], |directory, settings| {
            vocab::tokenizer_json(directory, settings, &vocab::BERT)
        }),
        TokenizerKind::Mpnet => (&["vocab.txt"], |directory, settings| {
            vocab::tokenizer_json(directory, settings, &vocab::MPNET)
        }),
        TokenizerKind::Roberta => (&merges::FILES, merges::tokenizer_json),
        TokenizerKind::XlmRoberta => (&[sentencepiece::XLM_ROBERTA.file], |directory, settings| {
            sentencepiece::tokenizer_json(directory, settings, &sentencepiece::XLM_ROBERTA)
        }),
        TokenizerKind::Camembert => (&[sentencepiece::CAMEMBERT.file], |directory, settings| {
            sentencepiece::tokenizer_json(directory, settings, &sentencepiece::CAMEMBERT)
        }),
        TokenizerKind::Albert => (&[sentencepiece::ALBERT.file], |directory, settings| {
            sentencepiece::tokenizer_json(directory, settings, &sentencepiece::ALBERT)
        }),
    };
    ensure!(
        files.iter().all(|file| directory.join(file).exists()),
        "{}: no tokenizer found; expected tokenizer.json or {}. transformers saves the former: \
         AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        directory.display(),
        files.join(" and ")
    );
    Ok((directory.join(files[0]), json(directory, settings)?))
}

/// Makes a `tokenizer.json` of the files in a directory.
type Make = fn(&Path, &Settings) -> Result<Value>;

/// The file at `path` as it stands, or the JSON of `obeyed` where that differs in more than truncation and padding, which
/// nothing looks at. Numbers then keep their digits: pieces are chosen by the last bit of their scores.
fn as_obeyed(path: &Path, obeyed: &Value) -> Result<Vec<u8>> {
    let bytes = files::read(path).with_context(|| format!("{}", path.display()))?;
    let mut value: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    value["truncation"] = Value::Null;
    value["padding"] = Value::Null;
    Ok(match value == *obeyed {
        true => bytes,
        false => obeyed.to_string().into_bytes(),
    })
}

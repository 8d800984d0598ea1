//! The checkpoint's tokenizer. Whatever files describe it, they are first brought into the one form of
//! `tokenizer.json`, then read by one parser; the same JSON, loaded by the `tokenizers` crate, is the reference that
//! bertlet's own tokenizer is checked against.

mod check;
mod json;
mod settings;
mod vocab;

pub use check::Encoded;
pub(crate) use check::compare;
pub(crate) use settings::Settings;

use super::json::Object;
use anyhow::{Context, Result};
use bertlet::format::header::TokenizerConfig;
use serde_json::{Value, json};
use std::path::Path;

/// `BertTokenizer`'s, where no file names one.
const DEFAULT_MASK_TOKEN: &str = "[MASK]";

/// How text becomes ids, and where that came from.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    pub config: TokenizerConfig,
    /// The model's vocabulary by id. Added tokens that are not in it are in `config.added_tokens` only.
    pub vocabulary: Vec<(String, u32)>,
    /// Longest input in tokens, where `tokenizer_config.json` has one.
    pub model_max_length: Option<usize>,
    pub notices: Vec<String>,
    /// The token that stands for what a masked language model is to find.
    mask_token: String,
    /// `tokenizer.json` as it is obeyed.
    reference: Value,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or `vocab.txt` where there is none, and obeys `tokenizer_config.json`.
    ///
    /// `lowercase` is sentence-transformers' `do_lower_case`: it puts a lowercase step in front of the normalizer.
    pub fn read(directory: &Path, lowercase: bool) -> Result<Tokenizer> {
        let settings = Settings::read(directory)?;
        let mut notices = Vec::new();
        let path = directory.join("tokenizer.json");
        let (place, mut reference) = match Object::read(&path)? {
            Some(file) => {
                let mut file: Value = file.into();
                settings.override_normalizer(&mut file, &mut notices)?;
                (path, file)
            }
            None => (
                directory.join("vocab.txt"),
                vocab::tokenizer_json(directory, &settings)?,
            ),
        };
        settings.add_tokens(&mut reference)?;
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
        Ok(Tokenizer {
            config,
            vocabulary,
            model_max_length: settings.model_max_length()?,
            mask_token: match settings.special_token("mask_token")? {
                Some((token, _)) => token,
                None => DEFAULT_MASK_TOKEN.to_owned(),
            },
            notices,
            reference,
        })
    }

    /// Id of the mask token.
    ///
    /// # Errors
    /// If no token has its text.
    pub fn mask_id(&self) -> Result<u32> {
        let added = self.config.added_tokens.iter();
        let added = added.map(|token| (&token.content, token.id));
        let words = self.vocabulary.iter().map(|(token, id)| (token, *id));
        let mut all = added.chain(words);
        let found = all.find(|(token, _)| **token == self.mask_token);
        found.map(|(_, id)| id).with_context(|| {
            format!(
                "the mask token '{}' is not in the tokenizer's vocabulary; a masked language model needs it",
                self.mask_token
            )
        })
    }

    /// Largest id that the tokenizer can give.
    pub fn largest_id(&self) -> Option<(&str, u32)> {
        let words = self
            .vocabulary
            .iter()
            .map(|(token, id)| (token.as_str(), *id));
        let added = self
            .config
            .added_tokens
            .iter()
            .map(|token| (token.content.as_str(), token.id));
        words.chain(added).max_by_key(|&(_, id)| id)
    }

    /// The same tokenizer in Hugging Face's implementation.
    pub fn reference(&self) -> Result<tokenizers::Tokenizer> {
        tokenizers::Tokenizer::from_bytes(self.reference.to_string())
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("Hugging Face's tokenizers cannot load this tokenizer")
    }
}

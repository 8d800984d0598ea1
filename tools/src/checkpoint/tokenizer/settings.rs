//! `tokenizer_config.json` with its companions `special_tokens_map.json` and `added_tokens.json`.

use crate::checkpoint::families::TokenizerKind;
use crate::checkpoint::json::{Object, kind};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Tokenizer classes of transformers that have BERT's normalizer; each of them rebuilds it from its own settings. `Fast` may
/// follow each name.
const BERT_CLASSES: [&str; 4] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MPNetTokenizer",
];
/// Classes that may put a blank before the text, as their settings say.
const ROBERTA_CLASSES: [&str; 1] = ["RobertaTokenizer"];
/// Classes that take `tokenizer.json` as it stands.
const GENERIC_CLASSES: [&str; 5] = [
    "PreTrainedTokenizer",
    "TokenizersBackend",
    "XLMRobertaTokenizer",
    "CamembertTokenizer",
    "AlbertTokenizer",
];

/// Classes whose files are known where there is no `tokenizer.json`.
const KINDS: [(&str, TokenizerKind); 8] = [
    ("BertTokenizer", TokenizerKind::Bert),
    ("DistilBertTokenizer", TokenizerKind::Bert),
    ("ElectraTokenizer", TokenizerKind::Bert),
    ("MPNetTokenizer", TokenizerKind::Mpnet),
    ("RobertaTokenizer", TokenizerKind::Roberta),
    ("XLMRobertaTokenizer", TokenizerKind::XlmRoberta),
    ("CamembertTokenizer", TokenizerKind::Camembert),
    ("AlbertTokenizer", TokenizerKind::Albert),
];

/// A special token: its setting, what it is where the files are silent, and whether the tokenizer does not do without it.
pub(crate) type SpecialToken = (&'static str, &'static str, bool);

/// Special tokens that a vocabulary has.
pub(crate) struct SpecialTokens {
    /// Entries for `added_tokens`.
    pub added: Vec<Value>,
    /// Texts by setting.
    pub names: Map<String, Value>,
}

/// What the files beside the vocabulary say.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `tokenizer_config.json`; empty where there is none.
    config: Object,
    /// `special_tokens_map.json`; empty where there is none.
    special: Object,
    /// `added_tokens.json`: token → id; empty where there is none.
    added: Object,
}

impl Settings {
    pub fn read(directory: &Path) -> Result<Settings> {
        let read = |name: &str| -> Result<Object> {
            let path = directory.join(name);
            match Object::read(&path)? {
                Some(object) => Ok(object),
                None => Object::from_value(path.display().to_string(), Value::Object(Map::new())),
            }
        };
        let settings = Settings {
            config: read("tokenizer_config.json")?,
            special: read("special_tokens_map.json")?,
            added: read("added_tokens.json")?,
        };
        settings.class()?;
        Ok(settings)
    }

    /// The tokenizer that `tokenizer_config.json` names, if it is one with files of its own.
    pub fn tokenizer(&self) -> Result<Option<TokenizerKind>> {
        Ok(self.class()?.and_then(|name| {
            let mut kinds = KINDS.iter();
            let kind = kinds.find(|(class, _)| is_one_of(name, &[class]));
            kind.map(|(_, kind)| *kind)
        }))
    }

    fn class(&self) -> Result<Option<&str>> {
        let class = self.config.string("tokenizer_class")?;
        if let Some(name) = class {
            ensure!(
                is_one_of(name, &BERT_CLASSES)
                    || is_one_of(name, &ROBERTA_CLASSES)
                    || is_one_of(name, &GENERIC_CLASSES),
                "{}: '{name}' is not supported; supported are {}, {} and {}",
                self.config.at("tokenizer_class"),
                BERT_CLASSES.join(", "),
                ROBERTA_CLASSES.join(", "),
                GENERIC_CLASSES.join(", ")
            );
        }
        Ok(class)
    }

    /// `model_max_length`, unless it is transformers' number for "none" (10³⁰).
    pub fn model_max_length(&self) -> Result<Option<usize>> {
        Ok(match self.config.number("model_max_length")? {
            Some(number) if number >= 1.0 && number < u32::MAX.into() => Some(number as usize),
            _ => None,
        })
    }

    /// The settings of BERT's normalizer, where the file states them.
    pub fn normalizer(&self) -> Result<NormalizerSettings> {
        Ok(NormalizerSettings {
            lowercase: self.config.boolean("do_lower_case")?,
            handle_chinese_chars: self.config.boolean("tokenize_chinese_chars")?,
            strip_accents: self.config.boolean("strip_accents")?,
        })
    }

    /// Lets the settings of a BERT tokenizer class win over `tokenizer.json`, as transformers does, and says so.
    pub fn override_normalizer(&self, file: &mut Value, notices: &mut Vec<String>) -> Result<()> {
        if self
            .class()?
            .is_some_and(|name| !is_one_of(name, &BERT_CLASSES))
        {
            return Ok(());
        }
        let settings = self.normalizer()?;
        let normalizer = &mut file["normalizer"];
        if normalizer["type"] != "BertNormalizer" {
            return Ok(());
        }
        let stated = [
            ("lowercase", "do_lower_case", settings.lowercase),
            (
                "handle_chinese_chars",
                "tokenize_chinese_chars",
                settings.handle_chinese_chars,
            ),
            ("strip_accents", "strip_accents", settings.strip_accents),
        ];
        for (field, setting, value) in stated {
            if let Some(value) = value
                && normalizer[field] != value
            {
                notices.push(format!(
                    "tokenizer_config.json says {setting} {value}, tokenizer.json {field} {}; the former is obeyed, \
                     as transformers does",
                    normalizer[field]
                ));
                normalizer[field] = value.into();
            }
        }
        Ok(())
    }

    /// Lets the settings of RoBERTa's tokenizer class win over `tokenizer.json`, as transformers does, and says so.
    pub fn override_prefix_space(&self, file: &mut Value, notices: &mut Vec<String>) -> Result<()> {
        // Where no class is named, transformers takes the model's.
        let is_roberta = self
            .class()?
            .is_none_or(|name| is_one_of(name, &ROBERTA_CLASSES));
        let Some(wanted) = self
            .config
            .boolean("add_prefix_space")?
            .filter(|_| is_roberta)
        else {
            return Ok(());
        };
        for (part, kind) in [
            ("pre_tokenizer", "ByteLevel"),
            ("post_processor", "RobertaProcessing"),
        ] {
            let part = &mut file[part];
            if part["type"] == kind && part["add_prefix_space"] != wanted {
                notices.push(format!(
                    "tokenizer_config.json says add_prefix_space {wanted}, tokenizer.json's {kind} {}; the former is \
                     obeyed, as transformers does",
                    part["add_prefix_space"]
                ));
                part["add_prefix_space"] = wanted.into();
            }
        }
        Ok(())
    }

    /// The text of a special token such as `cls_token`, and its entry for `added_tokens` without the id.
    pub fn special_token(&self, key: &str) -> Result<Option<(String, Value)>> {
        for source in [&self.config, &self.special] {
            if let Some(value) = source.get(key) {
                return special_token(value)
                    .with_context(|| source.at(key))
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// The special tokens of a tokenizer that has no `tokenizer.json`; `path` is its vocabulary's.
    ///
    /// # Errors
    /// One that is needed is not in the vocabulary.
    pub fn special_tokens(
        &self,
        tokens: &[SpecialToken],
        vocabulary: &Map<String, Value>,
        path: &Path,
    ) -> Result<SpecialTokens> {
        let mut added: Vec<Value> = Vec::new();
        let mut names = Map::new();
        for (setting, default, needed) in tokens {
            let (content, mut entry) = match self.special_token(setting)? {
                Some(stated) => stated,
                None => special_token(&Value::from(*default))?,
            };
            // A name alone has the flags that the list of added tokens gives it.
            if let Some(stated) = self.stated_flags(&content)? {
                entry = special_token(&stated)?.1;
            }
            match vocabulary.get(&content) {
                Some(id) => {
                    entry["id"] = id.clone();
                    if !added
                        .iter()
                        .any(|other| other["content"] == entry["content"])
                    {
                        added.push(entry);
                    }
                }
                None => ensure!(
                    !needed,
                    "{}: the {setting} '{content}' is not in the vocabulary",
                    path.display()
                ),
            }
            names.insert((*setting).to_owned(), content.into());
        }
        Ok(SpecialTokens { added, names })
    }

    /// Gives the mask token the blank in front of it, unless the files state its flags.
    pub fn let_mask_take_blank(&self, special: &mut SpecialTokens) -> Result<()> {
        let mask = &special.names["mask_token"];
        for source in [&self.config, &self.special] {
            if let Some(value) = source.get("mask_token") {
                if value.is_object() {
                    return Ok(());
                }
                break;
            }
        }
        if self
            .stated_flags(mask.as_str().unwrap_or_default())?
            .is_some()
        {
            return Ok(());
        }
        let mut entries = special.added.iter_mut();
        if let Some(entry) = entries.find(|entry| entry["content"] == *mask) {
            entry["lstrip"] = true.into();
        }
        Ok(())
    }

    /// The entry of a token in `added_tokens_decoder`.
    fn stated_flags(&self, content: &str) -> Result<Option<Value>> {
        let Some(decoder) = self.config.object("added_tokens_decoder")? else {
            return Ok(None);
        };
        let mut values = decoder.iter().map(|(_, value)| value);
        Ok(values.find(|value| value["content"] == content).cloned())
    }

    /// Whether the model is to get segment ids; transformers leaves out what `model_input_names` does not name.
    pub fn gives_segments(&self) -> Result<bool> {
        let names = self.config.array("model_input_names")?;
        Ok(names.is_none_or(|names| names.iter().any(|name| name == "token_type_ids")))
    }

    /// A setting that is true or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.config.boolean(key)
    }

    /// Adds the tokens that only these files name to `added_tokens` of a `tokenizer.json`.
    pub fn add_tokens(&self, file: &mut Value) -> Result<()> {
        let mut entries: Vec<Value> = Vec::new();
        if let Some(decoder) = self.config.object("added_tokens_decoder")? {
            for (id, value) in decoder.iter() {
                let id: u32 = id
                    .parse()
                    .with_context(|| format!("{}: expected an id", decoder.at(id)))?;
                let (_, mut entry) =
                    special_token(value).with_context(|| decoder.at(&id.to_string()))?;
                entry["id"] = id.into();
                entry["special"] = value["special"].as_bool().unwrap_or(false).into();
                entries.push(entry);
            }
        }
        for (token, _) in self.added.iter() {
            let id = self.added.required(token, self.added.id(token)?)?;
            entries.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": true, "special": false,
            }));
        }
        if file["added_tokens"].is_null() {
            file["added_tokens"] = json!([]);
        }
        let Some(known) = file["added_tokens"].as_array_mut() else {
            bail!("tokenizer.json, field 'added_tokens': expected an array");
        };
        for entry in entries {
            match known
                .iter()
                .find(|token| token["content"] == entry["content"])
            {
                None => known.push(entry),
                Some(same) => ensure!(
                    same["id"] == entry["id"],
                    "added token {} has id {} in one file and {} in another",
                    entry["content"],
                    same["id"],
                    entry["id"]
                ),
            }
        }
        known.sort_by_key(|token| token["id"].as_u64());
        Ok(())
    }
}

/// Whether `name` is a class of the list, or its fast form.
fn is_one_of(name: &str, classes: &[&str]) -> bool {
    classes.contains(&name.strip_suffix("Fast").unwrap_or(name))
}

/// What `tokenizer_config.json` states about the normalizer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormalizerSettings {
    pub lowercase: Option<bool>,
    pub handle_chinese_chars: Option<bool>,
    pub strip_accents: Option<bool>,
}

/// A special token is a string, or an object with the flags of an added token.
fn special_token(value: &Value) -> Result<(String, Value)> {
    let flag = |key: &str| value[key].as_bool().unwrap_or(false);
    let content = match value {
        Value::String(content) => content,
        Value::Object(fields) => fields
            .get("content")
            .and_then(Value::as_str)
            .context("has no 'content'")?,
        other => bail!("expected a token, found {}", kind(other)),
    };
    let entry = json!({
        "content": content,
        "single_word": flag("single_word"), "lstrip": flag("lstrip"), "rstrip": flag("rstrip"),
        "normalized": flag("normalized"), "special": true,
    });
    Ok((content.to_owned(), entry))
}

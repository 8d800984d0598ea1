//! `tokenizer.json`: a BERT normalizer and pre-tokenizer, WordPiece, and a template; or byte-pair encoding or Unigram, whose
//! steps the `tokenizers` crate obeys, and a template. Anything else is refused by name.

use crate::checkpoint::json::{Object, kind};
use anyhow::{Context, Result, bail, ensure};
use bertlet::format::header::{
    AddedToken, TemplatePiece, TokenizerConfig, TokenizerJsonConfig, WordPieceConfig,
};
use serde_json::Value;
use std::collections::HashMap;

/// Reads the parts that decide ids and offsets. `decoder`, `truncation` and `padding` do not.
pub(super) fn parse(file: &Object) -> Result<(TokenizerConfig, Vec<(String, u32)>)> {
    let model = file.required("model", file.object("model")?)?;
    // Files of early versions do not name the model; WordPiece is the one that has this field.
    let unnamed = model.get("type").is_none() && model.get("max_input_chars_per_word").is_some();
    let kind = match unnamed {
        true => "WordPiece",
        false => part_type(&model)?,
    };
    let vocabulary = match kind {
        "WordPiece" | "BPE" => vocabulary(&model)?,
        "Unigram" => pieces_of_unigram(&model)?,
        other => bail!(
            "{}: '{other}' is not supported; supported are WordPiece, BPE and Unigram",
            model.at("type")
        ),
    };
    let ids: HashMap<&str, u32> = vocabulary
        .iter()
        .map(|(token, id)| (token.as_str(), *id))
        .collect();
    let added_tokens = added_tokens(file, &ids)?;
    let (single, pair) = template(file)?;
    let config = match kind {
        "WordPiece" => {
            TokenizerConfig::WordPiece(wordpiece(file, &model, &ids, added_tokens, (single, pair))?)
        }
        kind => {
            let config = TokenizerJsonConfig {
                added_tokens,
                single,
                pair,
            };
            match kind {
                "BPE" => TokenizerConfig::Bpe(config),
                _ => TokenizerConfig::Unigram(config),
            }
        }
    };
    Ok((config, vocabulary))
}

fn wordpiece(
    file: &Object,
    model: &Object,
    ids: &HashMap<&str, u32>,
    added_tokens: Vec<AddedToken>,
    (single, pair): (Template, Template),
) -> Result<WordPieceConfig> {
    let unk_token = model
        .required("unk_token", model.string("unk_token")?)?
        .to_owned();
    ensure!(
        ids.contains_key(unk_token.as_str()),
        "{}: '{unk_token}' is not in the vocabulary",
        model.at("unk_token")
    );
    check_pre_tokenizer(file.object("pre_tokenizer")?.as_ref(), file)?;
    let trim_offsets = trim_offsets(file, ids, &added_tokens)?;
    let mut normalizer = Normalizer::default();
    if let Some(step) = file.object("normalizer")? {
        normalizer.add(&step)?;
    }
    Ok(WordPieceConfig {
        clean_text: normalizer.clean_text,
        handle_chinese_chars: normalizer.handle_chinese_chars,
        strip_accents: normalizer.strip_accents,
        lowercase: normalizer.lowercase,
        unk_token,
        continuing_subword_prefix: model
            .required(
                "continuing_subword_prefix",
                model.string("continuing_subword_prefix")?,
            )?
            .to_owned(),
        max_input_chars_per_word: model.required(
            "max_input_chars_per_word",
            model.count("max_input_chars_per_word")?,
        )?,
        trim_offsets,
        added_tokens,
        single,
        pair,
    })
}

/// RoBERTa's template trims white space at the ends of a token from its offsets: of what an added token swallows, since no
/// word has any. A vocabulary where that is not so is refused, and so is the exception for a blank that was put before the
/// text, which WordPiece never does.
fn trim_offsets(file: &Object, ids: &HashMap<&str, u32>, added: &[AddedToken]) -> Result<bool> {
    let Some(part) = file.object("post_processor")? else {
        return Ok(false);
    };
    let kind = part_type(&part)?;
    ensure!(
        !matches!(kind, "ByteLevel" | "Sequence"),
        "{}: '{kind}' is not supported behind WordPiece; supported are TemplateProcessing, BertProcessing and \
         RobertaProcessing",
        part.place()
    );
    if kind != "RobertaProcessing" || part.boolean("trim_offsets")? == Some(false) {
        return Ok(false);
    }
    let is_blank = |c: char| c.is_whitespace() || c == 'Ġ';
    let mut tokens = ids
        .keys()
        .copied()
        .chain(added.iter().map(|token| &token.content[..]));
    if let Some(token) = tokens.find(|token| token.trim_matches(is_blank) != *token) {
        bail!(
            "{}: would trim the offsets of the token '{token}', which is not supported",
            part.at("trim_offsets")
        );
    }
    let swallows = |token: &&AddedToken| token.lstrip || token.rstrip;
    if let Some(token) = added.iter().find(swallows) {
        ensure!(
            part.boolean("add_prefix_space")? != Some(true) && !token.normalized,
            "{}: the offsets of '{}' cannot be trimmed with add_prefix_space, or in normalized text",
            part.at("trim_offsets"),
            token.content
        );
    }
    Ok(true)
}

/// Unigram's vocabulary: pieces with their scores; the place is the id.
fn pieces_of_unigram(model: &Object) -> Result<Vec<(String, u32)>> {
    let pieces = model.required("vocab", model.array("vocab")?)?;
    let piece = |(id, entry): (usize, &Value)| match entry.as_array().map(Vec::as_slice) {
        Some([Value::String(piece), Value::Number(_)]) => Ok((piece.clone(), u32::try_from(id)?)),
        _ => bail!(
            "{}: expected a piece and its score, found {}",
            model.at("vocab"),
            kind(entry)
        ),
    };
    pieces.iter().enumerate().map(piece).collect()
}

/// The type of a part; a name to refuse where it is not known.
fn part_type(part: &Object) -> Result<&str> {
    part.required("type", part.string("type")?)
}

fn vocabulary(model: &Object) -> Result<Vec<(String, u32)>> {
    let map = model.required("vocab", model.object("vocab")?)?;
    let mut vocabulary = Vec::new();
    for (token, _) in map.iter() {
        let id = map.required(token, map.id(token)?)?;
        vocabulary.push((token.to_owned(), id));
    }
    vocabulary.sort_by_key(|&(_, id)| id);
    if let Some(same) = vocabulary.windows(2).find(|pair| pair[0].1 == pair[1].1) {
        bail!(
            "{}: '{}' and '{}' have the same id {}",
            map.place(),
            same[0].0,
            same[1].0,
            same[0].1
        );
    }
    Ok(vocabulary)
}

fn added_tokens(file: &Object, ids: &HashMap<&str, u32>) -> Result<Vec<AddedToken>> {
    let mut tokens = Vec::new();
    for value in file.array("added_tokens")?.unwrap_or_default() {
        let entry = Object::from_value(file.at("added_tokens"), value.clone())?;
        let flag = |key: &str| Ok::<_, anyhow::Error>(entry.boolean(key)?.unwrap_or(false));
        let token = AddedToken {
            id: entry.required("id", entry.id("id")?)?,
            content: entry
                .required("content", entry.string("content")?)?
                .to_owned(),
            single_word: flag("single_word")?,
            lstrip: flag("lstrip")?,
            rstrip: flag("rstrip")?,
            normalized: flag("normalized")?,
            special: flag("special")?,
        };
        if let Some(&id) = ids.get(token.content.as_str()) {
            ensure!(
                id == token.id,
                "{}: '{}' has id {}, the vocabulary says {id}",
                entry.place(),
                token.content,
                token.id
            );
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// What the steps of a normalizer come to. Lower-casing in front of or behind BERT's normalizer gives what BERT's own
/// lower-casing gives, for every code point.
#[derive(Debug, Default)]
struct Normalizer {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: bool,
    lowercase: bool,
    has_bert: bool,
}

impl Normalizer {
    fn add(&mut self, step: &Object) -> Result<()> {
        match part_type(step)? {
            "BertNormalizer" => {
                ensure!(!self.has_bert, "{}: has two BertNormalizers", step.place());
                self.has_bert = true;
                let flag = |key: &str| step.required(key, step.boolean(key)?);
                let lowercase = flag("lowercase")?;
                self.clean_text = flag("clean_text")?;
                self.handle_chinese_chars = flag("handle_chinese_chars")?;
                self.strip_accents = step.boolean("strip_accents")?.unwrap_or(lowercase);
                self.lowercase |= lowercase;
            }
            "Lowercase" => self.lowercase = true,
            "Sequence" => {
                for value in step.array("normalizers")?.unwrap_or_default() {
                    let inner = Object::from_value(step.at("normalizers"), value.clone())?;
                    ensure!(
                        part_type(&inner)? != "Sequence",
                        "{}: has nested sequences",
                        step.place()
                    );
                    self.add(&inner)?;
                }
            }
            other => bail!(
                "{}: normalizer '{other}' is not supported; supported are BertNormalizer and Lowercase",
                step.place()
            ),
        }
        Ok(())
    }
}

fn check_pre_tokenizer(part: Option<&Object>, file: &Object) -> Result<()> {
    let Some(part) = part else {
        bail!(
            "{}: is missing; expected BertPreTokenizer",
            file.at("pre_tokenizer")
        );
    };
    match part_type(part)? {
        "BertPreTokenizer" => Ok(()),
        "Sequence" => match part.array("pretokenizers")? {
            Some([only]) => {
                let only = Object::from_value(part.at("pretokenizers"), only.clone())?;
                ensure!(
                    part_type(&only)? != "Sequence",
                    "{}: has nested sequences",
                    part.place()
                );
                check_pre_tokenizer(Some(&only), file)
            }
            _ => bail!(
                "{}: expected BertPreTokenizer alone, found a sequence",
                part.place()
            ),
        },
        other => bail!(
            "{}: '{other}' is not supported; supported is BertPreTokenizer",
            part.place()
        ),
    }
}

type Template = Vec<TemplatePiece>;

fn template(file: &Object) -> Result<(Template, Template)> {
    Ok(match file.object("post_processor")? {
        Some(part) => templates(&part)?.unwrap_or_else(plain),
        None => plain(),
    })
}

/// No special tokens; the second text still is segment 1.
fn plain() -> (Template, Template) {
    use TemplatePiece::{First, Second};
    (
        vec![First { type_id: 0 }],
        vec![First { type_id: 0 }, Second { type_id: 1 }],
    )
}

/// The templates of a post-processor; `None` for one that adds no tokens.
fn templates(part: &Object) -> Result<Option<(Template, Template)>> {
    use TemplatePiece::{First, Second};
    Ok(match part_type(part)? {
        "TemplateProcessing" => {
            let special = part.required("special_tokens", part.object("special_tokens")?)?;
            let single = pieces(part, "single", &special)?;
            let pair = pieces(part, "pair", &special)?;
            let count = |template: &Template| {
                let first = template
                    .iter()
                    .filter(|piece| matches!(piece, First { .. }))
                    .count();
                let second = template
                    .iter()
                    .filter(|piece| matches!(piece, Second { .. }))
                    .count();
                (first, second)
            };
            ensure!(
                count(&single) == (1, 0),
                "{}: expected text A once",
                part.at("single")
            );
            ensure!(
                count(&pair) == (1, 1),
                "{}: expected texts A and B once each",
                part.at("pair")
            );
            Some((single, pair))
        }
        "BertProcessing" => {
            let (cls, sep) = (special_id(part, "cls")?, special_id(part, "sep")?);
            let cls = TemplatePiece::Special {
                id: cls,
                type_id: 0,
            };
            let end = |type_id| TemplatePiece::Special { id: sep, type_id };
            let single = vec![cls.clone(), First { type_id: 0 }, end(0)];
            let pair = vec![
                cls,
                First { type_id: 0 },
                end(0),
                Second { type_id: 1 },
                end(1),
            ];
            Some((single, pair))
        }
        "RobertaProcessing" => {
            let special = |id| TemplatePiece::Special { id, type_id: 0 };
            let cls = special(special_id(part, "cls")?);
            let sep = special(special_id(part, "sep")?);
            let single = vec![cls.clone(), First { type_id: 0 }, sep.clone()];
            let mut pair = single.clone();
            pair.extend([sep.clone(), Second { type_id: 0 }, sep]);
            Some((single, pair))
        }
        // It trims offsets and adds nothing.
        "ByteLevel" => None,
        "Sequence" => {
            let mut found = None;
            for step in part.array("processors")?.unwrap_or_default() {
                let step = Object::from_value(part.at("processors"), step.clone())?;
                ensure!(
                    part_type(&step)? != "Sequence",
                    "{}: has nested sequences",
                    part.place()
                );
                if let Some(templates) = templates(&step)? {
                    ensure!(
                        found.replace(templates).is_none(),
                        "{}: has two templates, expected one",
                        part.place()
                    );
                }
            }
            found
        }
        other => bail!(
            "{}: '{other}' is not supported; supported are TemplateProcessing, BertProcessing, RobertaProcessing and \
             ByteLevel",
            part.place()
        ),
    })
}

/// The id of a special token: `["[SEP]", 102]`.
fn special_id(part: &Object, key: &str) -> Result<u32> {
    match part.array(key)? {
        Some([Value::String(_), id]) => id
            .as_u64()
            .and_then(|id| id.try_into().ok())
            .with_context(|| format!("{}: no id", part.at(key))),
        _ => bail!("{}: expected a token and its id", part.at(key)),
    }
}

fn pieces(part: &Object, key: &str, special: &Object) -> Result<Template> {
    let mut template = Vec::new();
    for value in part.required(key, part.array(key)?)? {
        let piece = Object::from_value(part.at(key), value.clone())?;
        if let Some(token) = piece.object("SpecialToken")? {
            let name = token.required("id", token.string("id")?)?;
            let type_id = token.required("type_id", token.id("type_id")?)?;
            let entry = special.required(name, special.object(name)?)?;
            for id in entry.required("ids", entry.array("ids")?)? {
                let id = id
                    .as_u64()
                    .and_then(|id| id.try_into().ok())
                    .with_context(|| {
                        format!("{}: expected ids, found {}", entry.at("ids"), kind(id))
                    })?;
                template.push(TemplatePiece::Special { id, type_id });
            }
        } else if let Some(text) = piece.object("Sequence")? {
            let type_id = text.required("type_id", text.id("type_id")?)?;
            template.push(match text.required("id", text.string("id")?)? {
                "A" => TemplatePiece::First { type_id },
                "B" => TemplatePiece::Second { type_id },
                other => bail!("{}: expected A or B, found '{other}'", text.at("id")),
            });
        } else {
            bail!("{}: expected a SpecialToken or a Sequence", piece.place());
        }
    }
    Ok(template)
}

//! Text to token ids: WordPiece as BERT defines it, equal to Hugging Face's `tokenizers` in ids and offsets.
//!
//! [`Tokenizer`] holds the rules of a model, resolved from its header and small; [`Vocabulary`] borrows the tables from
//! the mapped file. [`Tokenizer::with`] joins both for as long as the map lives, at no cost.

mod added;
mod builder;
mod decode;
mod normalize;
mod template;
mod unicode;
mod unicode_tables;
mod vocabulary;
mod words;

pub use builder::VocabularyTables;
pub use template::{Template, TruncationSide, truncate_pair, windows};
pub use vocabulary::{TOKEN_STARTS, TOKEN_TEXT, TRIE, Vocabulary};

use crate::format::header::{AddedToken, TokenizerConfig, TokenizerKind};
use crate::{Error, Result};
use added::AddedTokens;
use normalize::Normalizer;
use vocabulary::Node;
use words::{Sink, WordPiece};

/// Where a token lies in the caller's text: first byte, and the byte behind its last. Always on character boundaries.
pub type Offsets = (usize, usize);

/// The rules of a tokenizer. Immutable, and free of the vocabulary's tables: see [`Tokenizer::with`].
#[derive(Debug)]
pub struct Tokenizer {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: bool,
    lowercase: bool,
    max_input_chars_per_word: usize,
    unk_id: u32,
    /// Where a piece that continues a word starts in the trie; `None` if no token has the prefix.
    continuation: Option<Node>,
    /// What such a piece begins with.
    continuation_prefix: String,
    /// What a byte is to the fast loop.
    ascii: [u8; 256],
    added: Vec<AddedToken>,
    /// Added tokens that are looked for in the text as it came.
    raw: AddedTokens,
    /// Those that are looked for in the normalized text.
    normalized: AddedTokens,
    template: Template,
    id_bound: usize,
}

impl Tokenizer {
    /// Resolves the rules for a vocabulary. The same vocabulary must be given to [`Tokenizer::with`]; another one is safe
    /// but gives wrong tokens.
    ///
    /// # Errors
    /// [`Error::Model`] if the vocabulary lacks the unknown token, if added tokens cannot be told apart, or if a template
    /// does not have its texts.
    pub fn new(config: &TokenizerConfig, vocabulary: Vocabulary<'_>) -> Result<Self> {
        let TokenizerKind::WordPiece = config.kind;
        let unk_id = vocabulary.id(&config.unk_token).ok_or_else(|| {
            Error::Model(format!(
                "tokenizer: the vocabulary has no token {:?} for unknown words",
                config.unk_token
            ))
        })?;
        if config.max_input_chars_per_word == 0 {
            return Err(Error::Model(
                "tokenizer: max_input_chars_per_word is 0, so every word would be unknown".into(),
            ));
        }
        let template = Template::new(config)?;
        let added_ids = config.added_tokens.iter().map(|token| token.id as usize);
        let id_bound = added_ids
            .chain([template.bounds().0 as usize])
            .fold(vocabulary.len(), |bound, id| bound.max(id + 1));
        let raw = config.added_tokens.iter().filter(|token| !token.normalized);
        let mut tokenizer = Tokenizer {
            clean_text: config.clean_text,
            handle_chinese_chars: config.handle_chinese_chars,
            strip_accents: config.strip_accents,
            lowercase: config.lowercase,
            max_input_chars_per_word: config.max_input_chars_per_word,
            unk_id,
            continuation: vocabulary.walk(vocabulary.root(), &config.continuing_subword_prefix),
            continuation_prefix: config.continuing_subword_prefix.clone(),
            ascii: words::ascii_table(config.clean_text, config.lowercase),
            added: config.added_tokens.clone(),
            raw: AddedTokens::new(raw.map(|token| (token, token.content.clone())))?,
            normalized: AddedTokens::default(),
            template,
            id_bound,
        };
        let mut normalizer = Normalizer::default();
        let normalized = config
            .added_tokens
            .iter()
            .filter(|token| token.normalized)
            .map(|token| {
                normalizer.normalize(&tokenizer, &token.content, 0);
                (token, normalizer.text.clone())
            });
        tokenizer.normalized = AddedTokens::new(normalized)?;
        Ok(tokenizer)
    }

    /// Joins the rules with the tables in the model file.
    pub fn with<'a>(&'a self, vocabulary: Vocabulary<'a>) -> BoundTokenizer<'a> {
        BoundTokenizer(WordPiece {
            tokenizer: self,
            vocabulary,
        })
    }

    /// Every id that can come out, of the templates too, is below this; the word embedding must have as many rows.
    pub fn id_bound(&self) -> usize {
        self.id_bound
    }

    /// Special tokens around the texts.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// What a piece that continues a word begins with.
    pub fn continuation_prefix(&self) -> &str {
        &self.continuation_prefix
    }

    /// Tokens that are found in the text before anything else looks at it.
    pub fn added_tokens(&self) -> &[AddedToken] {
        &self.added
    }

    /// Id of the token for words that the vocabulary cannot spell.
    pub fn unk_id(&self) -> u32 {
        self.unk_id
    }
}

/// A tokenizer that is ready to work: rules and vocabulary. Copied freely; usable from any number of threads.
#[derive(Clone, Copy)]
pub struct BoundTokenizer<'a>(WordPiece<'a>);

impl<'a> BoundTokenizer<'a> {
    /// Replaces the content of `out` by the tokens of `text`, without the template's special tokens.
    ///
    /// Allocates only where `out` has not yet room enough. Takes time in proportion to the text.
    pub fn tokenize(&self, text: &str, out: &mut Tokens) {
        self.tokenize_some(text, usize::MAX, out);
    }

    /// Like [`BoundTokenizer::tokenize`], but stops after the word that brings the number of tokens to `limit` or beyond,
    /// so that a text of any length costs no more than what truncation leaves of it. A text is cut if it has more tokens
    /// than will be kept, so ask for at least one more.
    ///
    /// `tokenizers` stops in the same way when truncation on the right is on, with the model's maximum length (special
    /// tokens included) as the limit; [`truncate_pair`] of what is there then gives its result.
    pub fn tokenize_some(&self, text: &str, limit: usize, out: &mut Tokens) {
        out.ids.clear();
        out.offsets.clear();
        let offsets = out.with_offsets.then_some(&mut out.offsets);
        let mut sink = Sink {
            ids: &mut out.ids,
            offsets,
            limit,
            is_full: false,
        };
        let raw = &self.0.tokenizer.raw;
        if raw.is_empty() {
            return self.segment(text, 0, text.len(), &mut out.normalizer, &mut sink);
        }
        raw.for_each_split(text, |split| match split.id {
            _ if sink.is_full => {}
            Some(id) => sink.push(id, split.start, split.end),
            None => self.segment(text, split.start, split.end, &mut out.normalizer, &mut sink),
        });
    }

    /// Appends the tokens of a stretch of text without added tokens of the raw kind.
    fn segment(
        &self,
        text: &str,
        start: usize,
        end: usize,
        normalizer: &mut Normalizer,
        sink: &mut Sink<'_>,
    ) {
        let tokenizer = self.0.tokenizer;
        if tokenizer.normalized.is_empty() {
            return self.0.segment(text, start, end, normalizer, sink);
        }
        normalizer.normalize(tokenizer, &text[start..end], start);
        let normalized = std::mem::take(&mut normalizer.text);
        tokenizer
            .normalized
            .for_each_split(&normalized, |split| match split.id {
                _ if sink.is_full => {}
                Some(id) => sink.push(
                    id,
                    normalizer.origins[split.start].0,
                    normalizer.origins[split.end - 1].1,
                ),
                None => normalizer.split_words(
                    &self.0,
                    &normalized[split.start..split.end],
                    split.start,
                    sink,
                ),
            });
        normalizer.text = normalized;
    }

    /// Text of a token; `None` if the id has none.
    pub fn token(&self, id: u32) -> Option<&'a str> {
        let added = self.0.tokenizer.added.iter().find(|token| token.id == id);
        added
            .map(|token| token.content.as_str())
            .or_else(|| self.0.vocabulary.token(id))
    }

    /// Id of the token with exactly this text, as `[MASK]` or `##ing`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        let added = self
            .0
            .tokenizer
            .added
            .iter()
            .find(|added| added.content == token);
        added
            .map(|added| added.id)
            .or_else(|| self.0.vocabulary.id(token))
    }

    /// The rules.
    pub fn rules(&self) -> &'a Tokenizer {
        self.0.tokenizer
    }
}

/// The tokens of a text, and the room to make them in; reuse it from text to text.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Id of each token.
    pub ids: Vec<u32>,
    /// Place of each token in the text, in bytes; empty if they were not asked for.
    pub offsets: Vec<Offsets>,
    with_offsets: bool,
    normalizer: Normalizer,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokens {
    /// For ids and offsets.
    pub fn new() -> Self {
        Tokens {
            ids: Vec::new(),
            offsets: Vec::new(),
            with_offsets: true,
            normalizer: Normalizer::default(),
        }
    }

    /// For ids only.
    pub fn ids_only() -> Self {
        Tokens {
            with_offsets: false,
            ..Tokens::new()
        }
    }

    /// Replaces the content of `out` by the offsets counted in characters; `text` is the text that was tokenized.
    pub fn char_offsets(&self, text: &str, out: &mut Vec<Offsets>) {
        out.clear();
        // Offsets hardly ever go back, so one pass over the text does it.
        let (mut byte, mut chars) = (0, 0);
        let mut chars_before = |target: usize| {
            let count =
                |from: usize, to: usize| text.get(from..to).map_or(0, |part| part.chars().count());
            chars = if target >= byte {
                chars + count(byte, target)
            } else {
                chars.saturating_sub(count(target, byte))
            };
            byte = target;
            chars
        };
        out.extend(
            self.offsets
                .iter()
                .map(|&(start, end)| (chars_before(start), chars_before(end))),
        );
    }
}

//! Text to token ids, equal to Hugging Face's `tokenizers` in ids and offsets.
//!
//! WordPiece as BERT defines it is bertlet's own: [`Tokenizer`] holds the rules of a model, resolved from its header and
//! small; [`Vocabulary`] borrows the tables from the mapped file. [`Tokenizer::with`] joins both for as long as the map
//! lives, at no cost. Byte-pair encoding and Unigram are done by the `tokenizers` crate itself, from the `tokenizer.json`
//! that the model file carries; it is parsed when the model is opened.

mod added;
mod beginning;
mod builder;
mod charsmap;
mod construct;
mod decode;
mod json;
mod normalize;
mod parts;
mod rules;
mod template;
mod unicode;
mod unicode_tables;
mod vocabulary;
mod words;

pub use builder::VocabularyTables;
pub use decode::clean_up;
pub use json::TOKENIZER_JSON;
pub use template::{Template, TruncationSide, truncate_pair, windows};
pub use vocabulary::{TOKEN_STARTS, TOKEN_TEXT, TRIE, Vocabulary};

use crate::format::header::{AddedToken, TokenizerConfig, TokenizerJsonConfig, WordPieceConfig};
use crate::{Error, Result};
use json::JsonTokenizer;
use normalize::Normalizer;
use rules::Rules;

/// Looks for what the `tokenizers` crate would panic on, or never come to an end with, in a `tokenizer.json` of any kind.
///
/// # Errors
/// [`Error::Model`] that says what must not be given to the crate.
pub fn check_json(json: &[u8]) -> Result<()> {
    parts::check(json).map_err(|reason| Error::Model(format!("{TOKENIZER_JSON}: {reason}")))
}

/// Where a token lies in the caller's text: first byte, and the byte behind its last. Always on character boundaries.
pub type Offsets = (usize, usize);

/// The rules of a tokenizer. Immutable, and free of WordPiece's vocabulary tables: see [`Tokenizer::with`].
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    added: Vec<AddedToken>,
    template: Template,
    id_bound: usize,
}

#[derive(Debug)]
enum Kind {
    WordPiece(Box<Rules>),
    Json(Box<JsonTokenizer>),
}

impl Tokenizer {
    /// Resolves WordPiece's rules for a vocabulary. The same vocabulary must be given to [`Tokenizer::with`]; another one
    /// is safe but gives wrong tokens.
    ///
    /// # Errors
    /// [`Error::Model`] if the vocabulary lacks the unknown token, if added tokens cannot be told apart, or if a template
    /// does not have its texts.
    pub fn new(config: &WordPieceConfig, vocabulary: Vocabulary<'_>) -> Result<Self> {
        let rules = Rules::new(config, vocabulary)?;
        Tokenizer::assemble(
            Kind::WordPiece(Box::new(rules)),
            &config.added_tokens,
            Template::new(&config.single, &config.pair)?,
            vocabulary.len(),
        )
    }

    /// Parses `tokenizer.json`, the content of the tensor [`TOKENIZER_JSON`], which must hold a model of the kind that
    /// `config` names. It needs no vocabulary in [`Tokenizer::with`].
    ///
    /// # Errors
    /// [`Error::Model`] if the JSON is not a tokenizer that can encode every text, if it contradicts the header, or if a
    /// template does not have its texts.
    pub fn from_json(config: &TokenizerConfig, json: &[u8]) -> Result<Self> {
        let (model, config) = match config {
            TokenizerConfig::Bpe(config) => (json::Model::Bpe, config),
            TokenizerConfig::Unigram(config) => (json::Model::Unigram, config),
            TokenizerConfig::WordPiece(_) => {
                return Err(Error::Model(
                    "tokenizer: WordPiece is made of its vocabulary, not of a tokenizer.json"
                        .into(),
                ));
            }
        };
        let TokenizerJsonConfig {
            added_tokens,
            single,
            pair,
        } = config;
        let tokenizer = JsonTokenizer::parse(json, model, added_tokens)?;
        let ids = tokenizer.id_bound();
        let template = Template::new(single, pair)?;
        Tokenizer::assemble(Kind::Json(Box::new(tokenizer)), added_tokens, template, ids)
    }

    fn assemble(kind: Kind, added: &[AddedToken], template: Template, ids: usize) -> Result<Self> {
        let added_ids = added.iter().map(|token| token.id as usize);
        let id_bound = added_ids
            .chain([template.bounds().0 as usize])
            .fold(ids, |bound, id| bound.max(id + 1));
        Ok(Tokenizer {
            kind,
            added: added.to_vec(),
            template,
            id_bound,
        })
    }

    /// Joins the rules with the tables in the model file, which only WordPiece has.
    ///
    /// # Panics
    /// If a WordPiece tokenizer gets no vocabulary.
    pub fn with<'a>(&'a self, vocabulary: impl Into<Option<Vocabulary<'a>>>) -> BoundTokenizer<'a> {
        let vocabulary = vocabulary.into();
        assert!(
            vocabulary.is_some() || matches!(self.kind, Kind::Json(_)),
            "WordPiece needs its vocabulary"
        );
        BoundTokenizer {
            tokenizer: self,
            vocabulary,
        }
    }

    /// Every id that can come out, of the templates too, is below this; the word embedding must have as many rows.
    pub fn id_bound(&self) -> usize {
        self.id_bound
    }

    /// Special tokens around the texts.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// What a piece that continues a word begins with; only WordPiece has such a mark.
    pub fn continuation_prefix(&self) -> Option<&str> {
        match &self.kind {
            Kind::WordPiece(rules) => Some(&rules.continuation_prefix),
            Kind::Json(_) => None,
        }
    }

    /// Tokens that are found in the text before anything else looks at it.
    pub fn added_tokens(&self) -> &[AddedToken] {
        &self.added
    }

    /// Id of the token for what the vocabulary cannot spell; byte-level encodings have none.
    pub fn unk_id(&self) -> Option<u32> {
        match &self.kind {
            Kind::WordPiece(rules) => Some(rules.unk_id),
            Kind::Json(tokenizer) => tokenizer.unk_id(),
        }
    }
}

/// A tokenizer that is ready to work: rules and vocabulary. Copied freely; usable from any number of threads.
#[derive(Debug, Clone, Copy)]
pub struct BoundTokenizer<'a> {
    tokenizer: &'a Tokenizer,
    vocabulary: Option<Vocabulary<'a>>,
}

impl<'a> BoundTokenizer<'a> {
    /// Replaces the content of `out` by the tokens of `text`, without the template's special tokens.
    ///
    /// WordPiece allocates only where `out` has not yet room enough, and takes time in proportion to the text.
    pub fn tokenize(&self, text: &str, out: &mut Tokens) {
        self.tokenize_some(text, usize::MAX, out);
    }

    /// Like [`BoundTokenizer::tokenize`], but stops some time after the word that brings the number of tokens to `limit` or
    /// beyond, so that a text of any length costs no more than what truncation leaves of it. (BPE, Unigram, and WordPiece
    /// with added tokens that are looked for in normalized text, then look at 128 KB at most of a text without blanks, or
    /// with too few tokens.) A text is cut if it has more tokens than will be kept, so ask for at least one more.
    pub fn tokenize_some(&self, text: &str, limit: usize, out: &mut Tokens) {
        out.clear();
        match (&self.tokenizer.kind, self.vocabulary) {
            (Kind::WordPiece(rules), Some(vocabulary)) => {
                rules.tokenize(vocabulary, text, limit, out);
            }
            (Kind::WordPiece(_), None) => unreachable!("`with` asked for the vocabulary"),
            (Kind::Json(tokenizer), _) => tokenizer.tokenize(text, limit, out),
        }
    }

    /// Like [`BoundTokenizer::tokenize_some`] for both texts of a pair that [`truncate_pair`] will cut to `room`. Where the longer one gets
    /// an odd token and both have `limit`, it goes on until it knows the longer: WordPiece until one of them ends, what looks at 128 KB
    /// of a text without blanks until it has seen as much, and then they count as equally long. (`tokenizers` 0.23.0 to 0.23.2 do not go
    /// on, and may give the odd token to the shorter.)
    pub fn tokenize_pair(
        &self,
        texts: [&str; 2],
        limit: usize,
        room: usize,
        mut out: [&mut Tokens; 2],
    ) {
        let most = match &self.tokenizer.kind {
            Kind::WordPiece(rules) if rules.reads_on() => usize::MAX,
            _ => beginning::MOST_TOKENS,
        };
        let mut limit = limit.max(1);
        loop {
            for (text, out) in texts.into_iter().zip(&mut out) {
                self.tokenize_some(text, limit, out);
            }
            let is_known = out.iter().any(|out| out.ids.len() < limit);
            if room.is_multiple_of(2) || is_known || limit >= most {
                return;
            }
            limit = limit.saturating_mul(4).min(most);
        }
    }

    /// Text of a token; `None` if the id has none. A byte-level token is shown in its stand-in characters, as in
    /// `tokenizer.json` (`Ġ` for a blank).
    pub fn token(&self, id: u32) -> Option<&'a str> {
        let tokenizer = self.tokenizer;
        let added = tokenizer.added.iter().find(|token| token.id == id);
        added
            .map(|token| token.content.as_str())
            .or_else(|| match &tokenizer.kind {
                Kind::WordPiece(_) => self.vocabulary?.token(id),
                Kind::Json(tokenizer) => tokenizer.token(id),
            })
    }

    /// Id of the token with exactly this text, as `[MASK]` or `##ing`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        let tokenizer = self.tokenizer;
        let added = tokenizer.added.iter().find(|added| added.content == token);
        added
            .map(|added| added.id)
            .or_else(|| match &tokenizer.kind {
                Kind::WordPiece(_) => self.vocabulary?.id(token),
                Kind::Json(tokenizer) => tokenizer.token_to_id(token),
            })
    }

    /// The rules.
    pub fn rules(&self) -> &'a Tokenizer {
        self.tokenizer
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

    fn clear(&mut self) {
        self.ids.clear();
        self.offsets.clear();
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

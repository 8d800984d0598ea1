//! The rules of BERT's own tokenizer, resolved from the header.

use super::Tokens;
use super::added::AddedTokens;
use super::beginning::with_enough;
use super::normalize::Normalizer;
use super::vocabulary::{Node, Vocabulary};
use super::words::{self, Sink, WordPiece};
use crate::format::header::WordPieceConfig;
use crate::{Error, Result};

/// What the loops over the text look at. Free of the vocabulary's tables.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) clean_text: bool,
    pub(super) handle_chinese_chars: bool,
    pub(super) strip_accents: bool,
    pub(super) lowercase: bool,
    pub(super) max_input_chars_per_word: usize,
    pub(super) unk_id: u32,
    /// Where a piece that continues a word starts in the trie; `None` if no token has the prefix.
    pub(super) continuation: Option<Node>,
    /// What such a piece begins with.
    pub(super) continuation_prefix: String,
    /// What a byte is to the fast loop.
    pub(super) ascii: [u8; 256],
    trim_offsets: bool,
    /// Added tokens that are looked for in the text as it came.
    raw: AddedTokens,
    /// Those that are looked for in the normalized text.
    normalized: AddedTokens,
    /// Whether no added token reaches over a blank.
    words_stand_alone: bool,
}

impl Rules {
    pub(super) fn new(config: &WordPieceConfig, vocabulary: Vocabulary<'_>) -> Result<Rules> {
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
        let raw = config.added_tokens.iter().filter(|token| !token.normalized);
        let mut rules = Rules {
            clean_text: config.clean_text,
            handle_chinese_chars: config.handle_chinese_chars,
            strip_accents: config.strip_accents,
            lowercase: config.lowercase,
            max_input_chars_per_word: config.max_input_chars_per_word,
            unk_id,
            continuation: vocabulary.walk(vocabulary.root(), &config.continuing_subword_prefix),
            continuation_prefix: config.continuing_subword_prefix.clone(),
            ascii: words::ascii_table(config.clean_text, config.lowercase),
            trim_offsets: config.trim_offsets,
            raw: AddedTokens::new(raw.map(|token| (token, token.content.clone())))?,
            normalized: AddedTokens::default(),
            words_stand_alone: !config
                .added_tokens
                .iter()
                .any(|token| token.content.contains(' ')),
        };
        let mut normalizer = Normalizer::default();
        let normalized = config
            .added_tokens
            .iter()
            .filter(|token| token.normalized)
            .map(|token| {
                normalizer.normalize(&rules, &token.content, 0);
                (token, normalizer.text.clone())
            });
        rules.normalized = AddedTokens::new(normalized)?;
        Ok(rules)
    }

    /// Whether it takes little more than a text's bytes, however long the text is.
    pub(super) fn reads_on(&self) -> bool {
        self.normalized.is_empty()
    }

    /// Appends the tokens of `text` to `out`, up to the word that brings their number to `limit`.
    pub(super) fn tokenize(
        &self,
        vocabulary: Vocabulary<'_>,
        text: &str,
        limit: usize,
        out: &mut Tokens,
    ) {
        if self.reads_on() {
            return self.tokenize_all(vocabulary, text, limit, out);
        }
        // Of a text that is normalized as a whole, each byte's origin is kept.
        with_enough(text, limit, self.words_stand_alone, |text| {
            out.clear();
            self.tokenize_all(vocabulary, text, limit, out);
            out.ids.len()
        });
    }

    fn tokenize_all(&self, vocabulary: Vocabulary<'_>, text: &str, limit: usize, out: &mut Tokens) {
        let wordpiece = WordPiece {
            tokenizer: self,
            vocabulary,
        };
        let offsets = out.with_offsets.then_some(&mut out.offsets);
        let mut sink = Sink {
            ids: &mut out.ids,
            offsets,
            limit,
            is_full: false,
        };
        let normalizer = &mut out.normalizer;
        if self.raw.is_empty() {
            return self.segment(&wordpiece, text, 0, text.len(), normalizer, &mut sink);
        }
        self.raw.for_each_split(text, |split| match split.id {
            _ if sink.is_full => {}
            Some(id) if self.trim_offsets => {
                let swallowed = &text[split.start..split.end];
                let start = split.end - swallowed.trim_start().len();
                sink.push(id, start, start + swallowed.trim().len());
            }
            Some(id) => sink.push(id, split.start, split.end),
            None => self.segment(
                &wordpiece,
                text,
                split.start,
                split.end,
                normalizer,
                &mut sink,
            ),
        });
    }

    /// Appends the tokens of a stretch of text without added tokens of the raw kind.
    fn segment(
        &self,
        wordpiece: &WordPiece<'_>,
        text: &str,
        start: usize,
        end: usize,
        normalizer: &mut Normalizer,
        sink: &mut Sink<'_>,
    ) {
        if self.normalized.is_empty() {
            return wordpiece.segment(text, start, end, normalizer, sink);
        }
        normalizer.normalize(self, &text[start..end], start);
        let normalized = std::mem::take(&mut normalizer.text);
        self.normalized
            .for_each_split(&normalized, |split| match split.id {
                _ if sink.is_full => {}
                Some(id) => sink.push(
                    id,
                    normalizer.origins[split.start].0,
                    normalizer.origins[split.end - 1].1,
                ),
                None => normalizer.split_words(
                    wordpiece,
                    &normalized[split.start..split.end],
                    split.start,
                    sink,
                ),
            });
        normalizer.text = normalized;
    }
}

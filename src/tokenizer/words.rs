//! From words to ids: the loop over the text.
//!
//! Most text is ASCII, where a byte is a character and the normalizer is a table of 256 bytes: the fast loop walks the
//! trie straight over the caller's text. Whatever else turns up (a character beyond ASCII, a control character inside a
//! word) hands the word it belongs to, from its start, to the full normalizer, which comes back at the next ASCII blank or
//! punctuation mark. Both meet only there, where neither decomposition nor a word can reach across.

use super::Offsets;
use super::normalize::Normalizer;
use super::rules::Rules;
use super::unicode::Class;
use super::vocabulary::{Node, Vocabulary};

/// What the fast loop does with a byte: a value from 0x30 on is a letter or digit in lower case where wanted.
pub(super) const OTHER: u8 = 0;
pub(super) const BLANK: u8 = 1;
pub(super) const MARK: u8 = 2;
const FIRST_WORD_BYTE: u8 = b'0';

/// The table of the fast loop.
pub(super) fn ascii_table(clean_text: bool, lowercase: bool) -> [u8; 256] {
    let mut table = [OTHER; 256];
    for byte in 0..128u8 {
        let class = Class::of(byte as char);
        table[byte as usize] = if class.is(Class::REMOVED) && clean_text {
            OTHER
        } else if class.is(Class::WHITE_SPACE) {
            BLANK
        } else if class.is(Class::PUNCTUATION) {
            MARK
        } else if byte.is_ascii_alphanumeric() {
            if lowercase {
                byte.to_ascii_lowercase()
            } else {
                byte
            }
        } else {
            OTHER
        };
    }
    table
}

/// Where tokens go.
pub(super) struct Sink<'a> {
    pub(super) ids: &'a mut Vec<u32>,
    pub(super) offsets: Option<&'a mut Vec<Offsets>>,
    /// No more words are wanted when one has brought the number of tokens to this.
    pub(super) limit: usize,
    /// Whether that has happened. Added tokens do not count as words here, as in `tokenizers`.
    pub(super) is_full: bool,
}

impl Sink<'_> {
    #[inline]
    pub(super) fn push(&mut self, id: u32, start: usize, end: usize) {
        self.ids.push(id);
        if let Some(offsets) = &mut self.offsets {
            offsets.push((start, end));
        }
    }

    fn truncate(&mut self, length: usize) {
        self.ids.truncate(length);
        if let Some(offsets) = &mut self.offsets {
            offsets.truncate(length);
        }
    }

    #[inline]
    pub(super) fn end_word(&mut self) {
        self.is_full = self.ids.len() >= self.limit;
    }
}

/// What a word needs to become tokens.
#[derive(Clone, Copy)]
pub(super) struct WordPiece<'a> {
    pub(super) tokenizer: &'a Rules,
    pub(super) vocabulary: Vocabulary<'a>,
}

impl WordPiece<'_> {
    /// Appends the pieces of a word of at most `max_input_chars_per_word` characters: the longest token that the word
    /// begins with, then the longest continuation, and so on; the unknown token if that fails anywhere.
    ///
    /// `fold` is applied to each byte; `offsets` turns a range of the word into one of the text.
    #[inline]
    pub(super) fn pieces(
        &self,
        word: &[u8],
        fold: impl Fn(u8) -> u8,
        offsets: impl Fn(usize, usize) -> Offsets,
        sink: &mut Sink<'_>,
    ) {
        let first = sink.ids.len();
        let mut from = Some(self.vocabulary.root());
        let mut start = 0;
        while start < word.len() {
            let Some((end, id)) = from.and_then(|from| self.longest(from, &word[start..], &fold))
            else {
                sink.truncate(first);
                let (start, end) = offsets(0, word.len());
                sink.push(self.tokenizer.unk_id, start, end);
                return;
            };
            let end = start + end;
            let (piece_start, piece_end) = offsets(start, end);
            sink.push(id, piece_start, piece_end);
            start = end;
            from = self.tokenizer.continuation;
        }
    }

    /// The longest token on the path from `node`, and its length in bytes.
    #[inline]
    fn longest(
        &self,
        mut node: Node,
        text: &[u8],
        fold: impl Fn(u8) -> u8,
    ) -> Option<(usize, u32)> {
        let mut longest = None;
        for (i, &byte) in text.iter().enumerate() {
            let Some(next) = self.vocabulary.child(node, fold(byte)) else {
                break;
            };
            node = next;
            if node.is_terminal() {
                longest = Some((i + 1, node));
            }
        }
        let (length, node) = longest?;
        Some((length, self.vocabulary.value(node)?))
    }

    /// Appends the tokens of `text[start..end]`, which holds no added token of the raw kind.
    pub(super) fn segment(
        &self,
        text: &str,
        start: usize,
        end: usize,
        normalizer: &mut Normalizer,
        sink: &mut Sink<'_>,
    ) {
        let bytes = &text.as_bytes()[..end];
        let table = &self.tokenizer.ascii;
        let mut at = start;
        while at < end && !sink.is_full {
            match table[bytes[at] as usize] {
                BLANK => at += 1,
                MARK => {
                    let node = self.vocabulary.child(self.vocabulary.root(), bytes[at]);
                    let id = node
                        .and_then(|node| self.vocabulary.value(node))
                        .unwrap_or(self.tokenizer.unk_id);
                    sink.push(id, at, at + 1);
                    sink.end_word();
                    at += 1;
                }
                OTHER => at = self.full(text, at, end, normalizer, sink),
                _ => {
                    at = match self.ascii_word(bytes, at, sink) {
                        Some(next) => next,
                        None => self.full(text, at, end, normalizer, sink),
                    }
                }
            }
        }
    }

    /// Appends the tokens of the word that starts at `start` and returns where it ends; `None` if something that is not
    /// plain ASCII touches it.
    #[inline]
    fn ascii_word(&self, bytes: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
        let table = &self.tokenizer.ascii;
        let mut node = Some(self.vocabulary.root());
        let mut end = start;
        // First as if the word were one token, as most are.
        while let (Some(from), Some(&byte)) = (node, bytes.get(end)) {
            let folded = table[byte as usize];
            if folded < FIRST_WORD_BYTE {
                break;
            }
            node = self.vocabulary.child(from, folded);
            end += 1;
        }
        if node.is_none() {
            end += bytes[end..]
                .iter()
                .take_while(|&&byte| table[byte as usize] >= FIRST_WORD_BYTE)
                .count();
        }
        if bytes
            .get(end)
            .is_some_and(|&byte| table[byte as usize] == OTHER)
        {
            return None;
        }
        if end - start > self.tokenizer.max_input_chars_per_word {
            sink.push(self.tokenizer.unk_id, start, end);
        } else if let Some(id) = node.and_then(|node| self.vocabulary.value(node)) {
            sink.push(id, start, end);
        } else {
            let fold = |byte| table[byte as usize];
            self.pieces(
                &bytes[start..end],
                fold,
                |a, b| (start + a, start + b),
                sink,
            );
        }
        sink.end_word();
        Some(end)
    }

    /// Appends the tokens from `start` to the next ASCII blank or punctuation mark, by the full normalizer; returns where
    /// that is.
    fn full(
        &self,
        text: &str,
        start: usize,
        end: usize,
        normalizer: &mut Normalizer,
        sink: &mut Sink<'_>,
    ) -> usize {
        let table = &self.tokenizer.ascii;
        let rest = &text[start..end];
        let mut out = normalizer.words(self, sink);
        for (i, c) in rest.char_indices() {
            if c.is_ascii() && matches!(table[c as usize], BLANK | MARK) || out.is_full() {
                out.finish();
                return start + i;
            }
            out.push(c, start + i, start + i + c.len_utf8());
        }
        out.finish();
        end
    }
}

//! Tokens that are looked for in the text before it is split into words (`[SEP]`, `[MASK]`, …).

use crate::format::header::AddedToken;
use crate::{Error, Result};

/// Finds added tokens: of all that begin leftmost the longest, without overlaps.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    /// Sorted by pattern, so that the tokens with a common prefix are a range.
    entries: Vec<Entry>,
    /// Which bytes a pattern begins with.
    is_first: Vec<bool>,
    /// The same as a list, if there are few enough for `memchr`.
    firsts: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    pattern: String,
    id: u32,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// A stretch of text: an added token with its id, or what lies between two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) id: Option<u32>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl AddedTokens {
    /// Takes tokens with the text to look for.
    pub(super) fn new<'a>(
        tokens: impl IntoIterator<Item = (&'a AddedToken, String)>,
    ) -> Result<Self> {
        let mut entries: Vec<Entry> = tokens
            .into_iter()
            .map(|(token, pattern)| Entry {
                pattern,
                id: token.id,
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
            })
            .collect();
        entries.sort_by(|a, b| a.pattern.cmp(&b.pattern));
        if let Some(entry) = entries.first().filter(|entry| entry.pattern.is_empty()) {
            return Err(Error::Model(format!(
                "tokenizer: added token {} has no text to look for",
                entry.id
            )));
        }
        if let Some(pair) = entries
            .windows(2)
            .find(|pair| pair[0].pattern == pair[1].pattern)
        {
            return Err(Error::Model(format!(
                "tokenizer: added tokens {} and {} are both looked for as {:?}",
                pair[0].id, pair[1].id, pair[0].pattern
            )));
        }
        let mut firsts: Vec<u8> = entries
            .iter()
            .map(|entry| entry.pattern.as_bytes()[0])
            .collect();
        firsts.dedup();
        let is_first = (0..=u8::MAX)
            .map(|byte| firsts.binary_search(&byte).is_ok())
            .collect();
        Ok(AddedTokens {
            entries,
            is_first,
            firsts,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Calls `split` for every stretch of `text` that is not empty, from left to right.
    pub(super) fn for_each_split(&self, text: &str, mut split: impl FnMut(Split)) {
        let mut done = 0;
        let mut from = 0;
        while let Some((entry, match_start)) = self.find(text.as_bytes(), from) {
            let match_end = match_start + entry.pattern.len();
            from = match_end;
            if entry.single_word && touches_word(text, match_start, match_end) {
                continue;
            }
            let mut start = match_start;
            if entry.lstrip {
                // White space that an earlier token has swallowed is its own.
                let before = text.get(done..match_start).unwrap_or_default();
                start = done.max(match_start - (before.len() - before.trim_end().len()));
            }
            let mut end = match_end;
            if entry.rstrip {
                let after = &text[match_end..];
                end += after.len() - after.trim_start().len();
            }
            if done < start {
                split(Split {
                    id: None,
                    start: done,
                    end: start,
                });
            }
            // A pattern that begins with white space may lie in what the token before it has swallowed.
            if start < end {
                split(Split {
                    id: Some(entry.id),
                    start,
                    end,
                });
            }
            done = end;
        }
        if done < text.len() {
            split(Split {
                id: None,
                start: done,
                end: text.len(),
            });
        }
    }

    /// The first match at or behind `from`, and where it starts.
    fn find(&self, text: &[u8], mut from: usize) -> Option<(&Entry, usize)> {
        loop {
            let rest = text.get(from..)?;
            let next = match *self.firsts.as_slice() {
                [] => None,
                [a] => memchr::memchr(a, rest),
                [a, b] => memchr::memchr2(a, b, rest),
                [a, b, c] => memchr::memchr3(a, b, c, rest),
                _ => rest.iter().position(|&byte| self.is_first[byte as usize]),
            };
            from += next?;
            if let Some(entry) = self.longest(&text[from..]) {
                return Some((entry, from));
            }
            from += 1;
        }
    }

    /// The longest pattern that `text` begins with.
    fn longest(&self, text: &[u8]) -> Option<&Entry> {
        let mut candidates = self.entries.as_slice();
        let mut longest = None;
        for (depth, &byte) in text.iter().enumerate() {
            let at = |entry: &Entry| entry.pattern.as_bytes().get(depth).copied();
            let low = candidates.partition_point(|entry| at(entry) < Some(byte));
            candidates = &candidates[low..];
            candidates = &candidates[..candidates.partition_point(|entry| at(entry) == Some(byte))];
            match candidates.first() {
                None => break,
                Some(entry) if entry.pattern.len() == depth + 1 => longest = Some(entry),
                Some(_) => {}
            }
        }
        longest
    }
}

fn touches_word(text: &str, start: usize, end: usize) -> bool {
    text[..start].chars().next_back().is_some_and(is_word)
        || text[end..].chars().next().is_some_and(is_word)
}

/// `\w` of the `regex` crate. The table is compiled in, so the lookup cannot fail.
fn is_word(c: char) -> bool {
    regex_syntax::try_is_word_character(c).unwrap_or(false)
}

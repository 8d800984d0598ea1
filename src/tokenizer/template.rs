//! Special tokens around the texts, and the arithmetic of cutting them to length.

use crate::format::header::TemplatePiece;
use crate::{Error, Result};
use std::ops::Range;

/// The templates for a single text and for a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    single: Vec<TemplatePiece>,
    pair: Vec<TemplatePiece>,
}

impl Template {
    /// Takes the templates for one text and for a pair.
    ///
    /// # Errors
    /// [`Error::Model`] if a template lacks a text, uses one twice, or has a segment above 255.
    pub fn new(single: &[TemplatePiece], pair: &[TemplatePiece]) -> Result<Self> {
        check("single", single, [1, 0])?;
        check("pair", pair, [1, 1])?;
        Ok(Template {
            single: single.to_vec(),
            pair: pair.to_vec(),
        })
    }

    /// The pieces in their order, for those who have more than ids to assemble.
    pub fn pieces(&self, pair: bool) -> &[TemplatePiece] {
        if pair { &self.pair } else { &self.single }
    }

    /// Number of tokens that the template adds.
    pub fn special_count(&self, pair: bool) -> usize {
        self.pieces(pair)
            .iter()
            .filter(|piece| matches!(piece, TemplatePiece::Special { .. }))
            .count()
    }

    /// Largest id and largest segment that the templates name.
    pub fn bounds(&self) -> (u32, u32) {
        self.single
            .iter()
            .chain(&self.pair)
            .fold((0, 0), |(ids, types), piece| match *piece {
                TemplatePiece::Special { id, type_id } => (ids.max(id), types.max(type_id)),
                TemplatePiece::First { type_id } | TemplatePiece::Second { type_id } => {
                    (ids, types.max(type_id))
                }
            })
    }

    /// Appends one sequence to `ids` and its segments to `type_ids`: special tokens and texts as the template orders them.
    pub fn assemble(
        &self,
        first: &[u32],
        second: Option<&[u32]>,
        ids: &mut Vec<u32>,
        type_ids: &mut Vec<u8>,
    ) {
        for piece in self.pieces(second.is_some()) {
            let type_id = match *piece {
                TemplatePiece::Special { id, type_id } => {
                    ids.push(id);
                    type_id
                }
                TemplatePiece::First { type_id } => {
                    ids.extend_from_slice(first);
                    type_id
                }
                TemplatePiece::Second { type_id } => {
                    ids.extend_from_slice(second.unwrap_or_default());
                    type_id
                }
            };
            let added = match piece {
                TemplatePiece::Special { .. } => 1,
                TemplatePiece::First { .. } => first.len(),
                TemplatePiece::Second { .. } => second.unwrap_or_default().len(),
            };
            // `new` has checked that segments fit.
            type_ids.resize(type_ids.len() + added, type_id as u8);
        }
    }
}

fn check(name: &str, pieces: &[TemplatePiece], expected: [usize; 2]) -> Result<()> {
    let mut found = [0, 0];
    for piece in pieces {
        let type_id = match *piece {
            TemplatePiece::Special { type_id, .. } => type_id,
            TemplatePiece::First { type_id } => {
                found[0] += 1;
                type_id
            }
            TemplatePiece::Second { type_id } => {
                found[1] += 1;
                type_id
            }
        };
        if type_id > u8::MAX as u32 {
            return Err(Error::Model(format!(
                "tokenizer: the {name} template has segment {type_id}; at most 255 is allowed"
            )));
        }
    }
    if found != expected {
        return Err(Error::Model(format!(
            "tokenizer: the {name} template has the first text {} times and the second {} times, expected {} and {}",
            found[0], found[1], expected[0], expected[1]
        )));
    }
    Ok(())
}

/// The end of a text that truncation cuts off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TruncationSide {
    /// Keeps the beginning.
    #[default]
    Right,
    /// Keeps the end.
    Left,
}

impl TruncationSide {
    /// The tokens that stay when `length` tokens are cut to at most `keep`.
    pub fn kept(self, length: usize, keep: usize) -> Range<usize> {
        let keep = keep.min(length);
        match self {
            TruncationSide::Right => 0..keep,
            TruncationSide::Left => length - keep..length,
        }
    }
}

/// How many tokens of each text of a pair stay when both together may have `max` tokens: `longest_first` as Hugging Face's
/// `tokenizers` defines it.
///
/// The shorter text stays whole while it has at most half of the room; else both get half, and the longer one gets the odd
/// token (the second one if both are equally long).
pub fn truncate_pair(first: usize, second: usize, max: usize) -> (usize, usize) {
    if first + second <= max {
        return (first, second);
    }
    let shorter = first.min(second);
    let half = max / 2;
    let (shorter, longer) = if shorter <= half {
        (shorter, max - shorter)
    } else {
        (half, max - half)
    };
    if first <= second {
        (shorter, longer)
    } else {
        (longer, shorter)
    }
}

/// Overlapping windows over a long text: ranges of at most `window` tokens, each of which repeats the last `overlap` tokens
/// of the one before; the last one ends with the text. A text that fits, the empty one too, has one window.
///
/// An `overlap` that would not let the windows advance is cut to `window - 1`; a `window` of 0 counts as 1.
pub fn windows(tokens: usize, window: usize, overlap: usize) -> impl Iterator<Item = Range<usize>> {
    let window = window.max(1);
    let step = window - overlap.min(window - 1);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begin = start?;
        let end = tokens.min(begin + window);
        start = (end < tokens).then_some(begin + step);
        Some(begin..end)
    })
}

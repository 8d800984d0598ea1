//! Tokens with their places in the text, and windows over them: what tasks need whose answers are parts of the text.

use super::model::Model;
use crate::error::{Error, Result};
use crate::format::header::TemplatePiece;
use crate::tokenizer::{BoundTokenizer, Offsets, Template, Tokens};
use std::ops::Range;

/// How texts are read that are longer than the model takes: in overlapping windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Long {
    /// Longest sequence in tokens, special tokens included, instead of the model's.
    pub max_length: Option<usize>,
    /// Tokens that a window repeats of the one before; `None` for a quarter of the window.
    pub stride: Option<usize>,
}

impl Long {
    /// Tokens that windows of `window` tokens share with their neighbour.
    pub(super) fn overlap(&self, window: usize) -> Result<usize> {
        match self.stride {
            None => Ok(window / 4),
            Some(stride) if stride < window => Ok(stride),
            Some(stride) => Err(Error::Input(format!(
                "a stride of {stride} tokens, but a window holds {window} tokens of text; the stride must be less"
            ))),
        }
    }
}

/// What a sequence has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Tokens of text.
    pub(super) tokens: usize,
    /// Special tokens in front of the first text.
    pub(super) leading: usize,
}

/// The room of the model's sequences, of single texts or of pairs.
///
/// # Errors
/// [`Error::Input`] if the maximum length is more than the model's positions or leaves no room, [`Error::Model`] if the
/// tokenizer has no template for pairs.
pub(super) fn template_room(
    model: &Model,
    max_length: Option<usize>,
    is_pair: bool,
) -> Result<Room> {
    let header = model.header();
    let max_length = max_length.unwrap_or(header.max_length);
    let positions = header.config.max_position_embeddings;
    if max_length > positions {
        return Err(Error::Input(format!(
            "a maximum length of {max_length} tokens, but the model has {positions} positions; ask for at most that"
        )));
    }
    let tokenizer = model.tokenizer();
    let template = tokenizer.rules().template();
    let pieces = template.pieces(is_pair);
    if pieces.is_empty() {
        return Err(Error::Model(
            "the task needs pairs of texts, but the model's tokenizer takes single texts only; use another model".to_owned(),
        ));
    }
    Ok(Room {
        tokens: text_room(template, max_length, is_pair)?,
        leading: leading_special(pieces),
    })
}

/// Tokens of text that a sequence has room for.
///
/// # Errors
/// [`Error::Input`] if that is less than one for each text. Of a pair, `longest_first` would cut one to nothing, and the answer
/// would be about the other alone.
pub(super) fn text_room(template: &Template, max_length: usize, is_pair: bool) -> Result<usize> {
    let special = template.special_count(is_pair);
    let room = max_length.saturating_sub(special);
    let (texts, least) = match is_pair {
        true => ("a pair of texts needs 2, one of each", 2),
        false => ("a text needs 1", 1),
    };
    if room < least {
        return Err(Error::Input(format!(
            "a maximum length of {max_length} tokens leaves {room} beside {special} special tokens, and {texts}; give at least {}",
            special + least
        )));
    }
    Ok(room)
}

/// Special tokens in front of the first text.
pub(super) fn leading_special(pieces: &[TemplatePiece]) -> usize {
    let pieces = pieces.iter();
    pieces
        .take_while(|piece| matches!(piece, TemplatePiece::Special { .. }))
        .count()
}

/// One thread's memory: tokens with places, and a head's output.
#[derive(Debug, Default)]
pub struct SpanTokens {
    pub(super) tokens: Tokens,
    /// Places in characters.
    chars: Vec<Offsets>,
    pub(super) values: Vec<f32>,
}

impl SpanTokens {
    /// Replaces the tokens by those of `text`.
    pub(super) fn tokenize(&mut self, tokenizer: BoundTokenizer<'_>, text: &str) {
        tokenizer.tokenize(text, &mut self.tokens);
    }

    /// Takes a text's places back, and gives them in bytes and in characters. A text whose answer is not there yet is kept
    /// without the latter, since a long one has many tokens.
    pub(super) fn places(&mut self, offsets: Vec<Offsets>, text: &str) -> [&[Offsets]; 2] {
        self.tokens.offsets = offsets;
        self.tokens.char_offsets(text, &mut self.chars);
        [&self.tokens.offsets, &self.chars]
    }
}

/// The tokens that window `index` answers for: where two windows share tokens, the first half of these belongs to the one,
/// the second to the other. Every token belongs to exactly one window.
pub(super) fn owned(windows: &[Range<usize>], index: usize) -> Range<usize> {
    let border = |second: usize| (windows[second].start + windows[second - 1].end).div_ceil(2);
    let start = match index {
        0 => windows[0].start,
        _ => border(index),
    };
    let end = match index + 1 == windows.len() {
        true => windows[index].end,
        false => border(index + 1),
    };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::windows;

    #[test]
    fn every_token_has_one_window() {
        for (tokens, window, overlap) in [
            (0, 5, 2),
            (5, 5, 2),
            (6, 5, 2),
            (40, 7, 3),
            (40, 7, 6),
            (40, 7, 0),
            (23, 8, 5),
        ] {
            let all: Vec<_> = windows(tokens, window, overlap).collect();
            let mut next = 0;
            for index in 0..all.len() {
                let owned = owned(&all, index);
                assert_eq!(owned.start, next, "{tokens} {window} {overlap}");
                assert!(all[index].start <= owned.start && owned.end <= all[index].end);
                next = owned.end;
            }
            assert_eq!(next, tokens);
        }
    }
}

//! Texts to packed tokens: prompt, tokenizer, template, length.

use super::batch::Batch;
use super::model::Model;
use super::span_tokens::text_room;
use crate::error::{Error, Result};
use crate::format::header::TemplatePiece;
use crate::tokenizer::{Template, Tokens, TruncationSide, truncate_pair, windows};

/// A text, or a pair of texts for models that compare two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text, or the first of the pair.
    pub first: &'a str,
    /// The second of the pair.
    pub second: Option<&'a str>,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(first: &'a str) -> Text<'a> {
        Text {
            first,
            second: None,
        }
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(first: &'a String) -> Text<'a> {
        Text::from(first.as_str())
    }
}

impl<'a> From<(&'a str, &'a str)> for Text<'a> {
    fn from((first, second): (&'a str, &'a str)) -> Text<'a> {
        Text {
            first,
            second: Some(second),
        }
    }
}

/// What happens to a text that is longer than the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongText {
    /// Its end is cut off; of a pair, the longer text is cut first.
    #[default]
    Truncate,
    /// Its beginning is cut off; of a pair, the longer text is cut first.
    TruncateLeft,
    /// It is read in overlapping windows, a quarter of each repeated in the next, whose results are averaged by their
    /// number of tokens. Of a pair, the longer text is read so, beside the other, which is cut to half of the room.
    Window,
    /// It is an error.
    Error,
}

/// How texts become tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// What happens to long texts.
    pub long: LongText,
    /// Longest sequence in tokens, special tokens included, instead of the model's.
    pub max_length: Option<usize>,
    /// Put in front of every (first) text, as it is. [`crate::Embedder`] takes the name of one of the model's prompts
    /// too, and the model's own prompt if this is `None`; see [`Model::prompt`].
    pub prompt: Option<String>,
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedText {
    /// Tokens in the batch, special tokens included, windows' overlaps too.
    pub tokens: usize,
    /// Whether something was cut off.
    pub truncated: bool,
    /// Sequences in the batch; more than one for a text in windows.
    pub windows: usize,
}

/// Encodes texts into batches. One for each thread; its memory is reused.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    model: Model,
    options: TextOptions,
    max_length: usize,
    /// Tokens of the prompt.
    prompt_tokens: usize,
    /// The prompt and the text behind it.
    prompted: String,
    first: Tokens,
    second: Tokens,
}

impl TextEncoder {
    /// # Errors
    /// [`Error::Input`] if `max_length` leaves no room for text or exceeds the model's positions, or if the prompt
    /// alone fills it.
    pub fn new(model: &Model, options: TextOptions) -> Result<TextEncoder> {
        let header = model.header();
        let max_length = options.max_length.unwrap_or(header.max_length);
        let positions = header.config.max_position_embeddings;
        if max_length > positions {
            return Err(Error::Input(format!(
                "a maximum length of {max_length} tokens, but the model has {positions} positions"
            )));
        }
        let mut first = Tokens::ids_only();
        let tokenizer = model.tokenizer();
        tokenizer.tokenize(options.prompt.as_deref().unwrap_or(""), &mut first);
        let prompt_tokens = first.ids.len();
        let template = tokenizer.rules().template();
        if text_room(template, max_length, false)? <= prompt_tokens {
            let special = template.special_count(false);
            return Err(Error::Input(format!(
                "a maximum length of {max_length} tokens leaves no room for text beside {special} special tokens and {prompt_tokens} of the prompt"
            )));
        }
        Ok(TextEncoder {
            model: model.clone(),
            prompted: options.prompt.clone().unwrap_or_default(),
            options,
            max_length,
            prompt_tokens,
            first,
            second: Tokens::ids_only(),
        })
    }

    /// Finds out before any pair is there whether the maximum length has room for one.
    pub(crate) fn check_pairs(&self) -> Result<()> {
        let template = self.model.tokenizer().rules().template();
        text_room(template, self.max_length, true).map(drop)
    }

    /// Appends one record to `batch`. On an error the batch stays as it was.
    ///
    /// # Errors
    /// [`Error::Input`] if the text is too long and [`LongText::Error`] was asked for, or is a pair that the model's
    /// tokenizer has no template for.
    pub fn encode(&mut self, text: &Text<'_>, batch: &mut Batch) -> Result<EncodedText> {
        let encoded = self.encode_part(text, batch)?;
        batch.end_record();
        Ok(encoded)
    }

    /// [`TextEncoder::encode`] into the record that [`Batch::end_record`] will end.
    pub(super) fn encode_part(
        &mut self,
        text: &Text<'_>,
        batch: &mut Batch,
    ) -> Result<EncodedText> {
        let tokenizer = self.model.tokenizer();
        let template = tokenizer.rules().template();
        let is_pair = text.second.is_some();
        if is_pair && template.pieces(true).is_empty() {
            return Err(Error::Input(
                "a pair of texts, but the model's tokenizer takes single texts only".to_owned(),
            ));
        }
        let special = template.special_count(is_pair);
        let room = text_room(template, self.max_length, is_pair)?;
        // Truncation on the right does not look at what it cuts off, so a text of any length costs no more than the rest; of a pair, it may
        // have to know which is the longer.
        let limit = match self.options.long {
            LongText::Truncate => self.max_length + 1,
            _ => usize::MAX,
        };
        let first = match self.options.prompt.as_ref().map_or(0, String::len) {
            0 => text.first,
            prompt => {
                self.prompted.truncate(prompt);
                self.prompted.push_str(text.first);
                &self.prompted
            }
        };
        match text.second {
            Some(second) => {
                let out = [&mut self.first, &mut self.second];
                tokenizer.tokenize_pair([first, second], limit, room, out);
            }
            None => {
                tokenizer.tokenize_some(first, limit, &mut self.first);
                self.second.ids.clear();
            }
        }
        let tokens = self.first.ids.len() + self.second.ids.len();
        let is_long = tokens > room;
        let before = batch.tokens();
        let windows = match self.options.long {
            LongText::Error if is_long => {
                return Err(Error::Input(format!(
                    "text of {} tokens, but the model takes {}; cut it, or ask for truncation or windows",
                    tokens + special,
                    self.max_length
                )));
            }
            LongText::Window if is_long => self.push_windows(room, is_pair, batch),
            LongText::TruncateLeft => self.push(room, TruncationSide::Left, is_pair, batch),
            LongText::Truncate | LongText::Window | LongText::Error => {
                self.push(room, TruncationSide::Right, is_pair, batch)
            }
        };
        Ok(EncodedText {
            tokens: batch.tokens() - before,
            truncated: is_long && self.options.long != LongText::Window,
            windows,
        })
    }

    /// One sequence, cut to the room.
    fn push(&self, room: usize, side: TruncationSide, is_pair: bool, batch: &mut Batch) -> usize {
        let (first, second) = (&self.first.ids[..], &self.second.ids[..]);
        let (keep_first, keep_second) = match is_pair {
            true => truncate_pair(first.len(), second.len(), room),
            false => (room, 0),
        };
        let first = &first[side.kept(first.len(), keep_first)];
        let second = &second[side.kept(second.len(), keep_second)];
        self.push_window(first, is_pair.then_some(second), 1, batch);
        1
    }

    /// Windows over the text behind the prompt, or over the longer text of a pair.
    fn push_windows(&self, room: usize, is_pair: bool, batch: &mut Batch) -> usize {
        let (first, second) = (&self.first.ids[..], &self.second.ids[..]);
        let mut count = 0;
        let over_second = second.len() > first.len();
        let (long, other) = match over_second {
            true => (second, first),
            false => (first, second),
        };
        let (other, prompt) = match is_pair {
            true => (&other[..other.len().min(room / 2)], &[][..]),
            // The prompt stands in front of every window.
            false => (&[][..], &first[..self.prompt_tokens.min(first.len())]),
        };
        let long = &long[prompt.len()..];
        let window = room - other.len() - prompt.len();
        let mut with_prompt = prompt.to_vec();
        for range in windows(long.len(), window, window / 4) {
            let weight = range.len();
            with_prompt.truncate(prompt.len());
            with_prompt.extend_from_slice(&long[range]);
            match over_second {
                true => self.push_window(other, Some(&with_prompt), weight, batch),
                false => self.push_window(&with_prompt, is_pair.then_some(other), weight, batch),
            }
            count += 1;
        }
        count
    }

    fn push_window(&self, first: &[u32], second: Option<&[u32]>, weight: usize, batch: &mut Batch) {
        let tokenizer = self.model.tokenizer();
        let skip = match self.options.prompt {
            Some(_) if !self.model.header().embedding.include_prompt => {
                // As sentence-transformers counts: the prompt as a sequence of its own, without its last special token.
                self.prompt_tokens + leading_special(tokenizer.rules().template(), second.is_some())
            }
            _ => 0,
        };
        batch.push_window(skip, weight, |ids, type_ids| {
            let template = tokenizer.rules().template();
            template.assemble(first, second, ids, type_ids);
        });
    }
}

/// Special tokens in front of the first text.
fn leading_special(template: &Template, is_pair: bool) -> usize {
    let pieces = template.pieces(is_pair).iter();
    pieces
        .take_while(|piece| matches!(piece, TemplatePiece::Special { .. }))
        .count()
}

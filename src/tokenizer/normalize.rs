//! The full normalizer, a character at a time: clean, set ideographs apart, decompose and strip, lower-case.
//!
//! `tokenizers` runs each step over the whole text and keeps, for each byte of the result, the range of the original
//! that it came from. Here each character passes all steps at once; only combining characters wait, because canonical order
//! may move them. The ranges come out as there: a character that a decomposition adds has the range of the character
//! before it *in canonical order*, which is visible where marks are reordered.

use super::Offsets;
use super::rules::Rules;
use super::unicode::Class;
use super::words::{Sink, WordPiece};
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

/// Buffers of the normalizer; they keep their room from text to text.
#[derive(Debug, Clone, Default)]
pub(super) struct Normalizer {
    decomposer: Decomposer,
    word: Word,
    /// The normalized text, where added tokens are looked for in it.
    pub(super) text: String,
    /// Range of the original for each byte of `text`.
    pub(super) origins: Vec<Offsets>,
}

/// Combining characters that wait for the next starter. A line may have millions in a row, so they take six bytes each, and
/// what will be stripped leaves nothing else.
#[derive(Debug, Clone, Default)]
struct Decomposer {
    /// Where each character whose first piece waits begins, in the order of the text, counted from the first of them.
    starts: Vec<u32>,
    /// The combining class of its first piece, and its length in bytes.
    firsts: Vec<(u8, u8)>,
    /// Where the first of them begins in the text.
    start: usize,
    kept: Vec<Kept>,
    /// Range of the last character whose first piece has been passed on.
    last: Offsets,
}

/// A mark that is no accent and will be passed on. Sorting brings marks into canonical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    combining_class: u8,
    /// Number of characters in front of this mark whose first piece waits.
    before: u32,
    /// Place among the marks with the same number: pieces of one character, then the next one's first piece.
    place: u8,
    piece: char,
}

/// [`Kept::place`] of a first piece.
const FIRST: u8 = u8::MAX;

impl Decomposer {
    /// Range of a character whose first piece waits.
    fn origin(&self, index: usize) -> Offsets {
        let start = self.start + self.starts[index] as usize;
        (start, start + usize::from(self.firsts[index].1))
    }

    fn push(&mut self, piece: char, combining_class: u8, origin: Option<Offsets>) {
        let before = self.firsts.len() as u32;
        if !Class::of(piece).is(Class::NONSPACING) {
            let behind = self.kept.last().filter(|kept| kept.before == before);
            let place = behind.map_or(0, |kept| kept.place + 1);
            self.kept.push(Kept {
                combining_class,
                before,
                place: origin.map_or(place, |_| FIRST),
                piece,
            });
        }
        if let Some((start, end)) = origin {
            if self.firsts.is_empty() {
                self.start = start;
            }
            // Only a line of over 4 GB that has nothing else can have more.
            let behind = u32::try_from(start - self.start).unwrap_or(u32::MAX);
            self.starts.push(behind);
            self.firsts.push((combining_class, (end - start) as u8));
        }
    }
}

/// The word that is being collected.
#[derive(Debug, Clone, Default)]
struct Word {
    /// Normalized text; not kept beyond the length from which a word is unknown anyway.
    bytes: Vec<u8>,
    /// Range of the original for each of `bytes`.
    origins: Vec<Offsets>,
    /// Number of characters, those not kept included.
    chars: usize,
    /// Range of the original.
    range: Offsets,
}

impl Normalizer {
    /// A normalizer whose result goes to the tokens.
    pub(super) fn words<'a, 's>(
        &'a mut self,
        wordpiece: &'a WordPiece<'a>,
        sink: &'a mut Sink<'s>,
    ) -> Pipeline<'a, WordOutput<'a, 's>> {
        Pipeline {
            tokenizer: wordpiece.tokenizer,
            decomposer: &mut self.decomposer,
            output: WordOutput {
                wordpiece,
                word: &mut self.word,
                sink,
            },
        }
    }

    /// Replaces `self.text` by the normalized form of `text`, which starts at `start` of the original.
    pub(super) fn normalize(&mut self, tokenizer: &Rules, text: &str, start: usize) {
        self.text.clear();
        self.origins.clear();
        let output = TextOutput {
            text: &mut self.text,
            origins: &mut self.origins,
        };
        let mut out = Pipeline {
            tokenizer,
            decomposer: &mut self.decomposer,
            output,
        };
        for (i, c) in text.char_indices() {
            out.push(c, start + i, start + i + c.len_utf8());
        }
        out.finish();
    }

    /// Appends the tokens of `text`, which starts at `start` of the text that `normalize` has made.
    pub(super) fn split_words(
        &mut self,
        wordpiece: &WordPiece<'_>,
        text: &str,
        start: usize,
        sink: &mut Sink<'_>,
    ) {
        let mut out = WordOutput {
            wordpiece,
            word: &mut self.word,
            sink,
        };
        for (i, c) in text.char_indices() {
            out.push(c, self.origins[start + i]);
        }
        out.finish();
    }
}

/// Takes normalized characters with their ranges of the original.
pub(super) trait Output {
    fn push(&mut self, c: char, origin: Offsets);
    fn finish(&mut self);
}

/// Keeps the text as it is.
struct TextOutput<'a> {
    text: &'a mut String,
    origins: &'a mut Vec<Offsets>,
}

impl Output for TextOutput<'_> {
    fn push(&mut self, c: char, origin: Offsets) {
        self.text.push(c);
        self.origins.resize(self.text.len(), origin);
    }

    fn finish(&mut self) {}
}

/// Splits at white space and around punctuation, and tokenizes each word.
pub(super) struct WordOutput<'a, 's> {
    wordpiece: &'a WordPiece<'a>,
    word: &'a mut Word,
    sink: &'a mut Sink<'s>,
}

impl Output for WordOutput<'_, '_> {
    #[inline]
    fn push(&mut self, c: char, origin: Offsets) {
        let class = Class::of(c);
        if class.is(Class::WHITE_SPACE) {
            self.finish();
        } else if class.is(Class::PUNCTUATION) {
            self.finish();
            self.append(c, origin);
            self.finish();
        } else {
            self.append(c, origin);
        }
    }

    /// Ends the word, if there is one.
    fn finish(&mut self) {
        let word = &mut *self.word;
        if word.chars == 0 {
            return;
        }
        let tokenizer = self.wordpiece.tokenizer;
        if self.sink.is_full {
            // The words that still come are not wanted.
        } else if word.chars > tokenizer.max_input_chars_per_word {
            self.sink.push(tokenizer.unk_id, word.range.0, word.range.1);
        } else {
            let origins = &word.origins;
            let offsets = |start: usize, end: usize| (origins[start].0, origins[end - 1].1);
            self.wordpiece
                .pieces(&word.bytes, |byte| byte, offsets, self.sink);
        }
        self.sink.end_word();
        word.bytes.clear();
        word.origins.clear();
        word.chars = 0;
    }
}

impl WordOutput<'_, '_> {
    #[inline]
    fn append(&mut self, c: char, origin: Offsets) {
        let word = &mut *self.word;
        if word.chars == 0 {
            word.range.0 = origin.0;
        }
        word.range.1 = origin.1;
        word.chars += 1;
        if word.chars <= self.wordpiece.tokenizer.max_input_chars_per_word {
            word.bytes
                .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            word.origins.resize(word.bytes.len(), origin);
        }
    }
}

/// The steps of the normalizer in front of an output.
pub(super) struct Pipeline<'a, O> {
    tokenizer: &'a Rules,
    decomposer: &'a mut Decomposer,
    output: O,
}

impl Pipeline<'_, WordOutput<'_, '_>> {
    /// Whether no more words are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.output.sink.is_full
    }
}

impl<O: Output> Pipeline<'_, O> {
    /// Takes the next character of the text and where it lies.
    #[inline]
    pub(super) fn push(&mut self, mut c: char, start: usize, end: usize) {
        let class = Class::of(c);
        if self.tokenizer.clean_text {
            if class.is(Class::REMOVED) {
                return;
            }
            if class.is(Class::WHITE_SPACE) {
                c = ' ';
            }
        }
        let origin = (start, end);
        if self.tokenizer.handle_chinese_chars && class.is(Class::IDEOGRAPH) {
            self.decompose(' ', origin);
            self.decompose(c, origin);
            self.decompose(' ', origin);
        } else {
            self.decompose(c, origin);
        }
    }

    /// Passes on what still waits, and ends the word.
    pub(super) fn finish(&mut self) {
        self.flush();
        self.decomposer.last = (0, 0);
        self.output.finish();
    }

    #[inline]
    fn decompose(&mut self, c: char, origin: Offsets) {
        if !self.tokenizer.strip_accents {
            return self.lowercase(c, origin);
        }
        if !Class::of(c).is(Class::COMPOSED) {
            self.flush();
            self.decomposer.last = origin;
            return self.strip(c, origin);
        }
        let mut is_first = true;
        decompose_canonical(c, |piece| {
            self.order(piece, is_first.then_some(origin));
            is_first = false;
        });
    }

    /// Brings a piece of a decomposition into canonical order; `origin` is that of the character, for its first piece.
    fn order(&mut self, piece: char, origin: Option<Offsets>) {
        let combining_class = canonical_combining_class(piece);
        if combining_class == 0 {
            self.flush();
            self.decomposer.last = origin.unwrap_or(self.decomposer.last);
            return self.strip(piece, self.decomposer.last);
        }
        self.decomposer.push(piece, combining_class, origin);
    }

    /// Passes on the waiting marks in canonical order.
    fn flush(&mut self) {
        if !self.decomposer.kept.is_empty() {
            self.pass_on_kept();
        }
        if let Some(last) = self.decomposer.firsts.len().checked_sub(1) {
            self.decomposer.last = self.decomposer.origin(last);
            self.decomposer.starts.clear();
            self.decomposer.firsts.clear();
        }
    }

    /// What comes out is what would if all marks were sorted, stripped ones too: `rank` is the number of characters whose
    /// first piece would be in front.
    fn pass_on_kept(&mut self) {
        let mut kept = std::mem::take(&mut self.decomposer.kept);
        kept.sort_unstable();
        for class in kept.chunk_by(|a, b| a.combining_class == b.combining_class) {
            let combining_class = class[0].combining_class;
            let firsts = self.decomposer.firsts.iter();
            let mut rank = firsts.filter(|first| first.0 < combining_class).count();
            let mut looked_at = 0;
            for mark in class {
                let until = mark.before as usize;
                let firsts = self.decomposer.firsts[looked_at..until].iter();
                rank += firsts.filter(|first| first.0 == combining_class).count();
                looked_at = until;
                if mark.place == FIRST {
                    self.decomposer.last = self.decomposer.origin(rank);
                } else if let Some(before) = rank.checked_sub(1) {
                    self.decomposer.last = self.decomposer.origin(before);
                }
                self.lowercase(mark.piece, self.decomposer.last);
            }
        }
        kept.clear();
        self.decomposer.kept = kept;
    }

    #[inline]
    fn strip(&mut self, c: char, origin: Offsets) {
        if !Class::of(c).is(Class::NONSPACING) {
            self.lowercase(c, origin);
        }
    }

    #[inline]
    fn lowercase(&mut self, c: char, origin: Offsets) {
        if !self.tokenizer.lowercase {
            self.output.push(c, origin);
        } else if c.is_ascii() {
            self.output.push(c.to_ascii_lowercase(), origin);
        } else {
            for lower in c.to_lowercase() {
                self.output.push(lower, origin);
            }
        }
    }
}

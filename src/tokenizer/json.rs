//! Byte-pair encoding and Unigram: the `tokenizers` crate, run by the `tokenizer.json` that the model file carries.
//!
//! One tensor, `tokenizer.json`, u8 `[bytes]`: the file of that name as the checkpoint has it, or as the settings beside
//! it change it. Normalizer, pre-tokenizer, added tokens and the trimming of offsets are obeyed as `tokenizers` obeys
//! them; its truncation and padding are not looked at, and its template is the header's.

use super::beginning::with_enough;
use super::{Tokens, parts};
use crate::format::header::AddedToken;
use crate::{Error, Result};
use tokenizers::{Decoder as _, Model as _, ModelWrapper, Tokenizer};

/// Name of the tensor that holds the file.
pub const TOKENIZER_JSON: &str = "tokenizer.json";

/// The model that the file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Bpe,
    Unigram,
}

impl Model {
    /// Its name in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Model::Bpe => "BPE",
            Model::Unigram => "Unigram",
        }
    }
}

/// A parsed `tokenizer.json`.
#[derive(Debug)]
pub(super) struct JsonTokenizer {
    tokenizer: Tokenizer,
    unk_id: Option<u32>,
    /// Text of each id; `None` for an id without a token.
    texts: Vec<Option<String>>,
    /// Whether words are tokenized by themselves; see `parts::words_stand_alone`.
    words_stand_alone: bool,
}

fn refused(message: String) -> Error {
    Error::Model(format!("{TOKENIZER_JSON}: {message}"))
}

impl JsonTokenizer {
    /// Parses the file and makes sure that it can encode every text.
    pub(super) fn parse(json: &[u8], model: Model, added: &[AddedToken]) -> Result<Self> {
        let (tokenizer, words_stand_alone) = parts::open(json, model).map_err(refused)?;
        let unk_id = unk_id(&tokenizer, model)?;
        let known = tokenizer.get_added_tokens_decoder();
        for token in added {
            let found = known.get(&token.id).map(|known| known.content.as_str());
            if found != Some(&token.content) {
                return Err(refused(format!(
                    "the added token with id {} is {found:?}, the header says {:?}",
                    token.id, token.content
                )));
            }
        }
        let texts = texts(&tokenizer)?;
        Ok(JsonTokenizer {
            tokenizer,
            unk_id,
            texts,
            words_stand_alone,
        })
    }

    /// Appends the tokens of `text` to `out`; of those behind the first `limit` some may be left out.
    pub(super) fn tokenize(&self, text: &str, limit: usize, out: &mut Tokens) {
        with_enough(text, limit, self.words_stand_alone, |text| {
            out.clear();
            self.tokenize_all(text, out);
            out.ids.len()
        });
    }

    fn tokenize_all(&self, text: &str, out: &mut Tokens) {
        // Offsets are asked for in characters, as Python's users see them: only so are they trimmed by whole characters.
        let encoding = match out.with_offsets {
            true => self.tokenizer.encode_char_offsets(text, false),
            false => self.tokenizer.encode_fast(text, false),
        };
        // What a model can fail with is a token that its vocabulary lacks, and a pattern that gives up; `parse` has looked
        // for both. If there is a third, the text is one unknown token, which harms less than a panic.
        let Ok(encoding) = encoding else {
            out.ids.push(self.unk_id.unwrap_or_default());
            if out.with_offsets {
                out.offsets.push((0, text.len()));
            }
            return;
        };
        out.ids.extend_from_slice(encoding.get_ids());
        if !out.with_offsets {
            return;
        }
        let characters = encoding.get_offsets();
        if text.is_ascii() {
            out.offsets.extend_from_slice(characters);
            return;
        }
        let mut bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
        bytes.push(text.len());
        let byte = |character: usize| bytes.get(character).copied().unwrap_or(text.len());
        let offsets = characters.iter();
        out.offsets
            .extend(offsets.map(|&(start, end)| (byte(start), byte(end))));
    }

    /// The text that tokens spell by the file's decoder; without one, as `tokenizers` does, with blanks between them.
    pub(super) fn join(&self, tokens: Vec<String>) -> String {
        let plain = tokens.join(" ");
        let decoder = self.tokenizer.get_decoder();
        decoder
            .and_then(|decoder| decoder.decode(tokens).ok())
            .unwrap_or(plain)
    }

    /// For each token of `text`, whether the one before it is of the same word of the pre-tokenizer.
    pub(super) fn continuations(&self, text: &str) -> Vec<bool> {
        // The fast form has no words.
        let Ok(encoding) = self.tokenizer.encode_char_offsets(text, false) else {
            return vec![false]; // as in `tokenize`
        };
        let words = encoding.get_word_ids();
        let before = std::iter::once(None).chain(words.iter().copied());
        before
            .zip(words)
            .map(|(before, word)| word.is_some() && before == *word)
            .collect()
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize)?.as_deref()
    }

    pub(super) fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    pub(super) fn unk_id(&self) -> Option<u32> {
        self.unk_id
    }

    /// Every id that can come out is below this.
    pub(super) fn id_bound(&self) -> usize {
        self.texts.len()
    }
}

/// The id for what the vocabulary cannot spell. Refuses a model that would fail on some text, or give another result
/// each time.
fn unk_id(tokenizer: &Tokenizer, model: Model) -> Result<Option<u32>> {
    match (tokenizer.get_model(), model) {
        (ModelWrapper::BPE(bpe), Model::Bpe) => {
            if bpe.dropout.is_some_and(|dropout| dropout > 0.0) {
                return Err(refused("drops merges at random (dropout)".to_owned()));
            }
            match bpe.get_unk_token() {
                None => Ok(None),
                Some(unk) => tokenizer.token_to_id(unk).map(Some).ok_or_else(|| {
                    refused(format!(
                        "the vocabulary has no token {unk:?} for what it cannot spell"
                    ))
                }),
            }
        }
        (ModelWrapper::Unigram(unigram), Model::Unigram) => {
            // What the model says of a character that it does not have: the field is not public.
            let unknown = ('\u{F0000}'..char::MAX)
                .map(String::from)
                .find(|character| unigram.token_to_id(character).is_none())
                .unwrap_or_default();
            let tokens = unigram.tokenize(&unknown).map_err(|error| {
                refused(format!("cannot encode what its vocabulary lacks: {error}"))
            })?;
            let first = tokens.first().map(|token| token.id);
            Ok(first.filter(|_| !unigram.byte_fallback()))
        }
        _ => unreachable!("the model was made for this kind"),
    }
}

/// Text of each id.
fn texts(tokenizer: &Tokenizer) -> Result<Vec<Option<String>>> {
    let vocabulary = tokenizer.get_vocab(true);
    let bound = vocabulary
        .values()
        .map(|&id| id as usize + 1)
        .max()
        .unwrap_or(0);
    // An id far beyond the number of tokens would make a table of holes; no model has such a vocabulary.
    if bound > 16 * (vocabulary.len() + 1024) {
        return Err(refused(format!(
            "token id {} in a vocabulary of {} tokens; ids must be nearly contiguous",
            bound - 1,
            vocabulary.len()
        )));
    }
    let mut texts = vec![None; bound];
    for (text, id) in vocabulary {
        texts[id as usize] = Some(text);
    }
    Ok(texts)
}

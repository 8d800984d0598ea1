//! Words for masks, and how likely a line is.

use super::batch::Batch;
use super::model::Model;
use super::span_tokens::template_room;
use super::task::Task;
use super::text_encoder::EncodedText;
use crate::error::{Error, Result};
use crate::heads::{exp, ln};
use crate::kernels::MatrixMut;
use crate::tokenizer::{Tokens, TruncationSide};

/// How a [`Filler`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillerOptions {
    /// Words for each mask.
    pub top: usize,
    /// The only words that are looked at, if any; each one token of the vocabulary.
    pub targets: Option<Vec<String>>,
    /// Longest sequence in tokens, special tokens included, instead of the model's.
    pub max_length: Option<usize>,
}

impl Default for FillerOptions {
    /// Five words out of all, as transformers' pipeline does.
    fn default() -> Self {
        FillerOptions {
            top: 5,
            targets: None,
            max_length: None,
        }
    }
}

/// A word for a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    /// Its probability among all of the vocabulary.
    pub score: f32,
    /// Its id.
    pub token: u32,
    /// Its text.
    pub token_str: String,
    /// The whole text with the word in the mask's place, as its tokens spell it, without padding. If there are other masks,
    /// they stay, and so do the other special tokens.
    pub sequence: String,
}

/// Masked language modelling: [`Task`] from texts with masks to the best words for each mask, in the order of the masks.
///
/// Only masked positions reach the vocabulary.
#[derive(Debug)]
pub struct Filler {
    model: Model,
    options: FillerOptions,
    targets: Option<Vec<u32>>,
    mask: Mask,
}

/// The mask token, and room for text beside the special tokens.
#[derive(Debug)]
struct Mask {
    id: u32,
    text: String,
    room: usize,
    /// The padding token, which no answer shows.
    padding: Option<u32>,
}

impl Mask {
    fn new(model: &Model, max_length: Option<usize>) -> Result<Mask> {
        let (_, id, padding) = model.language_model_head()?;
        let text = model.tokenizer().token(id).unwrap_or_default().to_owned();
        Ok(Mask {
            id,
            text,
            room: template_room(model, max_length, false)?.tokens,
            padding,
        })
    }
}

/// One thread's memory.
#[derive(Debug)]
pub struct VocabularyRoom {
    tokens: Tokens,
    ids: Vec<u32>,
    type_ids: Vec<u8>,
    transformed: Vec<f32>,
    logits: Vec<f32>,
}

impl VocabularyRoom {
    fn new() -> VocabularyRoom {
        VocabularyRoom {
            tokens: Tokens::ids_only(),
            ids: Vec::new(),
            type_ids: Vec::new(),
            transformed: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Assembles the sequence of `text`, cut to `room` tokens of text; returns whether it was cut.
    fn assemble(&mut self, model: &Model, text: &str, room: usize) -> bool {
        let tokenizer = model.tokenizer();
        // As transformers counts: the limit is the whole sequence's.
        let special = tokenizer.rules().template().special_count(false);
        tokenizer.tokenize_some(text, room + special + 1, &mut self.tokens);
        let all = self.tokens.ids.len();
        let kept = &self.tokens.ids[TruncationSide::Right.kept(all, room)];
        self.ids.clear();
        self.type_ids.clear();
        let template = tokenizer.rules().template();
        template.assemble(kept, None, &mut self.ids, &mut self.type_ids);
        all > room
    }

    /// Computes the logits of a token whose hidden state this is.
    fn predict(&mut self, model: &Model, state: &[f32]) {
        let Ok((head, ..)) = model.language_model_head() else {
            return;
        };
        let parts = model.parts();
        head.forward(
            &parts.file,
            &parts.tensors,
            model.kernel(),
            state,
            &mut self.transformed,
            &mut self.logits,
        );
    }

    /// Turns the logits into probabilities.
    fn softmax(&mut self, model: &Model) {
        let all = self.logits.len();
        let row = MatrixMut::new(&mut self.logits, 1, all, all);
        model.kernel().softmax_rows(row, 1.0);
    }
}

impl Filler {
    /// # Errors
    /// [`Error::Model`] if the model has no masked language model, [`Error::Input`] if a target is not one token or the
    /// options do not fit the model.
    pub fn new(model: &Model, options: FillerOptions) -> Result<Filler> {
        let mask = Mask::new(model, options.max_length)?;
        let targets = options.targets.as_ref();
        let targets =
            targets.map(|targets| targets.iter().map(|word| target(model, word)).collect());
        Ok(Filler {
            model: model.clone(),
            targets: targets.transpose()?,
            mask,
            options,
        })
    }
}

/// Id of a target: the token of this text, else the only token that the text becomes.
fn target(model: &Model, word: &str) -> Result<u32> {
    let tokenizer = model.tokenizer();
    if let Some(id) = tokenizer.token_to_id(word) {
        return Ok(id);
    }
    let mut tokens = Tokens::ids_only();
    tokenizer.tokenize(word, &mut tokens);
    match tokens.ids[..] {
        [id] if Some(id) != tokenizer.rules().unk_id() => Ok(id),
        _ => {
            let pieces = tokens.ids.iter().filter_map(|id| tokenizer.token(*id));
            Err(Error::Input(format!(
                "the target {word:?} is not one token of the vocabulary, but {}; a mask stands for one token",
                match &pieces.collect::<Vec<_>>()[..] {
                    [] => "none".to_owned(),
                    pieces => pieces.join(" "),
                }
            )))
        }
    }
}

/// A text whose masks are being filled.
#[derive(Debug)]
pub struct MaskedText {
    ids: Vec<u32>,
    /// Where masks stand.
    masks: Vec<usize>,
    /// For each of them the best ids with their probabilities.
    found: Vec<Vec<(u32, f32)>>,
}

impl Task for Filler {
    type Input<'a> = &'a str;
    type Room = VocabularyRoom;
    type Pending = MaskedText;
    type Answer = Vec<Vec<Fill>>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> VocabularyRoom {
        VocabularyRoom::new()
    }

    fn encode(
        &self,
        input: &&str,
        room: &mut VocabularyRoom,
        batch: &mut Batch,
    ) -> Result<(MaskedText, EncodedText)> {
        let truncated = room.assemble(&self.model, input, self.mask.room);
        let places = room.ids.iter().enumerate();
        let masks: Vec<usize> = places
            .filter(|(_, id)| **id == self.mask.id)
            .map(|(place, _)| place)
            .collect();
        if masks.is_empty() {
            let mask = &self.mask.text;
            return Err(Error::Input(match truncated && input.contains(mask) {
                true => format!(
                    "the mask {mask} stands behind the {} tokens that the model takes; shorten the text in front of it",
                    self.mask.room
                ),
                false => format!("the text has no mask; write {mask} in the place of a word"),
            }));
        }
        batch.push_window(0, room.ids.len(), |ids, type_ids| {
            ids.extend_from_slice(&room.ids);
            type_ids.extend_from_slice(&room.type_ids);
        });
        let encoded = EncodedText {
            tokens: room.ids.len(),
            truncated,
            windows: 1,
        };
        let text = MaskedText {
            ids: room.ids.clone(),
            found: Vec::with_capacity(masks.len()),
            masks,
        };
        Ok((text, encoded))
    }

    fn read(&self, text: &mut MaskedText, room: &mut VocabularyRoom, _: usize, states: &[f32]) {
        let hidden_size = self.model.header().config.hidden_size;
        for mask in &text.masks {
            room.predict(&self.model, &states[mask * hidden_size..][..hidden_size]);
            room.softmax(&self.model);
            let score = |id: &u32| (*id, room.logits[*id as usize]);
            let mut candidates: Vec<(u32, f32)> = match &self.targets {
                Some(targets) => targets.iter().map(score).collect(),
                None => (0u32..)
                    .take(room.logits.len())
                    .map(|id| score(&id))
                    .collect(),
            };
            let rank = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            let top = self.options.top.min(candidates.len());
            if top > 0 && top < candidates.len() {
                candidates.select_nth_unstable_by(top - 1, rank);
                candidates.truncate(top);
            }
            candidates.sort_unstable_by(rank);
            text.found.push(candidates);
        }
    }

    fn finish(&self, mut text: MaskedText, _: &mut VocabularyRoom) -> Vec<Vec<Fill>> {
        let tokenizer = self.model.tokenizer();
        let several = text.masks.len() > 1;
        let found = std::mem::take(&mut text.found);
        let mut answers = Vec::with_capacity(found.len());
        let mut shown = Vec::with_capacity(text.ids.len());
        for (place, candidates) in text.masks.iter().zip(found) {
            let mut fills = Vec::with_capacity(candidates.len());
            for (token, score) in candidates {
                let mask = std::mem::replace(&mut text.ids[*place], token);
                shown.clear();
                let padding = |id: &&u32| Some(**id) == self.mask.padding;
                shown.extend(text.ids.iter().filter(|id| !padding(id)));
                fills.push(Fill {
                    score,
                    token,
                    token_str: tokenizer.decode(&[token], true),
                    sequence: tokenizer.decode(&shown, several),
                });
                text.ids[*place] = mask;
            }
            answers.push(fills);
        }
        answers
    }
}

/// How likely a masked language model finds a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Sum over all tokens of ln P(token | the others), each masked by itself.
    pub log_likelihood: f64,
    /// e to the power of minus its mean; `None` for a line without tokens.
    pub pseudo_perplexity: Option<f64>,
    /// Tokens of the line.
    pub tokens: usize,
}

/// Scores lines by a masked language model: [`Task`] from texts to [`Likelihood`]s. A line of n tokens takes n sequences.
#[derive(Debug)]
pub struct LineScorer {
    model: Model,
    mask: Mask,
}

/// A line that is being scored.
#[derive(Debug)]
pub struct OpenLine {
    /// Place and id of each token.
    tokens: Vec<(usize, u32)>,
    sum: f64,
}

impl LineScorer {
    /// # Errors
    /// [`Error::Model`] if the model has no masked language model, [`Error::Input`] if `max_length` does not fit it.
    pub fn new(model: &Model, max_length: Option<usize>) -> Result<LineScorer> {
        Ok(LineScorer {
            model: model.clone(),
            mask: Mask::new(model, max_length)?,
        })
    }
}

impl Task for LineScorer {
    type Input<'a> = &'a str;
    type Room = VocabularyRoom;
    type Pending = OpenLine;
    type Answer = Likelihood;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> VocabularyRoom {
        VocabularyRoom::new()
    }

    fn encode(
        &self,
        input: &&str,
        room: &mut VocabularyRoom,
        batch: &mut Batch,
    ) -> Result<(OpenLine, EncodedText)> {
        let truncated = room.assemble(&self.model, input, self.mask.room);
        let tokenizer = self.model.tokenizer();
        let leading =
            super::span_tokens::leading_special(tokenizer.rules().template().pieces(false));
        let special = tokenizer.rules().template().special_count(false);
        let count = room.ids.len() - special;
        let tokens: Vec<(usize, u32)> = (leading..leading + count)
            .map(|place| (place, room.ids[place]))
            .collect();
        for (place, _) in &tokens {
            batch.push_window(0, room.ids.len(), |ids, type_ids| {
                let first = ids.len();
                ids.extend_from_slice(&room.ids);
                ids[first + place] = self.mask.id;
                type_ids.extend_from_slice(&room.type_ids);
            });
        }
        let encoded = EncodedText {
            tokens: count * room.ids.len(),
            truncated,
            windows: count,
        };
        Ok((OpenLine { tokens, sum: 0.0 }, encoded))
    }

    fn read(&self, line: &mut OpenLine, room: &mut VocabularyRoom, index: usize, states: &[f32]) {
        let hidden_size = self.model.header().config.hidden_size;
        let (place, id) = line.tokens[index];
        room.predict(&self.model, &states[place * hidden_size..][..hidden_size]);
        let logit = room.logits[id as usize];
        let best = (0..room.logits.len()).fold(0, |best, other| {
            if room.logits[other] > room.logits[best] {
                other
            } else {
                best
            }
        });
        let highest = room.logits[best];
        room.softmax(&self.model);
        // From the best one's probability, which is never too small for a logarithm.
        let best_probability = f64::from(room.logits[best]).max(f64::from(f32::MIN_POSITIVE));
        line.sum += f64::from(logit) - f64::from(highest) + ln(best_probability);
    }

    fn finish(&self, line: OpenLine, _: &mut VocabularyRoom) -> Likelihood {
        let tokens = line.tokens.len();
        Likelihood {
            log_likelihood: line.sum,
            pseudo_perplexity: (tokens > 0).then(|| exp(-line.sum / tokens as f64)),
            tokens,
        }
    }
}

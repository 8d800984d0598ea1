//! Words for masks.

use super::batch::Batch;
use super::model::Model;
use super::task::Task;
use super::text_encoder::EncodedText;
use super::vocabulary::{Mask, VocabularyRoom, softmax};
use crate::error::{Error, Result};
use crate::format::header::HeadConfig;
use crate::kernels::Team;
use crate::tokenizer::{Tokens, clean_up};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How a [`Filler`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillerOptions {
    /// Words for each mask; 0 gives none.
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

    /// The best of these ids with their probabilities, best first.
    fn best(&self, ids: impl Iterator<Item = u32>, probabilities: &[f32]) -> Vec<(u32, f32)> {
        let top = self.options.top;
        // The worst of the best on top, and its probability, which most words do not reach.
        let mut best: BinaryHeap<Reverse<Ranked>> = BinaryHeap::new();
        let mut least = f32::NEG_INFINITY;
        for id in ids {
            let probability = probabilities[id as usize];
            if probability < least {
                continue;
            }
            let candidate = Reverse(Ranked(probability, Reverse(id)));
            if best.len() < top {
                best.push(candidate);
                continue;
            }
            let Some(mut worst) = best.peek_mut() else {
                break;
            };
            if candidate < *worst {
                *worst = candidate;
            }
            drop(worst);
            least = best.peek().map_or(least, |worst| worst.0.0);
        }
        let best = best.into_sorted_vec().into_iter();
        best.map(|Reverse(Ranked(score, Reverse(id)))| (id, score))
            .collect()
    }
}

/// A candidate by its rank: probability, then the smaller id.
#[derive(PartialEq)]
struct Ranked(f32, Reverse<u32>);

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
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
    /// Their hidden states, `[masks, hidden_size]`.
    states: Vec<f32>,
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
            states: Vec::new(),
            masks,
        };
        Ok((text, encoded))
    }

    fn read(&self, text: &mut MaskedText, _: &mut VocabularyRoom, _: usize, states: &[f32]) {
        let hidden_size = self.model.header().config.hidden_size;
        for mask in &text.masks {
            let state = &states[mask * hidden_size..][..hidden_size];
            text.states.extend_from_slice(state);
        }
    }

    fn settle(&self, texts: &mut [MaskedText], room: &mut VocabularyRoom, team: &mut Team) {
        let states: Vec<_> = texts
            .iter_mut()
            .map(|t| std::mem::take(&mut t.states))
            .collect();
        room.predict(&self.model, &states, team, |text, logits| {
            softmax(&self.model, logits);
            let best = match &self.targets {
                Some(targets) => self.best(targets.iter().copied(), logits),
                None => self.best(0..logits.len() as u32, logits),
            };
            texts[text].found.push(best);
        });
    }

    fn finish(&self, mut text: MaskedText, _: &mut VocabularyRoom) -> Vec<Vec<Fill>> {
        let tokenizer = self.model.tokenizer();
        let cleans_up = matches!(
            self.model.header().head,
            Some(HeadConfig::MaskedLanguageModel {
                clean_up_tokenization_spaces: true,
                ..
            })
        );
        let spell = |ids: &[u32], with_special| {
            let text = tokenizer.decode(ids, with_special);
            match cleans_up {
                true => clean_up(&text),
                false => text,
            }
        };
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
                    token_str: spell(&[token], true),
                    sequence: spell(&shown, several),
                });
                text.ids[*place] = mask;
            }
            answers.push(fills);
        }
        answers
    }
}

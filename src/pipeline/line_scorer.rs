//! How likely lines are.

use super::batch::Batch;
use super::model::Model;
use super::span_tokens::leading_special;
use super::task::Task;
use super::text_encoder::EncodedText;
use super::vocabulary::{Mask, VocabularyRoom, softmax};
use crate::error::Result;
use crate::heads::{exp, ln};
use crate::kernels::Team;

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
    /// The hidden states of their masks, `[tokens, hidden_size]`.
    states: Vec<f32>,
    /// Tokens that are part of the sum.
    scored: usize,
    sum: f64,
}

impl LineScorer {
    /// # Errors
    /// [`Model`](crate::Error::Model) if the model has no masked language model, [`Input`](crate::Error::Input) if
    /// `max_length` does not fit it.
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
        let leading = leading_special(tokenizer.rules().template().pieces(false));
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
        let line = OpenLine {
            tokens,
            states: Vec::new(),
            scored: 0,
            sum: 0.0,
        };
        Ok((line, encoded))
    }

    fn read(&self, line: &mut OpenLine, _: &mut VocabularyRoom, index: usize, states: &[f32]) {
        let hidden_size = self.model.header().config.hidden_size;
        let (place, _) = line.tokens[index];
        let state = &states[place * hidden_size..][..hidden_size];
        line.states.extend_from_slice(state);
    }

    fn settle(&self, lines: &mut [OpenLine], room: &mut VocabularyRoom, team: &mut Team) {
        let states = lines.iter_mut().map(|l| std::mem::take(&mut l.states));
        let states: Vec<_> = states.collect();
        room.predict(&self.model, &states, team, |line, logits| {
            let line = &mut lines[line];
            let (_, id) = line.tokens[line.scored];
            line.scored += 1;
            let logit = logits[id as usize];
            let best = (0..logits.len()).fold(0, |best, other| {
                if logits[other] > logits[best] {
                    other
                } else {
                    best
                }
            });
            let highest = logits[best];
            softmax(&self.model, logits);
            // From the best one's probability, which is never too small for a logarithm.
            let best_probability = f64::from(logits[best]).max(f64::from(f32::MIN_POSITIVE));
            line.sum += f64::from(logit) - f64::from(highest) + ln(best_probability);
        });
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

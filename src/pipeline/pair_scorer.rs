//! Scores of candidates beside one text: cross-encoders, next sentences, multiple choice.

use super::batch::Batch;
use super::encoder::States;
use super::model::Model;
use super::task::Task;
use super::text_encoder::{EncodedText, Text, TextEncoder, TextOptions};
use crate::error::Result;
use crate::heads::{ClassificationHead, Function};
use crate::kernels::MatrixMut;
use std::borrow::Cow;

/// Which head scores a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PairHead {
    Sequence,
    NextSentence,
    Choice,
}

/// A text, and what is put beside it in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates<'a> {
    /// The text: a query, a first sentence, a context.
    pub first: &'a str,
    /// The candidates: passages, second sentences, choices.
    pub seconds: Vec<Cow<'a, str>>,
}

impl<'a> From<(&'a str, &'a str)> for Candidates<'a> {
    fn from((first, second): (&'a str, &'a str)) -> Candidates<'a> {
        Candidates {
            first,
            seconds: vec![second.into()],
        }
    }
}

/// Scores pairs of texts: [`Task`] from [`Candidates`] to the scores of each candidate, one behind the other
/// ([`PairScorer::width`] numbers each).
#[derive(Debug)]
pub struct PairScorer {
    model: Model,
    head: PairHead,
    encoder: TextEncoder,
    /// What each candidate's logits pass through.
    function: Function,
    /// Whether the candidates' logits pass through one softmax together.
    together: bool,
    width: usize,
}

impl PairScorer {
    /// As sentence-transformers' `CrossEncoder`: the logits of the sequence classification head through `function`, or
    /// through [`Function::cross_encoder`] if that is `None`.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if the model has no such head, [`crate::Error::Input`] if the options do not fit it.
    pub fn cross_encoder(
        model: &Model,
        text: TextOptions,
        function: Option<Function>,
    ) -> Result<PairScorer> {
        model.sequence_head()?;
        let head = model.header().head.as_ref();
        let own = || head.map_or(Function::None, Function::cross_encoder);
        Ok(PairScorer {
            model: model.clone(),
            head: PairHead::Sequence,
            encoder: pair_encoder(model, text)?,
            function: function.unwrap_or_else(own),
            together: false,
            width: model.labels().map_or(1, <[String]>::len),
        })
    }

    /// Probabilities that the second text follows the first, and that it does not.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if the model has no next-sentence head, [`crate::Error::Input`] if the options do not fit it.
    pub fn next_sentence(model: &Model, text: TextOptions) -> Result<PairScorer> {
        model.next_sentence_head()?;
        Ok(PairScorer {
            model: model.clone(),
            head: PairHead::NextSentence,
            encoder: pair_encoder(model, text)?,
            function: Function::Softmax,
            together: false,
            width: 2,
        })
    }

    /// Probabilities of the candidates, of which one is right.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if the model has no multiple choice head, [`crate::Error::Input`] if the options do not fit it.
    pub fn multiple_choice(model: &Model, text: TextOptions) -> Result<PairScorer> {
        model.choice_head()?;
        Ok(PairScorer {
            model: model.clone(),
            head: PairHead::Choice,
            encoder: pair_encoder(model, text)?,
            function: Function::None,
            together: true,
            width: 1,
        })
    }

    /// The same with the logits as they are.
    #[must_use]
    pub fn with_logits(self) -> PairScorer {
        PairScorer {
            function: Function::None,
            together: false,
            ..self
        }
    }

    /// Scores of a candidate.
    pub fn width(&self) -> usize {
        self.width
    }

    fn classifier(&self) -> Result<&ClassificationHead> {
        match self.head {
            PairHead::Sequence => self.model.sequence_head(),
            PairHead::NextSentence => self.model.next_sentence_head(),
            PairHead::Choice => self.model.choice_head(),
        }
    }
}

fn pair_encoder(model: &Model, text: TextOptions) -> Result<TextEncoder> {
    let encoder = TextEncoder::new(model, text)?;
    encoder.check_pairs()?;
    Ok(encoder)
}

/// One thread's memory.
#[derive(Debug)]
pub struct PairRoom {
    encoder: TextEncoder,
    pooled: Vec<f32>,
    logits: Vec<f32>,
}

/// Candidates that are being scored.
#[derive(Debug)]
pub struct OpenCandidates {
    /// For each sequence its candidate, and its share in that one's mean over windows.
    sequences: Vec<(usize, f32)>,
    /// `[candidates, width]`
    scores: Vec<f32>,
}

impl Task for PairScorer {
    type Input<'a> = Candidates<'a>;
    type Room = PairRoom;
    type Pending = OpenCandidates;
    type Answer = Vec<f32>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> PairRoom {
        PairRoom {
            encoder: self.encoder.clone(),
            pooled: Vec::new(),
            logits: Vec::new(),
        }
    }

    fn encode(
        &self,
        input: &Candidates<'_>,
        room: &mut PairRoom,
        batch: &mut Batch,
    ) -> Result<(OpenCandidates, EncodedText)> {
        let mut all = EncodedText {
            tokens: 0,
            truncated: false,
            windows: 0,
        };
        let mut sequences = Vec::new();
        for (index, second) in input.seconds.iter().enumerate() {
            let first = batch.sequences().len();
            let text = Text::from((input.first, &**second));
            let encoded = room.encoder.encode_part(&text, batch)?;
            all.tokens += encoded.tokens;
            all.truncated |= encoded.truncated;
            all.windows += encoded.windows;
            let windows = first..first + encoded.windows;
            let total: usize = windows.clone().map(|window| batch.weight(window)).sum();
            sequences.extend(windows.map(|window| {
                let share = match encoded.windows {
                    1 => 1.0,
                    _ => batch.weight(window) as f32 / total as f32,
                };
                (index, share)
            }));
        }
        let open = OpenCandidates {
            sequences,
            scores: vec![0.0; input.seconds.len() * self.width],
        };
        Ok((open, all))
    }

    fn states(&self) -> States<'_> {
        States::LastOfFirst
    }

    fn read(&self, open: &mut OpenCandidates, room: &mut PairRoom, index: usize, states: &[f32]) {
        let Ok(head) = self.classifier() else { return };
        let (file, kernel) = (self.model.file(), self.model.kernel());
        room.logits.clear();
        head.forward(file, kernel, states, &mut room.pooled, &mut room.logits);
        let (candidate, share) = open.sequences[index];
        let scores = &mut open.scores[candidate * self.width..][..self.width];
        for (score, logit) in scores.iter_mut().zip(&room.logits) {
            *score += share * logit;
        }
    }

    fn finish(&self, mut open: OpenCandidates, _: &mut PairRoom) -> Vec<f32> {
        let kernel = self.model.kernel();
        let all = open.scores.len();
        if self.together && all > 0 {
            kernel.softmax_rows(MatrixMut::new(&mut open.scores, 1, all, all), 1.0);
        }
        for scores in open.scores.chunks_exact_mut(self.width) {
            self.function.apply(kernel, scores);
        }
        open.scores
    }
}

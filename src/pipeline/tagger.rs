//! Entities in texts, with their places.

use super::batch::Batch;
use super::model::Model;
use super::span_tokens::{Long, SpanTokens, owned, template_room};
use super::task::Task;
use super::text_encoder::EncodedText;
use crate::error::{Error, Result};
use crate::heads::{self, Aggregation, LabelScheme, LabelledToken};
use crate::kernels::MatrixMut;
use crate::tokenizer::{Offsets, windows};
use std::ops::Range;

/// How a [`Tagger`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggerOptions {
    /// How tokens are put together.
    pub aggregation: Aggregation,
    /// Labels that are not shown; with aggregation, kinds: labels without their prefix.
    pub ignore: Vec<String>,
    /// Windows over long texts.
    pub long: Long,
}

impl Default for TaggerOptions {
    /// As transformers' pipeline does: simple aggregation, and everything but `O`.
    fn default() -> Self {
        TaggerOptions {
            aggregation: Aggregation::Simple,
            ignore: vec!["O".to_owned()],
            long: Long::default(),
        }
    }
}

/// A labelled piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// Its kind, the label without `B-`, `I-` or the like; without aggregation the label itself.
    pub label: String,
    /// Mean probability of the label over its tokens or words.
    pub score: f32,
    /// Its tokens as text.
    pub word: String,
    /// Where it begins, in characters.
    pub start: usize,
    /// Behind its last character.
    pub end: usize,
    /// Where it lies, in bytes.
    pub bytes: Range<usize>,
    /// Without aggregation: number of the token in the text, special tokens in front of it included.
    pub index: Option<usize>,
}

/// Token classification: [`Task`] from texts to [`Entity`]s in order.
///
/// A text that is too long is read in overlapping windows; each of its tokens gets its label from the window in which it
/// stands furthest from an edge, so that no entity is cut or counted twice.
#[derive(Debug)]
pub struct Tagger {
    model: Model,
    options: TaggerOptions,
    labels: Vec<String>,
    scheme: LabelScheme,
    /// Tokens of text that a window holds, and of those how many the next one repeats.
    window: usize,
    overlap: usize,
    /// Special tokens before the text.
    leading: usize,
}

/// A text whose tokens are being labelled.
#[derive(Debug)]
pub struct TaggedText {
    text: String,
    ids: Vec<u32>,
    offsets: Vec<Offsets>,
    windows: Vec<Range<usize>>,
    /// `[tokens, labels]`
    scores: Vec<f32>,
}

impl Tagger {
    /// # Errors
    /// [`crate::Error::Model`] if the model has no token classification head, [`crate::Error::Input`] if the options do not fit it.
    pub fn new(model: &Model, options: TaggerOptions) -> Result<Tagger> {
        model.token_head()?;
        let labels = model.labels().unwrap_or_default().to_vec();
        let room = template_room(model, options.long.max_length, false)?;
        Ok(Tagger {
            model: model.clone(),
            scheme: LabelScheme::new(&labels),
            labels,
            window: room.tokens,
            overlap: options.long.overlap(room.tokens)?,
            leading: room.leading,
            options,
        })
    }

    /// Names of the labels by index.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

impl Task for Tagger {
    type Input<'a> = &'a str;
    type Room = SpanTokens;
    type Pending = TaggedText;
    type Answer = Vec<Entity>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> SpanTokens {
        SpanTokens::default()
    }

    fn encode(
        &self,
        input: &&str,
        room: &mut SpanTokens,
        batch: &mut Batch,
    ) -> Result<(TaggedText, EncodedText)> {
        let tokenizer = self.model.tokenizer();
        room.tokenize(tokenizer, input);
        let ids = &room.tokens.ids;
        let (labels, mut scores) = (self.labels.len(), Vec::new());
        let count = ids.len().saturating_mul(labels);
        // A model may have as many labels as its file has room for, and a text many tokens.
        if scores.try_reserve_exact(count).is_err() {
            return Err(Error::Input(format!(
                "the scores of {labels} labels for each of {} tokens take more memory than there is; cut the text into several, or raise the limit (ulimit -v)",
                ids.len()
            )));
        }
        scores.resize(count, 0.0);
        let windows: Vec<_> = windows(ids.len(), self.window, self.overlap).collect();
        let before = batch.tokens();
        for window in &windows {
            batch.push_window(0, window.len(), |all, type_ids| {
                let template = tokenizer.rules().template();
                template.assemble(&ids[window.clone()], None, all, type_ids);
            });
        }
        let encoded = EncodedText {
            tokens: batch.tokens() - before,
            truncated: false,
            windows: windows.len(),
        };
        let text = TaggedText {
            text: (*input).to_owned(),
            scores,
            ids: std::mem::take(&mut room.tokens.ids),
            offsets: std::mem::take(&mut room.tokens.offsets),
            windows,
        };
        Ok((text, encoded))
    }

    fn read(&self, text: &mut TaggedText, room: &mut SpanTokens, index: usize, states: &[f32]) {
        let Ok(head) = self.model.token_head() else {
            return;
        };
        let hidden_size = self.model.header().config.hidden_size;
        let labels = self.labels.len();
        let (file, kernel) = (self.model.file(), self.model.kernel());
        for token in owned(&text.windows, index) {
            let row = self.leading + token - text.windows[index].start;
            let state = &states[row * hidden_size..][..hidden_size];
            room.values.clear();
            head.forward(file, kernel, state, &mut room.values);
            kernel.softmax_rows(MatrixMut::new(&mut room.values, 1, labels, labels), 1.0);
            text.scores[token * labels..][..labels].copy_from_slice(&room.values);
        }
    }

    fn finish(&self, text: TaggedText, room: &mut SpanTokens) -> Vec<Entity> {
        let tokenizer = self.model.tokenizer();
        let tokens: Vec<LabelledToken<'_>> = text
            .ids
            .iter()
            .zip(&text.offsets)
            .map(
                |(id, offsets)| match Some(*id) == tokenizer.rules().unk_id() {
                    true => LabelledToken {
                        word: &text.text[offsets.0..offsets.1],
                        continues: false,
                    },
                    false => LabelledToken {
                        word: tokenizer.token(*id).unwrap_or_default(),
                        continues: tokenizer.continues_word(&text.text, *id, *offsets),
                    },
                },
            )
            .collect();
        let join = |words: &[&str]| tokenizer.join(words.iter().copied());
        let aggregation = self.options.aggregation;
        let groups = heads::group(&self.scheme, &tokens, &text.scores, aggregation, join);
        drop(tokens);
        let [bytes, chars] = room.places(text.offsets, &text.text);
        let entities = groups.into_iter().map(|group| {
            let label = &self.labels[group.label];
            let (first, last) = (group.tokens.start, group.tokens.end - 1);
            Entity {
                label: match aggregation {
                    Aggregation::None => label.clone(),
                    _ => self.scheme.kind(group.label).to_owned(),
                },
                score: group.score,
                word: group.word,
                start: chars[first].0,
                end: chars[last].1,
                bytes: bytes[first].0..bytes[last].1,
                index: (aggregation == Aggregation::None).then_some(self.leading + first),
            }
        });
        entities
            .filter(|entity| !self.options.ignore.contains(&entity.label))
            .collect()
    }
}

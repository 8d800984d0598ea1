//! A batch through encoder and head: what one thread owns.

use super::batch::Batch;
use super::model::Model;
use crate::encoder::{Forward, Scratch, Sequences};
use crate::error::{Error, Result};
use crate::format::header::Pooling;
use crate::heads;

/// How a sentence vector departs from what the model file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmbeddingOptions {
    /// Pooling modes instead of the model's.
    pub pooling: Option<Vec<Pooling>>,
    /// Whether to divide by the Euclidean norm, instead of what the model does.
    pub normalize: Option<bool>,
    /// Keeps the first so many values (of a Matryoshka model), before the normalization.
    pub dimensions: Option<usize>,
}

impl EmbeddingOptions {
    fn modes<'a>(&'a self, model: &'a Model) -> &'a [Pooling] {
        let modes = self.pooling.as_ref();
        modes.unwrap_or(&model.header().embedding.pooling)
    }

    /// Width of the vectors that these options give with `model`.
    ///
    /// # Errors
    /// [`Error::Input`] if they do not fit the model.
    pub fn width(&self, model: &Model) -> Result<usize> {
        let embedding = &model.header().embedding;
        let modes = self.modes(model).len();
        if modes == 0 || modes != embedding.pooling.len() && !embedding.dense.is_empty() {
            return Err(Error::Input(format!(
                "{modes} pooling modes, but the model takes {}",
                embedding.pooling.len()
            )));
        }
        let width = match embedding.dense.last() {
            Some(dense) => dense.out_features,
            None => modes * model.header().config.hidden_size,
        };
        match self.dimensions {
            None => Ok(width),
            Some(dimensions) if (1..=width).contains(&dimensions) => Ok(dimensions),
            Some(dimensions) => Err(Error::Input(format!(
                "{dimensions} dimensions asked for, but the model's vectors have {width}"
            ))),
        }
    }
}

/// Runs batches on one thread. Owns the working memory, which grows to the largest batch and is then reused.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    scratch: Scratch,
    /// The vector of one window, and of one record, on their way through pooling and dense layers.
    window: Vec<f32>,
    record: Vec<f32>,
}

impl Encoder {
    /// An encoder without working memory yet.
    pub fn new(model: &Model) -> Encoder {
        Encoder {
            model: model.clone(),
            scratch: Scratch::default(),
            window: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Appends one sentence vector for each record to `out`.
    ///
    /// A record of several windows is the mean of its windows' pooled vectors, weighted by their tokens; dense layers
    /// and normalization follow.
    ///
    /// # Errors
    /// [`Error::Input`] if an id, a segment or a length is out of the model's range, or the options do not fit it.
    pub fn embed(
        &mut self,
        batch: &Batch,
        options: &EmbeddingOptions,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let Encoder {
            model,
            scratch,
            window,
            record,
        } = self;
        let header = model.header();
        let modes = options.modes(model);
        let dimensions = options.width(model)?;
        check(model, batch.sequences())?;
        let parts = model.parts();
        let hidden_size = header.config.hidden_size;
        let hidden = forward(model).run(batch.sequences(), scratch, |_, _| {});
        for sequences in batch.records() {
            record.clear();
            record.resize(modes.len() * hidden_size, 0.0);
            mean_over_windows(batch, sequences, window, record, |sequence, out| {
                let range = batch.sequences().range(sequence);
                let rows = &hidden[range.start * hidden_size..range.end * hidden_size];
                heads::pool(modes, rows, hidden_size, batch.skip(sequence), out);
            });
            for dense in &parts.dense {
                window.clear();
                dense.forward(&parts.file, model.kernel(), record, window);
                std::mem::swap(record, window);
            }
            record.truncate(dimensions);
            if options.normalize.unwrap_or(header.embedding.normalize) {
                heads::normalize(record);
            }
            out.extend_from_slice(record);
        }
        Ok(())
    }

    /// Appends the logits of each record to `out`, one for each label.
    ///
    /// A record of several windows is the mean of its windows' logits, weighted by their tokens.
    ///
    /// # Errors
    /// [`Error::Model`] if the model has no classification head; [`Error::Input`] as [`Encoder::embed`].
    pub fn classify(&mut self, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        let Encoder {
            model,
            scratch,
            window,
            record,
        } = self;
        let parts = model.parts();
        let Some(head) = &parts.classification else {
            return Err(no_classification_head(model));
        };
        check(model, batch.sequences())?;
        let hidden_size = model.header().config.hidden_size;
        let hidden = forward(model).run(batch.sequences(), scratch, |_, _| {});
        for sequences in batch.records() {
            let start = out.len();
            out.resize(start + head.labels(), 0.0);
            mean_over_windows(
                batch,
                sequences,
                window,
                &mut out[start..],
                |sequence, out| {
                    let first = batch.sequences().range(sequence).start;
                    let row = &hidden[first * hidden_size..][..hidden_size];
                    head.forward(&parts.file, model.kernel(), row, record, out);
                },
            );
        }
        Ok(())
    }

    /// Shows the hidden states, `[tokens, hidden_size]`, behind the embeddings (index 0) and behind each layer (from
    /// 1) to `observe`.
    ///
    /// # Errors
    /// [`Error::Input`] as [`Encoder::embed`].
    pub fn hidden_states(
        &mut self,
        batch: &Batch,
        observe: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        check(&self.model, batch.sequences())?;
        forward(&self.model).run(batch.sequences(), &mut self.scratch, observe);
        Ok(())
    }
}

/// The error of a model that cannot classify.
pub(super) fn no_classification_head(model: &Model) -> Error {
    Error::Model(format!(
        "{}: the model has no classification head; convert a checkpoint that was trained for sequence classification, or use 'embed'",
        model.file().path().display()
    ))
}

fn forward(model: &Model) -> Forward<'_> {
    let parts = model.parts();
    Forward {
        file: &parts.file,
        tensors: &parts.tensors,
        kernel: model.kernel(),
    }
}

/// Adds the weighted mean of what `pool` appends for each sequence to `mean`.
fn mean_over_windows(
    batch: &Batch,
    sequences: std::ops::Range<usize>,
    window: &mut Vec<f32>,
    mean: &mut [f32],
    mut pool: impl FnMut(usize, &mut Vec<f32>),
) {
    let total: usize = sequences
        .clone()
        .map(|sequence| batch.weight(sequence))
        .sum();
    let alone = sequences.len() == 1;
    for sequence in sequences {
        window.clear();
        pool(sequence, window);
        // A record of one window must be that window to the bit.
        let share = match alone {
            true => 1.0,
            false => batch.weight(sequence) as f32 / total as f32,
        };
        for (mean, value) in mean.iter_mut().zip(&*window) {
            *mean += share * value;
        }
    }
}

/// Refuses what would index outside the model's tables.
fn check(model: &Model, sequences: &Sequences) -> Result<()> {
    let config = &model.header().config;
    if let Some(id) = sequences
        .ids()
        .iter()
        .find(|id| **id as usize >= config.vocab_size)
    {
        return Err(Error::Input(format!(
            "token id {id}, but the model's vocabulary has {} entries",
            config.vocab_size
        )));
    }
    let segments = sequences.type_ids().iter();
    if let Some(segment) = segments
        .max()
        .filter(|id| usize::from(**id) >= config.type_vocab_size)
    {
        return Err(Error::Input(format!(
            "segment id {segment}, but the model has {} segments",
            config.type_vocab_size
        )));
    }
    if sequences.ranges().any(|range| range.is_empty()) {
        return Err(Error::Input(
            "a sequence has no tokens, expected at least one".to_owned(),
        ));
    }
    let longest = sequences.ranges().map(|range| range.len()).max();
    match longest.filter(|length| *length > config.max_position_embeddings) {
        Some(length) => Err(Error::Input(format!(
            "sequence of {length} tokens, but the model has {} positions",
            config.max_position_embeddings
        ))),
        None => Ok(()),
    }
}

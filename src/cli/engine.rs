//! The command line's side of the library: opening models, and batches of records on one thread.

use super::{
    args::{LongChoice, ModelArgs, PoolingChoice, TextArgs, VectorArgs},
    bundle,
    exit::Failure,
    input::{Record, Texts},
    output::{Format, vectors::Note},
    stream::Done,
};
use crate::{
    Batch, EmbeddingOptions, Encoder, LongText, Model, Text, TextEncoder, TextOptions,
    format::header::Pooling,
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Opens the model that the options, the environment or the program itself give.
pub fn open(args: &ModelArgs) -> Result<Model, Failure> {
    let variable = || std::env::var_os("BERTLET_MODEL").filter(|value| !value.is_empty());
    match (&args.model, bundle::own()) {
        (Some(path), _) => open_file(path),
        (None, Some(own)) => Ok(own.clone()),
        (None, None) => match variable() {
            Some(path) => Model::open(PathBuf::from(path))
                .context("the model of $BERTLET_MODEL")
                .map_err(Failure::model),
            None => Model::embedded().map_err(Failure::model),
        },
    }
}

/// Opens a model file.
pub fn open_file(path: &Path) -> Result<Model, Failure> {
    Model::open(path).map_err(Failure::model)
}

/// From text to tokens, as the options say.
pub fn text_options(args: &TextArgs, prompt: Option<String>) -> TextOptions {
    TextOptions {
        long: match args.long {
            LongChoice::Truncate => LongText::Truncate,
            LongChoice::TruncateLeft => LongText::TruncateLeft,
            LongChoice::Window => LongText::Window,
            LongChoice::Error => LongText::Error,
        },
        max_length: args.max_length,
        prompt,
    }
}

/// From hidden states to vectors, as the options say.
pub fn embedding_options(args: &VectorArgs) -> EmbeddingOptions {
    let pooling = |choice: &PoolingChoice| match choice {
        PoolingChoice::Cls => Pooling::Cls,
        PoolingChoice::Max => Pooling::Max,
        PoolingChoice::Mean => Pooling::Mean,
        PoolingChoice::MeanSqrtLen => Pooling::MeanSqrtLen,
        PoolingChoice::WeightedMean => Pooling::WeightedMean,
        PoolingChoice::LastToken => Pooling::LastToken,
    };
    EmbeddingOptions {
        pooling: args
            .pooling
            .as_ref()
            .map(|choices| choices.iter().map(pooling).collect()),
        normalize: args.normalize,
        dimensions: args.dimensions,
    }
}

/// Estimate of a record's tokens: what the queue is balanced by before anything is tokenized.
pub fn weight(record: &Record, max_length: usize, windows: bool) -> usize {
    // English has 4 to 5 bytes a token; other scripts more, so the estimate errs to the safe side.
    let tokens = record.size() / 4 + 2;
    if windows {
        tokens
    } else {
        tokens.min(max_length)
    }
}

/// What one worker needs to take batches through a model.
pub struct Lane {
    encoder: Encoder,
    text_encoder: TextEncoder,
    batch: Batch,
    values: Vec<f32>,
}

/// What a command does with batches.
pub trait Computation {
    /// The output's format.
    type Format: Format;
    /// Values of one batch entry: labels, or a vector's length.
    fn width(&self) -> usize;
    /// Whether the two texts of a pair are entries of their own instead of one sequence.
    fn separate(&self) -> bool;
    /// Appends the values of all entries.
    fn compute(&self, encoder: &mut Encoder, batch: &Batch, out: &mut Vec<f32>) -> Result<()>;
    /// Writes a record's result. `values` are those of its entries.
    fn write(&self, out: &mut Vec<u8>, record: &Record, values: &mut [f32], note: Note);
    /// The format.
    fn format(&self) -> &Self::Format;
}

/// A record that waits for the batch to be computed.
struct Slot<'a> {
    record: &'a Record,
    /// Its first entry in the batch, and what is known of it; or why it is bad.
    outcome: Result<(usize, Note), String>,
}

impl Lane {
    /// A lane of its own for a worker of `team` threads.
    pub fn new(model: &Model, options: &TextOptions, team: usize) -> Result<Self> {
        let mut encoder = Encoder::new(model);
        encoder.set_threads(team);
        Ok(Lane {
            encoder,
            text_encoder: TextEncoder::new(model, options.clone())?,
            batch: Batch::new(),
            values: Vec::new(),
        })
    }

    /// Takes records through the model, in batches of at most about `batch_tokens`, and reports them in order.
    pub fn run(
        &mut self,
        computation: &impl Computation,
        batch_tokens: usize,
        records: &[Record],
        done: &mut Done,
    ) -> Result<()> {
        let mut slots = Vec::new();
        for record in records {
            let entry = self.batch.len();
            let outcome = match &record.texts {
                Err(reason) => Err(reason.clone()),
                Ok(texts) => self
                    .add(texts, computation.separate())
                    .map(|note| (entry, note)),
            };
            slots.push(Slot { record, outcome });
            if self.batch.tokens() >= batch_tokens {
                self.flush(computation, &mut slots, done)?;
            }
            if done.stopped() {
                return Ok(());
            }
        }
        self.flush(computation, &mut slots, done)
    }

    /// Appends a record's texts to the batch. A bad second text leaves the first behind as an entry that nobody reads.
    fn add(&mut self, texts: &Texts, separate: bool) -> Result<Note, String> {
        let mut encode = |first, second| {
            let encoded = self
                .text_encoder
                .encode(&Text { first, second }, &mut self.batch)
                .map_err(|error| error.to_string())?;
            Ok(Note {
                tokens: encoded.tokens as u64,
                truncated: encoded.truncated,
            })
        };
        match (&texts.second, separate) {
            (Some(second), true) => {
                let (a, b): (Note, Note) = (encode(&texts.first, None)?, encode(second, None)?);
                Ok(Note {
                    tokens: a.tokens + b.tokens,
                    truncated: a.truncated | b.truncated,
                })
            }
            (second, _) => encode(&texts.first, second.as_deref()),
        }
    }

    fn flush(
        &mut self,
        computation: &impl Computation,
        slots: &mut Vec<Slot>,
        done: &mut Done,
    ) -> Result<()> {
        self.values.clear();
        if !self.batch.is_empty() {
            computation.compute(&mut self.encoder, &self.batch, &mut self.values)?;
        }
        self.batch.clear();
        let width = computation.width();
        for Slot { record, outcome } in slots.drain(..) {
            match outcome {
                Err(reason) => done.bad(record, &reason, computation.format()),
                Ok((entry, note)) => {
                    let entries = if computation.separate() { 2 } else { 1 };
                    let values = &mut self.values[entry * width..(entry + entries) * width];
                    done.good(record, note.tokens, note.truncated, |out| {
                        computation.write(out, record, values, note);
                    });
                }
            }
        }
        Ok(())
    }
}

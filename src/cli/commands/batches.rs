//! What `classify` (also with labels of one's own, by vectors), `embed` and `similarity` share: records through the encoder
//! in batches, some values for each.

use super::{Input, Limit, run};
use crate::{
    Batch, Encoder, LongText, Model, Text, TextEncoder, TextOptions,
    cli::{
        args::{InputArgs, OutputArgs, RunArgs},
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{Format, sink::Array, vectors::Note},
        stream::{Done, Task},
    },
    kernels::Team,
};
use anyhow::Result;

/// What a command does with batches.
pub trait Computation: Send + Sync + 'static {
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

/// A computation as a command runs it.
pub struct Batches<C> {
    model: Model,
    options: TextOptions,
    batch_tokens: usize,
    computation: C,
}

/// Refuses options that do not fit the model; to be asked before the input is touched.
pub fn check_options(model: &Model, options: &TextOptions) -> Result<(), Failure> {
    TextEncoder::new(model, options.clone()).map_err(Failure::usage)?;
    Ok(())
}

/// Runs a command; returns the exit code.
pub fn run_batches<C: Computation>(
    (model, options): (Model, TextOptions),
    computation: C,
    input: Input,
    args: (&InputArgs, &OutputArgs, &RunArgs),
    array: Option<Array>,
) -> Result<u8, Failure> {
    if input.pairs && !computation.separate() {
        TextEncoder::new(&model, options.clone())
            .and_then(|encoder| encoder.check_pairs())
            .map_err(Failure::usage)?;
    }
    let batches = Batches {
        model,
        options,
        batch_tokens: args.2.batch_tokens,
        computation,
    };
    let limit = Limit {
        max_length: batches.max_length(),
        windows: true,
    };
    run(batches, input, args, array, limit)
}

impl<C> Batches<C> {
    /// Longest sequence in tokens.
    fn max_length(&self) -> usize {
        let asked = self.options.max_length;
        asked.unwrap_or(self.model.header().max_length)
    }
}

impl<C: Computation> Task for Batches<C> {
    type Format = C::Format;
    type Worker = Lane;
    const TEAM: Option<fn(&mut Lane) -> &mut Team> = Some(|lane| lane.encoder.team());

    fn format(&self) -> &C::Format {
        self.computation.format()
    }

    fn worker(&self, team: usize) -> Result<Lane> {
        Lane::new(&self.model, &self.options, team)
    }

    fn weight(&self, record: &Record) -> usize {
        let texts = if self.computation.separate() { 2 } else { 1 };
        let windows = self.options.long == LongText::Window;
        engine::weight(record, texts * self.max_length(), windows)
    }

    fn run(&self, lane: &mut Lane, records: &[Record], done: &mut Done) -> Result<()> {
        lane.run(&self.computation, self.batch_tokens, records, done)
    }
}

/// What one worker needs to take batches through a model.
pub struct Lane {
    encoder: Encoder,
    text_encoder: TextEncoder,
    batch: Batch,
    values: Vec<f32>,
}

/// A record that waits for the batch to be computed.
struct Slot<'a> {
    record: &'a Record,
    /// Its first entry in the batch, and what is known of it; or why it is bad.
    outcome: Result<(usize, Note), String>,
}

impl Lane {
    /// A lane of its own for a worker of `team` threads.
    fn new(model: &Model, options: &TextOptions, team: usize) -> Result<Self> {
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
    fn run(
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

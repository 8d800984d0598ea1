//! A batch through encoder and head: what one thread owns.

use super::batch::Batch;
use super::layers::Layers;
use super::model::Model;
use crate::encoder::{Forward, Profile, Scratch, Sequences, Stage, Wanted};
use crate::error::{Error, Result};
use crate::format::header::Pooling;
use crate::heads;
use crate::kernels::Team;

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

/// The states that a [`Task`](crate::Task) reads.
#[derive(Debug, Clone, Copy)]
pub enum States<'a> {
    /// Those behind the last layer, `[tokens, hidden_size]`.
    Last,
    /// That of the first token behind the last layer, `[1, hidden_size]`. The others are not computed.
    LastOfFirst,
    /// Those of some layers, `[tokens, width]`.
    Of(&'a Layers),
}

/// Tokens that pass through the encoder together, whatever the size of a batch: bounds the working memory (8 KB a
/// token for 384 channels), also for a text of thousands of windows.
const CHUNK_TOKENS: usize = 512;

/// Runs batches. Owns the working memory, which grows to the largest batch and is then reused, and the threads that
/// share each pass, if there are any.
#[derive(Debug)]
pub struct Encoder {
    model: Model,
    scratch: Scratch,
    /// The vector of one window, and of one record, on their way through pooling and dense layers; and a spare.
    window: Vec<f32>,
    record: Vec<f32>,
    spare: Vec<f32>,
}

impl Encoder {
    /// An encoder without working memory yet, that computes on the calling thread.
    pub fn new(model: &Model) -> Encoder {
        Encoder {
            model: model.clone(),
            scratch: Scratch::default(),
            window: Vec::new(),
            record: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Sets how many threads compute each batch together, the calling one included; more than sixteen are not used. They
    /// sleep between batches, and end with the encoder. An int8 model's results do not depend on them.
    ///
    /// A thread that waits for the processor of another is moved off it (`sched_setaffinity`, on Linux); it may fail.
    ///
    /// This makes one text faster. For many texts, one encoder for each thread has more throughput.
    pub fn set_threads(&mut self, threads: usize) {
        self.scratch.set_threads(threads);
    }

    /// The threads that share each pass, for what follows it, and to be lent to another encoder.
    pub(crate) fn team(&mut self) -> &mut Team {
        self.scratch.team()
    }

    /// Measures from now on how long each stage of [`Encoder::embed`] and [`Encoder::classify`] takes, until
    /// [`Encoder::stop_profile`]. A look at the clock for each stage of each block is all that it costs.
    pub fn start_profile(&mut self) {
        self.scratch.clock().run();
    }

    /// What the stages took since [`Encoder::start_profile`]; zeros without it.
    pub fn stop_profile(&mut self) -> Profile {
        self.scratch.clock().stop()
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
        let model = self.model.clone();
        let (header, parts) = (model.header(), model.parts());
        let modes = options.modes(&model);
        let dimensions = options.width(&model)?;
        let hidden_size = header.config.hidden_size;
        let normalize = options.normalize.unwrap_or(header.embedding.normalize);
        let mut spare = std::mem::take(&mut self.spare);
        let prompts = (0..batch.sequences().len()).any(|sequence| batch.skip(sequence) > 0);
        let wanted = match modes {
            [Pooling::Cls] if !prompts => Wanted::First,
            _ => Wanted::All,
        };
        let result = self.mean_over_windows(
            batch,
            wanted,
            |sequence, rows, window| {
                heads::pool(modes, rows, hidden_size, batch.skip(sequence), window);
            },
            |record| {
                for dense in &parts.dense {
                    spare.clear();
                    dense.forward(&parts.file, model.kernel(), record, &mut spare);
                    std::mem::swap(record, &mut spare);
                }
                record.truncate(dimensions);
                if normalize {
                    heads::normalize(record);
                }
                out.extend_from_slice(record);
            },
        );
        self.spare = spare;
        result
    }

    /// Appends the logits of each record to `out`, one for each label.
    ///
    /// A record of several windows is the mean of its windows' logits, weighted by their tokens.
    ///
    /// # Errors
    /// [`Error::Model`] if the model has no sequence classification head; [`Error::Input`] as [`Encoder::embed`].
    pub fn classify(&mut self, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        let model = self.model.clone();
        let parts = model.parts();
        let head = model.sequence_head()?;
        let mut pooled = std::mem::take(&mut self.spare);
        let result = self.mean_over_windows(
            batch,
            Wanted::First,
            |_, first, window| {
                head.forward(&parts.file, model.kernel(), first, &mut pooled, window);
            },
            |record| out.extend_from_slice(record),
        );
        self.spare = pooled;
        result
    }

    /// Runs the encoder over the batch, lets `pool` append a vector for each sequence (its index, its hidden states that are
    /// wanted, `[tokens or 1, hidden_size]`), and gives `finish` the mean of each record's vectors, weighted by their windows.
    fn mean_over_windows(
        &mut self,
        batch: &Batch,
        wanted: Wanted,
        mut pool: impl FnMut(usize, &[f32], &mut Vec<f32>),
        mut finish: impl FnMut(&mut Vec<f32>),
    ) -> Result<()> {
        let Encoder {
            model,
            scratch,
            window,
            record,
            ..
        } = self;
        let sequences = batch.sequences();
        check(model, sequences)?;
        let hidden_size = model.header().config.hidden_size;
        let mut records = batch.records();
        let mut current = 0..0;
        for chunk in sequences.chunks(CHUNK_TOKENS) {
            let view = sequences.view(chunk.clone());
            let hidden = forward(model).run(view, wanted, scratch, |_, _| {});
            for (index, (sequence, tokens)) in chunk.zip(view.ranges()).enumerate() {
                if sequence == current.end {
                    current = records.next().expect("every sequence belongs to a record");
                    record.clear();
                }
                window.clear();
                let rows = wanted.rows(index, tokens);
                let rows = &hidden[rows.start * hidden_size..rows.end * hidden_size];
                pool(sequence, rows, window);
                if current.len() == 1 {
                    std::mem::swap(record, window);
                } else {
                    let total: usize = current.clone().map(|window| batch.weight(window)).sum();
                    add_share(record, window, batch.weight(sequence) as f32 / total as f32);
                }
                if sequence + 1 == current.end {
                    finish(record);
                }
            }
            scratch.clock().lap(Stage::Pooling);
        }
        Ok(())
    }

    /// Shows the `states` of each sequence to `visit`, with the indices of its record and of itself.
    ///
    /// # Errors
    /// [`Error::Input`] as [`Encoder::embed`].
    pub(super) fn visit(
        &mut self,
        batch: &Batch,
        states: States<'_>,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let Encoder {
            model,
            scratch,
            record: combined,
            ..
        } = self;
        let sequences = batch.sequences();
        check(model, sequences)?;
        let hidden_size = model.header().config.hidden_size;
        let (wanted, width) = match states {
            States::Last => (Wanted::All, hidden_size),
            States::LastOfFirst => (Wanted::First, hidden_size),
            States::Of(layers) => (Wanted::All, layers.width(hidden_size)),
        };
        let mut owners = batch
            .records()
            .enumerate()
            .flat_map(|(record, range)| range.map(move |_| record));
        for chunk in sequences.chunks(CHUNK_TOKENS) {
            let view = sequences.view(chunk.clone());
            combined.clear();
            let last = forward(model).run(view, wanted, scratch, |stage, hidden| {
                if let States::Of(layers) = states {
                    layers.take(stage, hidden, hidden_size, combined);
                }
            });
            let states = match states {
                States::Of(_) => &combined[..],
                _ => last,
            };
            for (index, (sequence, tokens)) in chunk.zip(view.ranges()).enumerate() {
                let record = owners.next().expect("every sequence belongs to a record");
                let rows = wanted.rows(index, tokens);
                visit(
                    record,
                    sequence,
                    &states[rows.start * width..rows.end * width],
                );
            }
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
        let sequences = batch.sequences();
        check(&self.model, sequences)?;
        let all = sequences.view(0..sequences.len());
        forward(&self.model).run(all, Wanted::All, &mut self.scratch, observe);
        Ok(())
    }
}

pub(super) fn forward(model: &Model) -> Forward<'_> {
    let parts = model.parts();
    Forward {
        file: &parts.file,
        tensors: &parts.tensors,
        kernel: model.kernel(),
    }
}

/// mean = mean + share·window; an empty `mean` stands for zeros.
fn add_share(mean: &mut Vec<f32>, window: &[f32], share: f32) {
    mean.resize(window.len(), 0.0);
    for (mean, value) in mean.iter_mut().zip(window) {
        *mean += share * value;
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

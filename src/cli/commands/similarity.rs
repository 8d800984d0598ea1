//! `bertlet similarity`.

use super::{Input, record_format, record_shape, run};
use crate::{
    Batch, EmbeddingOptions, Encoder, Model, TextOptions,
    cli::{
        args::{LongChoice, SimilarityArgs},
        engine::{self, Computation, Lane},
        exit::Failure,
        input::{InputFormat, Record},
        output::{
            json,
            record::{RecordFormat, Row, Value},
            vectors::Note,
        },
        stream::{Done, Task},
    },
};
use anyhow::Result;

/// Runs the command.
pub fn similarity(args: &SimilarityArgs) -> Result<u8, Failure> {
    if args.input.arguments().is_none()
        && args.input.format() != InputFormat::Lines
        && args.input.pair_field.is_none()
    {
        return Err(Failure::usage(
            "records with fields need --pair-field NAME for the second text",
        ));
    }
    let model = engine::open(&args.model)?;
    let prompt = model.prompt(args.vector.prompt.as_deref());
    let options = engine::text_options(&args.text, prompt);
    let embedding = engine::embedding_options(&args.vector);
    let dimensions = embedding.width(&model).map_err(Failure::usage)?;
    Lane::new(&model, &options, 1).map_err(Failure::usage)?;
    let input = Input::open(&args.input, &args.run, true)?;
    let mut format = record_format(
        record_shape(args.format, &args.input),
        "similarity",
        &args.input,
        &input,
        &args.output,
        args.with_text,
    );
    format.columns = vec!["similarity".to_owned()];
    let max_length = options.max_length.unwrap_or(model.header().max_length);
    let task = Similarity {
        model,
        options,
        embedding,
        dimensions,
        format,
        max_length,
        windows: args.text.long == LongChoice::Window,
        batch_tokens: args.run.batch_tokens,
    };
    let args = (&args.input, &args.output, &args.run);
    run(task, input, args, None, max_length)
}

struct Similarity {
    model: Model,
    options: TextOptions,
    embedding: EmbeddingOptions,
    dimensions: usize,
    format: RecordFormat,
    max_length: usize,
    windows: bool,
    batch_tokens: usize,
}

impl Task for Similarity {
    type Format = RecordFormat;
    type Worker = Lane;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn worker(&self, team: usize) -> Result<Lane> {
        Lane::new(&self.model, &self.options, team)
    }

    fn weight(&self, record: &Record) -> usize {
        engine::weight(record, 2 * self.max_length, self.windows)
    }

    fn run(&self, lane: &mut Lane, records: &[Record], done: &mut Done) -> Result<()> {
        lane.run(self, self.batch_tokens, records, done)
    }
}

impl Computation for Similarity {
    type Format = RecordFormat;

    fn width(&self) -> usize {
        self.dimensions
    }

    fn separate(&self) -> bool {
        true
    }

    fn compute(&self, encoder: &mut Encoder, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        Ok(encoder.embed(batch, &self.embedding, out)?)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, vectors: &mut [f32], note: Note) {
        let (first, second) = vectors.split_at(self.dimensions);
        let score = Score(crate::cosine(first, second));
        self.format.write(out, record, &score, note.truncated);
    }

    fn format(&self) -> &RecordFormat {
        &self.format
    }
}

struct Score(f32);

impl Value for Score {
    fn json(&self, out: &mut Vec<u8>) {
        json::number(out, self.0);
    }

    fn cells(&self, row: &mut Row) {
        row.number(self.0);
    }
}

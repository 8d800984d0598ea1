//! `bertlet similarity`.

use super::{
    Input,
    batches::{Computation, check_options, run_batches},
    record_format, record_shape,
};
use crate::{
    Batch, EmbeddingOptions, Encoder,
    cli::{
        args::SimilarityArgs,
        engine,
        exit::Failure,
        input::{InputFormat, Record},
        output::{
            json,
            record::{RecordFormat, Row, Value},
            vectors::Note,
        },
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
    let shape = record_shape(args.format, &args.input, &args.output)?;
    let model = engine::open(&args.model)?;
    let prompt = engine::prompt(&model, &args.vector);
    let options = engine::text_options(&args.text, prompt);
    let embedding = engine::embedding_options(&args.vector);
    let dimensions = embedding.width(&model).map_err(Failure::usage)?;
    check_options(&model, &options)?;
    let input = Input::open(&args.input, &args.run, true)?;
    let mut format = record_format(
        shape,
        "similarity",
        &args.input,
        &input,
        &args.output,
        args.with_text,
    );
    format.columns = vec!["similarity".to_owned()];
    let similarity = Similarity {
        embedding,
        dimensions,
        format,
    };
    let args = (&args.input, &args.output, &args.run);
    run_batches((model, options), similarity, input, args, None)
}

struct Similarity {
    embedding: EmbeddingOptions,
    dimensions: usize,
    format: RecordFormat,
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

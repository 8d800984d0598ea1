//! `bertlet embed`.

use super::{
    Input,
    batches::{Computation, check_options, run_batches},
    features::features,
    record_format,
};
use crate::{
    Batch, EmbeddingOptions, Encoder, Model,
    cli::{
        args::EmbedArgs,
        engine,
        exit::Failure,
        input::Record,
        output::{
            sink::Array,
            vectors::{Note, VectorFormat, VectorShape},
        },
    },
    vector::{Element, Encoded},
};
use anyhow::Result;

/// Runs the command.
pub fn embed(args: &EmbedArgs) -> Result<u8, Failure> {
    let element = args.encoding.element();
    let shape = args.output.format(args.format)?;
    let shape = shape.unwrap_or(VectorShape::Jsonl);
    if shape == VectorShape::F32 && element != Element::Float32 {
        return Err(Failure::usage(
            "--format f32 is for --encoding float32; the other encodings' bytes are --format raw",
        ));
    }
    let model = engine::open(&args.model)?;
    if args.features.layer.is_some() || args.features.per_token {
        return features(args, &model, shape);
    }
    let prompt = engine::prompt(&model, &args.vector);
    let options = engine::text_options(&args.text, prompt);
    let embedding = engine::embedding_options(&args.vector);
    let dimensions = embedding.width(&model).map_err(Failure::usage)?;
    check_options(&model, &options)?;
    let input = Input::open(&args.input, &args.run, false)?;
    let columns = element.columns(dimensions);
    let format = vector_format(shape, args, &model, &input, dimensions);
    let array = (shape == VectorShape::Npy).then_some(Array {
        descr: element.numpy(),
        columns,
    });
    let embed = Embed { embedding, format };
    let args = (&args.input, &args.output, &args.run);
    run_batches((model, options), embed, input, args, array)
}

/// How vectors of this length are written.
pub(super) fn vector_format(
    shape: VectorShape,
    args: &EmbedArgs,
    model: &Model,
    input: &Input,
    dimensions: usize,
) -> VectorFormat {
    let element = args.encoding.element();
    let mut records = record_format(
        VectorFormat::record_shape(shape),
        "embedding",
        &args.input,
        input,
        &args.output,
        args.with_text,
    );
    let columns = element.columns(dimensions);
    records.columns = (0..columns).map(|column| column.to_string()).collect();
    VectorFormat {
        shape,
        element,
        dimensions,
        model: model.header().source.name.clone(),
        records,
    }
}

struct Embed {
    embedding: EmbeddingOptions,
    format: VectorFormat,
}

impl Computation for Embed {
    type Format = VectorFormat;

    fn width(&self) -> usize {
        self.format.dimensions
    }

    fn separate(&self) -> bool {
        false
    }

    fn compute(&self, encoder: &mut Encoder, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        Ok(encoder.embed(batch, &self.embedding, out)?)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, vector: &mut [f32], note: Note) {
        let vector = Encoded::new(vector, self.format.element);
        self.format.write(out, record, &vector, note);
    }

    fn format(&self) -> &VectorFormat {
        &self.format
    }
}

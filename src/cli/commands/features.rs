//! `bertlet embed --layer`, `--per-token`.

use super::{
    Input, record_format,
    task::{Show, TaskCommand},
};
use crate::{
    FeatureExtractor, Layers, Model, Text, TokenFeature,
    cli::{
        args::EmbedArgs,
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{
            json,
            record::{RecordFormat, RecordShape, Row, Value},
            sink::Array,
            vectors::{Note, VectorFormat, VectorShape},
        },
    },
    format::header::Pooling,
    heads,
    vector::{Element, Encoded},
};

/// Runs the command on hidden states.
pub fn features(args: &EmbedArgs, model: &Model, shape: VectorShape) -> Result<u8, Failure> {
    let layers = args.features.layer.as_deref().unwrap_or(&[-1]);
    let combine = args.features.combine.combine();
    let layers = Layers::new(model, layers, combine).map_err(Failure::task)?;
    let prompt = engine::prompt(model, &args.vector);
    let options = engine::text_options(&args.text, prompt);
    let task = FeatureExtractor::new(model, layers, options).map_err(Failure::task)?;
    let io = (&args.input, &args.output, &args.run);
    let element = args.encoding.element();
    if args.features.per_token {
        if args.vector.pooling.is_some() {
            return Err(Failure::usage("--per-token does without --pooling"));
        }
        let shape = match shape {
            VectorShape::Jsonl => RecordShape::Jsonl,
            VectorShape::Json => RecordShape::Json,
            _ => {
                return Err(Failure::usage(
                    "--per-token gives each record as many vectors as it has tokens; --format jsonl and json have room for them",
                ));
            }
        };
        let input = open(args, &task)?;
        let format = record_format(
            shape,
            "tokens",
            &args.input,
            &input,
            &args.output,
            args.with_text,
        );
        let show = ShowTokens {
            finish: Finish::new(args, task.width())?,
            element,
            format,
        };
        return TaskCommand { task, show }.run(input, io, None, args.text.max_length);
    }
    let modes = engine::embedding_options(&args.vector).pooling;
    let modes = modes.unwrap_or_else(|| model.header().embedding.pooling.clone());
    let finish = Finish::new(args, modes.len() * task.width())?;
    let dimensions = finish.dimensions;
    let input = open(args, &task)?;
    let columns = element.columns(dimensions);
    let format = super::embed::vector_format(shape, args, model, &input, dimensions);
    let array = (shape == VectorShape::Npy).then_some(Array {
        descr: element.numpy(),
        columns,
    });
    let show = ShowPooled {
        modes,
        finish,
        element,
        format,
    };
    TaskCommand { task, show }.run(input, io, array, args.text.max_length)
}

fn open(args: &EmbedArgs, task: &FeatureExtractor) -> Result<Input, Failure> {
    let input = Input::open(&args.input, &args.run, false)?;
    if input.pairs {
        task.check_pairs().map_err(Failure::task)?;
    }
    Ok(input)
}

/// What is done to a vector in the end.
struct Finish {
    dimensions: usize,
    normalize: bool,
}

impl Finish {
    fn new(args: &EmbedArgs, width: usize) -> Result<Finish, Failure> {
        let dimensions = args.vector.dimensions.unwrap_or(width);
        if dimensions > width {
            return Err(Failure::usage(format!(
                "{dimensions} dimensions asked for, but the vectors have {width}"
            )));
        }
        Ok(Finish {
            dimensions,
            normalize: args.vector.normalize.unwrap_or(false),
        })
    }

    fn apply(&self, vector: &mut Vec<f32>) {
        vector.truncate(self.dimensions);
        if self.normalize {
            heads::normalize(vector);
        }
    }
}

fn text(texts: &Texts) -> Text<'_> {
    Text {
        first: &texts.first,
        second: texts.second.as_deref(),
    }
}

struct ShowPooled {
    modes: Vec<Pooling>,
    finish: Finish,
    element: Element,
    format: VectorFormat,
}

impl Show<FeatureExtractor> for ShowPooled {
    type Format = VectorFormat;

    fn format(&self) -> &VectorFormat {
        &self.format
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<Text<'a>, String> {
        Ok(text(texts))
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        record: &Record,
        tokens: Vec<TokenFeature>,
        truncated: bool,
    ) {
        let mut vector = Vec::new();
        FeatureExtractor::pool(&tokens, &self.modes, &mut vector);
        self.finish.apply(&mut vector);
        let note = Note {
            tokens: tokens.len() as u64,
            truncated,
        };
        let vector = Encoded::new(&vector, self.element);
        self.format.write(out, record, &vector, note);
    }
}

struct ShowTokens {
    finish: Finish,
    element: Element,
    format: RecordFormat,
}

impl Show<FeatureExtractor> for ShowTokens {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<Text<'a>, String> {
        Ok(text(texts))
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        record: &Record,
        mut tokens: Vec<TokenFeature>,
        truncated: bool,
    ) {
        for token in &mut tokens {
            self.finish.apply(&mut token.values);
        }
        let value = TokenVectors {
            tokens,
            element: self.element,
        };
        self.format.write(out, record, &value, truncated);
    }
}

struct TokenVectors {
    tokens: Vec<TokenFeature>,
    element: Element,
}

impl Value for TokenVectors {
    fn json(&self, out: &mut Vec<u8>) {
        json::list(out, &self.tokens, |out, token| {
            json::fields(
                out,
                &[
                    ("token", &token.token),
                    ("text", &token.text),
                    ("start", &token.offsets.0),
                    ("end", &token.offsets.1),
                ],
            );
            out.pop();
            out.extend_from_slice(br#","embedding":"#);
            Encoded::new(&token.values, self.element).json(out);
            out.push(b'}');
        });
    }

    fn cells(&self, _: &mut Row) {
        // Only JSON is offered.
    }
}

//! `bertlet next`.

use super::{
    Input, record_shape,
    task::{Show, TaskCommand},
    task_format,
};
use crate::{
    Candidates, PairScorer,
    cli::{
        args::NextArgs,
        engine,
        exit::Failure,
        input::{InputFormat, Record, Texts},
        output::{
            json,
            record::{RecordFormat, Row, Value},
        },
    },
};

/// Runs the command.
pub fn next(args: &NextArgs) -> Result<u8, Failure> {
    if args.input.arguments().is_none()
        && args.input.format() != InputFormat::Lines
        && args.input.pair_field.is_none()
    {
        return Err(Failure::usage(
            "records with fields need --pair-field NAME for the second text",
        ));
    }
    let shape = record_shape(args.record.format, &args.input, &args.record.output)?;
    let model = engine::open(&args.model)?;
    let options = engine::text_options(&args.text, None);
    let task = PairScorer::next_sentence(&model, options).map_err(Failure::task)?;
    let input = Input::open(&args.input, &args.record.run, true)?;
    let mut format = task_format(shape, &args.input, &args.record, &input, "is_next");
    format.columns = vec!["is_next".to_owned()];
    // A number alone says nothing.
    format.bare = false;
    let show = ShowNext(format);
    let io = (&args.input, &args.record.output, &args.record.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

struct ShowNext(RecordFormat);

impl Show<PairScorer> for ShowNext {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.0
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<Candidates<'a>, String> {
        match &texts.second {
            Some(second) => Ok((texts.first.as_str(), second.as_str()).into()),
            None => Err("has no second text".to_owned()),
        }
    }

    fn windows(&self) -> bool {
        true
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, scores: Vec<f32>, truncated: bool) {
        // BERT's first class: the second text follows.
        self.0
            .write(out, record, &Probability(scores[0]), truncated);
    }
}

struct Probability(f32);

impl Value for Probability {
    fn json(&self, out: &mut Vec<u8>) {
        json::number(out, self.0);
    }

    fn cells(&self, row: &mut Row) {
        row.number(self.0);
    }
}

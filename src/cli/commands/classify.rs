//! `bertlet classify`.

use super::{Input, ranked::Ranked, record_format, record_shape, run, zero_shot::zero_shot};
use crate::{
    Batch, Encoder, Model, TextOptions,
    cli::{
        args::{ClassifyArgs, LongChoice},
        engine::{self, Computation, Lane},
        exit::Failure,
        input::Record,
        output::{record::RecordFormat, vectors::Note},
        stream::{Done, Task},
    },
    format::header::{HeadConfig, ProblemType},
    heads::Function,
};
use anyhow::Result;

/// Runs the command.
pub fn classify(args: &ClassifyArgs) -> Result<u8, Failure> {
    let model = engine::open(&args.model)?;
    if let Some(code) = zero_shot(args, &model)? {
        return Ok(code);
    }
    model.sequence_head().map_err(Failure::model)?;
    let Some(
        head @ HeadConfig::SequenceClassification {
            labels,
            problem_type,
            ..
        },
    ) = &model.header().head
    else {
        unreachable!("the head was asked for");
    };
    let regression = *problem_type == Some(ProblemType::Regression);
    let options = engine::text_options(&args.text, None);
    // Options that do not fit the model are found before the input is touched.
    Lane::new(&model, &options, 1).map_err(Failure::usage)?;
    let input = Input::open(&args.input, &args.run, false)?;
    let shape = record_shape(args.format, &args.input);
    let mut format = record_format(
        shape,
        "labels",
        &args.input,
        &input,
        &args.output,
        args.with_text,
    );
    let all = args.all || (args.threshold.is_some() && args.top.is_none()) || regression;
    let most = match args.top {
        Some(top) => top.min(labels.len()),
        None if all => labels.len(),
        None => 1,
    };
    format.bare = true;
    format.columns = Ranked::columns(most);
    let max_length = options.max_length.unwrap_or(model.header().max_length);
    let task = Classify {
        labels: labels.clone(),
        function: args
            .function
            .chosen()
            .unwrap_or_else(|| Function::auto(head)),
        most,
        threshold: args.threshold,
        format,
        options,
        max_length,
        windows: args.text.long == LongChoice::Window,
        batch_tokens: args.run.batch_tokens,
        model,
    };
    let args = (&args.input, &args.output, &args.run);
    run(task, input, args, None, max_length)
}

struct Classify {
    model: Model,
    labels: Vec<String>,
    function: Function,
    most: usize,
    threshold: Option<f32>,
    format: RecordFormat,
    options: TextOptions,
    max_length: usize,
    windows: bool,
    batch_tokens: usize,
}

impl Task for Classify {
    type Format = RecordFormat;
    type Worker = Lane;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn worker(&self, team: usize) -> Result<Lane> {
        Lane::new(&self.model, &self.options, team)
    }

    fn weight(&self, record: &Record) -> usize {
        engine::weight(record, self.max_length, self.windows)
    }

    fn run(&self, lane: &mut Lane, records: &[Record], done: &mut Done) -> Result<()> {
        lane.run(self, self.batch_tokens, records, done)
    }
}

impl Computation for Classify {
    type Format = RecordFormat;

    fn width(&self) -> usize {
        self.labels.len()
    }

    fn separate(&self) -> bool {
        false
    }

    fn compute(&self, encoder: &mut Encoder, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        Ok(encoder.classify(batch, out)?)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, logits: &mut [f32], note: Note) {
        self.function.apply(self.model.kernel(), logits);
        let answer = Ranked::new(&self.labels, logits, self.most, self.threshold);
        self.format.write(out, record, &answer, note.truncated);
    }

    fn format(&self) -> &RecordFormat {
        &self.format
    }
}

//! `bertlet classify`.

use super::{
    Input,
    batches::{Computation, check_options, run_batches},
    ranked::Ranked,
    record_format, record_shape,
    zero_shot::zero_shot,
};
use crate::{
    Batch, Encoder,
    cli::{
        args::ClassifyArgs,
        engine,
        exit::Failure,
        input::Record,
        output::{record::RecordFormat, vectors::Note},
    },
    format::header::{HeadConfig, ProblemType},
    heads::Function,
    kernels::Kernel,
};
use anyhow::Result;

/// Runs the command.
pub fn classify(args: &ClassifyArgs) -> Result<u8, Failure> {
    let shape = record_shape(args.format, &args.input, &args.output)?;
    let model = engine::open(&args.model)?;
    if let Some(code) = zero_shot(args, &model, shape)? {
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
    check_options(&model, &options)?;
    let input = Input::open(&args.input, &args.run, false)?;
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
    let classify = Classify {
        labels: labels.clone(),
        function: args
            .function
            .chosen()
            .unwrap_or_else(|| Function::auto(head)),
        most,
        threshold: args.threshold,
        format,
        kernel: model.kernel(),
    };
    let args = (&args.input, &args.output, &args.run);
    run_batches((model, options), classify, input, args, None)
}

struct Classify {
    labels: Vec<String>,
    function: Function,
    most: usize,
    threshold: Option<f32>,
    format: RecordFormat,
    kernel: Kernel,
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
        self.function.apply(self.kernel, logits);
        let answer = Ranked::new(&self.labels, logits, self.most, self.threshold);
        self.format.write(out, record, &answer, note.truncated);
    }

    fn format(&self) -> &RecordFormat {
        &self.format
    }
}

//! `bertlet classify`.

use super::{Input, record_format, record_shape, run, zero_shot::zero_shot};
use crate::{
    Batch, Encoder, Model, TextOptions,
    cli::{
        args::{ClassifyArgs, LongChoice},
        engine::{self, Computation, Lane},
        exit::Failure,
        input::Record,
        output::{
            json,
            record::{RecordFormat, RecordShape, Row, Value},
            vectors::Note,
        },
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
    format.columns = match most {
        1 => vec!["label".to_owned(), "score".to_owned()],
        _ => (1..=most)
            .flat_map(|rank| [format!("label_{rank}"), format!("score_{rank}")])
            .collect(),
    };
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
        let answer = Answer::new(&self.labels, logits, self.most, self.threshold);
        self.format.write(out, record, &answer, note.truncated);
    }

    fn format(&self) -> &RecordFormat {
        &self.format
    }
}

/// Labels with scores, best first.
struct Answer<'a> {
    ranked: Vec<(&'a str, f32)>,
    /// Labels that a row of a table has room for.
    most: usize,
}

impl<'a> Answer<'a> {
    fn new(labels: &'a [String], scores: &[f32], most: usize, threshold: Option<f32>) -> Self {
        let mut ranked: Vec<(&str, f32)> = labels
            .iter()
            .map(String::as_str)
            .zip(scores.iter().copied())
            .filter(|(_, score)| threshold.is_none_or(|threshold| *score >= threshold))
            .collect();
        // Stable: equal scores keep the model's order.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(most);
        Answer { ranked, most }
    }
}

impl Value for Answer<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, (label, score)) in self.ranked.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"label":"#);
            json::string(out, label);
            out.extend_from_slice(br#","score":"#);
            json::number(out, *score);
            out.push(b'}');
        }
        out.push(b']');
    }

    fn cells(&self, row: &mut Row) {
        for (label, score) in &self.ranked {
            row.text(label);
            row.number(*score);
        }
        // A table's rows have one width.
        if row.shape() != RecordShape::Text {
            for _ in self.ranked.len()..self.most {
                row.text("");
                row.text("");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(most: usize, threshold: Option<f32>) -> Vec<(String, f32)> {
        let labels = ["a", "b", "c", "d"].map(String::from);
        Answer::new(&labels, &[0.1, 0.4, 0.4, 0.05], most, threshold)
            .ranked
            .into_iter()
            .map(|(label, score)| (label.to_owned(), score))
            .collect()
    }

    #[test]
    fn labels_are_ranked_with_ties_in_the_models_order() {
        let names: String = ranked(4, None)
            .into_iter()
            .map(|(label, _)| label)
            .collect();
        assert_eq!(names, "bcad");
    }

    #[test]
    fn threshold_and_number_both_limit() {
        assert_eq!(ranked(1, Some(0.2)), [("b".to_owned(), 0.4)]);
        assert_eq!(ranked(4, Some(0.2)).len(), 2);
        assert_eq!(ranked(4, Some(0.4)).len(), 2);
        assert!(ranked(4, Some(0.5)).is_empty());
    }
}

//! `bertlet fill`.

use super::{
    Input, record_shape,
    task::{Show, TaskCommand},
    task_format,
};
use crate::{
    Fill, Filler, FillerOptions, Likelihood, LineScorer,
    cli::{
        args::FillArgs,
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{
            json,
            record::{RecordFormat, RecordShape, Row, Value},
        },
    },
};

/// Runs the command.
pub fn fill(args: &FillArgs) -> Result<u8, Failure> {
    let shape = record_shape(args.record.format, &args.input, &args.record.output)?;
    let model = engine::open(&args.model)?;
    let io = (&args.input, &args.record.output, &args.record.run);
    let format = |input: &Input, field, columns: &[&str]| RecordFormat {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        ..task_format(shape, &args.input, &args.record, input, field)
    };
    if args.score {
        let task = LineScorer::new(&model, args.max_length).map_err(Failure::task)?;
        let input = Input::open(&args.input, &args.record.run, false)?;
        let columns = ["pseudo_perplexity", "log_likelihood", "tokens"];
        let show = ShowLikelihood(format(&input, "likelihood", &columns));
        return TaskCommand { task, show }.run(input, io, None, args.max_length);
    }
    let options = FillerOptions {
        top: args.top.unwrap_or(FillerOptions::default().top),
        targets: args.targets.clone(),
        max_length: args.max_length,
    };
    let task = Filler::new(&model, options).map_err(Failure::task)?;
    let input = Input::open(&args.input, &args.record.run, false)?;
    let show = ShowFills(format(&input, "fills", &["fills"]));
    TaskCommand { task, show }.run(input, io, None, args.max_length)
}

/// The text of a record that must not be a pair.
fn single(texts: &Texts) -> Result<&str, String> {
    match texts.second {
        None => Ok(&texts.first),
        Some(_) => Err("a pair of texts; fill takes single texts".to_owned()),
    }
}

struct ShowFills(RecordFormat);

impl Show<Filler> for ShowFills {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.0
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<&'a str, String> {
        single(texts)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, masks: Vec<Vec<Fill>>, truncated: bool) {
        self.0.write(out, record, &Fills(masks), truncated);
    }
}

/// The words for each mask.
struct Fills(Vec<Vec<Fill>>);

impl Value for Fills {
    fn json(&self, out: &mut Vec<u8>) {
        let one = |out: &mut Vec<u8>, fills: &Vec<Fill>| {
            json::list(out, fills, |out, fill| {
                json::fields(
                    out,
                    &[
                        ("score", &fill.score),
                        ("token", &fill.token),
                        ("token_str", &fill.token_str),
                        ("sequence", &fill.sequence),
                    ],
                );
            });
        };
        match &self.0[..] {
            // As transformers does: no list of lists for a single mask.
            [fills] => one(out, fills),
            masks => json::list(out, masks, one),
        }
    }

    fn cells(&self, row: &mut Row) {
        if row.shape() == RecordShape::Text {
            for fill in self.0.iter().flatten() {
                row.text(&fill.token_str);
                row.number(fill.score);
            }
            return;
        }
        let mut list = Vec::new();
        self.json(&mut list);
        row.text(&String::from_utf8_lossy(&list));
    }
}

struct ShowLikelihood(RecordFormat);

impl Show<LineScorer> for ShowLikelihood {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.0
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<&'a str, String> {
        single(texts)
    }

    fn weight(&self, record: &Record) -> usize {
        // A pass for each token.
        let tokens = engine::weight(record, usize::MAX, true);
        tokens.saturating_mul(tokens)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, likelihood: Likelihood, truncated: bool) {
        self.0.write(out, record, &likelihood, truncated);
    }
}

impl Value for Likelihood {
    fn json(&self, out: &mut Vec<u8>) {
        json::fields(
            out,
            &[
                ("pseudo_perplexity", &self.pseudo_perplexity),
                ("log_likelihood", &self.log_likelihood),
                ("tokens", &self.tokens),
            ],
        );
    }

    fn cells(&self, row: &mut Row) {
        match self.pseudo_perplexity {
            Some(perplexity) => row.text(&perplexity.to_string()),
            None => row.text(""),
        }
        row.text(&self.log_likelihood.to_string());
        row.count(self.tokens);
    }
}

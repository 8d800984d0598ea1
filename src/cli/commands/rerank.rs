//! `bertlet rerank`.

use super::{
    Input,
    task::{Show, TaskCommand},
};
use crate::{
    Candidates, Function, PairScorer,
    cli::{
        args::{RankShape, RerankArgs},
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{Format, Totals, json, resume::Framing},
    },
};
use std::sync::{Mutex, PoisonError};

/// Runs the command.
pub fn rerank(args: &RerankArgs) -> Result<u8, Failure> {
    if args.input.pairs || args.input.pair_field.is_some() {
        return Err(Failure::usage(
            "rerank compares each text with the query; it takes no pairs",
        ));
    }
    let shape = args.output.format(args.format)?;
    let model = engine::open(&args.model)?;
    let options = engine::text_options(&args.text, None);
    let function = match &args.label {
        Some(_) => Some(args.function.chosen().unwrap_or(Function::Softmax)),
        None => args.function.chosen(),
    };
    let task = PairScorer::cross_encoder(&model, options, function).map_err(Failure::task)?;
    let labels = model.labels().unwrap_or_default();
    let place = match &args.label {
        None if labels.len() == 1 => Some(0),
        None => None,
        Some(label) => labels.iter().position(|other| other == label),
    };
    let Some(place) = place else {
        return Err(Failure::usage(format!(
            "the model has the labels {}; say with --label which one ranks the texts",
            labels.join(", ")
        )));
    };
    let input = Input::open(&args.input, &args.run, false)?;
    let show = Ranking {
        query: args.query.clone(),
        place,
        shape: shape.unwrap_or(RankShape::Text),
        top: args.top.unwrap_or(usize::MAX),
        with_id: args.input.id_field.is_some(),
        rows: Mutex::new(Vec::new()),
    };
    let io = (&args.input, &args.output, &args.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

/// A text with its score; the reason instead where it could not be scored.
struct Ranked {
    index: u64,
    id: Option<String>,
    score: Result<f32, String>,
    text: String,
}

/// All texts, which wait until the last one has its score.
struct Ranking {
    query: String,
    /// Which of the model's scores ranks the texts.
    place: usize,
    shape: RankShape,
    top: usize,
    with_id: bool,
    rows: Mutex<Vec<Ranked>>,
}

impl Ranking {
    fn push(&self, record: &Record, score: Result<f32, String>) {
        let text = record.texts.as_ref().map_or("", |texts| &texts.first);
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(Ranked {
            index: record.index,
            id: record.id.clone(),
            score,
            text: text.to_owned(),
        });
    }

    fn write_row(&self, out: &mut Vec<u8>, row: &Ranked) {
        if self.shape == RankShape::Text {
            if self.with_id {
                let id = row.id.as_deref().unwrap_or("");
                out.extend_from_slice(id.replace(['\t', '\n', '\r'], " ").as_bytes());
                out.push(b'\t');
            }
            json::value(out, &row.index);
            out.push(b'\t');
            match &row.score {
                Ok(score) => json::number(out, *score),
                Err(reason) => {
                    out.extend_from_slice(format!("ERROR {reason}").replace('\n', " ").as_bytes());
                }
            }
            out.push(b'\t');
            out.extend_from_slice(
                row.text
                    .replace('\n', "\\n")
                    .replace('\r', "\\r")
                    .as_bytes(),
            );
            return;
        }
        let mut object = Vec::new();
        match &row.score {
            Ok(score) => json::fields(
                &mut object,
                &[("index", &row.index), ("score", score), ("text", &row.text)],
            ),
            Err(reason) => {
                json::fields(&mut object, &[("index", &row.index), ("error", reason)]);
            }
        }
        if self.with_id {
            out.extend_from_slice(br#"{"id":"#);
            json::value(out, &row.id);
            out.push(b',');
            object.remove(0);
        }
        out.append(&mut object);
    }
}

impl Show<PairScorer> for Ranking {
    type Format = Ranking;

    fn format(&self) -> &Ranking {
        self
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<Candidates<'a>, String> {
        Ok((self.query.as_str(), texts.first.as_str()).into())
    }

    fn windows(&self) -> bool {
        true
    }

    fn write(&self, _: &mut Vec<u8>, record: &Record, scores: Vec<f32>, _: bool) {
        self.push(record, Ok(scores[self.place]));
    }
}

impl Format for Ranking {
    fn begin(&self, _: &mut Vec<u8>) {}

    fn error(&self, _: &mut Vec<u8>, record: &Record, reason: &str) {
        self.push(record, Err(format!("{}: {reason}", record.place)));
    }

    fn framing(&self) -> Framing {
        Framing::AtEnd
    }

    fn end(&self, out: &mut Vec<u8>, _: &Totals) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // Best first; of equals the first; what has no score at the end, whatever --top says.
        rows.sort_by_key(|row| row.index);
        rows.sort_by(|a, b| match (&a.score, &b.score) {
            (Ok(a), Ok(b)) => b.total_cmp(a),
            (a, b) => a.is_err().cmp(&b.is_err()),
        });
        let mut good = 0;
        rows.retain(|row| {
            good += usize::from(row.score.is_ok());
            row.score.is_err() || good <= self.top
        });
        match self.shape {
            RankShape::Json => {
                json::list(out, &rows, |out, row| self.write_row(out, row));
                out.push(b'\n');
            }
            RankShape::Text | RankShape::Jsonl => {
                for row in &*rows {
                    self.write_row(out, row);
                    out.push(b'\n');
                }
            }
        }
    }
}

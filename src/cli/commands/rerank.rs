//! `bertlet rerank`.

use super::{
    Input, record_format,
    task::{Show, TaskCommand},
};
use crate::{
    Candidates, Function, PairScorer,
    cli::{
        args::RerankArgs,
        engine,
        exit::Failure,
        input::{Fields, Record, Texts},
        output::{
            Format, Totals, json,
            record::{RecordFormat, RecordShape, Row, Value},
            resume::Framing,
        },
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
    let shape = shape.unwrap_or(RecordShape::Text);
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
        let what = match &args.label {
            Some(label) => format!("there is no label {label:?}; "),
            None => String::new(),
        };
        return Err(Failure::usage(format!(
            "{what}the model has the labels {}; say with --label which one ranks the texts",
            labels.join(", ")
        )));
    };
    let input = Input::open(&args.input, &args.run, false)?;
    let records = RecordFormat {
        columns: ["index", "score"].map(str::to_owned).to_vec(),
        ..record_format(shape, "score", &args.input, &input, &args.output, true)
    };
    let show = Ranking {
        query: args.query.clone(),
        place,
        top: args.top.unwrap_or(usize::MAX),
        records,
        rows: Mutex::new(Vec::new()),
    };
    let io = (&args.input, &args.output, &args.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

/// A record as it is written, which takes less memory than its fields; no score where it could not be scored.
struct Ranked {
    index: u64,
    score: Option<f32>,
    written: Box<[u8]>,
}

/// All records, which wait until the last one has its score.
struct Ranking {
    query: String,
    /// Which of the model's scores ranks the texts.
    place: usize,
    top: usize,
    records: RecordFormat,
    rows: Mutex<Vec<Ranked>>,
}

impl Ranking {
    fn push(&self, record: &Record, score: Option<f32>, written: Vec<u8>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(Ranked {
            index: record.index,
            score,
            written: written.into(),
        });
    }

    fn is_json(&self) -> bool {
        matches!(self.records.shape, RecordShape::Json | RecordShape::Jsonl)
    }

    /// `{…the user's fields…, "index":…, NAME:VALUE}`, and the text behind it where the record has no fields.
    fn object(&self, out: &mut Vec<u8>, record: &Record, name: &str, value: &[u8]) {
        let index = record.index.to_string();
        // Kept free in every record, so that a name means the same in all of them.
        let results = ["score", "error"];
        let results = &results[..if self.records.with_errors { 2 } else { 1 }];
        let kept_free = results.iter().filter(|other| **other != name);
        let mut added: Vec<(&str, &[u8])> = kept_free.map(|name| (*name, &b""[..])).collect();
        added.extend([("index", index.as_bytes()), (name, value)]);
        let mut text = Vec::new();
        if let (Fields::None, Ok(texts)) = (&record.fields, &record.texts) {
            json::string(&mut text, &texts.first);
            added.push(("text", &text));
        }
        json::object(out, &record.fields, &added);
        if self.records.shape == RecordShape::Jsonl {
            out.push(b'\n');
        }
    }
}

/// What a table shows of a score.
struct Place {
    index: u64,
    score: f32,
}

impl Value for Place {
    fn json(&self, out: &mut Vec<u8>) {
        json::number(out, self.score);
    }

    fn cells(&self, row: &mut Row) {
        row.count(self.index as usize);
        row.number(self.score);
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

    fn write(&self, _: &mut Vec<u8>, record: &Record, scores: Vec<f32>, truncated: bool) {
        let score = scores[self.place];
        let place = Place {
            index: record.index,
            score,
        };
        let mut written = Vec::new();
        if self.is_json() {
            let mut value = Vec::new();
            place.json(&mut value);
            self.object(&mut written, record, "score", &value);
        } else {
            self.records.write(&mut written, record, &place, truncated);
        }
        self.push(record, Some(score), written);
    }
}

impl Format for Ranking {
    fn begin(&self, out: &mut Vec<u8>) {
        if !self.is_json() {
            self.records.begin(out);
        }
    }

    fn error(&self, _: &mut Vec<u8>, record: &Record, reason: &str) {
        let mut written = Vec::new();
        if self.is_json() {
            let mut value = Vec::new();
            json::string(&mut value, &format!("{}: {reason}", record.place));
            self.object(&mut written, record, "error", &value);
        } else {
            self.records.error(&mut written, record, reason);
        }
        self.push(record, None, written);
    }

    fn framing(&self) -> Framing {
        Framing::AtEnd
    }

    fn end(&self, out: &mut Vec<u8>, _: &Totals) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // Best first; of equals the first; what has no score at the end, whatever --top says.
        rows.sort_by_key(|row| row.index);
        rows.sort_by(|a, b| match (a.score, b.score) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        let mut good = 0;
        rows.retain(|row| {
            good += usize::from(row.score.is_some());
            row.score.is_none() || good <= self.top
        });
        if self.records.shape == RecordShape::Json {
            json::list(out, &rows, |out, row| out.extend_from_slice(&row.written));
            out.push(b'\n');
        } else {
            rows.iter()
                .for_each(|row| out.extend_from_slice(&row.written));
        }
    }
}

//! `bertlet choose`.

use super::{
    Input, note_names_of_files, record_shape,
    task::{Show, TaskCommand},
    task_format,
};
use crate::{
    Candidates, PairScorer,
    cli::{
        args::ChooseArgs,
        engine,
        exit::Failure,
        input::{Arguments, Fields, InputFormat, Record, Texts},
        output::{
            json,
            record::{RecordFormat, Row, Value},
        },
        signals::Signals,
    },
};
use std::borrow::Cow;

/// Runs the command.
pub fn choose(args: &ChooseArgs) -> Result<u8, Failure> {
    if args.input.pairs || args.input.pair_field.is_some() {
        return Err(Failure::usage(
            "choose takes a context and its candidates without --pairs; see --choices-field and --choices-columns",
        ));
    }
    let format = args.input.format();
    let tables = matches!(format, InputFormat::Csv | InputFormat::Tsv);
    if args.input.arguments().is_none() && tables && args.choices_columns.is_empty() {
        return Err(Failure::usage(
            "tables need --choices-columns NAME,NAME,… for the candidates",
        ));
    }
    let (field, columns) = (&args.choices_field, &args.choices_columns);
    args.input.check_fields(&[
        ("--choices-field", field.is_some()),
        ("--choices-columns", !columns.is_empty()),
    ])?;
    if tables && field.is_some() {
        return Err(Failure::usage(
            "--choices-field names a list in jsonl; the candidates of a table are in --choices-columns",
        ));
    }
    if format == InputFormat::Jsonl && !columns.is_empty() {
        return Err(Failure::usage(
            "--choices-columns are those of a table; the candidates of jsonl are a list, which --choices-field names",
        ));
    }
    let shape = record_shape(args.record.format, &args.input, &args.record.output)?;
    let model = engine::open(&args.model)?;
    let options = engine::text_options(&args.text, None);
    let task = PairScorer::multiple_choice(&model, options).map_err(Failure::task)?;
    let mut candidates = None;
    let input = match args.input.arguments() {
        None => Input::open(&args.input, &args.record.run, false)?,
        Some([context, more @ ..]) => {
            let options = args.input.options()?;
            note_names_of_files(&args.input.texts);
            let texts = more.iter().map(|text| text.to_string_lossy().into_owned());
            candidates = Some(texts.collect());
            Input {
                reader: Box::new(Arguments::new(vec![context.clone()], false, options.strict)),
                pairs: false,
                names: None,
                records: Some(1),
                progress: None,
                signals: Signals::catch()?,
            }
        }
        Some([]) => return Err(Failure::usage("no context")),
    };
    let mut format = task_format(shape, &args.input, &args.record, &input, "choice");
    format.columns = ["index", "score", "choice"].map(str::to_owned).to_vec();
    let show = ShowChoice {
        source: match candidates {
            Some(candidates) => Source::Arguments(candidates),
            None => match args.input.format() {
                InputFormat::Lines => Source::Lines,
                InputFormat::Jsonl => Source::Field(field.clone().unwrap_or("choices".to_owned())),
                InputFormat::Csv | InputFormat::Tsv => Source::Columns(columns.clone()),
            },
        },
        format,
    };
    let io = (&args.input, &args.record.output, &args.record.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

/// Where candidates come from.
enum Source {
    /// The other arguments.
    Arguments(Vec<String>),
    /// What stands behind the line's tabs.
    Lines,
    /// A list in a JSON object.
    Field(String),
    /// Cells of a table.
    Columns(Vec<String>),
}

struct ShowChoice {
    source: Source,
    format: RecordFormat,
}

impl ShowChoice {
    fn candidates<'a>(
        &'a self,
        record: &'a Record,
        texts: &'a Texts,
    ) -> Result<Candidates<'a>, String> {
        let mut first = texts.first.as_str();
        let seconds: Vec<Cow<'a, str>> = match (&self.source, &record.fields) {
            (Source::Arguments(all), _) => all.iter().map(|text| text.as_str().into()).collect(),
            (Source::Lines, _) => {
                let mut parts = texts.first.split('\t');
                first = parts.next().unwrap_or_default();
                parts.map(Cow::from).collect()
            }
            (Source::Field(name), Fields::Json(object)) => {
                let list = object.get(name).ok_or(format!("has no field {name:?}"))?;
                let list: Vec<String> = serde_json::from_str(list)
                    .map_err(|_| format!("field {name:?}: expected a list of strings"))?;
                list.into_iter().map(Cow::from).collect()
            }
            (Source::Columns(wanted), Fields::Columns { names, cells }) => {
                let cell = |name: &String| {
                    let column = names.iter().position(|column| column == name);
                    let cell = column.map(|column| Cow::from(cells[column].as_str()));
                    cell.ok_or_else(|| {
                        format!(
                            "has no column {name:?}; its columns are {}",
                            names.join(", ")
                        )
                    })
                };
                wanted.iter().map(cell).collect::<Result<_, String>>()?
            }
            (Source::Field(_) | Source::Columns(_), _) => Vec::new(),
        };
        Ok(Candidates { first, seconds })
    }
}

impl Show<PairScorer> for ShowChoice {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn input<'a>(&'a self, record: &'a Record, texts: &'a Texts) -> Result<Candidates<'a>, String> {
        let candidates = self.candidates(record, texts)?;
        match candidates.seconds.len() {
            0 => Err("has no candidates to choose from".to_owned()),
            _ => Ok(candidates),
        }
    }

    fn windows(&self) -> bool {
        true
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, scores: Vec<f32>, truncated: bool) {
        let candidates = match &record.texts {
            Ok(texts) => self
                .candidates(record, texts)
                .map_or(Vec::new(), |c| c.seconds),
            Err(_) => Vec::new(),
        };
        // The first of equals.
        let best = (0..scores.len()).fold(0, |best, other| {
            if scores[other] > scores[best] {
                other
            } else {
                best
            }
        });
        let choice = Choice {
            index: best,
            text: candidates.get(best).map_or("", |text| text),
            scores: &scores,
        };
        self.format.write(out, record, &choice, truncated);
    }
}

struct Choice<'a> {
    index: usize,
    text: &'a str,
    scores: &'a [f32],
}

impl Value for Choice<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        json::fields(
            out,
            &[
                ("index", &self.index),
                ("score", &self.scores[self.index]),
                ("text", &self.text),
                ("scores", &self.scores),
            ],
        );
    }

    fn cells(&self, row: &mut Row) {
        row.count(self.index);
        row.number(self.scores[self.index]);
        row.text(self.text);
    }
}

//! `bertlet answer`.

use super::{
    Input, record_shape,
    task::{Show, TaskCommand},
    task_format,
};
use crate::{
    Answer, Answerer, AnswererOptions, Question,
    cli::{
        args::AnswerArgs,
        engine,
        exit::Failure,
        input::{InputFormat, Record, Texts},
        output::{
            json,
            record::{RecordFormat, RecordShape, Row, Value},
        },
    },
};

/// Most answers in a row of a table, which has columns for all of them, also where a text has few.
const MOST_IN_TABLE: usize = 1000;

/// Runs the command.
pub fn answer(args: &AnswerArgs) -> Result<u8, Failure> {
    if args.input.pairs || args.input.pair_field.is_some() {
        return Err(Failure::usage(
            "answer takes pairs of a question and a text without --pairs; for records with fields give --question-field and --text-field",
        ));
    }
    let shape = record_shape(args.record.format, &args.input, &args.record.output)?;
    let is_table = matches!(shape, RecordShape::Csv | RecordShape::Tsv);
    if is_table && args.top > MOST_IN_TABLE {
        return Err(Failure::usage(format!(
            "a table with columns for {} answers, but it has {MOST_IN_TABLE} at most; give a smaller -k, or --format jsonl, which holds as many as there are",
            args.top
        )));
    }
    let model = engine::open(&args.model)?;
    let options = AnswererOptions {
        top: args.top,
        max_answer_length: args.max_answer_length,
        no_answer: args.no_answer,
        long: args.text.long(),
    };
    let task = Answerer::new(&model, options).map_err(Failure::task)?;
    let mut options = args.input.options()?;
    let question_field = ("--question-field", args.question_field.is_some());
    args.input.check_fields(&[question_field])?;
    let has_fields = args.input.arguments().is_none() && options.format != InputFormat::Lines;
    match &args.question {
        Some(_) => {}
        None if has_fields => {
            let question = args.question_field.clone();
            let question = question.unwrap_or("question".to_owned());
            let context = std::mem::replace(&mut options.text_field, question);
            options.pair_field = Some(context);
        }
        None => {
            if let Some(texts) = args.input.arguments().filter(|texts| texts.len() % 2 == 1) {
                return Err(Failure::usage(format!(
                    "a text needs a question: --question TEXT asks all texts the same; without it questions and texts take turns as arguments, of which there are {}",
                    texts.len()
                )));
            }
            options.pairs = true;
        }
    }
    let input = Input::open_with(&args.input, &args.record.run, options)?;
    let field = if args.top == 1 { "answer" } else { "answers" };
    let mut format = task_format(shape, &args.input, &args.record, &input, field);
    let names = ["answer", "score", "start", "end"];
    format.columns = match args.top {
        1 => names.map(str::to_owned).to_vec(),
        _ if !is_table => Vec::new(),
        top => (1..=top)
            .flat_map(|rank| names.map(|name| format!("{name}_{rank}")))
            .collect(),
    };
    let show = ShowAnswers {
        question: args.question.clone(),
        top: args.top,
        format,
    };
    let io = (&args.input, &args.record.output, &args.record.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

struct ShowAnswers {
    /// Asked of every text.
    question: Option<String>,
    top: usize,
    format: RecordFormat,
}

impl Show<Answerer> for ShowAnswers {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<Question<'a>, String> {
        match (&self.question, &texts.second) {
            (Some(question), _) => Ok(Question {
                question,
                context: &texts.first,
            }),
            (None, Some(context)) => Ok(Question {
                question: &texts.first,
                context,
            }),
            (None, None) => Err("has no text beside the question".to_owned()),
        }
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, answers: Vec<Answer>, _: bool) {
        let answers = Answers {
            answers,
            top: self.top,
        };
        self.format.write(out, record, &answers, false);
    }
}

struct Answers {
    answers: Vec<Answer>,
    top: usize,
}

fn write_answer(out: &mut Vec<u8>, answer: &Answer) {
    json::fields(
        out,
        &[
            ("score", &answer.score),
            ("start", &answer.start),
            ("end", &answer.end),
            ("answer", &answer.text),
        ],
    );
}

impl Value for Answers {
    fn json(&self, out: &mut Vec<u8>) {
        match (self.top, self.answers.first()) {
            (1, Some(answer)) => write_answer(out, answer),
            (1, None) => out.extend_from_slice(b"null"),
            _ => json::list(out, &self.answers, write_answer),
        }
    }

    fn cells(&self, row: &mut Row) {
        for answer in &self.answers {
            row.text(&answer.text);
            row.number(answer.score);
            row.count(answer.start);
            row.count(answer.end);
        }
        // A table's rows have one width; a line of text shows at least that there is none.
        let missing = match row.shape() {
            RecordShape::Text => usize::from(self.answers.is_empty()),
            _ => 4 * (self.top - self.answers.len()),
        };
        (0..missing).for_each(|_| row.text(""));
    }
}

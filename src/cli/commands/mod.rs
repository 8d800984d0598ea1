//! The subcommands.

mod answer;
mod attention;
mod batches;
mod bench;
mod bundle;
mod choose;
mod classify;
mod embed;
mod features;
mod fill;
mod info;
mod next;
mod ranked;
mod rerank;
mod similarity;
mod tag;
mod task;
mod tokenize;
mod verify;
mod zero_shot;

pub use answer::answer;
pub use attention::attention;
pub use bench::bench;
pub use bundle::bundle;
pub use choose::choose;
pub use classify::classify;
pub use embed::embed;
pub use fill::fill;
pub use info::info;
pub use next::next;
pub use rerank::rerank;
pub use similarity::similarity;
pub use tag::tag;
pub use tokenize::tokenize;
pub use verify::verify;

use super::{
    args::{InputArgs, OutputArgs, RecordArgs, RunArgs},
    exit::{self, Failure, message},
    input::{Arguments, Files, InputFormat, InputOptions, RecordReader, check_readable},
    output::{
        Format,
        record::{RecordFormat, RecordShape},
        resume::Framing,
        sink::{Array, Sink},
    },
    progress::Progress,
    signals::{self, Signals},
    stream::{self, Before, Settings, Summary, Task, Work},
};
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where texts are cut, and what can be done about it.
#[derive(Clone, Copy)]
struct Limit {
    /// Longest sequence in tokens.
    max_length: usize,
    /// Whether `--long window` takes all of a text.
    windows: bool,
}

/// An open input.
struct Input {
    reader: Box<dyn RecordReader>,
    /// Whether its records are pairs of texts.
    pairs: bool,
    /// Column names, if the input has any.
    names: Option<Arc<[String]>>,
    /// The number of records, if known.
    records: Option<usize>,
    progress: Option<Progress>,
    /// Caught since before the input was opened, which may wait for ever.
    signals: Signals,
}

impl Input {
    /// Opens the input. `pairs`: whether the command itself takes texts two by two.
    fn open(args: &InputArgs, run: &RunArgs, pairs: bool) -> Result<Self, Failure> {
        let mut options = args.options()?;
        // Records with fields have a second text if --pair-field names it.
        options.pairs |= pairs;
        Input::open_with(args, run, options)
    }

    /// Opens the input, read as `options` say.
    fn open_with(args: &InputArgs, run: &RunArgs, options: InputOptions) -> Result<Self, Failure> {
        if let Some(texts) = args.arguments() {
            if options.pairs && texts.len() % 2 == 1 {
                return Err(Failure::usage(format!(
                    "pairs are taken from the arguments two by two, but there are {}",
                    texts.len()
                )));
            }
            note_names_of_files(texts);
            let records = texts.len() / if options.pairs { 2 } else { 1 };
            return Ok(Input {
                reader: Box::new(Arguments::new(
                    texts.to_vec(),
                    options.pairs,
                    options.strict,
                )),
                pairs: options.pairs,
                names: None,
                records: Some(records),
                progress: None,
                signals: Signals::catch()?,
            });
        }
        let paths = args.paths();
        for path in &paths {
            check_readable(path)?;
        }
        if args.files.is_empty() && io::stdin().is_terminal() {
            message("reading texts from the terminal, one a line; Ctrl-D ends");
        }
        let total = paths
            .iter()
            .map(|path| file_size(path))
            .sum::<Option<u64>>();
        let pairs = options.pairs || options.pair_field.is_some();
        let signals = Signals::catch()?;
        let files = Files::open(paths, options)?;
        Ok(Input {
            signals,
            pairs,
            names: files.names(),
            records: None,
            progress: run.progress.then(|| Progress::new(files.counter(), total)),
            reader: Box::new(files),
        })
    }
}

/// Says so where every text is the name of a file, which was probably meant instead.
fn note_names_of_files(texts: &[OsString]) {
    let mut paths = texts.iter().map(Path::new);
    if let [first, more @ ..] = texts
        && paths.all(Path::is_file)
    {
        let name = Path::new(first).display();
        let others = match more.len() {
            0 => "",
            _ => ", as are the other arguments",
        };
        message(format_args!(
            "{name} is a file{others}, and its name was taken as the text; -f {name} reads its lines"
        ));
    }
}

fn file_size(path: &Path) -> Option<u64> {
    let metadata = path.metadata().ok().filter(|metadata| metadata.is_file());
    metadata.map(|metadata| metadata.len())
}

/// The shape of the output; where none is asked for, that of the input.
fn record_shape(
    shape: Option<RecordShape>,
    input: &InputArgs,
    output: &OutputArgs,
) -> Result<RecordShape, Failure> {
    Ok(output.format(shape)?.unwrap_or(match input.format() {
        _ if input.arguments().is_some() => RecordShape::Text,
        InputFormat::Lines => RecordShape::Text,
        InputFormat::Jsonl => RecordShape::Jsonl,
        InputFormat::Csv => RecordShape::Csv,
        InputFormat::Tsv => RecordShape::Tsv,
    }))
}

/// A record format without columns of results yet.
fn record_format(
    shape: RecordShape,
    field: &'static str,
    args: &InputArgs,
    input: &Input,
    output: &OutputArgs,
    with_text: bool,
) -> RecordFormat {
    RecordFormat {
        shape,
        field,
        bare: false,
        columns: Vec::new(),
        user_columns: input.names.clone(),
        id_column: args.id_field.clone(),
        with_text,
        pairs: input.pairs,
        with_errors: output.on_error == stream::OnError::Record,
        delimiter: args.csv_delimiter(),
    }
}

/// The same for commands with [`RecordArgs`]; their results may stand alone.
fn task_format(
    shape: RecordShape,
    args: &InputArgs,
    record: &RecordArgs,
    input: &Input,
    field: &'static str,
) -> RecordFormat {
    RecordFormat {
        bare: true,
        ..record_format(shape, field, args, input, &record.output, record.with_text)
    }
}

/// Runs a task from input to output; returns the exit code.
fn run(
    task: impl Task,
    input: Input,
    args: (&InputArgs, &OutputArgs, &RunArgs),
    array: Option<Array>,
    limit: Limit,
) -> Result<u8, Failure> {
    run_any(Arc::new(task), input, args, array, limit)
}

fn run_any(
    task: Arc<dyn Work>,
    input: Input,
    args: (&InputArgs, &OutputArgs, &RunArgs),
    array: Option<Array>,
    limit: Limit,
) -> Result<u8, Failure> {
    let (input_args, output, run) = args;
    let inputs = match input_args.arguments() {
        Some(_) => Vec::new(),
        None => input_args.paths(),
    };
    let (sink, before) = open_output(output, &inputs, task.format(), array)?;
    let framing = task.format().framing();
    let (workers, team) = run.workers(input.records);
    let settings = Settings {
        workers,
        team,
        batch_tokens: run.batch_tokens,
        on_error: output.on_error,
        max_record_bytes: input_args.max_line_bytes,
        before,
    };
    let signals = Some(input.signals);
    let summary = stream::run(input.reader, task, sink, settings, input.progress, signals)?;
    let code = conclude(&summary, limit);
    if let Some(signal) = summary.interrupted.filter(|_| !summary.closed) {
        let records = before.records + summary.totals.records;
        let advice = go_on(output, records, framing, array.is_some());
        message(format_args!(
            "interrupted by {} behind record {records}; {advice}",
            signals::name(signal)
        ));
    }
    Ok(code)
}

/// Opens the output, and finds out what of it is there already.
fn open_output(
    args: &OutputArgs,
    inputs: &[PathBuf],
    format: &dyn Format,
    array: Option<Array>,
) -> Result<(Sink, Before), Failure> {
    let framing = format.framing();
    if args.resume {
        if args.on_error == stream::OnError::Skip {
            return Err(Failure::usage(
                "--resume counts the records of the output, and --on-error skip leaves some out; use --on-error record",
            ));
        }
        match framing {
            Framing::Document => {
                return Err(Failure::usage(
                    "--resume cannot go on with this format, which is one document; use another, jsonl for example",
                ));
            }
            Framing::AtEnd => {
                return Err(Failure::usage(
                    "--resume has nothing to go on with: the output is written when all texts are ranked",
                ));
            }
            _ => {}
        }
        let Some(path) = args
            .output
            .as_deref()
            .filter(|path| path.as_os_str() != "-")
        else {
            return Err(Failure::usage(
                "--resume needs -o FILE; for other outputs there is --resume-from",
            ));
        };
        let mut header = Vec::new();
        format.begin(&mut header);
        let (sink, kept) = Sink::reopen(path, inputs, &header, framing, array)?;
        let before = Before {
            records: kept.records,
            rows: kept.records,
            begun: kept.end > 0,
        };
        return Ok((sink, before));
    }
    let records = args.resume_from.unwrap_or(0);
    if records > 0 && framing == Framing::AtEnd {
        return Err(Failure::usage(
            "--resume-from leaves out the beginning of the input, and a ranking needs all texts",
        ));
    }
    if records > 0 && (framing == Framing::Document || array.is_some()) {
        return Err(Failure::usage(
            "--resume-from leaves out the beginning of the output, which this format needs; use another, jsonl for example",
        ));
    }
    let mut sink = Sink::open(args.output.as_deref(), inputs)?;
    if let Some(array) = array {
        sink.begin_array(array)?;
    }
    let before = Before {
        records,
        rows: 0,
        begun: records > 0,
    };
    Ok((sink, before))
}

/// How to go on behind so many records of an interrupted run.
fn go_on(output: &OutputArgs, records: u64, framing: Framing, array: bool) -> String {
    let file = output
        .output
        .as_deref()
        .filter(|path| path.as_os_str() != "-");
    let skips = output.on_error == stream::OnError::Skip;
    match file {
        _ if records == 0 => "start it again from the beginning".to_owned(),
        _ if framing == Framing::AtEnd => {
            "a ranking needs all texts: start it again from the beginning".to_owned()
        }
        _ if framing == Framing::Document => {
            "this format is one document, which nothing can be added to: start it again, with jsonl for example"
                .to_owned()
        }
        Some(_) if !skips => "the same command with --resume goes on from there".to_owned(),
        _ if array => {
            "an array is only gone on with in a file: start it again, with -o FILE and without --on-error skip"
                .to_owned()
        }
        Some(path) => {
            // What follows >> is the shell's: its name chooses no format.
            let format = output.named_format().map_or_else(String::new, |name| {
                format!(" (and --format {name}, if it has no --format)")
            });
            format!(
                "the same command with --resume-from {records} >> {} instead of -o{format} goes on from there",
                path.display()
            )
        }
        None => format!(
            "the same command with --resume-from {records} >> OUTPUT goes on from there"
        ),
    }
}

/// Says on stderr what the output alone does not tell.
fn conclude(summary: &Summary, limit: Limit) -> u8 {
    if summary.closed {
        return exit::OK;
    }
    let totals = &summary.totals;
    if let Some(place) = &summary.first_truncated {
        let remedy = match limit.windows {
            true => "--long window takes all of a text",
            false => "cut long texts into records of their own",
        };
        message(format_args!(
            "{} of {} texts were longer than {} tokens and were cut, the first at {place}; {remedy}",
            totals.truncated, totals.records, limit.max_length
        ));
    }
    if let Some(place) = &summary.first_replaced {
        message(format_args!(
            "{} of {} records had bytes that are not UTF-8, replaced by U+FFFD, the first at {place}; --strict takes this for an error",
            totals.replaced, totals.records
        ));
    }
    if totals.failed > 0 {
        message(format_args!(
            "{} of {} records were bad",
            totals.failed, totals.records
        ));
    }
    if let Some(signal) = summary.interrupted {
        return exit::SIGNAL + signal as u8;
    }
    match totals.failed {
        0 => exit::OK,
        _ => exit::SOME_RECORDS_FAILED,
    }
}

//! Options that several subcommands have.

use crate::cli::{
    exit::Failure,
    input::{InputFormat, InputOptions},
    stream::OnError,
};
use crate::pipeline::physical_cores;
use clap::{Args, ValueEnum};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Where the model comes from.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Model file [default: $BERTLET_MODEL, else the model that the program carries]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// Where texts come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Texts; without any (or with - alone), and without --file, stdin is read
    #[arg(value_name = "TEXT")]
    pub texts: Vec<OsString>,
    /// Read this file (- for stdin); may be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How the input is cut into records [default: by the names of the files: .jsonl, .csv, .tsv, else lines]
    #[arg(long, value_enum)]
    pub input_format: Option<InputFormat>,
    /// What stands between the cells of CSV input, and of CSV output made of it: an ASCII character, or tab [default: ,]
    #[arg(long, value_name = "C", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// Lines are two texts with a tab between them; arguments are taken two by two
    #[arg(long)]
    pub pairs: bool,
    /// Field (jsonl) or column (csv, tsv) of the text [default: text]
    #[arg(long, value_name = "NAME")]
    pub text_field: Option<String>,
    /// Field or column of the second text of a pair
    #[arg(long, value_name = "NAME")]
    pub pair_field: Option<String>,
    /// Field or column that names a record: in messages, and in front of each line of a text or table
    #[arg(long, value_name = "NAME")]
    pub id_field: Option<String>,
    /// Take bytes that are not UTF-8 for an error instead of replacing them
    #[arg(long)]
    pub strict: bool,
    /// Take a longer line or row for an error
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = bytes)]
    pub max_line_bytes: usize,
}

impl InputArgs {
    /// Texts from the command line, or `None` if files or stdin are to be read.
    pub fn arguments(&self) -> Option<&[OsString]> {
        match &self.texts[..] {
            [] => None,
            [only] if only == "-" => None,
            texts => Some(texts),
        }
    }

    /// The files to read; `-` is stdin.
    pub fn paths(&self) -> Vec<PathBuf> {
        if self.files.is_empty() {
            vec![PathBuf::from("-")]
        } else {
            self.files.clone()
        }
    }

    /// How records are cut.
    pub fn format(&self) -> InputFormat {
        let first = self.files.first().map(|path| self.format_of(path));
        let asked = self.input_format.or(first);
        asked.unwrap_or(InputFormat::Lines)
    }

    /// The format that a file's name asks for.
    fn format_of(&self, path: &Path) -> InputFormat {
        match path.extension().and_then(OsStr::to_str) {
            Some("jsonl" | "ndjson") => InputFormat::Jsonl,
            Some("csv") => InputFormat::Csv,
            // A file of pairs is a plain list more often than a table with a header.
            Some("tsv") if !self.pairs => InputFormat::Tsv,
            _ => InputFormat::Lines,
        }
    }

    /// Refuses files that would be read in the format of another one's name.
    fn check_names(&self) -> Result<(), Failure> {
        let format = self.format();
        // Stdin has no name, and is what the others are.
        let other = |path: &&PathBuf| path.as_os_str() != "-" && self.format_of(path) != format;
        let (None, Some(other)) = (self.input_format, self.files.iter().find(other)) else {
            return Ok(());
        };
        Err(Failure::usage(format!(
            "{} would be read as {}, but the first file, {}, as {}; give --input-format for all of them, or run them apart",
            other.display(),
            name(&self.format_of(other)),
            self.files[0].display(),
            name(&format),
        )))
    }

    /// What stands between the cells of CSV.
    pub fn csv_delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(b',')
    }

    /// What readers need to know, if the options go together.
    pub fn options(&self) -> Result<InputOptions, Failure> {
        let format = self.format();
        if let ([_, ..], [file, ..]) = (&self.texts[..], &self.files[..]) {
            return Err(Failure::usage(format!(
                "texts are given both as arguments and in a file ({0}); leave out the one or the other, or of several files give \
                 one -f for each: -f {0} -f …",
                file.display()
            )));
        }
        self.check_names()?;
        if self.arguments().is_some() && self.input_format.is_some() {
            return Err(not_of_arguments("--input-format"));
        }
        let is_csv = self.arguments().is_none() && format == InputFormat::Csv;
        if self.delimiter.is_some() && !is_csv {
            return Err(Failure::usage(
                "--delimiter is for CSV input, read from a file or stdin: --input-format csv",
            ));
        }
        self.check_fields(&[
            ("--text-field", self.text_field.is_some()),
            ("--pair-field", self.pair_field.is_some()),
            ("--id-field", self.id_field.is_some()),
        ])?;
        if format != InputFormat::Lines && self.pairs && self.pair_field.is_none() {
            return Err(Failure::usage(
                "--pairs needs --pair-field NAME where records have fields",
            ));
        }
        Ok(InputOptions {
            format,
            pairs: self.pairs,
            text_field: self.text_field.clone().unwrap_or("text".to_owned()),
            pair_field: self.pair_field.clone(),
            id_field: self.id_field.clone(),
            strict: self.strict,
            max_record_bytes: self.max_line_bytes,
            delimiter: self.csv_delimiter(),
        })
    }

    /// Refuses an option that is given and names a field, where the input has none.
    pub fn check_fields(&self, options: &[(&str, bool)]) -> Result<(), Failure> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) if self.arguments().is_some() => Err(not_of_arguments(option)),
            Some((option, _)) if self.format() == InputFormat::Lines => {
                Err(Failure::usage(format!(
                    "{option} needs records with fields, and the input is read as lines; say what it is: --input-format jsonl, csv or tsv"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// A format as the command line spells it.
fn name(format: &impl ValueEnum) -> String {
    let value = format.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn not_of_arguments(option: &str) -> Failure {
    Failure::usage(format!(
        "{option} says how files and stdin are read, but texts are given as arguments; leave out the one or the other"
    ))
}

/// From text to tokens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
pub struct TextArgs {
    /// What happens to a text that is longer than the model takes
    #[arg(long, value_enum, default_value = "truncate")]
    pub long: LongChoice,
    /// Longest sequence in tokens, special tokens included [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,
}

/// What happens to a long text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LongChoice {
    /// Its end is cut off
    Truncate,
    /// Its beginning is cut off
    TruncateLeft,
    /// It is cut into overlapping windows; their vectors or scores are averaged by their tokens
    Window,
    /// It is a bad record
    Error,
}

/// Where the output goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write to this file instead of stdout; without --format its extension chooses the format (.jsonl, .csv, .npy …)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What a bad record does: stop the run, be skipped, or leave an error record in its place
    #[arg(long, value_enum, default_value = "stop")]
    pub on_error: OnError,
    /// Go on with the output of an interrupted run: keep the whole records that -o FILE holds, drop what follows the
    /// last of them, and answer the records of the input that come after as many. Give the same input and options
    #[arg(long, conflicts_with = "resume_from")]
    pub resume: bool,
    /// Pass over the first N records of the input, and leave out the header line, so that the output can be appended
    /// to that of an interrupted run (>>)
    #[arg(long, value_name = "N", conflicts_with = "output")]
    pub resume_from: Option<u64>,
}

/// Formats that a file's extension is the name of.
const EXTENSIONS: [&str; 8] = ["jsonl", "json", "csv", "tsv", "npy", "f32", "raw", "base64"];

impl OutputArgs {
    /// The format that the output's name asks for.
    pub fn named_format(&self) -> Option<&'static str> {
        let extension = match self.output.as_deref()?.extension()?.to_str()? {
            "ndjson" => "jsonl",
            extension => extension,
        };
        EXTENSIONS.into_iter().find(|name| *name == extension)
    }

    /// The format that `--format` says, else the one that the output's name asks for.
    pub fn format<F: ValueEnum>(&self, given: Option<F>) -> Result<Option<F>, Failure> {
        let (None, Some(asked), Some(path)) = (&given, self.named_format(), &self.output) else {
            return Ok(given);
        };
        if let Ok(format) = F::from_str(asked, false) {
            return Ok(Some(format));
        }
        let formats: Vec<String> = F::value_variants().iter().map(name).collect();
        Err(Failure::usage(format!(
            "{}: the name asks for the format {asked}, which this command does not have; give another name, or say with --format which it is: {}",
            path.display(),
            formats.join(", ")
        )))
    }
}

/// How the work is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Number of threads [default: the physical cores that the process may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Tokens that a thread takes through the model at a time: more is faster up to a point, and takes more memory
    #[arg(long, value_name = "N", default_value_t = crate::DEFAULT_BATCH_TOKENS, value_parser = super::at_least_one)]
    pub batch_tokens: usize,
    /// Show rate and time left on stderr
    #[arg(long)]
    pub progress: bool,
}

impl RunArgs {
    /// The number of workers, never more than `records` where that is known, and the threads that each of them has.
    pub fn workers(&self, records: Option<usize>) -> (usize, usize) {
        let threads = self.threads.unwrap_or_else(physical_cores);
        let workers = records.map_or(threads, |records| records.clamp(1, threads));
        (workers, threads / workers)
    }
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    match super::at_least_one(text)? {
        threads @ 1..=1024 => Ok(threads),
        _ => Err("must be at most 1024".to_owned()),
    }
}

/// Numbers go into a table without quotes, so that what they are made of cannot stand between them.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" => Ok(b'\t'),
        [b'"' | b'\n' | b'\r' | b'.' | b'-'] => Err("cannot stand between cells".to_owned()),
        [byte] if byte.is_ascii_alphanumeric() => Err("cannot stand between cells".to_owned()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("is not one ASCII character, nor the word tab".to_owned()),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    match super::at_least_one(text)? {
        // Well within what one allocation may hold.
        bytes @ 1..=0x4000_0000 => Ok(bytes),
        _ => Err("must be at most 1073741824".to_owned()),
    }
}

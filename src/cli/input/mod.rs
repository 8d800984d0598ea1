//! From arguments, files and stdin to records: one at a time, each with its place.

mod arguments;
mod csv;
mod jsonl;
mod line;
mod lines;
mod rows;
mod source;

pub use arguments::Arguments;
pub use jsonl::JsonObject;
pub use source::{ByteCounter, Source, check_readable};

use anyhow::Result;
use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc};

/// Where a record stands in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File name, `<stdin>` or `argument`.
    pub source: Arc<str>,
    /// Line of the file, or number of the argument; both from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.source == arguments::NAME {
            write!(f, "{} {}", self.source, self.line)
        } else {
            write!(f, "{}:{}", self.source, self.line)
        }
    }
}

/// One text or pair of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The text.
    pub first: String,
    /// The second text of a pair.
    pub second: Option<String>,
}

/// What the user's record holds besides the texts, to be handed on.
#[derive(Debug, Clone)]
pub enum Fields {
    /// A bare line.
    None,
    /// A JSON object, kept as it was written.
    Json(JsonObject),
    /// The cells of a CSV or TSV row.
    Columns {
        /// Column names.
        names: Arc<[String]>,
        /// As many cells.
        cells: Vec<String>,
    },
}

/// One record of the input.
#[derive(Debug, Clone)]
pub struct Record {
    /// Number of the record in the whole input, from 0; the pipeline sets it.
    pub index: u64,
    /// Where it stands.
    pub place: Place,
    /// What it is called by the user (`--id-field`).
    pub id: Option<String>,
    /// The texts, or why there are none.
    pub texts: Result<Texts, String>,
    /// What else it holds.
    pub fields: Fields,
    /// Whether bytes that are not UTF-8 were replaced.
    pub replaced: bool,
}

impl Record {
    /// A record at `place` that holds nothing but a reason why it is bad.
    fn bad(place: Place, reason: String) -> Self {
        Record {
            index: 0,
            place,
            id: None,
            texts: Err(reason),
            fields: Fields::None,
            replaced: false,
        }
    }

    /// Bytes of text, the user's fields included: what work is estimated by.
    pub fn size(&self) -> usize {
        let texts = match &self.texts {
            Ok(texts) => texts.first.len() + texts.second.as_ref().map_or(0, String::len),
            Err(reason) => reason.len(),
        };
        let fields = match &self.fields {
            Fields::None => 0,
            Fields::Json(object) => object.size(),
            Fields::Columns { cells, .. } => cells.iter().map(String::len).sum(),
        };
        texts + fields
    }

    /// Memory that the record takes until it is written, in bytes: what queues are bounded by.
    ///
    /// A cell takes more than its text, and the columns' names, which all rows share, are in each record of JSON.
    pub fn memory(&self) -> usize {
        let columns = match &self.fields {
            Fields::Columns { names, cells } => {
                let names: usize = names.iter().map(String::len).sum();
                names + cells.len() * (size_of::<String>() + ALLOCATION)
            }
            Fields::None | Fields::Json(_) => 0,
        };
        self.size() + columns
    }
}

/// What an allocator adds to a short string, about.
const ALLOCATION: usize = 16;

/// A source of records.
pub trait RecordReader: Send {
    /// The next record, `None` at the end. A bad record is a record; an error is the end of all reading.
    fn next(&mut self) -> Result<Option<Record>>;

    /// Nobody wants what is behind a record that is too long from now on, so that its end need not be looked for.
    fn stop_at_long(&mut self) {}
}

/// How the bytes of the input are cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// One text a line.
    Lines,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated with quotes; the first row names the columns.
    Csv,
    /// Tab-separated without quotes; the first row names the columns.
    Tsv,
}

/// What readers need to know.
#[derive(Debug, Clone)]
pub struct InputOptions {
    /// How records are cut.
    pub format: InputFormat,
    /// Lines hold two texts with a tab between them; arguments are taken two by two.
    pub pairs: bool,
    /// Field or column of the text.
    pub text_field: String,
    /// Field or column of the second text.
    pub pair_field: Option<String>,
    /// Field or column of the record's name.
    pub id_field: Option<String>,
    /// Bytes that are not UTF-8 make a record bad instead of being replaced.
    pub strict: bool,
    /// A longer record is bad. In bytes.
    pub max_record_bytes: usize,
    /// What stands between the cells of CSV.
    pub delimiter: u8,
}

/// Reads the given files (`-` is stdin) one behind the other.
pub struct Files {
    options: InputOptions,
    paths: std::vec::IntoIter<PathBuf>,
    current: Option<Box<dyn RecordReader>>,
    stops: bool,
    /// Column names of the first CSV file; the others must have the same.
    names: Option<Arc<[String]>>,
    counter: ByteCounter,
}

impl Files {
    /// Opens the first file, and of a CSV file its header.
    pub fn open(paths: Vec<PathBuf>, options: InputOptions) -> Result<Self> {
        let mut files = Files {
            options,
            paths: paths.into_iter(),
            current: None,
            stops: false,
            names: None,
            counter: ByteCounter::default(),
        };
        files.advance()?;
        Ok(files)
    }

    /// Column names, if the input has any.
    pub fn names(&self) -> Option<Arc<[String]>> {
        self.names.clone()
    }

    /// Counts the bytes read so far; shared with whoever shows progress.
    pub fn counter(&self) -> ByteCounter {
        self.counter.clone()
    }

    fn advance(&mut self) -> Result<()> {
        self.current = None;
        let Some(path) = self.paths.next() else {
            return Ok(());
        };
        let source = Source::open(&path, self.counter.clone())?;
        let options = self.options.clone();
        let mut current: Box<dyn RecordReader> = match options.format {
            InputFormat::Lines => Box::new(lines::Lines::new(source, options)),
            InputFormat::Jsonl => Box::new(jsonl::JsonLines::new(source, options)),
            InputFormat::Csv | InputFormat::Tsv => {
                let reader = csv::Rows::new(source, options)?;
                let names = reader.names();
                if let Some(first) = &self.names {
                    anyhow::ensure!(
                        first == &names,
                        "{}: columns are {}, but the first file has {}; give files with the same header",
                        path.display(),
                        names.join(", "),
                        first.join(", ")
                    );
                } else {
                    self.names = Some(names);
                }
                Box::new(reader)
            }
        };
        if self.stops {
            current.stop_at_long();
        }
        self.current = Some(current);
        Ok(())
    }
}

impl RecordReader for Files {
    fn stop_at_long(&mut self) {
        self.stops = true;
        if let Some(current) = &mut self.current {
            current.stop_at_long();
        }
    }

    fn next(&mut self) -> Result<Option<Record>> {
        while let Some(current) = &mut self.current {
            if let Some(record) = current.next()? {
                return Ok(Some(record));
            }
            self.advance()?;
        }
        Ok(None)
    }
}

/// Bytes as text: as they are, or with U+FFFD for what is not UTF-8 (then `true`); an error if `strict`.
fn decode(bytes: &[u8], strict: bool) -> Result<(Cow<'_, str>, bool), String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((Cow::Borrowed(text), false)),
        Err(error) if strict => Err(format!(
            "byte {} is not UTF-8 (0x{:02x}); convert the input to UTF-8, or run without --strict to replace such bytes",
            error.valid_up_to() + 1,
            bytes[error.valid_up_to()]
        )),
        Err(_) => Ok((String::from_utf8_lossy(bytes), true)),
    }
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;

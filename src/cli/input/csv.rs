//! CSV and TSV with a header row.

use super::{
    Fields, InputFormat, InputOptions, Place, Record, RecordReader, Source, Texts, decode,
};
use anyhow::{Context, Result, bail};
use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Stops a reader that takes in too much for one row: a quote that is never closed would swallow the whole input.
struct Limited {
    inner: Box<dyn io::BufRead + Send>,
    /// Bytes read since the last row was finished.
    since_row: Arc<AtomicU64>,
    limit: u64,
    line_end: Arc<LineEnd>,
    last: u8,
}

/// How the input's first line ends.
#[derive(Default)]
struct LineEnd {
    seen: AtomicBool,
    cr_lf: AtomicBool,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.load(Ordering::Relaxed) > self.limit {
            return Err(io::Error::other(format!(
                "the row has more than {} bytes, the limit of --max-line-bytes; is a quote missing?",
                self.limit
            )));
        }
        let count = self.inner.read(buffer)?;
        self.since_row.fetch_add(count as u64, Ordering::Relaxed);
        let bytes = &buffer[..count];
        if !self.line_end.seen.load(Ordering::Relaxed)
            && let Some(end) = memchr::memchr(b'\n', bytes)
        {
            let before = end.checked_sub(1).map_or(self.last, |before| bytes[before]);
            self.line_end
                .cr_lf
                .store(before == b'\r', Ordering::Relaxed);
            self.line_end.seen.store(true, Ordering::Relaxed);
        }
        self.last = bytes.last().copied().unwrap_or(self.last);
        Ok(count)
    }
}

/// Reads rows.
pub struct Rows {
    reader: ::csv::Reader<Limited>,
    since_row: Arc<AtomicU64>,
    line_end: Arc<LineEnd>,
    source: Arc<str>,
    names: Arc<[String]>,
    first: usize,
    second: Option<usize>,
    id: Option<usize>,
    row: ::csv::ByteRecord,
    options: InputOptions,
}

impl Rows {
    /// Reads the header and finds the columns in it.
    pub fn new(source: Source, options: InputOptions) -> Result<Self> {
        let since_row = Arc::new(AtomicU64::new(0));
        let line_end = Arc::new(LineEnd::default());
        let limited = Limited {
            inner: source.reader,
            since_row: since_row.clone(),
            limit: options.max_record_bytes as u64,
            line_end: line_end.clone(),
            last: 0,
        };
        let tabs = options.format == InputFormat::Tsv;
        let mut reader = ::csv::ReaderBuilder::new()
            .delimiter(if tabs { b'\t' } else { b',' })
            .quoting(!tabs)
            // Rows of the wrong length are bad records, not the end.
            .flexible(true)
            .has_headers(true)
            .from_reader(limited);
        let header = reader
            .byte_headers()
            .with_context(|| format!("{}: the header row cannot be read", source.name))?;
        let mut names = Vec::with_capacity(header.len());
        for name in header {
            names.push(match decode(name, options.strict) {
                Ok((name, _)) => name.into_owned(),
                Err(reason) => bail!("{}:1: {reason}", source.name),
            });
        }
        let find = |name: &str| {
            names
                .iter()
                .position(|column| column == name)
                .with_context(|| {
                    format!(
                        "{}: has no column {name:?}; its columns are {}",
                        source.name,
                        if names.is_empty() {
                            "none".to_owned()
                        } else {
                            names.join(", ")
                        }
                    )
                })
        };
        Ok(Rows {
            first: find(&options.text_field)?,
            second: options.pair_field.as_deref().map(find).transpose()?,
            id: options.id_field.as_deref().map(find).transpose()?,
            names: names.into(),
            reader,
            since_row,
            line_end,
            source: source.name,
            row: ::csv::ByteRecord::new(),
            options,
        })
    }

    /// The header.
    pub fn names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    fn record(&self, place: Place) -> Record {
        let mut cells = Vec::with_capacity(self.row.len());
        let mut replaced = false;
        for (column, cell) in self.row.iter().enumerate() {
            match decode(cell, self.options.strict) {
                Ok((cell, lossy)) => {
                    replaced |= lossy;
                    cells.push(cell.into_owned());
                }
                Err(reason) => {
                    return Record::bad(place, format!("column {}: {reason}", column + 1));
                }
            }
        }
        if cells.len() != self.names.len() {
            let reason = format!(
                "the row has {} columns, the header has {}",
                cells.len(),
                self.names.len()
            );
            return Record::bad(place, reason);
        }
        Record {
            index: 0,
            place,
            id: self.id.map(|column| cells[column].clone()),
            texts: Ok(Texts {
                first: cells[self.first].clone(),
                second: self.second.map(|column| cells[column].clone()),
            }),
            fields: Fields::Columns {
                names: self.names.clone(),
                cells,
            },
            replaced,
        }
    }
}

impl RecordReader for Rows {
    fn next(&mut self) -> Result<Option<Record>> {
        self.since_row.store(0, Ordering::Relaxed);
        let line = self.reader.position().line();
        let mut row = std::mem::take(&mut self.row);
        let read = self
            .reader
            .read_byte_record(&mut row)
            .with_context(|| format!("{}:{line}: the row cannot be read", self.source))?;
        if !read {
            return Ok(None);
        }
        // The parser ends a row at its CR and counts the line at the LF, which it takes for the next row's first byte.
        let pending = u64::from(self.line_end.cr_lf.load(Ordering::Relaxed));
        let line = row.position().map_or(line, |position| position.line()) + pending;
        let place = Place {
            source: self.source.clone(),
            line,
        };
        self.row = row;
        Ok(Some(self.record(place)))
    }
}

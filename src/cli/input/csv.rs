//! CSV and TSV with a header row.

use super::{
    Fields, InputFormat, InputOptions, Place, Record, RecordReader, Source, Texts, decode,
    line::too_long,
    rows::{Cells, Row, RowReader},
};
use anyhow::{Context, Result, bail};
use std::sync::Arc;

/// Most columns of a table: every row of it takes memory for all of them, also where it is blank.
const MOST_COLUMNS: usize = 100_000;

/// Cells beyond the header's that the reason of a bad row shows, and how much of each, in characters.
const SURPLUS: usize = 10;
const SURPLUS_CHARS: usize = 100;

/// Reads rows.
pub struct Rows {
    reader: RowReader,
    cells: Cells,
    names: Arc<[String]>,
    first: usize,
    second: Option<usize>,
    id: Option<usize>,
    options: InputOptions,
}

impl Rows {
    /// Reads the header and finds the columns in it.
    pub fn new(source: Source, options: InputOptions) -> Result<Self> {
        let (delimiter, quoting) = match options.format {
            InputFormat::Tsv => (b'\t', false),
            _ => (options.delimiter, true),
        };
        let mut reader = RowReader::new(source, delimiter, quoting, options.max_record_bytes);
        let mut cells = Cells::new(MOST_COLUMNS);
        match reader.read(&mut cells)? {
            Row::End | Row::Whole => {}
            Row::Unclosed(column) => bail!("{}: {}", reader.place(), unclosed(column)),
            Row::Garbled(column) => bail!("{}: {}", reader.place(), garbled(column)),
            Row::TooLong(length) => bail!(
                "{}: {}",
                reader.place(),
                too_long(length, options.max_record_bytes)
            ),
        }
        reader.stops = false;
        if cells.count() > MOST_COLUMNS {
            bail!(
                "{}: the header has {} columns, more than {MOST_COLUMNS}; leave out those that are not needed",
                reader.place(),
                cells.count()
            );
        }
        let mut names = Vec::new();
        for name in cells.iter() {
            names.push(match decode(name, options.strict) {
                Ok((name, _)) => name.into_owned(),
                Err(reason) => bail!("{}: {reason}", reader.place()),
            });
        }
        let find = |name: &str| {
            names
                .iter()
                .position(|column| column == name)
                .with_context(|| {
                    format!(
                        "{}: has no column {name:?}; its columns are {}{}",
                        reader.name(),
                        if names.is_empty() {
                            "none".to_owned()
                        } else {
                            names.join(", ")
                        },
                        other_delimiter(&names, &options)
                    )
                })
        };
        Ok(Rows {
            first: find(&options.text_field)?,
            second: options.pair_field.as_deref().map(find).transpose()?,
            id: options.id_field.as_deref().map(find).transpose()?,
            cells: Cells::new(names.len() + SURPLUS),
            names: names.into(),
            reader,
            options,
        })
    }

    /// The header.
    pub fn names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// The row in `cells` as a record, bad for `reason` if there is one already.
    fn record(&self, place: Place, mut reason: Option<String>) -> Record {
        let columns = self.names.len();
        let mut cells = Vec::with_capacity(columns);
        let mut surplus = Vec::new();
        let mut replaced = false;
        for (column, cell) in self.cells.iter().enumerate() {
            let text = match decode(cell, self.options.strict) {
                Ok((text, lossy)) => {
                    replaced |= lossy;
                    text
                }
                Err(error) => {
                    reason.get_or_insert(format!("column {}: {error}", column + 1));
                    String::from_utf8_lossy(cell)
                }
            };
            match column < columns {
                true => cells.push(text.into_owned()),
                // What a table has no column for stands in the reason.
                false => surplus.push(shortened(&text)),
            }
        }
        if self.cells.count() != columns {
            let blank = self.cells.count() == 1 && cells[0].is_empty();
            reason.get_or_insert(self.wrong_width(blank, &surplus));
            cells.resize(columns, String::new());
        }
        let id = self.id.map(|column| cells[column].clone());
        let texts = match reason {
            Some(reason) => Err(reason),
            None => Ok(Texts {
                first: cells[self.first].clone(),
                second: self.second.map(|column| cells[column].clone()),
            }),
        };
        Record {
            index: 0,
            place,
            id,
            texts,
            fields: Fields::Columns {
                names: self.names.clone(),
                cells,
            },
            replaced,
        }
    }

    fn wrong_width(&self, blank: bool, surplus: &[String]) -> String {
        let (columns, found) = (self.names.len(), self.cells.count());
        if blank {
            return format!("the row is blank, the header has {columns} columns");
        }
        let surplus = match found.saturating_sub(columns) {
            0 => String::new(),
            1..=SURPLUS => format!(" (beyond them: {surplus:?})"),
            more => format!(
                " (beyond them: {surplus:?} and {} more)",
                more - surplus.len()
            ),
        };
        let tabs = self.options.format == InputFormat::Tsv;
        let remedy = match (found > columns, tabs) {
            (true, false) => "quote a text that holds the separator",
            (false, false) => "quote a text that holds a line break",
            (true, true) => "TSV has no quotes: replace tabs in a text, or give CSV",
            (false, true) => "TSV has no quotes: replace line breaks in a text, or give CSV",
        };
        format!("the row has {found} columns, the header has {columns}{surplus}; {remedy}")
    }
}

/// What to do about a header that is one name only because something else stands between its names.
fn other_delimiter(names: &[String], options: &InputOptions) -> String {
    let usual = [(b',', "','"), (b';', "';'"), (b'\t', "tab"), (b'|', "'|'")];
    let found = match names {
        [name] if options.format == InputFormat::Csv => usual
            .into_iter()
            .find(|(other, _)| *other != options.delimiter && name.contains(char::from(*other))),
        _ => None,
    };
    found.map_or_else(String::new, |(_, argument)| {
        format!("; if that is several names, give --delimiter {argument}")
    })
}

/// The beginning of a cell: a message is no place for a whole text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SURPLUS_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl RecordReader for Rows {
    fn stop_at_long(&mut self) {
        self.reader.stops = true;
    }

    fn next(&mut self) -> Result<Option<Record>> {
        let row = self.reader.read(&mut self.cells)?;
        let place = self.reader.place();
        Ok(match row {
            Row::End => None,
            Row::Whole => Some(self.record(place, None)),
            Row::Unclosed(column) => Some(self.record(place, Some(unclosed(column)))),
            Row::Garbled(column) => Some(self.record(place, Some(garbled(column)))),
            Row::TooLong(length) => Some(Record::bad(
                place,
                too_long(length, self.options.max_record_bytes),
            )),
        })
    }
}

fn garbled(column: usize) -> String {
    format!(
        "column {column} goes on behind its closing quote; is a quote missing, or one of two in a row?"
    )
}

fn unclosed(column: usize) -> String {
    format!(
        "the quote that opens column {column} is never closed, and what follows is taken for text; close it or double it"
    )
}

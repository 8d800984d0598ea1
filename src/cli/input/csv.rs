//! CSV and TSV with a header row.

use super::{
    Fields, InputFormat, InputOptions, Place, Record, RecordReader, Source, Texts, decode,
    line::too_long,
    rows::{Cells, Row, RowReader},
};
use anyhow::{Context, Result, bail};
use std::sync::Arc;

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
        let tabs = options.format == InputFormat::Tsv;
        let mut reader = RowReader::new(source, tabs, options.max_record_bytes);
        let mut cells = Cells::default();
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
                        "{}: has no column {name:?}; its columns are {}",
                        reader.name(),
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
            cells,
            options,
        })
    }

    /// The header.
    pub fn names(&self) -> Arc<[String]> {
        self.names.clone()
    }

    /// The row in `cells` as a record, bad for `reason` if there is one already.
    fn record(&self, place: Place, mut reason: Option<String>) -> Record {
        let mut cells = Vec::with_capacity(self.names.len());
        let mut replaced = false;
        for (column, cell) in self.cells.iter().enumerate() {
            match decode(cell, self.options.strict) {
                Ok((cell, lossy)) => {
                    replaced |= lossy;
                    cells.push(cell.into_owned());
                }
                Err(error) => {
                    reason.get_or_insert(format!("column {}: {error}", column + 1));
                    cells.push(String::from_utf8_lossy(cell).into_owned());
                }
            }
        }
        if cells.len() != self.names.len() {
            reason.get_or_insert(self.wrong_width(&cells));
            // What a table has no column for stands in the reason.
            cells.resize(self.names.len(), String::new());
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

    fn wrong_width(&self, cells: &[String]) -> String {
        let columns = self.names.len();
        let blank = cells.len() == 1 && cells[0].is_empty();
        let surplus = match cells.get(columns..) {
            Some(surplus) if !surplus.is_empty() => format!(" (beyond them: {surplus:?})"),
            _ => String::new(),
        };
        if blank {
            return format!("the row is blank, the header has {columns} columns");
        }
        let remedy = match cells.len() > columns {
            true => "quote a text that holds the separator",
            false => "quote a text that holds a line break",
        };
        format!(
            "the row has {} columns, the header has {columns}{surplus}; {remedy}",
            cells.len()
        )
    }
}

impl RecordReader for Rows {
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

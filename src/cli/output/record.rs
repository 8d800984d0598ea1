//! Records with a few named values: JSON, tables and plain lines.

use super::{Format, Totals, json, resume::Framing};
use crate::cli::input::{Fields, Record};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Shapes of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordShape {
    /// Values with tabs between them, no header.
    Text,
    /// One JSON array of all records.
    Json,
    /// One JSON value a line.
    Jsonl,
    /// Tab-separated with a header.
    Tsv,
    /// Comma-separated with a header and quotes.
    Csv,
}

/// Writes records in one of the shapes.
#[derive(Debug, Clone)]
pub struct RecordFormat {
    /// The shape.
    pub shape: RecordShape,
    /// Name of the value in a JSON record.
    pub field: &'static str,
    /// A record without fields of its own is the bare JSON value instead of an object.
    pub bare: bool,
    /// Names of the result's columns in a table.
    pub columns: Vec<String>,
    /// Names of the user's columns, which come first in a table.
    pub user_columns: Option<Arc<[String]>>,
    /// Whether rows of a table start with the record's id, and its column's name.
    pub id_column: Option<String>,
    /// Whether the text goes with the result.
    pub with_text: bool,
    /// Whether records are pairs: the second text has a column of its own.
    pub pairs: bool,
    /// Whether bad records are written in place: a table then has an `error` column.
    pub with_errors: bool,
    /// What stands between the cells of CSV.
    pub delimiter: u8,
}

/// A result as the two families of shapes want it.
pub trait Value {
    /// As a JSON value.
    fn json(&self, out: &mut Vec<u8>);
    /// As cells of a table.
    fn cells(&self, row: &mut Row);
}

/// Cells of one row; the first goes without a delimiter.
pub struct Row<'a> {
    out: &'a mut Vec<u8>,
    shape: RecordShape,
    /// What stands between cells.
    delimiter: u8,
    count: usize,
}

impl Row<'_> {
    fn delimiter(&mut self) {
        if self.count > 0 {
            self.out.push(self.delimiter);
        }
        self.count += 1;
    }

    /// The shape that the row is in.
    pub fn shape(&self) -> RecordShape {
        self.shape
    }

    /// A cell of text, quoted (CSV) or with its tabs and line ends escaped (TSV, text).
    pub fn text(&mut self, text: &str) {
        self.delimiter();
        if self.shape == RecordShape::Csv {
            quote(self.out, text, self.delimiter);
        } else {
            escape(self.out, text, true);
        }
    }

    /// The user's text as the last cell of a line: its tabs stay, since nothing follows.
    fn last_text(&mut self, text: &str) {
        if self.shape == RecordShape::Text {
            self.delimiter();
            escape(self.out, text, false);
        } else {
            self.text(text);
        }
    }

    /// A number in the shortest form that reads back as the same f32.
    pub fn number(&mut self, value: f32) {
        self.delimiter();
        if value.is_finite() {
            json::number(self.out, value);
        } else {
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

impl Row<'_> {
    /// A number of things.
    pub fn count(&mut self, count: usize) {
        self.delimiter();
        json::value(self.out, &count);
    }

    /// An integer.
    pub fn integer(&mut self, value: i16) {
        self.delimiter();
        json::integer(self.out, value);
    }
}

fn quote(out: &mut Vec<u8>, text: &str, delimiter: u8) {
    if text.contains([char::from(delimiter), '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

fn escape(out: &mut Vec<u8>, text: &str, tabs: bool) {
    for byte in text.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' if tabs => out.extend_from_slice(b"\\t"),
            byte => out.push(byte),
        }
    }
}

impl RecordFormat {
    /// Writes the result for a record, `truncated` if its text was cut.
    pub fn write(&self, out: &mut Vec<u8>, record: &Record, value: &impl Value, truncated: bool) {
        match self.shape {
            RecordShape::Json | RecordShape::Jsonl => {
                out.extend_from_slice(self.separator());
                let bare = self.bare && !self.with_text && matches!(record.fields, Fields::None);
                if bare {
                    value.json(out);
                } else {
                    let mut result = Vec::new();
                    value.json(&mut result);
                    let mut added: Vec<(&str, &[u8])> = vec![(self.field, &result)];
                    if truncated {
                        added.push(("truncated", b"true"));
                    }
                    self.object(out, record, &added);
                }
                self.end_of_json_record(out);
            }
            RecordShape::Text | RecordShape::Tsv | RecordShape::Csv => {
                let mut row = self.user_cells(out, record);
                value.cells(&mut row);
                if self.with_text {
                    self.text_cells(&mut row, record);
                }
                if self.has_error_column() {
                    row.text("");
                }
                out.push(b'\n');
            }
        }
    }

    fn has_error_column(&self) -> bool {
        self.with_errors && self.shape != RecordShape::Text
    }

    /// `{…the user's fields…, …added…}`, or the texts where the user's record has no fields and they are wanted.
    fn object(&self, out: &mut Vec<u8>, record: &Record, added: &[(&str, &[u8])]) {
        // Kept free in every record, so that a name means the same in all of them, whatever became of their texts.
        let results = [self.field, "truncated", "error", "place"];
        let results = &results[..if self.with_errors { 4 } else { 2 }];
        let mut all: Vec<(&str, &[u8])> = Vec::new();
        let kept_free = results
            .iter()
            .filter(|name| added.iter().all(|(other, _)| other != *name));
        all.extend(kept_free.map(|name| (*name, &b""[..])));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        if let (true, Fields::None, Ok(texts)) = (self.with_text, &record.fields, &record.texts) {
            json::string(&mut first, &texts.first);
            all.push(("text", &first[..]));
            if let Some(text) = &texts.second {
                json::string(&mut second, text);
                all.push(("text_pair", &second[..]));
            }
        }
        all.extend_from_slice(added);
        json::object(out, &record.fields, &all);
    }

    fn end_of_json_record(&self, out: &mut Vec<u8>) {
        if self.shape == RecordShape::Jsonl {
            out.push(b'\n');
        }
    }

    /// A row without cells yet.
    fn row<'a>(&self, out: &'a mut Vec<u8>) -> Row<'a> {
        Row {
            out,
            shape: self.shape,
            delimiter: match self.shape {
                RecordShape::Csv => self.delimiter,
                _ => b'\t',
            },
            count: 0,
        }
    }

    /// The cells that lead a row: all the user's columns in a table, else the id.
    fn user_cells<'a>(&self, out: &'a mut Vec<u8>, record: &Record) -> Row<'a> {
        let mut row = self.row(out);
        if let (Some(names), true) = (&self.user_columns, self.shape != RecordShape::Text) {
            match &record.fields {
                Fields::Columns { cells, .. } => cells.iter().for_each(|cell| row.text(cell)),
                _ => names.iter().for_each(|_| row.text("")),
            }
        } else if self.id_column.is_some() {
            row.text(record.id.as_deref().unwrap_or(""));
        }
        row
    }

    /// Names of a table's columns behind those of the user.
    fn result_columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        if self.with_text && self.user_columns.is_none() {
            names.push("text");
            if self.pairs {
                names.push("text_pair");
            }
        }
        if self.with_errors {
            names.push("error");
        }
        names
    }

    /// The user's columns, told apart from those of the result and from each other.
    fn write_header(&self, row: &mut Row) {
        let names = match (&self.user_columns, &self.id_column) {
            (Some(names), _) => &names[..],
            (None, Some(id)) => std::slice::from_ref(id),
            (None, None) => &[],
        };
        let results = self.result_columns();
        let taken: HashSet<&str> = names
            .iter()
            .map(String::as_str)
            .chain(results.iter().copied())
            .collect();
        let mut renamed = HashMap::new();
        for name in &results {
            let mut new = format!("input_{name}");
            while taken.contains(&*new) {
                new.insert_str(0, "input_");
            }
            renamed.insert(*name, new);
        }
        for name in names {
            row.text(renamed.get(&**name).unwrap_or(name));
        }
        results.iter().for_each(|name| row.text(name));
    }

    fn text_cells(&self, row: &mut Row, record: &Record) {
        if self.user_columns.is_some() && self.shape != RecordShape::Text {
            return;
        }
        if let Ok(texts) = &record.texts {
            match &texts.second {
                None => row.last_text(&texts.first),
                Some(second) => {
                    row.text(&texts.first);
                    row.last_text(second);
                }
            }
        } else {
            row.text("");
            if self.pairs {
                row.text("");
            }
        }
    }
}

impl Format for RecordFormat {
    fn begin(&self, out: &mut Vec<u8>) {
        match self.shape {
            RecordShape::Text | RecordShape::Jsonl => {}
            RecordShape::Json => out.push(b'['),
            RecordShape::Tsv | RecordShape::Csv => {
                let mut row = self.row(out);
                self.write_header(&mut row);
                out.push(b'\n');
            }
        }
    }

    fn error(&self, out: &mut Vec<u8>, record: &Record, reason: &str) {
        match self.shape {
            RecordShape::Json | RecordShape::Jsonl => {
                out.extend_from_slice(self.separator());
                let (mut message, mut place) = (Vec::new(), Vec::new());
                json::string(&mut message, reason);
                json::string(&mut place, &record.place.to_string());
                self.object(out, record, &[("error", &message), ("place", &place)]);
                self.end_of_json_record(out);
            }
            RecordShape::Text => {
                let mut row = self.user_cells(out, record);
                row.text("ERROR");
                row.text(&format!("{}: {reason}", record.place));
                out.push(b'\n');
            }
            RecordShape::Tsv | RecordShape::Csv => {
                let mut row = self.user_cells(out, record);
                self.columns.iter().for_each(|_| row.text(""));
                if self.with_text {
                    self.text_cells(&mut row, record);
                }
                row.text(&format!("{}: {reason}", record.place));
                out.push(b'\n');
            }
        }
    }

    fn end(&self, out: &mut Vec<u8>, _: &Totals) {
        if self.shape == RecordShape::Json {
            out.extend_from_slice(b"]\n");
        }
    }

    fn separator(&self) -> &'static [u8] {
        match self.shape {
            RecordShape::Json => b",\n",
            _ => b"",
        }
    }

    fn framing(&self) -> Framing {
        match self.shape {
            RecordShape::Json => Framing::Document,
            RecordShape::Csv => Framing::QuotedLines,
            RecordShape::Text | RecordShape::Jsonl | RecordShape::Tsv => Framing::Lines,
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

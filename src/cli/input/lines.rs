//! Plain text: a line is a text, or two texts with a tab between them.

use super::{
    Fields, InputOptions, Record, RecordReader, Source, Texts, decode,
    line::{Line, LineReader, too_long},
};
use anyhow::Result;

/// Reads texts a line each.
pub struct Lines {
    lines: LineReader,
    options: InputOptions,
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads from `source`.
    pub fn new(source: Source, options: InputOptions) -> Self {
        Lines {
            lines: LineReader::new(source, options.max_record_bytes),
            options,
            buffer: Vec::new(),
        }
    }
}

impl RecordReader for Lines {
    fn stop_at_long(&mut self) {
        self.lines.stops = true;
    }

    fn next(&mut self) -> Result<Option<Record>> {
        let line = self.lines.read(&mut self.buffer)?;
        let place = self.lines.place();
        Ok(match line {
            Line::End => None,
            Line::TooLong(length) => Some(Record::bad(
                place,
                too_long(length, self.options.max_record_bytes),
            )),
            Line::Whole => Some(match decode(&self.buffer, self.options.strict) {
                Err(reason) => Record::bad(place, reason),
                Ok((line, replaced)) => Record {
                    index: 0,
                    place,
                    id: None,
                    texts: texts(&line, self.options.pairs),
                    fields: Fields::None,
                    replaced,
                },
            }),
        })
    }
}

fn texts(line: &str, pairs: bool) -> Result<Texts, String> {
    if !pairs {
        return Ok(Texts {
            first: line.to_owned(),
            second: None,
        });
    }
    let mut columns = line.split('\t');
    match (columns.next(), columns.next(), columns.count()) {
        (Some(first), Some(second), 0) => Ok(Texts {
            first: first.to_owned(),
            second: Some(second.to_owned()),
        }),
        (_, None, _) => {
            Err("the line has no tab; a pair is two texts with a tab between them".to_owned())
        }
        (_, _, more) => Err(format!(
            "the line has {} tabs; a pair is two texts with one tab between them (a table with more columns: --input-format tsv)",
            more + 1
        )),
    }
}

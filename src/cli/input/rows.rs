//! Cuts CSV and TSV into rows (RFC 4180, read generously): every line end ends a row, a blank line is a row too.

use super::{Place, Source};
use anyhow::{Context, Result};
use std::io::ErrorKind;

/// What reading a row gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Row {
    /// The input is over.
    End,
    /// The row is in the cells.
    Whole,
    /// The input ended inside a quoted cell; its number, from 1. What was read of the row is in the cells.
    Unclosed(usize),
    /// A quoted cell goes on behind its closing quote; its number, from 1. The row is in the cells.
    Garbled(usize),
    /// The row is longer than allowed; it was thrown away. Its length in bytes, if it was read to its end.
    TooLong(Option<u64>),
}

/// The cells of one row.
#[derive(Debug)]
pub struct Cells {
    bytes: Vec<u8>,
    /// Where each cell ends in `bytes`.
    ends: Vec<usize>,
    /// Cells that are kept. A cell may be a single byte of the input and takes more than that here.
    most: usize,
    /// Cells that the row has, kept or not.
    count: usize,
}

impl Cells {
    /// No cells yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Cells {
            bytes: Vec::new(),
            ends: Vec::new(),
            most,
            count: 0,
        }
    }

    /// Cells that the row has, those included that were dropped.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The cells that were kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.count = 0;
    }

    /// Whether the cell that is being read is kept.
    fn has_room(&self) -> bool {
        self.count < self.most
    }

    /// Ends the cell that is being read.
    fn end(&mut self) {
        if self.has_room() {
            self.ends.push(self.bytes.len());
        }
        self.count += 1;
    }
}

/// Where in a row the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first byte of a cell.
    Start,
    /// In a cell without quotes, or behind the quotes of one.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote inside quotes: the end of them, or the first of two that stand for one.
    Quote,
}

/// Reads rows from a source.
pub struct RowReader {
    source: Source,
    /// What stands between cells.
    delimiter: u8,
    /// Whether cells may be quoted; a CR is then a line end by itself too, as in other readers of CSV.
    quoting: bool,
    /// Most bytes of a row.
    limit: u64,
    /// Line on which the next row begins.
    next_line: u64,
    /// Line on which the row read last begins.
    line: u64,
    /// A CR ended the last row: an LF right behind it belongs to it.
    after_cr: bool,
    /// Nobody wants what is behind a row that is too long, so its end is not looked for.
    pub(super) stops: bool,
}

impl RowReader {
    /// Reads cells with `delimiter` between them, and with quotes around them or without. It stops at a row that is too long, as the
    /// header may be.
    pub fn new(source: Source, delimiter: u8, quoting: bool, limit: usize) -> Self {
        RowReader {
            source,
            delimiter,
            quoting,
            limit: limit as u64,
            next_line: 1,
            line: 0,
            after_cr: false,
            stops: true,
        }
    }

    /// Name of the source.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Where the row read last begins.
    pub fn place(&self) -> Place {
        Place {
            source: self.source.name.clone(),
            line: self.line,
        }
    }

    /// Reads the next row into `cells`, which never hold more bytes than the limit.
    ///
    /// A quoted cell longer than the limit is an error that ends all reading: where its row ends cannot be known, and
    /// the rest of the input might be taken for text.
    pub fn read(&mut self, cells: &mut Cells) -> Result<Row> {
        cells.clear();
        self.line = self.next_line;
        let mut state = State::Start;
        let (mut length, mut quoted, mut started) = (0u64, 0u64, false);
        let mut garbled = None;
        // Inside quotes, where CR, LF and both are a line end too.
        let mut quoted_cr = false;
        let mut last = 0;
        loop {
            let available = match self.source.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("{}:{}: cannot be read", self.source.name, self.next_line)
                    });
                }
            };
            if available.is_empty() {
                return Ok(self.at_end(cells, state, started, length, garbled));
            }
            let mut used = 0;
            let mut ended = false;
            for &byte in available {
                used += 1;
                if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                    continue;
                }
                started = true;
                let (line_end, cell_end) = match state {
                    State::Quoted => (false, false),
                    _ if self.quoting && byte == b'\r' => {
                        self.after_cr = true;
                        (true, true)
                    }
                    _ => (byte == b'\n', byte == self.delimiter || byte == b'\n'),
                };
                if cell_end {
                    ended = line_end;
                    if line_end {
                        self.next_line += 1;
                        if !self.quoting && last == b'\r' {
                            // In a row that is too long it may be dropped already.
                            if length <= self.limit + 1 && cells.has_room() {
                                cells.bytes.pop();
                            }
                            length -= 1;
                        }
                        cells.end();
                        break;
                    }
                    cells.end();
                    state = State::Start;
                    length += 1;
                    last = byte;
                    continue;
                }
                length += 1;
                last = byte;
                let keep = match (state, byte) {
                    (State::Start, b'"') if self.quoting => {
                        (state, quoted, quoted_cr) = (State::Quoted, 0, false);
                        false
                    }
                    (State::Quoted, b'"') => {
                        state = State::Quote;
                        false
                    }
                    (State::Quoted, _) => {
                        self.next_line += u64::from(byte == b'\r' || byte == b'\n' && !quoted_cr);
                        quoted_cr = byte == b'\r';
                        true
                    }
                    (State::Quote, b'"') => {
                        (state, quoted_cr) = (State::Quoted, false);
                        true
                    }
                    (State::Quote, _) => {
                        garbled = garbled.or(Some(cells.count + 1));
                        state = State::Plain;
                        true
                    }
                    _ => {
                        state = State::Plain;
                        true
                    }
                };
                if state == State::Quoted {
                    quoted += 1;
                    anyhow::ensure!(
                        quoted <= self.limit,
                        "{}:{}: the row cannot be read: it has a quoted cell of more than {} bytes, the limit of \
                         --max-line-bytes; is a quote missing?",
                        self.source.name,
                        self.line,
                        self.limit
                    );
                }
                // One byte more than the limit, for a CR that turns out to end the line.
                if keep && length <= self.limit + 1 && cells.has_room() {
                    cells.bytes.push(byte);
                }
            }
            self.source.reader.consume(used);
            if ended || self.stops && length > self.limit + 1 {
                return Ok(self.finished(cells, length, garbled));
            }
        }
    }

    fn finished(&self, cells: &mut Cells, length: u64, garbled: Option<usize>) -> Row {
        if length > self.limit {
            cells.clear();
            // Whether it was read to its end depends on how the bytes came.
            return Row::TooLong(Some(length).filter(|_| !self.stops));
        }
        garbled.map_or(Row::Whole, Row::Garbled)
    }

    fn at_end(
        &mut self,
        cells: &mut Cells,
        state: State,
        started: bool,
        length: u64,
        garbled: Option<usize>,
    ) -> Row {
        if !started {
            return Row::End;
        }
        self.next_line += 1;
        cells.end();
        match self.finished(cells, length, garbled) {
            Row::Whole | Row::Garbled(_) if state == State::Quoted => Row::Unclosed(cells.count),
            row => row,
        }
    }
}

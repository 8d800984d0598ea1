//! Lines of bounded length from any reader.

use anyhow::{Context, Result};
use std::io::{BufRead, ErrorKind};

use super::{Place, Source};

/// What reading a line gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The input is over.
    End,
    /// The line is in the buffer, without its line end.
    Whole,
    /// The line is longer than allowed; it was thrown away. Its length in bytes, if it was read to its end.
    TooLong(Option<u64>),
}

/// Cuts a source into lines. A line ends with LF, CR LF or the end of the input.
pub struct LineReader {
    source: Source,
    limit: usize,
    number: u64,
    /// Nobody wants what is behind a line that is too long, so its end is not looked for.
    pub(super) stops: bool,
}

impl LineReader {
    /// Lines of at most `limit` bytes.
    pub fn new(source: Source, limit: usize) -> Self {
        LineReader {
            source,
            limit,
            number: 0,
            stops: false,
        }
    }

    /// Where the line read last stands.
    pub fn place(&self) -> Place {
        Place {
            source: self.source.name.clone(),
            line: self.number,
        }
    }

    /// Reads the next line into `line`, which is cleared first and never grows past the limit.
    pub fn read(&mut self, line: &mut Vec<u8>) -> Result<Line> {
        line.clear();
        let mut length = 0u64;
        let mut started = false;
        let mut ended = false;
        let mut last = None;
        while !ended {
            let available = match self.source.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("{}:{}: cannot be read", self.source.name, self.number + 1)
                    });
                }
            };
            if available.is_empty() {
                break;
            }
            started = true;
            let end = memchr::memchr(b'\n', available);
            ended = end.is_some();
            let piece = &available[..end.unwrap_or(available.len())];
            length += piece.len() as u64;
            last = piece.last().copied().or(last);
            // One byte more than the limit, so that a CR LF at the limit is not taken for a long line.
            let room = (self.limit + 1).saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            let used = piece.len() + usize::from(ended);
            self.source.reader.consume(used);
            if self.stops && length > self.limit as u64 + 1 {
                break;
            }
        }
        if !started {
            return Ok(Line::End);
        }
        self.number += 1;
        if ended && last == Some(b'\r') {
            if length == line.len() as u64 {
                line.pop();
            }
            length -= 1;
        }
        Ok(if length > self.limit as u64 {
            line.clear();
            // Whether it was read to its end depends on how the bytes came.
            Line::TooLong(Some(length).filter(|_| !self.stops))
        } else {
            Line::Whole
        })
    }
}

/// Why a line of `length` bytes, if that is known, is bad.
pub fn too_long(length: Option<u64>, limit: usize) -> String {
    let more = format!("more than --max-line-bytes {limit}");
    match length {
        Some(length) => format!("the line has {length} bytes, {more}"),
        None => format!("the line has {more}"),
    }
}

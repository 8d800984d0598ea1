//! Texts from the command line.

use super::{Fields, Place, Record, RecordReader, Texts, decode};
use anyhow::Result;
use std::ffi::OsString;

/// What a place in the arguments is called.
pub const NAME: &str = "argument";

/// Texts given as arguments: one each, or two by two as pairs.
pub struct Arguments {
    texts: std::vec::IntoIter<OsString>,
    pairs: bool,
    strict: bool,
    number: u64,
}

impl Arguments {
    /// Takes the arguments one by one, or as pairs; an odd one at the end is then a bad record.
    pub fn new(texts: Vec<OsString>, pairs: bool, strict: bool) -> Self {
        Arguments {
            texts: texts.into_iter(),
            pairs,
            strict,
            number: 0,
        }
    }

    fn text(&mut self) -> Option<Result<(String, bool), String>> {
        let text = self.texts.next()?;
        self.number += 1;
        Some(
            decode(text.as_encoded_bytes(), self.strict)
                .map(|(text, replaced)| (text.into_owned(), replaced)),
        )
    }
}

impl RecordReader for Arguments {
    fn next(&mut self) -> Result<Option<Record>> {
        let Some(first) = self.text() else {
            return Ok(None);
        };
        let place = Place {
            source: NAME.into(),
            line: self.number,
        };
        let second = match self.pairs.then(|| self.text()) {
            None => None,
            Some(Some(second)) => Some(second),
            Some(None) => {
                let reason = "has no partner; pairs are taken from the arguments two by two";
                return Ok(Some(Record::bad(place, reason.to_owned())));
            }
        };
        let mut replaced = false;
        let mut keep = |(text, lossy): (String, bool)| {
            replaced |= lossy;
            text
        };
        let texts = first.map(&mut keep).and_then(|first| {
            let second = second.transpose()?.map(&mut keep);
            Ok(Texts { first, second })
        });
        Ok(Some(Record {
            index: 0,
            place,
            id: None,
            texts,
            fields: Fields::None,
            replaced,
        }))
    }
}

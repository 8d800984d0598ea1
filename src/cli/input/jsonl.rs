//! JSON objects, one a line. The object is kept as it was written, so that what passes through is exact.

use super::{
    Fields, InputOptions, Record, RecordReader, Source, Texts, decode,
    line::{Line, LineReader, too_long},
};
use crate::cli::output::json;
use anyhow::Result;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{fmt, ops::Range};

/// A JSON object as text, with the places of its values.
#[derive(Debug, Clone)]
pub struct JsonObject {
    text: String,
    fields: Vec<(String, Range<usize>)>,
}

impl JsonObject {
    /// Reads an object. Values are only checked for syntax, and without recursion: nesting has no limit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Err("the line is empty; expected a JSON object".to_owned());
        }
        if !text.starts_with('{') {
            return Err(format!(
                "the line holds {}; expected a JSON object",
                kind(text)
            ));
        }
        let Object(fields) = serde_json::from_str(text).map_err(|error| describe(&error))?;
        let start = text.as_ptr() as usize;
        let fields = fields
            .into_iter()
            .map(|(name, value)| {
                let value = value.get();
                let begin = value.as_ptr() as usize - start;
                (name, begin..begin + value.len())
            })
            .collect();
        Ok(JsonObject {
            text: text.to_owned(),
            fields,
        })
    }

    /// The value of a field as JSON text. Of several fields with the name the last counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, range) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        Some(&self.text[range.clone()])
    }

    /// The value of a field that must be a string.
    pub fn string(&self, name: &str) -> Result<String, String> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        if !value.starts_with('"') {
            return Err(format!(
                "field {name:?} holds {}; expected a string",
                kind(value)
            ));
        }
        serde_json::from_str(value).map_err(|error| format!("field {name:?}: {}", describe(&error)))
    }

    /// The value of a field for a table: a string without its quotes, anything else as it is written.
    pub fn cell(&self, name: &str) -> Result<String, String> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        if value.starts_with('"') {
            self.string(name)
        } else {
            Ok(value.to_owned())
        }
    }

    /// Writes the object with more fields at its end. A field of the same name is renamed (`input_…`); one without a
    /// value is not written.
    pub fn write_with(&self, out: &mut Vec<u8>, added: &[(&str, &[u8])]) {
        let collides = |name: &str| added.iter().any(|(field, _)| *field == name);
        let taken = |new: &str| self.fields.iter().any(|(name, _)| name == new);
        let mut first = true;
        if self.fields.iter().any(|(name, _)| collides(name)) {
            out.push(b'{');
            for (name, range) in &self.fields {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                if collides(name) {
                    json::string(out, &json::renamed(name, added, taken));
                } else {
                    json::string(out, name);
                }
                out.push(b':');
                out.extend_from_slice(&self.text.as_bytes()[range.clone()]);
            }
        } else {
            let body = &self.text[..self.text.len() - 1];
            out.extend_from_slice(body.trim_end().as_bytes());
            first = self.fields.is_empty();
        }
        for (name, value) in added.iter().filter(|(_, value)| !value.is_empty()) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            json::string(out, name);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }

    /// Bytes of its text.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    fn missing(&self, name: &str) -> String {
        let mut names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.truncate(10);
        format!(
            "has no field {name:?}; it has {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        )
    }
}

/// What a JSON value is, by its first character.
fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "something that is not JSON",
    }
}

/// serde_json counts lines of its own; a record is one line, so only the column helps.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.split(" at line ").next().unwrap_or(&text);
    format!("is not valid JSON: {cause} at column {}", error.column())
}

struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Err(E::custom("expected a JSON object"))
            }
        }
        deserializer.deserialize_map(Fields).map(Object)
    }
}

/// Reads JSON objects a line each.
pub struct JsonLines {
    lines: LineReader,
    options: InputOptions,
    buffer: Vec<u8>,
}

impl JsonLines {
    /// Reads from `source`.
    pub fn new(source: Source, options: InputOptions) -> Self {
        JsonLines {
            lines: LineReader::new(source, options.max_record_bytes),
            options,
            buffer: Vec::new(),
        }
    }
}

impl RecordReader for JsonLines {
    fn next(&mut self) -> Result<Option<Record>> {
        let line = self.lines.read(&mut self.buffer)?;
        let place = self.lines.place();
        let (text, replaced) = match line {
            Line::End => return Ok(None),
            Line::TooLong(length) => {
                let reason = too_long(length, self.options.max_record_bytes);
                return Ok(Some(Record::bad(place, reason)));
            }
            Line::Whole => match decode(&self.buffer, self.options.strict) {
                Ok(decoded) => decoded,
                Err(reason) => return Ok(Some(Record::bad(place, reason))),
            },
        };
        let object = match JsonObject::parse(&text) {
            Ok(object) => object,
            Err(reason) => return Ok(Some(Record::bad(place, reason))),
        };
        let (id, texts) = match read_fields(&object, &self.options) {
            Ok((id, texts)) => (id, Ok(texts)),
            Err(reason) => (None, Err(reason)),
        };
        Ok(Some(Record {
            index: 0,
            place,
            id,
            texts,
            fields: Fields::Json(object),
            replaced,
        }))
    }
}

fn read_fields(
    object: &JsonObject,
    options: &InputOptions,
) -> Result<(Option<String>, Texts), String> {
    let id = options.id_field.as_deref().map(|name| object.cell(name));
    let second = options
        .pair_field
        .as_deref()
        .map(|name| object.string(name));
    let texts = Texts {
        first: object.string(&options.text_field)?,
        second: second.transpose()?,
    };
    Ok((id.transpose()?, texts))
}

//! JSON objects, one a line. The object is kept as it was written, so that what passes through is exact.

use super::{
    Fields, InputOptions, Record, RecordReader, Source, Texts, decode,
    line::{Line, LineReader, too_long},
};
use crate::cli::output::json;
use anyhow::Result;
use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// A JSON object as text. Its fields are looked for when they are wanted: a table of them would take many times the text.
#[derive(Debug, Clone)]
pub struct JsonObject {
    text: String,
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
        each_field(text, |_, _| ()).map_err(|error| describe(&error))?;
        Ok(JsonObject {
            text: text.to_owned(),
        })
    }

    /// Shows all fields in their order, each with its value as JSON text.
    fn each<'a>(&'a self, visit: impl FnMut(Cow<'a, str>, &'a str)) {
        let read = each_field(&self.text, visit);
        debug_assert!(read.is_ok(), "parsed before: {read:?}");
    }

    /// The value of a field as JSON text. Of several fields with the name the last counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = None;
        self.each(|field, value| {
            if field == name {
                found = Some(value);
            }
        });
        found
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
        let mut renames = json::Renames::new(added);
        self.each(|name, _| renames.see(&name));
        let mut first = true;
        if renames.are_needed() {
            renames.settle();
            out.push(b'{');
            self.each(|name, value| {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                json::string(out, renames.name(&name));
                out.push(b':');
                out.extend_from_slice(value.as_bytes());
            });
        } else {
            let body = self.text[..self.text.len() - 1].trim_end();
            out.extend_from_slice(body.as_bytes());
            first = body == "{";
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
        let mut names = Vec::new();
        self.each(|field, _| {
            if names.len() < 10 {
                names.push(field);
            }
        });
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

/// A field's name: the text's own bytes unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Shows the fields of the object that `text` is to `visit`.
fn each_field<'a>(
    text: &'a str,
    visit: impl FnMut(Cow<'a, str>, &'a str),
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Each(visit).deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Each<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de str)> DeserializeSeed<'de> for Each<F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Cow<'de, str>, &'de str)> Visitor<'de> for Each<F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name, &RawValue>()? {
            (self.0)(name, value.get());
        }
        Ok(())
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom("expected a JSON object"))
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
    fn stop_at_long(&mut self) {
        self.lines.stops = true;
    }

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
        let (id, texts) = read_fields(&object, &self.options);
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

/// The record's name, also where its texts are bad: it says which record that is.
fn read_fields(
    object: &JsonObject,
    options: &InputOptions,
) -> (Option<String>, Result<Texts, String>) {
    let id = options.id_field.as_deref().map(|name| object.cell(name));
    let second = options.pair_field.as_deref();
    let texts = object.string(&options.text_field).and_then(|first| {
        let second = second.map(|name| object.string(name)).transpose()?;
        Ok(Texts { first, second })
    });
    match id.transpose() {
        Ok(id) => (id, texts),
        Err(reason) => (None, texts.and(Err(reason))),
    }
}

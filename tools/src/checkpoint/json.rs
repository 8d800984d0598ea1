//! JSON files of a checkpoint, read with errors that name the file and the field.

use crate::files;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::path::Path;

/// A JSON object and where it stands: `config.json`, or `tokenizer.json, field 'model'`.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    place: String,
    fields: Map<String, Value>,
}

impl Object {
    /// Reads a file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Object>> {
        let text = match files::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        let value = serde_json::from_slice(&text)
            .with_context(|| format!("{}: is not valid JSON", path.display()))?;
        Object::from_value(path.display().to_string(), value).map(Some)
    }

    /// Takes an object out of a value found at `place`.
    pub fn from_value(place: String, value: Value) -> Result<Object> {
        match value {
            Value::Object(fields) => Ok(Object { place, fields }),
            other => bail!("{place}: expected an object, found {}", kind(&other)),
        }
    }

    /// Where the object stands, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The fields as they stand in the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A field; `null` counts as absent, as it does for transformers.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Whether a field is there and `null`.
    pub fn is_null(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(Value::is_null)
    }

    /// What a message says in front of a complaint about a field.
    pub fn at(&self, key: &str) -> String {
        format!("{}, field '{key}'", self.place)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(found) => Ok(Some(found)),
            None => bail!(
                "{}: expected {expected}, found {}",
                self.at(key),
                kind(value)
            ),
        }
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| {
            value.as_u64().and_then(|number| number.try_into().ok())
        })
    }

    pub fn id(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a token id", |value| {
            value.as_u64().and_then(|number| number.try_into().ok())
        })
    }

    pub fn array(&self, key: &str) -> Result<Option<&[Value]>> {
        self.typed(key, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub fn object(&self, key: &str) -> Result<Option<Object>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => Object::from_value(self.at(key), value.clone()).map(Some),
        }
    }

    /// Turns an absent field into an error.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.with_context(|| format!("{}: is missing", self.at(key)))
    }
}

/// What a value is, in the words of a message.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => format!("'{value}'"),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object.fields)
    }
}

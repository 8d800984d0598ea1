//! Vectors: JSON, tables, NumPy and raw bytes.

use super::{
    Format, Totals, base64, json,
    record::{RecordFormat, RecordShape, Row, Value},
    resume::Framing,
};
use crate::{
    cli::input::Record,
    vector::{Element, Encoded, Number},
};

/// Shapes of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VectorShape {
    /// One JSON object a line.
    Jsonl,
    /// One JSON document in the shape of OpenAI's embeddings interface.
    Json,
    /// Comma-separated with a header.
    Csv,
    /// Tab-separated with a header.
    Tsv,
    /// A NumPy array [records, dimensions].
    Npy,
    /// Little-endian 32-bit floats, nothing else.
    F32,
    /// The bytes of the encoding, nothing else.
    Raw,
    /// The bytes of the encoding in base64, one vector a line.
    Base64,
}

/// Writes vectors in one of the shapes.
#[derive(Debug, Clone)]
pub struct VectorFormat {
    /// The shape.
    pub shape: VectorShape,
    /// How an element is stored.
    pub element: Element,
    /// Length of a vector.
    pub dimensions: usize,
    /// What the OpenAI shape calls the model.
    pub model: String,
    /// Writes the shapes that hand on the user's fields.
    pub records: RecordFormat,
}

/// What goes with a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Tokens of the text, special tokens included.
    pub tokens: u64,
    /// Whether the text was cut.
    pub truncated: bool,
}

impl Value for Encoded {
    fn json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        let mut first = true;
        self.for_each(|number| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            match number {
                Number::Float(number) => json::number(out, number),
                Number::Integer(number) => json::integer(out, number),
            }
        });
        out.push(b']');
    }

    fn cells(&self, row: &mut Row) {
        self.for_each(|number| match number {
            Number::Float(number) => row.number(number),
            Number::Integer(number) => row.integer(number),
        });
    }
}

impl VectorFormat {
    /// How the user's fields are handed on in the shapes that do so.
    pub fn record_shape(shape: VectorShape) -> RecordShape {
        match shape {
            VectorShape::Csv => RecordShape::Csv,
            VectorShape::Tsv => RecordShape::Tsv,
            _ => RecordShape::Jsonl,
        }
    }

    /// Writes the vector of a record.
    pub fn write(&self, out: &mut Vec<u8>, record: &Record, vector: &Encoded, note: Note) {
        match self.shape {
            VectorShape::Jsonl | VectorShape::Csv | VectorShape::Tsv => {
                self.records.write(out, record, vector, note.truncated);
            }
            VectorShape::Json => {
                out.extend_from_slice(self.separator());
                out.extend_from_slice(br#"{"object":"embedding","index":"#);
                json::integer(out, record.index);
                out.extend_from_slice(br#","embedding":"#);
                vector.json(out);
                out.push(b'}');
            }
            VectorShape::Npy | VectorShape::F32 | VectorShape::Raw => {
                out.extend_from_slice(vector.bytes());
            }
            VectorShape::Base64 => {
                base64::encode(out, vector.bytes());
                out.push(b'\n');
            }
        }
    }
}

impl Format for VectorFormat {
    fn begin(&self, out: &mut Vec<u8>) {
        match self.shape {
            VectorShape::Json => out.extend_from_slice(br#"{"object":"list","data":["#),
            VectorShape::Csv | VectorShape::Tsv => self.records.begin(out),
            _ => {}
        }
    }

    fn error(&self, out: &mut Vec<u8>, record: &Record, reason: &str) {
        match self.shape {
            VectorShape::Jsonl | VectorShape::Csv | VectorShape::Tsv => {
                self.records.error(out, record, reason);
            }
            VectorShape::Json => {
                out.extend_from_slice(self.separator());
                out.extend_from_slice(br#"{"object":"error","index":"#);
                json::integer(out, record.index);
                out.extend_from_slice(br#","message":"#);
                json::string(out, &format!("{}: {reason}", record.place));
                out.push(b'}');
            }
            VectorShape::Npy | VectorShape::F32 | VectorShape::Raw => {
                out.extend_from_slice(Encoded::placeholder(self.element, self.dimensions).bytes());
            }
            VectorShape::Base64 => {
                let row = Encoded::placeholder(self.element, self.dimensions);
                base64::encode(out, row.bytes());
                out.push(b'\n');
            }
        }
    }

    fn end(&self, out: &mut Vec<u8>, totals: &Totals) {
        if self.shape == VectorShape::Json {
            out.extend_from_slice(br#"],"model":"#);
            json::string(out, &self.model);
            out.extend_from_slice(br#","usage":{"prompt_tokens":"#);
            json::integer(out, totals.tokens);
            out.extend_from_slice(br#","total_tokens":"#);
            json::integer(out, totals.tokens);
            out.extend_from_slice(b"}}\n");
        }
    }

    fn separator(&self) -> &'static [u8] {
        match self.shape {
            VectorShape::Json => b",\n",
            _ => b"",
        }
    }

    fn framing(&self) -> Framing {
        match self.shape {
            VectorShape::Json => Framing::Document,
            VectorShape::Jsonl | VectorShape::Csv | VectorShape::Tsv => self.records.framing(),
            VectorShape::Base64 => Framing::Lines,
            VectorShape::Npy | VectorShape::F32 | VectorShape::Raw => {
                let row = Encoded::placeholder(self.element, self.dimensions);
                Framing::Bytes(row.bytes().len())
            }
        }
    }
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod tests;

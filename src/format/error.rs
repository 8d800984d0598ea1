//! One variant for each rule of the format.

use super::header::Dtype;
use super::{MAGIC, MAX_HEADER_LENGTH, VERSION};
use std::fmt;

/// A rule of the format that a file breaks; the message says what was found, what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The file is shorter than its fixed prefix.
    TooShort {
        /// Its length in bytes.
        length: usize,
    },
    /// The first bytes are not [`MAGIC`].
    Magic {
        /// What they are.
        found: [u8; 8],
    },
    /// The file has another version.
    Version {
        /// The version it names.
        found: u32,
    },
    /// The reserved word is not zero.
    Reserved {
        /// What it is.
        found: u32,
    },
    /// The header's length exceeds the file or [`MAX_HEADER_LENGTH`].
    HeaderLength {
        /// The length it names.
        found: u64,
        /// The bytes that are there.
        available: u64,
    },
    /// The header is not JSON or not of [`super::header::Header`]'s form.
    Header {
        /// What the JSON parser says, with line and column.
        message: String,
    },
    /// Two tensors have one name.
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A tensor's size in bytes, or the byte behind its last, is beyond 64 bits.
    Size {
        /// The tensor.
        name: String,
        /// What the header says.
        shape: Vec<usize>,
    },
    /// A tensor does not begin right behind the one before it.
    Offset {
        /// The tensor.
        name: String,
        /// The offset that the header names.
        found: u64,
        /// Where it must begin.
        expected: u64,
    },
    /// The file does not end with its last tensor.
    Length {
        /// The file's length in bytes.
        found: u64,
        /// The length that the header asks for, saturated.
        expected: u64,
    },
    /// A number of the configuration is out of range or contradicts another.
    Config {
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
    /// The configuration asks for a tensor that is not there.
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor is there that nothing asks for.
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor has another type or shape than the configuration asks for.
    Shape {
        /// The tensor.
        name: String,
        /// What the header says.
        found: (Dtype, Vec<usize>),
        /// What the configuration asks for.
        expected: (Dtype, Vec<usize>),
    },
    /// The tokenizer's tables contradict themselves.
    Tokenizer {
        /// What is wrong, with the part of the tokenizer.
        message: String,
    },
    /// The bytes between two tensors are not zero.
    Padding {
        /// The tensor behind the padding.
        name: String,
    },
    /// A tensor's bytes are not those that were written.
    Checksum {
        /// The tensor.
        name: String,
        /// CRC-32 of its bytes.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },
    /// A sum of weights is not what they add up to.
    ColumnSum {
        /// The tensor of sums.
        name: String,
        /// Index of the first such sum.
        index: usize,
        /// The sum in the file.
        found: i32,
        /// What the weights add up to.
        expected: i32,
    },
    /// A floating-point tensor has a value that is not a finite number.
    NotFinite {
        /// The tensor.
        name: String,
        /// Index of the first such value.
        index: usize,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FormatError::*;
        const AGAIN: &str = "the file is damaged: copy or convert it again";
        match self {
            TooShort { length } => write!(
                f,
                "not a .bertlet file: it has only {length} bytes; make one with bertlet-convert"
            ),
            Magic { found } => write!(
                f,
                "not a .bertlet file: it begins with \"{}\"{}, expected \"{}\"; make one with bertlet-convert",
                found.escape_ascii(),
                kind_of(found),
                MAGIC.escape_ascii()
            ),
            Version { found } if *found > VERSION => write!(
                f,
                "file version {found} is newer than this program, which reads version {VERSION}: update bertlet"
            ),
            Version { found } => write!(
                f,
                "file version {found} is not known, expected {VERSION}: convert the checkpoint again"
            ),
            Reserved { found } => {
                write!(f, "reserved word is {found:#x}, expected 0: {AGAIN}")
            }
            HeaderLength { found, available } => write!(
                f,
                "header of {found} bytes where {available} are there and at most {MAX_HEADER_LENGTH} allowed: {AGAIN}"
            ),
            Header { message } => write!(f, "header: {message}: convert the checkpoint again"),
            DuplicateTensor { name } => write!(f, "tensor {name} appears twice: {AGAIN}"),
            Size { name, shape } => write!(
                f,
                "tensor {name} of shape {shape:?} is larger than any file: {AGAIN}"
            ),
            Offset {
                name,
                found,
                expected,
            } => write!(
                f,
                "tensor {name} is said to begin at byte {found}, expected {expected}: {AGAIN}"
            ),
            Length { found, expected } if found < expected => write!(
                f,
                "file has {found} bytes, expected {expected}: it is truncated; copy or convert it again"
            ),
            Length { found, expected } => write!(
                f,
                "file has {found} bytes, expected {expected}: something was appended; copy or convert it again"
            ),
            Config {
                field,
                found,
                expected,
            } => write!(
                f,
                "header: {field} is {found}, expected {expected}: {AGAIN}"
            ),
            MissingTensor { name } => write!(f, "tensor {name} is missing: {AGAIN}"),
            UnknownTensor { name } => write!(f, "tensor {name} is not known: {AGAIN}"),
            Shape {
                name,
                found,
                expected,
            } => write!(
                f,
                "tensor {name} is {:?} {:?}, expected {:?} {:?}: {AGAIN}",
                found.0, found.1, expected.0, expected.1
            ),
            Tokenizer { message } => write!(f, "{message}: {AGAIN}"),
            Padding { name } => write!(f, "padding before tensor {name} is not zero: {AGAIN}"),
            Checksum {
                name,
                found,
                expected,
            } => write!(
                f,
                "tensor {name} has checksum {found:08x}, expected {expected:08x}: {AGAIN}"
            ),
            ColumnSum {
                name,
                index,
                found,
                expected,
            } => write!(
                f,
                "tensor {name} has {found} at element {index}, where the weights add up to {expected}: convert it again"
            ),
            NotFinite { name, index } => {
                write!(f, "tensor {name} is not finite at element {index}: {AGAIN}")
            }
        }
    }
}

impl std::error::Error for FormatError {}

/// Names the formats that people hand over by mistake.
fn kind_of(found: &[u8; 8]) -> &'static str {
    match found {
        [b'P', b'K', 3, 4, ..] => " (a zip archive, perhaps pytorch_model.bin)",
        [b'G', b'G', b'U', b'F', ..] => " (a GGUF file)",
        [_, _, _, 0, 0, 0, 0, 0] => " (perhaps a safetensors file)",
        [8, ..] => " (perhaps an ONNX file)",
        _ => "",
    }
}

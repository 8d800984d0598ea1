//! From results to bytes.

pub mod base64;
pub mod color;
pub mod heat_map;
pub mod json;
pub mod npy;
pub mod record;
pub mod resume;
pub mod sink;
pub mod vectors;

use super::input::Record;
use resume::Framing;

/// What the last lines of an output need to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that came in.
    pub records: u64,
    /// Records that were bad.
    pub failed: u64,
    /// Records with bytes that were not UTF-8.
    pub replaced: u64,
    /// Records that were cut at the model's maximum length.
    pub truncated: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
}

/// How a whole output is framed; the records themselves are written by the task's own methods.
pub trait Format: Send + Sync {
    /// What stands before the first record.
    fn begin(&self, out: &mut Vec<u8>);
    /// A record that says what is wrong, in the place of a result.
    fn error(&self, out: &mut Vec<u8>, record: &Record, reason: &str);
    /// What stands behind the last record.
    fn end(&self, out: &mut Vec<u8>, totals: &Totals);
    /// What every record starts with and the first one does not.
    fn separator(&self) -> &'static [u8] {
        b""
    }
    /// How records follow each other: whether and how a broken-off output can be gone on with.
    fn framing(&self) -> Framing {
        Framing::Document
    }
}

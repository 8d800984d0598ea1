//! The `.bertlet` file.

pub mod header;

/// A rule of the format that a file breaks.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormatError {}

impl std::fmt::Display for FormatError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for FormatError {}

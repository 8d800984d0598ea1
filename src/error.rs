//! The one error type of the library.

use std::{fmt, io, path::PathBuf};

/// What the library's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a file name and an answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, mapped or read.
    Io {
        /// The file that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not a model that this version reads.
    Format {
        /// The file, or `<embedded>`.
        path: PathBuf,
        /// Which rule of the format it breaks.
        source: crate::format::FormatError,
    },
    /// The kernel named by `BERTLET_KERNEL` or by the caller cannot run on this CPU.
    Kernel(crate::kernels::UnsupportedKernel),
    /// The model has no part that the task needs.
    Model(String),
    /// The caller's text or option cannot be honoured with this model.
    Input(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Format { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Kernel(source) => source.fmt(f),
            Error::Model(message) | Error::Input(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Format { source, .. } => Some(source),
            Error::Kernel(source) => Some(source),
            Error::Model(_) | Error::Input(_) => None,
        }
    }
}

impl From<crate::kernels::UnsupportedKernel> for Error {
    fn from(source: crate::kernels::UnsupportedKernel) -> Self {
        Error::Kernel(source)
    }
}

//! How a run ends: exit codes and what goes to stderr.

use std::{fmt, io::Write};

/// Everything asked for was done. A reader that closes the pipe early counts as done.
pub const OK: u8 = 0;
/// The run stopped: a bad record under `--on-error stop`, input or output that failed.
pub const FAILED: u8 = 1;
/// The command line itself is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// The run reached the end, but some records were bad and were skipped or recorded as errors.
pub const SOME_RECORDS_FAILED: u8 = 3;
/// The model cannot be used: missing, damaged, or without what the command needs.
pub const MODEL: u8 = 4;

/// The table that `--help` shows.
pub const HELP: &str = "\
Exit codes:
  0  done (also when the reader of the output closes the pipe early)
  1  stopped: a bad record under --on-error stop, unreadable input, output that cannot be written
  2  the command line is wrong
  3  finished, but some records were bad (--on-error skip or record)
  4  the model cannot be used: missing, damaged, or without what the command needs";

/// An error with the exit code that it leads to.
#[derive(Debug)]
pub struct Failure {
    /// One of this module's codes.
    pub code: u8,
    /// What to tell the user.
    pub error: anyhow::Error,
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub fn usage(message: impl fmt::Display) -> Self {
        Failure {
            code: USAGE,
            error: anyhow::anyhow!("{message}"),
        }
    }

    /// What a task says when it cannot be set up: of the model, or of the options.
    pub fn task(error: crate::Error) -> Self {
        match error {
            crate::Error::Input(_) => Failure::usage(error),
            error => Failure::model(error),
        }
    }

    /// The model cannot do what is asked.
    pub fn model(error: impl Into<anyhow::Error>) -> Self {
        Failure {
            code: MODEL,
            error: error.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure {
            code: FAILED,
            error,
        }
    }
}

/// Writes one line to stderr. Unlike `eprintln!` it does not panic when nobody holds the other end.
pub fn message(text: impl fmt::Display) {
    // A message that cannot be shown has nowhere else to go.
    let _ = writeln!(std::io::stderr().lock(), "bertlet: {text}");
}

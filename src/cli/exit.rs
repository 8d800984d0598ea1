//! How a run ends: exit codes and what goes to stderr.

use super::output::sink::OutputFailed;
use crate::kernels::OutOfMemory;
use signal_hook::consts::signal::SIGXFSZ;
use std::{fmt, io::Write, panic, process, sync::Arc};

/// Everything asked for was done. A reader that closes the pipe early counts as done.
pub const OK: u8 = 0;
/// The run stopped: a bad record under `--on-error stop`, or input that cannot be read.
pub const FAILED: u8 = 1;
/// The command line itself is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// The run reached the end, but some records were bad and were skipped or recorded as errors.
pub const SOME_RECORDS_FAILED: u8 = 3;
/// The model cannot be used: missing, damaged, or without what the command needs.
pub const MODEL: u8 = 4;
/// The output cannot be written: a full disk, no permission, a file that is an input. (A closed pipe is [`OK`].)
pub const OUTPUT: u8 = 5;
/// Plus the signal's number, as shells count: the run was interrupted and ended between two records.
pub const SIGNAL: u8 = 128;

/// The table that `--help` shows.
pub const HELP: &str = "\
Exit codes:
  0  done (also when the reader of the output closes the pipe early)
  1  stopped: a bad record under --on-error stop, input that cannot be read, or no memory for a batch
  2  the command line is wrong
  3  finished, but some records were bad (--on-error skip or record)
  4  the model cannot be used: missing, damaged, changed during the run, or without what the command needs
  5  the output cannot be written: the disk is full, no permission, it is an input
  130, 143  interrupted by SIGINT or SIGTERM; the output ends between two records (see --resume)
  134  memory ran out where nothing could be done about it (SIGABRT): allow more (see ulimit -v); --resume goes on";

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
        let code = match error.is::<OutputFailed>() {
            true => OUTPUT,
            false => FAILED,
        };
        Failure { code, error }
    }
}

/// What is said where a thread is refused.
pub fn no_thread(cause: impl fmt::Display) -> String {
    format!(
        "a thread cannot be started: {cause}; try fewer with --threads, or allow more memory or threads (see ulimit)"
    )
}

/// From now on a panic is one line on stderr.
///
/// The standard library's own report may write a backtrace, which needs memory; where memory is what is missing, it waits
/// for itself for ever.
pub fn report_panics() {
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        if let Some(OutOfMemory { bytes }) = payload.downcast_ref() {
            message(format_args!(
                "out of memory: {bytes} bytes of working memory for a batch cannot be had; allow more (see ulimit -v), or give \
                 fewer --threads or a smaller --batch-tokens; a file's answers so far are gone on with by --resume"
            ));
            process::exit(FAILED.into());
        }
        let cause = match payload.downcast_ref::<String>() {
            Some(text) => text.as_str(),
            None => payload
                .downcast_ref()
                .copied()
                .unwrap_or("of unknown cause"),
        };
        let (file, line) = panic
            .location()
            .map_or(("unknown", 0), |place| (place.file(), place.line()));
        // A thread that finds no room for its signal stack, before it runs any code of ours.
        if file.ends_with("stack_overflow.rs") {
            message(no_thread(cause));
            process::exit(FAILED.into());
        }
        message(format_args!(
            "internal error: {cause} ({file}:{line}); this is a bug in bertlet, please report it"
        ));
    }));
}

/// From now on, a file that grows beyond the limit (`ulimit -f`) is an error of writing, not the end by SIGXFSZ.
pub fn report_file_size_limit() {
    // Where it cannot be caught, the signal does what it always does.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Longest message in characters: some quote the input.
const LONGEST: usize = 2000;

/// Writes one line to stderr. Unlike `eprintln!` it does not panic when nobody holds the other end.
pub fn message(text: impl fmt::Display) {
    // A message that cannot be shown has nowhere else to go.
    let _ = writeln!(
        std::io::stderr().lock(),
        "bertlet: {}",
        harmless(&text.to_string())
    );
}

/// The text as one line that no terminal takes for commands, cut where it is too long for a message.
pub fn harmless(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => escaped(&text[..end]) + " …",
        None => escaped(text),
    }
}

/// The text as one line that no terminal takes for commands, since parts of it may come from files that others wrote.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_harmless() {
        assert_eq!(harmless("a\x1b[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
        assert_eq!(harmless(&"é".repeat(3000)).chars().count(), LONGEST + 2);
    }
}

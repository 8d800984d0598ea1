//! The `bertlet` command line: options in, records through the library, results out.

mod args;
mod bench;
mod bundle;
mod commands;
mod engine;
mod exit;
mod input;
mod output;
mod patient;
mod progress;
mod signals;
mod stream;
mod unfinished;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use exit::{Failure, message};
pub use exit::{harmless, report_file_size_limit};
use patient::patient;
use std::io::ErrorKind;
use std::process::ExitCode;
pub use unfinished::{Unfinished, ensure_replaceable};

/// Runs the program with the arguments of this process and returns its exit code.
pub fn main() -> ExitCode {
    exit::report_panics();
    exit::report_file_size_limit();
    crate::format::exit_on_fault(exit::MODEL);
    if let Err(failure) = bundle::look_for_own() {
        return end(failure);
    }
    let names = |name: &str| Cli::command().find_subcommand(name).is_some();
    let cli = match Cli::try_parse_from(bundle::arguments(names)) {
        Ok(cli) => cli,
        Err(error) => {
            // Also how --help and --version come out.
            if let Err(cause) = error.print()
                && !error.use_stderr()
                && cause.kind() != ErrorKind::BrokenPipe
            {
                return end(Failure {
                    code: exit::OUTPUT,
                    error: anyhow::anyhow!("<stdout>: cannot be written: {cause}"),
                });
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let result = match &cli.command {
        Command::Classify(args) => commands::classify(args),
        Command::Tag(args) => commands::tag(args),
        Command::Answer(args) => commands::answer(args),
        Command::Fill(args) => commands::fill(args),
        Command::Rerank(args) => commands::rerank(args),
        Command::Next(args) => commands::next(args),
        Command::Choose(args) => commands::choose(args),
        Command::Embed(args) => commands::embed(args),
        Command::Attention(args) => commands::attention(args),
        Command::Similarity(args) => commands::similarity(args),
        Command::Tokenize(args) => commands::tokenize(args),
        Command::Info(args) => commands::info(args),
        Command::Verify(args) => commands::verify(args),
        Command::Bench(args) => commands::bench(args),
        Command::Bundle(args) => commands::bundle(args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => end(failure),
    }
}

/// Says why, and with which code.
fn end(failure: Failure) -> ExitCode {
    message(format_args!("{}", chain(&failure.error)));
    ExitCode::from(failure.code)
}

/// The definition of the command line, for the tools that make completions and manual pages of it.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// The error and its causes, without those that their parent's text already ends with.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_said_once() {
        let error = anyhow!("no such file").context("a.txt: no such file");
        assert_eq!(super::chain(&error), "a.txt: no such file");
        let error = Err::<(), _>(anyhow!("permission denied"))
            .context("a.txt")
            .unwrap_err();
        assert_eq!(super::chain(&error), "a.txt: permission denied");
    }
}

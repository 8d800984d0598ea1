//! `bertlet-convert`: turns Hugging Face BERT checkpoints into `.bertlet` files.

use bertlet_tools::command::{Arguments, run, say};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    bertlet::cli::report_file_size_limit();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

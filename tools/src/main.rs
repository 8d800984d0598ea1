//! `bertlet-convert`: turns Hugging Face BERT checkpoints into `.bertlet` files.

use bertlet_tools::command::{Arguments, run};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    bertlet::cli::report_file_size_limit();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bertlet-convert: {error:#}");
            ExitCode::FAILURE
        }
    }
}

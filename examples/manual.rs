//! Writes manual pages and shell completions, made from the definition of the command line:
//! `cargo run --example manual -- DIRECTORY`.

use clap_complete::{Shell, generate_to};
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIRECTORY");
        std::process::exit(2);
    };
    let completions = directory.join("completions");
    let manual = directory.join("man");
    std::fs::create_dir_all(&completions)?;
    std::fs::create_dir_all(&manual)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(
            shell,
            &mut bertlet::cli::definition(),
            "bertlet",
            &completions,
        )?;
    }
    // A page does not name the machine that it was made on.
    let definition = bertlet::cli::definition().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(definition, manual)
}

//! Colours of a terminal.

use crate::cli::args::ColorChoice;
use std::{
    io::{self, IsTerminal},
    path::Path,
};

/// Whether the output is to be coloured.
pub fn wanted(choice: ColorChoice, output: Option<&Path>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !refused && output.is_none() && io::stdout().is_terminal()
        }
    }
}

/// A foreground colour for a name, the same each time: 31 to 36.
pub fn of(name: &str) -> u32 {
    31 + name
        .bytes()
        .fold(0u32, |sum, byte| (sum * 31 + u32::from(byte)) % 6)
}

//! Writes what fuzzing begins with: `cargo run -p bertlet-tools --example fuzz_seeds -- FOLDER`. `fuzz/run` calls it.

#[allow(dead_code)] // no input is run here
#[path = "../../fuzz/entry.rs"]
mod entry;

fn main() {
    let folder = std::env::args_os().nth(1);
    let folder = folder.expect("the argument is the folder for models and seeds");
    entry::Bases::new().write_seeds(folder.as_ref());
}

//! Golden checkpoints as model files, for whatever is no test of the converter.

#[path = "recipe.rs"]
mod recipe;
#[allow(dead_code)] // of use to the tests
#[path = "weights.rs"]
mod weights;

use bertlet_tools::command;
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder with checkpoints and references.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// Copies a golden checkpoint without its references, and makes its weights where only their recipe is kept.
pub fn checkpoint(name: &str, to: &Path) {
    copy(&golden().join(name), to);
    let recipes = to.join("weights.json");
    if name.starts_with("families/") {
        let file = weights::safetensors(&weights::made(&recipes));
        fs::write(to.join("model.safetensors"), file).unwrap();
    } else if recipes.exists() {
        recipe::write_weights(to);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let (from, to) = (file.path(), to.join(file.file_name()));
        if file.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else if !file.file_name().to_string_lossy().starts_with("golden") {
            fs::copy(from, to).unwrap();
        }
    }
}

/// What [`model`] calls its file.
pub fn file_name(name: &str, precision: &str) -> String {
    format!("{}-{precision}.bertlet", name.replace('/', "-"))
}

/// Converts a golden checkpoint, by way of a folder of its own.
pub fn model(name: &str, precision: &str, folder: &Path) -> PathBuf {
    let path = folder.join(file_name(name, precision));
    let folder = path.with_extension("");
    checkpoint(name, &folder);
    let arguments = [
        "bertlet-convert".as_ref(),
        folder.as_os_str(),
        "-o".as_ref(),
        path.as_os_str(),
        "--precision".as_ref(),
        precision.as_ref(),
    ];
    command::run(command::Arguments::parse_from(arguments)).unwrap();
    fs::remove_dir_all(folder).unwrap();
    path
}

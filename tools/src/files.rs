//! The files that a conversion reads: anybody may have made them, and nothing may be written over them.

use anyhow::{Result, ensure};
use bertlet::format::MAGIC;
use std::{
    collections::BTreeSet,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Largest file that is read whole, in bytes: ten times the largest `tokenizer.json` of the families that are known.
const LARGEST: u64 = 256 << 20;

/// What was read. By path, since the number of a removed file may be another file's.
static INPUTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Notes that a file is read.
pub(crate) fn note_input(path: &Path) {
    let mut inputs = INPUTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !inputs.contains(path) {
        inputs.insert(path.to_owned());
    }
}

/// Opens a file of a checkpoint. A pipe would be waited for, and a device may have no end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file, expected a file of the checkpoint",
        ));
    }
    note_input(path);
    File::open(path)
}

/// Reads a file of a checkpoint whole.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, LARGEST)
}

fn read_at_most(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "has more than {largest} bytes, which no file of its kind has; it is damaged or something else"
            ),
        ));
    }
    Ok(bytes)
}

/// Reads a text file of a checkpoint whole.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// The text that the bytes of a file are.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {line} is not UTF-8"),
        )
    })
}

/// Refuses outputs that are a file that was read, or one another.
pub(crate) fn ensure_not_inputs<'a>(outputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let inputs = INPUTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut others: Vec<&Path> = Vec::new();
    for output in outputs {
        let input = inputs.iter().find(|input| is_same_file(output, input));
        ensure!(
            input.is_none(),
            "{}: is an input of the conversion, which the output would replace; give another name",
            output.display()
        );
        ensure!(
            !others.iter().any(|other| is_same_place(output, other)),
            "{}: is the name of two outputs; give each its own",
            output.display()
        );
        others.push(output);
    }
    Ok(())
}

/// Refuses a model's output where there is a file with something else in it: one of the checkpoint that was not needed, or
/// one that is there by the user's mistake.
pub(crate) fn ensure_model_or_nothing(output: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read =
        File::open(output).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
    ensure!(
        read.is_err() || start.is_empty() || start == MAGIC,
        "{}: exists, and is no model that could be replaced; remove it or give another name",
        output.display()
    );
    Ok(())
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let same = |a: Metadata, b: Metadata| a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => same(a, b),
        _ => false,
    }
}

/// Whether two names are one file, also where there is none yet.
fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    match a.exists() || b.exists() {
        true => is_same_file(a, b),
        false => place(a).is_some() && place(a) == place(b),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let path = std::env::temp_dir().join(format!("bertlet-files-{}", std::process::id()));
        std::fs::write(&path, "12345").unwrap();
        let (fits, long) = (super::read_at_most(&path, 5), super::read_at_most(&path, 4));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(fits.unwrap(), b"12345");
        assert!(
            long.unwrap_err()
                .to_string()
                .starts_with("has more than 4 bytes")
        );
    }
}

//! Programs that carry a model of their own: this executable, a model file behind it, and a trailer that says where.

use super::{
    exit::Failure,
    output::sink::{OutputFailed, never_overwrite},
};
use crate::{Model, format::header::HeadConfig};
use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The last bytes of a bundle: this word, then offset and length of the model in bytes, u64 each, little-endian.
const MAGIC: [u8; 16] = *b"BERTLET\nBUNDLE\n\0";
const TRAILER: u64 = 32;
/// The model begins at a multiple of this many bytes: what every CPU's pages and the tensors' alignment divide.
const ALIGNMENT: u64 = 64 << 10;

/// The model that this process's executable carries.
static OWN: OnceLock<Model> = OnceLock::new();

/// The model behind this executable, if it is a bundle.
pub fn own() -> Option<&'static Model> {
    OWN.get()
}

/// Looks for a model behind this executable, and opens it.
///
/// # Errors
/// There is one, but it cannot be used, or the file cannot be read to see: another model's answers would be wrong ones.
pub fn look_for_own() -> Result<(), Failure> {
    let Some(path) = executable() else {
        return Ok(());
    };
    let found = File::open(&path).and_then(|mut file| trailer(&mut file));
    let found = found
        .with_context(|| {
            format!(
                "{}: the program's own file cannot be read to see whether it carries a model; make it readable (chmod +r)",
                path.display()
            )
        })
        .map_err(Failure::model)?;
    never_overwrite(&path);
    if let Some((offset, length)) = found {
        let model = Model::open_part(&path, offset, length).map_err(Failure::model)?;
        let _ = OWN.set(model);
    }
    Ok(())
}

/// This executable: by its name where that is still there, or as /proc has it, or where that is not mounted, as it was
/// started.
fn executable() -> Option<PathBuf> {
    let named = std::env::current_exe().ok();
    let open = PathBuf::from("/proc/self/exe");
    let candidates = [named, Some(open), crate::format::executed_path()];
    candidates.into_iter().flatten().find(|path| path.exists())
}

fn trailer(file: &mut File) -> io::Result<Option<(u64, u64)>> {
    let length = file.metadata()?.len();
    let Some(start) = length.checked_sub(TRAILER) else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    if bytes[..16] != MAGIC {
        return Ok(None);
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok(Some((number(16), number(24))))
}

/// The arguments of a bundle: where they do not begin with a subcommand, that of the model's task comes first.
pub fn arguments(names: impl Fn(&str) -> bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let Some(model) = own() else {
        return arguments;
    };
    let global = ["-h", "--help", "-V", "--version", "help"];
    let first = arguments.get(1).and_then(|first| first.to_str());
    if !first.is_some_and(|first| global.contains(&first) || names(first)) {
        let task = match model.header().head {
            Some(HeadConfig::SequenceClassification { .. }) => "classify",
            Some(HeadConfig::TokenClassification { .. }) => "tag",
            Some(HeadConfig::QuestionAnswering { .. }) => "answer",
            Some(HeadConfig::MaskedLanguageModel { .. }) => "fill",
            Some(HeadConfig::NextSentencePrediction { .. }) => "next",
            Some(HeadConfig::MultipleChoice { .. }) => "choose",
            None => "embed",
        };
        arguments.insert(1.min(arguments.len()), task.into());
    }
    arguments
}

/// Writes a bundle of this program and the model at `model` to `output`.
///
/// # Errors
/// The model is damaged, or the bundle cannot be written.
pub fn write(model: &Path, output: &Path) -> Result<(), Failure> {
    let opened = Model::open(model).map_err(Failure::model)?;
    opened.verify().map_err(Failure::model)?;
    let program = executable()
        .context("this program's own file cannot be found: mount /proc, or call it by its path")?;
    let failed = || {
        OutputFailed(format!(
            "{}: the bundle cannot be written",
            output.display()
        ))
    };
    ensure_other(output, &[model, &program])?;
    // Beside the output, so that it appears whole or not at all.
    let mut name = output
        .file_name()
        .context("-o needs the name of a file")?
        .to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let unfinished = output.with_file_name(name);
    let written = copy(&program, model, &unfinished)
        .and_then(|()| fs::rename(&unfinished, output))
        .with_context(failed);
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    Ok(written?)
}

fn ensure_other(output: &Path, inputs: &[&Path]) -> Result<()> {
    // The bundle is renamed to this name, which would take a device away from the whole machine.
    ensure!(
        output.is_file() || !output.exists(),
        "{}: is not a regular file; give -o another name",
        output.display()
    );
    for input in inputs {
        let same = match (fs::canonicalize(output), fs::canonicalize(input)) {
            (Ok(output), Ok(input)) => output == input,
            _ => false,
        };
        ensure!(
            !same,
            "{}: is an input of the bundle; give -o another name",
            output.display()
        );
    }
    Ok(())
}

fn copy(program: &Path, model: &Path, output: &Path) -> io::Result<()> {
    let mut program = File::open(program)?;
    let mut model = File::open(model)?;
    let permissions = program.metadata()?.permissions();
    // A bundle's own model stays behind.
    let end = match trailer(&mut program)? {
        Some((offset, _)) => offset,
        None => program.metadata()?.len(),
    };
    program.seek(SeekFrom::Start(0))?;
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(output)?;
    let mut position = io::copy(&mut program.take(end), &mut out)?;
    let offset = position.next_multiple_of(ALIGNMENT);
    position += io::copy(&mut io::repeat(0).take(offset - position), &mut out)?;
    let length = io::copy(&mut model, &mut out)?;
    debug_assert_eq!(position, offset);
    out.write_all(&MAGIC)?;
    out.write_all(&offset.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.set_permissions(permissions)?;
    out.sync_all()
}

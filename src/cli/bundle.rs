//! Programs that carry a model of their own: this executable, which says in its own data where, and a model file behind it.

use super::{
    exit::Failure,
    output::sink::{OutputFailed, never_overwrite},
    unfinished::Unfinished,
};
use crate::{
    Model,
    format::{header::HeadConfig, stored},
};
use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A word to find this place by in the program's file, then offset and length of the model in bytes, u64 each, little-endian.
///
/// A bundle is this program with other numbers here. They are part of the program and not of the file's end, so that a
/// bundle that has lost its end, or got another one, is not taken for a program without a model: it would answer with
/// another model, and nobody would know.
static PLACE: [u8; 32] = *b"BERTLET\nBUNDLE\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Bytes of the word.
const WORD: usize = 16;
/// The model begins at a multiple of this many bytes: what every CPU's pages and the tensors' alignment divide.
const ALIGNMENT: usize = 64 << 10;

/// The model that this process's executable carries.
static OWN: OnceLock<Model> = OnceLock::new();

/// The model behind this executable, if it is a bundle.
pub fn own() -> Option<&'static Model> {
    OWN.get()
}

/// Opens the model behind this executable, if it is a bundle.
///
/// # Errors
/// It is one, but the model is not there or cannot be used: another model's answers would be wrong ones.
pub fn look_for_own() -> Result<(), Failure> {
    let path = executable();
    if let Some(path) = &path {
        never_overwrite(path);
    }
    let Some((offset, length)) = place() else {
        return Ok(());
    };
    let path = path
        .context("this program carries a model, but its own file cannot be found to read it: mount /proc, or call it by its path")
        .map_err(Failure::model)?;
    ensure_whole(&path, offset, length).map_err(Failure::model)?;
    let model = Model::open_part(&path, offset, length).map_err(Failure::model)?;
    let _ = OWN.set(model);
    Ok(())
}

/// Where the model of this executable lies, if it is a bundle.
fn place() -> Option<(u64, u64)> {
    let place = stored(&PLACE);
    let number = |at: usize| u64::from_le_bytes(place[at..at + 8].try_into().expect("eight bytes"));
    let (offset, length) = (number(WORD), number(WORD + 8));
    (offset != 0).then_some((offset, length))
}

/// The bundle's file must end where its model does.
fn ensure_whole(path: &Path, offset: u64, length: u64) -> Result<()> {
    let metadata = File::open(path).and_then(|file| file.metadata());
    let found = metadata
        .with_context(|| {
            format!(
                "{}: the program carries a model, and its own file cannot be read; make it readable (chmod +r)",
                path.display()
            )
        })?
        .len();
    let expected = offset.saturating_add(length);
    let what = match found < expected {
        true => "the bundle is truncated",
        false => "something was added to the bundle",
    };
    ensure!(
        found == expected,
        "{}: {what}: it has {found} bytes, expected {expected}; copy or make it again",
        path.display()
    );
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
    let (unfinished, file) = Unfinished::create(output).with_context(failed)?;
    copy(&program, model, file)
        .and_then(|()| unfinished.finish())
        .with_context(failed)?;
    Ok(())
}

fn ensure_other(output: &Path, inputs: &[&Path]) -> Result<()> {
    for input in inputs {
        let same = match (fs::canonicalize(output), fs::canonicalize(input)) {
            (Ok(output), Ok(input)) => output == input,
            _ => false,
        };
        if same {
            let refused = "is an input of the bundle; give -o another name";
            bail!(OutputFailed(format!("{}: {refused}", output.display())));
        }
    }
    Ok(())
}

fn copy(program: &Path, model: &Path, mut out: File) -> io::Result<()> {
    let program = File::open(program)?;
    let mut model = File::open(model)?;
    let permissions = program.metadata()?.permissions();
    // A bundle's own model stays behind.
    let end = place().map_or(u64::MAX, |(offset, _)| offset);
    let mut bytes = Vec::new();
    program.take(end).read_to_end(&mut bytes)?;
    let at = find_place(&bytes)?;
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    // The numbers come last, when the model's length is known.
    out.write_all(&bytes)?;
    let length = io::copy(&mut model, &mut out)?;
    out.seek(SeekFrom::Start(at + WORD as u64))?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.set_permissions(permissions)?;
    out.sync_all()
}

/// Where [`PLACE`] lies in this program's file.
fn find_place(program: &[u8]) -> io::Result<u64> {
    // Not written down here, since that would be in the file too.
    let word = &stored(&PLACE)[..WORD];
    let mut found = memmem::find_iter(program, word);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at as u64),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this program's own file is not as it was built (compressed, for example); use the program as it was built",
        )),
    }
}

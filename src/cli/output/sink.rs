//! Where the output goes: stdout or a file, and for NumPy arrays a header that is known last.

use super::{
    npy,
    resume::{self, Framing, Kept},
};
use crate::cli::patient;
use anyhow::{Context, Error, Result};
use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All of it went out, or will.
    All,
    /// Nobody reads any more: a reason to stop, not an error.
    Closed,
}

/// A buffered output.
pub struct Sink {
    name: String,
    out: BufWriter<Patient>,
    header: Header,
}

/// A file whose writes wait also where it does not block.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patient(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The NumPy header, whose number of rows is known at the end.
enum Header {
    /// There is none.
    None,
    /// Written with 0 rows at this offset, to be written again.
    Patch { array: Array, offset: u64 },
    /// The rows go to a file without a name until they are counted; the real output comes after it.
    Spool { array: Array, output: Patient },
}

/// Type and width of a NumPy array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// NumPy's name of the element type.
    pub descr: &'static str,
    /// Elements of a row.
    pub columns: usize,
}

/// Says that output failed, as the context of an error.
#[derive(Debug)]
pub struct OutputFailed(pub String);

impl fmt::Display for OutputFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sink {
    /// Opens `path`, or stdout for none. Refuses a file that is also an input: opening would empty it, and what is appended
    /// to it (`>>`) would be read again without end. `inputs` are the files that are read, `-` for stdin.
    pub fn open(path: Option<&Path>, inputs: &[PathBuf]) -> Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            let failed = || OutputFailed("<stdout>: cannot be written".to_owned());
            let stdout = stdout().with_context(failed)?;
            let metadata = stdout.metadata().with_context(failed)?;
            check_file("<stdout>", &metadata, inputs)?;
            return Ok(Self::to_file("<stdout>", stdout));
        };
        check_path(path, inputs)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .with_context(|| cannot_open(path))?;
        Ok(Self::to_file(&path.display().to_string(), file))
    }

    /// Opens an output that an earlier run may have begun, keeps its whole records and drops what follows them.
    /// `header` is what such an output begins with; with an `array` that is NumPy's header instead.
    pub fn reopen(
        path: &Path,
        inputs: &[PathBuf],
        header: &[u8],
        framing: Framing,
        array: Option<Array>,
    ) -> Result<(Self, Kept)> {
        check_path(path, inputs)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| cannot_open(path))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(refused(
                path.display(),
                "is not a regular file; --resume needs one that it can read and cut",
            ));
        }
        let measured = match (array, framing) {
            (Some(array), Framing::Bytes(row)) => resume::measure_array(&mut file, array, row),
            _ => resume::measure(&mut file, header, framing),
        };
        let kept = measured.with_context(|| {
            OutputFailed(format!(
                "{}: --resume cannot go on with this file; give the same options as in the first run, or another -o",
                path.display()
            ))
        })?;
        file.set_len(kept.end)
            .and_then(|()| file.seek(SeekFrom::Start(kept.end)))
            .with_context(|| cannot_open(path))?;
        let mut sink = Self::to_file(&path.display().to_string(), file);
        match array {
            Some(array) if kept.end > 0 => sink.header = Header::Patch { array, offset: 0 },
            Some(array) => {
                sink.begin_array(array)?;
            }
            None => {}
        }
        Ok((sink, kept))
    }

    /// An open file, by the name it has in messages.
    pub fn to_file(name: &str, file: File) -> Self {
        Sink {
            name: name.to_owned(),
            out: BufWriter::with_capacity(64 << 10, Patient(file)),
            header: Header::None,
        }
    }

    /// Makes the output a NumPy array. In a file the header is put right at the end; in a pipe the rows wait in a
    /// temporary file until they are counted, since the header comes first.
    pub fn begin_array(&mut self, array: Array) -> Result<Written> {
        if let Some(offset) = patchable(&mut self.out.get_mut().0) {
            self.header = Header::Patch { array, offset };
            return self.write(&npy::header(array.descr, 0, array.columns));
        }
        let spool = unnamed_file().with_context(|| spool_failed("made"))?;
        let spool = BufWriter::with_capacity(64 << 10, Patient(spool));
        let output = std::mem::replace(&mut self.out, spool);
        let output = output
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        self.header = Header::Spool { array, output };
        Ok(Written::All)
    }

    /// Writes, through the buffer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Written> {
        let result = self.out.write_all(bytes);
        self.check(result)
    }

    /// Hands everything written so far to the reader.
    pub fn flush(&mut self) -> Result<Written> {
        let result = self.out.flush();
        self.check(result)
    }

    /// Ends the output; `rows` is the number of records written.
    pub fn finish(&mut self, rows: u64) -> Result<Written> {
        if self.flush()? == Written::Closed {
            return Ok(Written::Closed);
        }
        let result = match &mut self.header {
            Header::None => Ok(()),
            Header::Patch { array, offset } => {
                let header = npy::header(array.descr, rows, array.columns);
                patch(&mut self.out.get_mut().0, *offset, &header)
            }
            Header::Spool { array, output } => {
                let header = npy::header(array.descr, rows, array.columns);
                copy_behind(output, &header, &mut self.out.get_mut().0)
            }
        };
        // The rows are out of the spool: what fails now is the real output.
        self.header = Header::None;
        self.check(result)
    }

    fn check(&self, result: io::Result<()>) -> Result<Written> {
        match result {
            Ok(()) => Ok(Written::All),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::Closed),
            Err(error) => Err(error).with_context(|| match self.header {
                Header::Spool { .. } => spool_failed("written"),
                _ => OutputFailed(format!(
                    "{}: the output cannot be written to its end",
                    self.name
                )),
            }),
        }
    }
}

fn cannot_open(path: &Path) -> OutputFailed {
    OutputFailed(format!("{}: the output cannot be written", path.display()))
}

fn spool_failed(done: &str) -> OutputFailed {
    OutputFailed(format!(
        "{}: a temporary file for the rows cannot be {done} (an array in a pipe is sent when its rows are counted); \
         write to a file with -o, or use --format f32",
        std::env::temp_dir().display()
    ))
}

/// Why an output is not begun.
fn refused(name: impl fmt::Display, why: &str) -> Error {
    Error::msg(OutputFailed(format!("{name}: {why}")))
}

/// Files that the run reads besides its inputs, such as the model.
static IN_USE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on, no output may be this file.
pub fn never_overwrite(path: &Path) {
    let mut files = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    files.push(path.to_owned());
}

/// Refuses a file in use as an output.
pub fn refuse_in_use(path: &Path) -> Result<()> {
    // What is not there yet is not in use.
    path.metadata()
        .map_or(Ok(()), |file| check_file(path.display(), &file, &[]))
}

fn check_path(path: &Path, inputs: &[PathBuf]) -> Result<()> {
    let Ok(file) = path.metadata() else {
        return Ok(());
    };
    check_file(path.display(), &file, inputs)?;
    match file.is_dir() {
        true => Err(refused(
            path.display(),
            "is a directory; the output needs the name of a file",
        )),
        false => Ok(()),
    }
}

/// Refuses `file`, which messages call `name`, if it is in use or one of the inputs.
fn check_file(name: impl fmt::Display, file: &Metadata, inputs: &[PathBuf]) -> Result<()> {
    let is = |path: &PathBuf| path.metadata().is_ok_and(|other| same_file(file, &other));
    let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let why = if in_use.iter().any(is) {
        "is in use, as the model, its labels or the program; the output would change it"
    } else if inputs.iter().any(|input| input.as_os_str() == "-") && is_stdin(file) {
        "is also the standard input; the output would change it while it is read"
    } else if inputs.iter().any(is) {
        "is also an input; the output would change it while it is read"
    } else {
        return Ok(());
    };
    Err(refused(name, why))
}

/// Stdout as a plain file: std's own handle would search every block for line ends.
fn stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// The present offset, if what stands there can be written again later.
fn patchable(file: &mut File) -> Option<u64> {
    let regular = file.metadata().ok()?.is_file();
    if !regular || appends(file) {
        return None;
    }
    file.stream_position().ok()
}

/// Whether every write goes to the end of the file (`>>`), wherever its position is. Unknown counts as yes.
fn appends(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    const O_APPEND: u32 = 0o2000;
    let info = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let flags = std::fs::read_to_string(info).ok().and_then(|info| {
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(flags.trim(), 8).ok()
    });
    flags.is_none_or(|flags| flags & O_APPEND != 0)
}

fn patch(file: &mut File, offset: u64, header: &[u8]) -> io::Result<()> {
    let end = file.stream_position()?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(header)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(())
}

fn copy_behind(output: &mut Patient, header: &[u8], spool: &mut File) -> io::Result<()> {
    output.write_all(header)?;
    spool.seek(SeekFrom::Start(0))?;
    io::copy(spool, output)?;
    Ok(())
}

/// A file in the temporary directory that vanishes when it is closed.
fn unnamed_file() -> io::Result<File> {
    let directory = std::env::temp_dir();
    for attempt in 0..100 {
        let path = directory.join(format!("bertlet-{}-{attempt}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

fn is_stdin(file: &Metadata) -> bool {
    use std::os::fd::AsFd;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin
        .and_then(|stdin| stdin.metadata())
        .is_ok_and(|stdin| same_file(file, &stdin))
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;

//! Files that appear whole or not at all.

use super::{exit, signals::Signals};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The files that are being written; `None` until signals are caught for them.
static PRESENT: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::new(None);

/// Links that are followed at most, as the kernel does.
const MOST_LINKS: usize = 40;

/// A file that is written beside its place, and gets its name when it is whole. Until then it is removed where anything
/// fails, and where SIGINT or SIGTERM ends the process; only SIGKILL leaves it.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// Makes the file for `output`, with nothing in it.
    ///
    /// # Errors
    /// Those of [`ensure_replaceable`]; it cannot be made.
    pub fn create(output: &Path) -> io::Result<(Self, File)> {
        ensure_replaceable(output)?;
        let target = followed(output);
        let mut name = OsString::from(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}.part", process::id()));
        let path = target.with_file_name(name);
        let mut present = present();
        let files = match &mut *present {
            Some(files) => files,
            none => {
                watch()?;
                none.insert(BTreeSet::new())
            }
        };
        let file = File::options().write(true).create_new(true).open(&path)?;
        files.insert(path.clone());
        Ok((Unfinished { path, target }, file))
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn finish(self) -> io::Result<()> {
        // Held, so that a signal comes before or after.
        let mut present = present();
        fs::rename(&self.path, &self.target)?;
        if let Some(files) = &mut *present {
            files.remove(&self.path);
        }
        drop(present);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut present = present();
        if present
            .as_mut()
            .is_some_and(|files| files.remove(&self.path))
        {
            // There is nobody to tell where removing fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses what is no file: a rename to its name would take a device away from the whole machine.
///
/// # Errors
/// There is something else than a regular file.
pub fn ensure_replaceable(output: &Path) -> io::Result<()> {
    if output.exists() && !output.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file; give -o another name",
        ));
    }
    Ok(())
}

/// What a link leads to, so that the link stays, also where the file is not there yet.
fn followed(output: &Path) -> PathBuf {
    let mut path = output.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.with_file_name(target),
            Err(_) => break,
        }
    }
    path
}

fn present() -> MutexGuard<'static, Option<BTreeSet<PathBuf>>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, SIGINT and SIGTERM remove what is not finished, and end the process.
fn watch() -> io::Result<()> {
    let signals = Signals::catch().map_err(io::Error::other)?;
    signals.hand_over(|signal| {
        // Not given back: nothing may be made or renamed any more.
        let present = present();
        for path in present.iter().flatten() {
            let _ = fs::remove_file(path);
        }
        process::exit(i32::from(exit::SIGNAL) + signal);
    });
    Ok(())
}

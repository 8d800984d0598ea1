//! The one place that maps files.
//!
//! A map is only as constant as the file: if another process shortens the file, a later read ends this process with
//! SIGBUS (or with a message and an exit code, see [`exit_on_fault`]), and if it overwrites the file, the weights change under the computation. Neither can break memory safety
//! beyond that: every index that comes out of the file is checked where it is used, the map is never written to, and
//! numbers of any value are valid weights. `bertlet-convert` therefore never writes in place: it writes a new file and
//! renames it, which leaves existing maps untouched. Do the same when you update a model on a device.
#![allow(unsafe_code)] // mapping a file is unsafe by nature; the reasons stand above and at the block

mod executed;
mod fault;

pub use executed::{executed_path, stored};
pub use fault::exit_on_fault;

use super::ALIGNMENT;
use fault::Watched;
use memmap2::{Mmap, MmapOptions};
use std::{fs::File, io, ops::Deref, os::unix::fs::OpenOptionsExt, path::Path};

/// The bytes of a model: mapped from a file, or part of the executable.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A read-only shared map.
    Mapped {
        /// Goes before the map does.
        _watched: Watched,
        /// The map.
        map: Mmap,
    },
    /// Data that the executable itself carries (and the operating system maps).
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps `path` read-only.
    pub(super) fn map(path: &Path) -> io::Result<Bytes> {
        Self::map_with(path, &MmapOptions::new())
    }

    /// Maps `length` bytes of `path` from `offset` on, which must be a multiple of [`ALIGNMENT`].
    pub(super) fn map_part(path: &Path, offset: u64, length: u64) -> io::Result<Bytes> {
        let size = path.metadata()?.len();
        let inside = offset.checked_add(length).is_some_and(|end| end <= size);
        if !inside || !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a model of {length} bytes at byte {offset} does not fit a file of {size} bytes: it is truncated; copy or make it again"
                ),
            ));
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        Self::map_with(path, MmapOptions::new().offset(offset).len(length))
    }

    fn map_with(path: &Path, options: &MmapOptions) -> io::Result<Bytes> {
        // A pipe without a writer would wait for one.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "is a directory, expected a .bertlet file (bertlet-convert makes one from a checkpoint directory)",
            ));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "is not a regular file; a model must be a file that can be mapped",
            ));
        }
        // SAFETY: the map is read-only and private to this value; what a concurrent change of the file can do is
        // described at the head of this module.
        let map = unsafe { options.map(&file) };
        let map = map.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!(
                    "{} MB of address space are needed to map it, which a limit forbids (see ulimit -v)",
                    metadata.len().div_ceil(1_000_000)
                ),
            ),
            _ => error,
        })?;
        Ok(Bytes::Mapped {
            _watched: Watched::new(path, &map),
            map,
        })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped { map, .. } => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

//! One file or stdin as bytes: clear errors, no byte order mark, bytes counted.

use crate::cli::patient;
use anyhow::{Context, Result, ensure};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Name of stdin in messages.
pub const STDIN: &str = "<stdin>";

/// Size of the read buffer in bytes: large enough that system calls do not show, small enough to stay in cache.
const BUFFER: usize = 64 << 10;

/// Number of bytes read so far.
#[derive(Debug, Clone, Default)]
pub struct ByteCounter(Arc<AtomicU64>);

impl ByteCounter {
    /// Bytes read so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted {
    inner: Box<dyn Read + Send>,
    counter: ByteCounter,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = patient(|| self.inner.read(buffer))?;
        self.counter.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// An open input.
pub struct Source {
    /// Name for messages.
    pub name: Arc<str>,
    /// Its bytes, behind a byte order mark if there was one.
    pub reader: Box<dyn BufRead + Send>,
}

impl Source {
    /// Opens a file, or stdin for `-`.
    pub fn open(path: &Path, counter: ByteCounter) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Self::new(STDIN, Box::new(io::stdin()), counter);
        }
        check_readable(path)?;
        let file = File::open(path)
            .with_context(|| format!("{}: the file cannot be opened", path.display()))?;
        Self::new(&path.display().to_string(), Box::new(file), counter)
    }

    /// Wraps any reader.
    pub fn new(name: &str, inner: Box<dyn Read + Send>, counter: ByteCounter) -> Result<Self> {
        let reader = BufReader::with_capacity(BUFFER, Counted { inner, counter });
        Ok(Source {
            name: name.into(),
            reader: skip_byte_order_mark(name, reader)?,
        })
    }
}

/// Says early, and in plain words, why a file cannot be an input.
pub fn check_readable(path: &Path) -> Result<()> {
    if path.as_os_str() == "-" {
        return Ok(());
    }
    let metadata = path
        .metadata()
        .with_context(|| format!("{}: the input file cannot be read", path.display()))?;
    ensure!(
        !metadata.is_dir(),
        "{}: is a directory; give the files in it",
        path.display()
    );
    Ok(())
}

const UTF_8: &[u8] = &[0xef, 0xbb, 0xbf];
const UTF_16: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// The reader behind a byte order mark, if there is one.
fn skip_byte_order_mark(
    name: &str,
    mut reader: impl BufRead + Send + 'static,
) -> Result<Box<dyn BufRead + Send>> {
    let mut start = Vec::new();
    loop {
        let available = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available.with_context(|| format!("{name}: cannot be read"))?,
        };
        let piece = available.len().min(UTF_8.len() - start.len());
        start.extend_from_slice(&available[..piece]);
        ensure!(
            !UTF_16.iter().any(|mark| start.starts_with(mark)),
            "{name}: is UTF-16 by its first two bytes; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
        );
        if start == UTF_8 {
            reader.consume(piece);
            return Ok(Box::new(reader));
        }
        // A pipe may hand over the mark in pieces. More is waited for only while what is there may become a mark:
        // anything else would hold back an interactive first line.
        let mut marks = UTF_16.into_iter().chain([UTF_8]);
        if piece > 0 && marks.any(|mark| mark.starts_with(&start)) {
            reader.consume(piece);
            continue;
        }
        start.truncate(start.len() - piece);
        return Ok(match start.is_empty() {
            true => Box::new(reader),
            false => Box::new(Cursor::new(start).chain(reader)),
        });
    }
}

//! One file or stdin as bytes: clear errors, no byte order mark, bytes counted.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
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
        let count = self.inner.read(buffer)?;
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
        let mut reader = BufReader::with_capacity(BUFFER, Counted { inner, counter });
        skip_byte_order_mark(name, &mut reader)?;
        Ok(Source {
            name: name.into(),
            reader: Box::new(reader),
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

fn skip_byte_order_mark(name: &str, reader: &mut impl BufRead) -> Result<()> {
    // A pipe may hand over the mark in pieces, but in practice never less than a line;
    // waiting for more than the first read would hold back an interactive first line.
    let start = loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            start => break start.with_context(|| format!("{name}: cannot be read"))?,
        }
    };
    if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        reader.consume(3);
    } else if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        bail!(
            "{name}: is UTF-16 by its first two bytes; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
        );
    }
    Ok(())
}

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

/// Stands in a beginning for any digit from 1 to 9.
const LEVEL: u8 = b'#';

const UTF_16: &str =
    "is UTF-16 by its first two bytes; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)";

/// How files begin that hold no text as it is, and what to say of them. No text begins so: PAR1 is followed by the first
/// field of a Thrift structure, and BZh by 48 bits of pi.
const NO_TEXT: [(&[u8], &str); 8] = [
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (
        b"\x1f\x8b",
        "is compressed with gzip; unpack it into a pipe: zcat FILE | bertlet … (with --input-format csv, tsv or jsonl, if it is one)",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed with zstd; unpack it into a pipe: zstdcat FILE | bertlet … (with --input-format csv, tsv or jsonl, if it is one)",
    ),
    (
        b"\xfd7zXZ\0",
        "is compressed with xz; unpack it into a pipe: xzcat FILE | bertlet … (with --input-format csv, tsv or jsonl, if it is one)",
    ),
    (
        b"BZh#1AY&SY",
        "is compressed with bzip2; unpack it into a pipe: bzcat FILE | bertlet … (with --input-format csv, tsv or jsonl, if it is one)",
    ),
    (
        b"PK\x03\x04",
        "is a zip archive, as spreadsheets and documents are too; unpack it into a pipe: unzip -p FILE | bertlet … (with \
         --input-format csv, tsv or jsonl, if it is one), or save a spreadsheet as CSV, a document as text",
    ),
    (
        b"PAR1\x15",
        "is a Parquet file; convert it to CSV or JSON lines, for example with pandas: \
         pandas.read_parquet(\"FILE\").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)",
    ),
];

/// Bytes that decide.
const LONGEST: usize = 10;

/// Whether the shorter one is how the other begins.
fn agree(beginning: &[u8], bytes: &[u8]) -> bool {
    let mut pairs = beginning.iter().zip(bytes);
    pairs.all(|(expected, byte)| match *expected {
        LEVEL => (b'1'..=b'9').contains(byte),
        expected => expected == *byte,
    })
}

/// The reader behind a byte order mark, if there is one; an error where the bytes are no text.
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
        let before = start.len();
        let piece = available.len().min(LONGEST - before);
        start.extend_from_slice(&available[..piece]);
        for (beginning, kind) in NO_TEXT {
            let is_whole = start.len() >= beginning.len();
            ensure!(!(is_whole && agree(beginning, &start)), "{name}: {kind}");
        }
        if start.starts_with(UTF_8) {
            reader.consume(UTF_8.len() - before);
            return Ok(Box::new(reader));
        }
        // A pipe may hand over the mark in pieces. More is waited for only while what is there may become a mark:
        // anything else would hold back an interactive first line.
        let mut marks = NO_TEXT
            .iter()
            .map(|(beginning, _)| *beginning)
            .chain([UTF_8]);
        if piece > 0 && marks.any(|mark| mark.len() > start.len() && agree(mark, &start)) {
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

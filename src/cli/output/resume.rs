//! `--resume`: how many records an output of an earlier run holds, and where the last whole one ends.

use super::{npy, sink::Array};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
};

/// How the records of an output follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One document with an end: nothing can follow it.
    Document,
    /// Nothing before the end of the run, whatever the format.
    AtEnd,
    /// A record ends with its line.
    Lines,
    /// A record ends with a line end outside of quotes.
    QuotedLines,
    /// Every record has this many bytes.
    Bytes(usize),
}

/// What an output holds already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whole records.
    pub records: u64,
    /// Bytes up to the end of the last whole record; 0 if not even the header is whole.
    pub end: u64,
}

/// Counts the records in `file`, which begins with `header` (and may end in the middle of it).
///
/// # Errors
/// If the file begins with something else, or cannot be read.
pub fn measure(file: &mut File, header: &[u8], framing: Framing) -> Result<Kept> {
    file.seek(SeekFrom::Start(0))?;
    let mut found = vec![0; header.len()];
    let count = read_up_to(file, &mut found)?;
    if found[..count] != header[..count] {
        bail!("it begins otherwise than the output of this command does");
    }
    if count < header.len() {
        return Ok(Kept::default());
    }
    let start = header.len() as u64;
    match framing {
        Framing::Document | Framing::AtEnd => {
            bail!("it is written as a whole, which nothing can follow")
        }
        Framing::Bytes(size) => {
            let body = file.metadata()?.len().saturating_sub(start);
            let records = body / (size as u64).max(1);
            Ok(Kept {
                records,
                end: start + records * size as u64,
            })
        }
        Framing::Lines => count_lines(file, start, false),
        Framing::QuotedLines => count_lines(file, start, true),
    }
}

/// As [`measure`] for a NumPy array; its header's number of rows may be any, since it is written last.
pub fn measure_array(file: &mut File, array: Array, row: usize) -> Result<Kept> {
    file.seek(SeekFrom::Start(0))?;
    let mut found = [0; npy::SIZE];
    let count = read_up_to(file, &mut found)?;
    let header = if count < npy::SIZE {
        npy::header(array.descr, 0, array.columns)
    } else {
        let rows = npy::rows(&found).context("it does not begin as a NumPy array of bertlet's")?;
        npy::header(array.descr, rows, array.columns)
    };
    measure(file, &header, Framing::Bytes(row))
}

fn count_lines(file: &mut File, start: u64, quotes: bool) -> Result<Kept> {
    let mut kept = Kept {
        records: 0,
        end: start,
    };
    let mut buffer = vec![0; 256 << 10];
    let (mut position, mut quoted) = (start, false);
    loop {
        let count = read_up_to(file, &mut buffer)?;
        let bytes = &buffer[..count];
        // A quote inside a quoted cell is doubled, so that it opens and closes at once. Without quotes to look for,
        // the line end is looked for twice.
        for at in memchr::memchr2_iter(b'\n', if quotes { b'"' } else { b'\n' }, bytes) {
            if bytes[at] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                kept.records += 1;
                kept.end = position + at as u64 + 1;
            }
        }
        position += count as u64;
        if count < buffer.len() {
            return Ok(kept);
        }
    }
}

/// Fills `buffer`, or as much of it as the file has left.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn kept(bytes: &[u8], measure: impl Fn(&mut File) -> Result<Kept>) -> Result<Kept> {
        let name = format!(
            "bertlet-resume-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(bytes).unwrap();
        measure(&mut file)
    }

    fn is(records: u64, end: u64) -> Kept {
        Kept { records, end }
    }

    #[test]
    fn whole_lines_count() {
        let lines =
            |bytes: &[u8]| kept(bytes, |file| measure(file, b"h\n", Framing::Lines)).unwrap();
        assert_eq!(lines(b""), is(0, 0));
        assert_eq!(lines(b"h"), is(0, 0));
        assert_eq!(lines(b"h\n"), is(0, 2));
        assert_eq!(lines(b"h\na\n\nb"), is(2, 5));
        let many = [b"h\n".to_vec(), b"ab\n".repeat(200_000)].concat();
        assert_eq!(lines(&many), is(200_000, 600_002));
    }

    #[test]
    fn line_ends_in_quotes_do_not_count() {
        let rows =
            |bytes: &[u8]| kept(bytes, |file| measure(file, b"", Framing::QuotedLines)).unwrap();
        assert_eq!(rows(b"a,\"b\n\"\"c\"\n\"d\ne\n"), is(1, 10));
    }

    #[test]
    fn rows_of_fixed_size_count() {
        let rows = |bytes: &[u8]| kept(bytes, |file| measure(file, b"", Framing::Bytes(4)));
        assert_eq!(rows(b"123456789").unwrap(), is(2, 8));
    }

    #[test]
    fn what_begins_otherwise_is_refused() {
        let error = kept(b"x\na\n", |file| measure(file, b"h\n", Framing::Lines));
        assert!(error.unwrap_err().to_string().contains("begins otherwise"));
    }

    #[test]
    fn arrays_count_by_their_bytes() {
        let array = Array {
            descr: "<f4",
            columns: 2,
        };
        let measure = |bytes: &[u8]| kept(bytes, |file| measure_array(file, array, 8));
        for rows in [0, 7] {
            let mut bytes = npy::header("<f4", rows, 2).to_vec();
            bytes.extend([0; 21]);
            assert_eq!(measure(&bytes).unwrap(), is(2, 144));
        }
        assert_eq!(measure(&npy::header("<f4", 0, 2)[..50]).unwrap(), is(0, 0));
        assert!(measure(&npy::header("<f2", 0, 2)).is_err());
        assert!(measure(&[7; 200]).is_err());
    }
}

use super::*;
use std::fs;

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("bertlet-sink-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

const ARRAY: Array = Array {
    descr: "<f4",
    columns: 1,
};

fn expected(rows: u64, body: &[u8]) -> Vec<u8> {
    [&npy::header("<f4", rows, 1)[..], body].concat()
}

#[test]
fn the_header_of_a_file_is_put_right_at_the_end() {
    let path = scratch("patch");
    let mut sink = Sink::open(Some(&path), &[]).unwrap();
    sink.begin_array(ARRAY).unwrap();
    sink.write(b"12345678").unwrap();
    assert_eq!(sink.finish(2).unwrap(), Written::All);
    assert_eq!(fs::read(&path).unwrap(), expected(2, b"12345678"));
    fs::remove_file(path).unwrap();
}

#[test]
fn rows_wait_where_the_header_cannot_be_written_again() {
    let path = scratch("append");
    fs::write(&path, b"before").unwrap();
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    let mut sink = Sink::to_file("append", file);
    sink.begin_array(ARRAY).unwrap();
    sink.write(b"1234").unwrap();
    sink.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"before");
    sink.finish(1).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        [&b"before"[..], &expected(1, b"1234")].concat()
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn an_input_is_never_overwritten() {
    let path = scratch("input");
    fs::write(&path, b"precious").unwrap();
    let error = Sink::open(Some(&path), std::slice::from_ref(&path)).err();
    assert!(error.unwrap().to_string().contains("is also an input"));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_written_is_named() {
    let error = Sink::open(Some(Path::new("/nowhere/at/all")), &[])
        .err()
        .unwrap();
    assert!(
        format!("{error:#}")
            .starts_with("/nowhere/at/all: the output cannot be written: No such file")
    );
    let error = Sink::open(Some(&std::env::temp_dir()), &[]).err().unwrap();
    assert!(error.to_string().contains("is a directory"));
}

#[test]
fn a_reader_that_leaves_is_not_an_error() {
    let (reader, writer) = io::pipe().unwrap();
    let mut sink = Sink::to_file("pipe", File::from(std::os::fd::OwnedFd::from(writer)));
    drop(reader);
    sink.write(b"x").unwrap();
    assert_eq!(sink.flush().unwrap(), Written::Closed);
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        // Only Linux has a device for it; the error path is the same elsewhere.
        return;
    };
    let mut sink = Sink::to_file("full", full);
    sink.write(b"x").unwrap();
    let error = format!("{:#}", sink.flush().unwrap_err());
    assert!(
        error.starts_with("full: the output cannot be written to its end: No space left"),
        "{error}"
    );
}

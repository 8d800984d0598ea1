//! Model files that are damaged, made up to do harm, or change while they are used: one for each rule of the format.

use super::bad_files::{PREFIX, WHOLE_FILE, bad_files, unread, with_header};
use super::support::{Directory, Ran, model, start};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};

/// Runs a subcommand on a model file with little memory: what is refused is refused before anything is allocated for it.
/// A sanitizer, which needs terabytes of address space, sets another limit.
fn run_in_little_memory(directory: &Directory, command: &str, bytes: &[u8]) -> Ran {
    directory.write("bad.bertlet", bytes);
    let script = "ulimit -v ${BERTLET_TEST_MEMORY:-150000}; exec \"$0\" $1 bad.bertlet";
    Ran::from(directory.shell(script).arg(command).output().unwrap())
}

#[test]
fn a_header_can_be_rewritten_by_these_tests() {
    let directory = Directory::new();
    run_in_little_memory(&directory, "verify", &with_header(|_| ())).good();
}

/// The bad files for the fuzz target of headers, which takes a byte in front of a whole file.
#[test]
fn the_bad_files_are_in_the_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/found/header");
    for (number, (bytes, cause, _)) in bad_files().into_iter().chain(unread()).enumerate() {
        let path = format!("{folder}/rule-{number:02}");
        let bytes = [&[WHOLE_FILE], &bytes[..]].concat();
        if std::env::var_os("BERTLET_WRITE_CORPUS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(
            found == bytes,
            "{path} ({cause}) is another; write it with BERTLET_WRITE_CORPUS=1"
        );
    }
}

#[test]
fn every_rule_of_the_header_has_its_refusal() {
    let directory = Directory::new();
    for (bytes, cause, remedy) in bad_files() {
        let ran = run_in_little_memory(&directory, "info", &bytes);
        let start = "bertlet: bad.bertlet: ";
        assert!(ran.stderr.starts_with(start), "{cause}: {ran:?}");
        let ran = ran.failed(4, &[cause, remedy]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        assert!(ran.stdout.is_empty());
    }
}

#[test]
fn what_a_load_does_not_read_is_found_by_verify() {
    let directory = Directory::new();
    for (bytes, cause, remedy) in unread() {
        run_in_little_memory(&directory, "info", &bytes).good();
        let ran = run_in_little_memory(&directory, "verify", &bytes);
        let ran = ran.failed(4, &["bertlet: bad.bertlet: ", cause, remedy]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn damaged_weights_are_found_by_verify_and_harm_nothing_else() {
    let directory = Directory::new();
    let good = model(true);
    let length = u64::from_le_bytes(good[16..24].try_into().unwrap()) as usize;
    let start = (PREFIX + length).next_multiple_of(64);
    // Whatever the numbers are: an answer, and no crash.
    for byte in [0x00, 0x7f, 0x80, 0xff] {
        let mut bytes = good.clone();
        bytes[start..].fill(byte);
        directory.write("bad.bertlet", &bytes);
        let ran = directory.run(&["embed", "-m", "bad.bertlet", "a cat", "", "good"], b"");
        match ran.code {
            0 => assert_eq!(ran.lines().len(), 3, "{byte:#x}"),
            _ => drop(ran.failed(4, &["bertlet: bad.bertlet: tokenizer"])),
        }
        let ran = run_in_little_memory(&directory, "verify", &bytes);
        ran.failed(4, &["bertlet: bad.bertlet: "]);
    }
}

#[test]
fn a_model_that_shrinks_while_it_is_used_is_an_error_message() {
    let directory = Directory::new();
    let mut child = start(&mut directory.command(&["classify", "-m", "model.bertlet"]));
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut answer = String::new();
    input.write_all(b"a cat\n").unwrap();
    answers.read_line(&mut answer).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(directory.path("model.bertlet"));
    file.unwrap().set_len(0).unwrap();
    // The program may be gone before it has read all of this.
    let _ = input.write_all(&b"good dog\n".repeat(10));
    drop(input);
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    ran.failed(
        4,
        &[
            "bertlet: model.bertlet: the model file was shortened",
            "never write in place",
        ],
    );
    assert!(answer.ends_with('\n'));
    assert_eq!(rest, "");
}

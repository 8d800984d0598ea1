//! Input that would take much more memory than it has bytes, under a limit of address space.

use super::support::{Directory, Ran, model_for};
use bertlet::format::header::HeadConfig;

/// Runs a shell's script in which `$0` is the binary, within so many kilobytes.
fn within(kilobytes: usize, script: &str) -> Ran {
    let directory = Directory::new();
    let script = format!("ulimit -v {kilobytes}; {script}");
    Ran::from(directory.shell(&script).output().unwrap())
}

#[test]
fn a_row_of_delimiters_is_dropped_like_any_long_row() {
    let ran = within(
        150_000,
        "{ echo text; head -c 100000000 /dev/zero | tr '\\0' ,; echo; echo good; } \
         | \"$0\" classify --threads 1 --input-format csv --on-error record",
    );
    let ran = ran.failed(3, &["<stdin>:2: the line has 100000000 bytes"]);
    assert_eq!(ran.lines().len(), 3, "{ran:?}");
}

#[test]
fn cells_beyond_the_header_take_no_memory() {
    let ran = within(
        150_000,
        "{ echo text; head -c 8000000 /dev/zero | tr '\\0' ,; echo; echo good; } \
         | \"$0\" classify --threads 1 --input-format csv --on-error record",
    );
    let ran = ran.failed(3, &["<stdin>:2: the row has 8000001 columns"]);
    assert_eq!(ran.lines().len(), 3);
    assert!(ran.stdout.len() < 1000);
}

#[test]
fn waiting_rows_of_empty_cells_are_bounded() {
    // Nobody reads the answers until all rows could have been taken in.
    let ran = within(
        150_000,
        "{ printf text; head -c 50000 /dev/zero | tr '\\0' ,; echo; \
           head -c 20000000 /dev/zero | tr '\\0' , | fold -b -w 50000; echo; } \
         | \"$0\" classify --threads 1 --input-format csv --format jsonl | { sleep 3; wc -l; }",
    );
    assert_eq!(ran.good().text().trim(), "400");
}

#[test]
fn an_object_of_many_fields_takes_little_more_than_its_text() {
    let object = "{ printf '{\"text\":\"a\"'; head -c 1600000 /dev/zero | sed 's/\\x0/,\"\":0/g'; echo '}'; }";
    let ran = within(
        110_000,
        &format!(
            "{{ {object}; {object}; {object}; }} | \"$0\" classify --threads 1 --input-format jsonl | wc -l"
        ),
    );
    assert_eq!(ran.good().text().trim(), "3");
}

#[test]
fn the_spans_of_a_long_text_are_not_held_together() {
    let directory = Directory::new();
    directory.write(
        "answer.bertlet",
        &model_for(Some(HeadConfig::QuestionAnswering {})),
    );
    directory.write(
        "in.txt",
        format!("a\t{}\n", "a ".repeat(400_000)).as_bytes(),
    );
    let script =
        "ulimit -v 380000; \"$0\" answer -m answer.bertlet -f in.txt --threads 1 --max-length 16";
    let ran = Ran::from(directory.shell(script).output().unwrap());
    assert_eq!(ran.good().lines().len(), 1);
}

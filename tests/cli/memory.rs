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
fn a_table_of_answers_has_a_limit() {
    let directory = Directory::new();
    directory.write(
        "answer.bertlet",
        &model_for(Some(HeadConfig::QuestionAnswering {})),
    );
    let run = |format| {
        let arguments = ["answer", "-m", "answer.bertlet", "-k", "2000000000"];
        let texts = ["--format", format, "a cat", "a good dog"];
        directory.run(&[&arguments[..], &texts].concat(), b"")
    };
    for format in ["csv", "tsv"] {
        let said = "columns for 2000000000 answers, but it has 1000 at most; give a smaller -k, or --format jsonl";
        run(format).failed(2, &[said]);
    }
    // As many as there are.
    for format in ["jsonl", "text"] {
        assert_eq!(run(format).good().lines().len(), 1);
    }
}

#[test]
fn scores_that_memory_has_no_room_for_are_a_bad_record() {
    let directory = Directory::new();
    let labels: Vec<String> = (0..100_000).map(|label| label.to_string()).collect();
    let head = HeadConfig::TokenClassification { labels };
    directory.write("tag.bertlet", &model_for(Some(head)));
    directory.write("in.txt", format!("{}\na\n", "a ".repeat(3000)).as_bytes());
    let script =
        "ulimit -v 600000; \"$0\" tag -m tag.bertlet -f in.txt --threads 1 --on-error record";
    let ran = Ran::from(directory.shell(script).output().unwrap());
    let said = "in.txt:1: the scores of 100000 labels for each of 3000 tokens take more memory than there is";
    assert_eq!(ran.failed(3, &[said]).lines().len(), 2);
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

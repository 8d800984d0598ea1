//! Inputs that are not what the options take them for: said instead of answered in silence.

use super::messages::with;
use super::support::Directory;
use bertlet::format::header::{Activation, HeadConfig};

#[test]
fn options_for_fields_are_refused_where_there_are_none() {
    let plain = &Directory::new();
    plain.write("in.txt", b"a cat\n");
    let answer = &with(HeadConfig::QuestionAnswering {});
    let choice = &with(HeadConfig::MultipleChoice {
        pooler: Some(Activation::Tanh),
    });
    let lines = "needs records with fields, and the input is read as lines";
    let arguments = "says how files and stdin are read, but texts are given as arguments";
    let cases: [(&Directory, &[&str], &str); 12] = [
        (plain, &["classify", "--text-field", "review"], lines),
        (
            plain,
            &["classify", "-f", "in.txt", "--text-field", "review"],
            lines,
        ),
        (plain, &["embed", "--id-field", "id"], lines),
        (plain, &["similarity", "--pair-field", "b"], lines),
        (plain, &["embed", "--text-field", "text", "a"], arguments),
        (plain, &["embed", "--input-format", "csv", "a"], arguments),
        (answer, &["answer", "--question-field", "q"], lines),
        (
            answer,
            &["answer", "-q", "good", "--question-field", "q"],
            "cannot be used with",
        ),
        (choice, &["choose", "--choices-field", "c"], lines),
        (
            choice,
            &["choose", "a", "cat", "--choices-columns", "c"],
            arguments,
        ),
        (
            choice,
            &[
                "choose",
                "--input-format",
                "csv",
                "--choices-columns",
                "a",
                "--choices-field",
                "c",
            ],
            "the candidates of a table are in --choices-columns",
        ),
        (
            choice,
            &[
                "choose",
                "--input-format",
                "jsonl",
                "--choices-columns",
                "a",
            ],
            "the candidates of jsonl are a list",
        ),
    ];
    for (directory, options, said) in cases {
        let ran = directory.run(options, b"review\nbad\n").failed(2, &[said]);
        assert!(ran.stdout.is_empty(), "{options:?}: {ran:?}");
    }
}

#[test]
fn files_that_hold_no_text_are_refused() {
    let directory = Directory::new();
    directory.write("in.csv.gz", b"\x1f\x8b\x08\x00\x00");
    let ran = directory.run(&["classify", "-f", "in.csv.gz"], b"").failed(
        1,
        &["bertlet: in.csv.gz: is compressed with gzip", "zcat FILE"],
    );
    assert!(ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn files_of_several_formats_are_refused() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\n");
    directory.write("in.csv", b"text\na cat\n");
    for (first, second, said) in [
        (
            "in.txt",
            "in.csv",
            "in.csv would be read as csv, but the first file, in.txt, as lines",
        ),
        (
            "in.csv",
            "in.txt",
            "in.txt would be read as lines, but the first file, in.csv, as csv",
        ),
        (
            "in.csv",
            "-",
            "- would be read as lines, but the first file, in.csv, as csv",
        ),
    ] {
        let files = ["classify", "-f", first, "-f", second];
        let ran = directory
            .run(&files, b"")
            .failed(2, &[said, "--input-format"]);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        let asked = [&files[..], &["--input-format", "lines"]].concat();
        directory.run(&asked, b"").good();
    }
    directory
        .run(&["classify", "-f", "in.csv", "-f", "in.csv"], b"")
        .good();
}

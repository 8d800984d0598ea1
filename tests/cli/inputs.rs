//! Inputs that are not what the options take them for: said instead of answered in silence.

use super::messages::with;
use super::support::{Directory, Ran};
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
            "-",
            "in.csv",
            "in.csv would be read as csv, but the first file, -, as lines",
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
    // Stdin has no name that asks for anything.
    let mixed = directory.run(&["classify", "-f", "in.csv", "-f", "-"], b"text\ngood\n");
    assert_eq!(mixed.good().lines().len(), 3);
}

#[test]
fn a_maximum_length_holds_a_token_of_each_text() {
    let directory = Directory::new();
    let tagger = with(HeadConfig::TokenClassification {
        labels: ["O", "B-PET", "I-PET"].map(String::from).to_vec(),
    });
    let next = with(HeadConfig::NextSentencePrediction {});
    // One token beside two special ones: what is left of a text that is cut to it.
    for (directory, command) in [
        (&directory, &["classify"][..]),
        (&directory, &["embed"]),
        (&directory, &["embed", "--layer", "1"]),
        (&tagger, &["tag"]),
    ] {
        let cut = [command, &["--max-length", "3", "good bad"]].concat();
        let ran = directory.run(&cut, b"");
        assert_eq!((ran.code, ran.lines().len()), (0, 1), "{ran:?}");
        let none = [command, &["--max-length", "2", "good bad"]].concat();
        directory.run(&none, b"").failed(
            2,
            &["2 tokens leaves 0 beside 2 special tokens, and a text needs 1; give at least 3"],
        );
    }
    let whole = directory.run(&["embed", "good"], b"").good();
    let cut = directory.run(&["embed", "--max-length", "3", "good bad"], b"");
    assert!(
        cut.text().starts_with(whole.text().trim_end_matches("}\n")),
        "{cut:?}"
    );
    for (directory, command) in [
        (&directory, &["classify", "--pairs"][..]),
        (&directory, &["embed", "--pairs"]),
        (&directory, &["embed", "--pairs", "--layer", "1"]),
        (&next, &["next"]),
    ] {
        let cut = [command, &["--max-length", "5", "good bad", "a cat"]].concat();
        let ran = directory.run(&cut, b"");
        assert_eq!((ran.code, ran.lines().len()), (0, 1), "{ran:?}");
        let none = [command, &["--max-length", "4", "good bad", "a cat"]].concat();
        directory.run(&none, b"").failed(
            2,
            &["4 tokens leaves 1 beside 3 special tokens, and a pair of texts needs 2, one of each; give at least 5"],
        );
    }
}

#[test]
fn names_of_files_as_texts_are_noted() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\n");
    directory.write("in.csv", b"text\n");
    let choice = with(HeadConfig::MultipleChoice {
        pooler: Some(Activation::Tanh),
    });
    choice.write("in.txt", b"a cat\n");
    let only = "in.txt is a file, and its name was taken as the text; -f in.txt reads its lines";
    let both = "in.txt is a file, as are the other arguments, and its name was taken as the text";
    let shown =
        "in.txt is a file, and its name was taken as the text; \"$(cat in.txt)\" is the text in it";
    for (directory, arguments, said) in [
        (&directory, &["classify", "in.txt"][..], only),
        (&directory, &["embed", "in.txt"], only),
        (&directory, &["tokenize", "in.txt"], only),
        (&directory, &["classify", "in.txt", "in.csv"], both),
        (&directory, &["similarity", "in.txt", "in.csv"], both),
        (&choice, &["choose", "in.txt", "in.txt"], both),
        (&directory, &["attention", "in.txt"], shown),
    ] {
        let ran = directory.run(arguments, b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.stdout.is_empty(), "{ran:?}");
        let start = format!("bertlet: {said}");
        assert!(ran.stderr.starts_with(&start), "{ran:?}");
    }
    // Neither a directory nor a file among texts is a mistake.
    directory.run(&["classify", "."], b"").good();
    directory.run(&["classify", "in.txt", "good"], b"").good();
    directory.run(&["attention", "cat"], b"").good();
}

#[test]
fn several_files_need_an_option_each() {
    let directory = Directory::new();
    directory.write("a.jsonl", b"{\"text\":\"a cat\"}\n");
    directory.write("b.jsonl", b"{\"text\":\"good\"}\n");
    // As the shell makes it of *.jsonl.
    for command in ["classify", "embed", "tokenize"] {
        let ran = directory
            .run(&[command, "-f", "a.jsonl", "b.jsonl"], b"")
            .failed(2, &["give one -f for each: -f a.jsonl -f …"]);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    directory
        .run(&["classify", "-f", "a.jsonl", "-"], b"")
        .failed(
            2,
            &["texts are given both as arguments and in a file (a.jsonl)"],
        );
}

#[test]
fn a_line_without_an_end_ends_the_run() {
    let directory = Directory::new();
    directory.write("good.txt", b"a cat\n");
    directory.write("good.csv", b"text\na cat\n");
    for (files, format, answers) in [
        ("-f /dev/zero", "lines", 0),
        ("-f good.txt -f /dev/zero", "lines", 1),
        ("-f /dev/zero", "jsonl", 0),
        ("-f /dev/zero", "csv", 0),
        // The table's header too.
        ("-f good.csv -f /dev/zero", "csv", 2),
    ] {
        let script = format!(
            "timeout 60 \"$0\" classify {files} --input-format {format} --max-line-bytes 1000"
        );
        let ran = Ran::from(directory.shell(&script).output().unwrap());
        let said = "/dev/zero:1: the line has more than --max-line-bytes 1000";
        let ran = ran.failed(1, &[said]);
        assert_eq!(ran.lines().len(), answers, "{script}: {ran:?}");
    }
}

#[test]
fn the_records_behind_a_long_one_stay_in_their_places() {
    let directory = Directory::new();
    // More than is read at a time.
    let long = "cat ".repeat(1 << 20);
    let quoted = format!("text\n{long}\na cat\ngood\n");
    let lines = &quoted["text\n".len()..];
    let run = |more: &[&str], input: &str| {
        let arguments = ["classify", "--all", "--max-line-bytes", "1000"];
        directory.run(&[&arguments, more].concat(), input.as_bytes())
    };
    let expected = directory
        .run(&["classify", "--all"], b"a cat\ngood\n")
        .good();
    let expected = expected.text();
    let stopped = run(&[], lines).failed(1, &["<stdin>:1: the line has more than"]);
    assert_eq!(stopped.text(), "");
    // Somebody passes over it by hand.
    let passed = run(&["--resume-from", "1"], lines).good();
    assert_eq!(passed.text(), expected);
    let csv = ["--input-format", "csv", "--format", "text"];
    let passed = run(&[&["--resume-from", "1"], &csv[..]].concat(), &quoted).good();
    assert_eq!(passed.text(), expected);
    let long = "the line has 4194304 bytes, more than --max-line-bytes 1000";
    let skipped = run(&["--on-error", "skip"], lines);
    assert!(skipped.stderr.contains(long), "{skipped:?}");
    assert_eq!(skipped.text(), expected);
    let skipped = run(&[&["--on-error", "skip"], &csv[..]].concat(), &quoted);
    assert!(skipped.stderr.contains(long), "{skipped:?}");
    assert_eq!(skipped.text(), expected);
}

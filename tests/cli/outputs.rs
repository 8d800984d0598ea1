//! What records carry out with them, outputs that are refused, and standard streams that are odd.

use super::support::{Directory, MASK, Ran, classifier, model_for, start};
use bertlet::format::header::{Activation, HeadConfig};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn pairs_with_their_texts_have_rows_of_one_width() {
    let directory = Directory::new();
    let options = ["--pairs", "--with-text", "--on-error", "record", "--format"];
    for (format, delimiter) in [("csv", ','), ("tsv", '\t')] {
        for command in ["similarity", "classify"] {
            let arguments = [&[command], &options[..], &[format]].concat();
            let ran = directory.run(&arguments, b"a\tcat\ndog\n");
            let ran = ran.failed(3, &["1 of 2 records were bad"]);
            let rows = ran.lines();
            let rows: Vec<Vec<&str>> = rows
                .iter()
                .map(|row| row.split(delimiter).collect())
                .collect();
            let [header, good, bad] = &rows[..] else {
                panic!("{ran:?}");
            };
            assert_eq!(header[header.len() - 3..], ["text", "text_pair", "error"]);
            assert_eq!(good[header.len() - 3..], ["a", "cat", ""]);
            assert_eq!(bad[header.len() - 3..][..2], ["", ""]);
            assert!(bad[header.len() - 1].starts_with("<stdin>:2: "), "{ran:?}");
        }
    }
}

#[test]
fn a_good_record_carries_no_error() {
    let directory = Directory::new();
    let input = b"{\"text\":\"a\",\"error\":1}\n";
    for command in ["classify", "tokenize"] {
        let arguments = [
            command,
            "--input-format",
            "jsonl",
            "--format",
            "jsonl",
            "--on-error",
            "record",
        ];
        let ran = directory.run(&arguments, input).good();
        let record: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
        assert_eq!(record.get("error"), None, "{record}");
        assert_eq!(record["input_error"], 1, "{record}");
    }
}

#[test]
fn nothing_is_appended_to_what_is_read() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\n");
    for (script, why) in [
        ("\"$0\" tokenize -f in.txt >> in.txt", "is also an input"),
        (
            "\"$0\" tokenize < in.txt >> in.txt",
            "is also the standard input",
        ),
        ("\"$0\" tokenize a >> model.bertlet", "is in use"),
    ] {
        let before = (directory.read("in.txt"), directory.read("model.bertlet"));
        // Where it is not refused, the limit ends what would go on until the disk is full.
        let script = format!("ulimit -f 64; {script}");
        let ran = Ran::from(directory.shell(&script).output().unwrap());
        ran.failed(5, &[&format!("<stdout>: {why}")]);
        let after = (directory.read("in.txt"), directory.read("model.bertlet"));
        assert!(before == after, "{script}");
    }
    // What is not read may be written.
    let mut command = directory.command(&["tokenize", "a cat", "-o", "in.txt"]);
    command.stdin(File::open(directory.path("in.txt")).unwrap());
    Ran::from(command.output().unwrap()).good();
    assert_eq!(directory.read("in.txt"), b"[CLS] a cat [SEP]\n");
}

#[test]
fn a_temporary_file_that_cannot_grow_is_named() {
    let directory = Directory::new();
    let place = directory.path("here");
    fs::create_dir(&place).unwrap();
    directory.write("in.txt", "a cat\n".repeat(5_000).as_bytes());
    // The program's own file may be larger than the limit, which is for writing.
    let script = "ulimit -f 64; \"$0\" embed -f in.txt --format npy | cat > /dev/null";
    let output = directory
        .shell(script)
        .env("TMPDIR", &place)
        .output()
        .unwrap();
    let said = format!(
        "{}: a temporary file for the rows cannot be written",
        place.display()
    );
    let ran = Ran::from(output);
    assert!(ran.stderr.contains(&said), "{ran:?}");
    assert!(ran.stderr.contains("write to a file with -o"), "{ran:?}");
}

/// A pair of connected sockets, of which the second does not block.
fn sockets() -> (UnixStream, Stdio) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, Stdio::from(OwnedFd::from(theirs)))
}

#[test]
fn an_input_that_does_not_block_is_waited_for() {
    let directory = Directory::new();
    for (format, header) in [("lines", ""), ("csv", "text\n")] {
        let (mut input, stdin) = sockets();
        let mut child = directory
            .command(&["tokenize", "--input-format", format])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut answer = String::new();
        input.write_all(header.as_bytes()).unwrap();
        for text in ["a cat\n", "good\n"] {
            input.write_all(text.as_bytes()).unwrap();
            answers.read_line(&mut answer).unwrap();
            // Behind its answer, time to find that there is nothing more yet.
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(input);
        Ran::from(child.wait_with_output().unwrap()).good();
        assert_eq!(answer, "[CLS] a cat [SEP]\n[CLS] good [SEP]\n");
    }
}

#[test]
fn an_output_that_does_not_block_is_waited_for() {
    let directory = Directory::new();
    // More than a socket holds.
    let count = 60_000;
    directory.write("in.txt", "a cat\n".repeat(count).as_bytes());
    let (mut output, stdout) = sockets();
    let mut child = directory
        .command(&["tokenize", "-f", "in.txt"])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Time to fill it.
    std::thread::sleep(Duration::from_millis(300));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), count);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
}

/// Waits until the process has more than one thread: the one that waits for signals is started when they are caught.
fn wait_for_threads(child: &Child) {
    let begun = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let threads = status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:"));
        if threads.is_some_and(|threads| threads.trim() != "1") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn terminate(child: &Child) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_signal_before_the_input_begins_is_an_interruption() {
    let directory = Directory::new();
    let made = Command::new("mkfifo").arg(directory.path("pipe")).status();
    assert!(made.unwrap().success());
    // A pipe without a byte, a table without a header, and a named pipe that nobody writes to.
    for arguments in [
        &["classify"][..],
        &["classify", "--input-format", "csv"],
        &["classify", "-f", "pipe", "-o", "out"],
    ] {
        let mut child = start(&mut directory.command(arguments));
        let input = child.stdin.take();
        wait_for_threads(&child);
        terminate(&child);
        let ran = Ran::from(child.wait_with_output().unwrap());
        drop(input);
        ran.failed(143, &["interrupted by SIGTERM before the first record"]);
        assert!(!directory.path("out").exists());
    }
}

fn with(head: HeadConfig) -> Directory {
    let directory = Directory::new();
    directory.write("model.bertlet", &model_for(Some(head)));
    directory
}

#[test]
fn advice_is_about_what_the_command_has() {
    let long = "a cat ".repeat(20) + "[MASK]";
    let filler = with(HeadConfig::MaskedLanguageModel {
        mask_id: MASK,
        pad_id: None,
        clean_up_tokenization_spaces: false,
        activation: Activation::Gelu,
        tied: true,
        next_sentence: false,
    });
    let plain = Directory::new();
    let nli = with(classifier(&["contradiction", "neutral", "entailment"]));
    let next = with(HeadConfig::NextSentencePrediction {});
    let whole = "--long window takes all of a text";
    let cut = "cut long texts into records of their own";
    for (directory, arguments, remedy) in [
        (&filler, &["fill", "--score", &long][..], cut),
        (&nli, &["classify", "--labels", "x,y", &long], cut),
        (&plain, &["embed", "--layer", "1", &long], cut),
        (&plain, &["classify", &long], whole),
        (&plain, &["embed", &long], whole),
        (&next, &["next", &long, "a"], whole),
    ] {
        let ran = directory
            .run(arguments, b"")
            .failed(0, &["were cut", remedy]);
        assert_eq!(
            ran.stderr.contains("--long window"),
            remedy == whole,
            "{ran:?}"
        );
    }
}

#[test]
fn a_ranking_is_not_gone_on_with_in_any_format() {
    let directory = with(classifier(&["score"]));
    let run = |arguments: &[&str]| {
        let ran = directory.run(&[&["rerank", "a cat"], arguments].concat(), b"a\ngood\n");
        assert!(!ran.stderr.contains("jsonl"), "{ran:?}");
        ran
    };
    for format in ["text", "json", "jsonl"] {
        run(&["--format", format, "-o", "out", "--resume"])
            .failed(2, &["written when all texts are ranked"]);
        run(&["--format", format, "--resume-from", "1"]).failed(2, &["a ranking needs all texts"]);
    }
    // That a record is bad is said at once: then one is behind.
    let arguments = "rerank cat --input-format jsonl --format jsonl --on-error record";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let mut child = start(&mut directory.command(&arguments));
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{}\n").unwrap();
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    messages.read_line(&mut said).unwrap();
    terminate(&child);
    messages.read_to_string(&mut said).unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(143), "{said}");
    let advice = "behind record 1; a ranking needs all texts: start it again";
    assert!(said.contains(advice), "{said}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = Directory::new();
    directory
        .run(&["classify", "-m", "none.bertlet", "a"], b"")
        .failed(
            4,
            &[
                "none.bertlet: the model cannot be read: No such file",
                "give -m a .bertlet file",
            ],
        );
    // A blank row has no id to be named by.
    let arguments = ["classify", "--input-format", "csv", "--id-field", "id"];
    let ran = directory
        .run(&arguments, b"id,text\n1,a\n\n")
        .failed(1, &["<stdin>:3: "]);
    assert!(!ran.stderr.contains("(id"), "{ran:?}");
}

#[test]
fn labels_are_text() {
    let directory = Directory::new();
    let arguments = ["classify", "--labels-file", "labels.txt", "--all", "good"];
    directory.write("labels.txt", b"good\nb\xffd\n");
    directory
        .run(&arguments, b"")
        .failed(1, &["labels.txt:2: the labels cannot be read: not UTF-8"]);
    directory.write("labels.txt", b"\xef\xbb\xbfgood\nbad\n");
    let ran = directory.run(&arguments, b"").failed(0, &[]);
    let mut labels: Vec<&str> = ran.text().trim_end().split('\t').step_by(2).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["bad", "good"], "{ran:?}");
}

#[test]
fn the_name_of_an_output_chooses_its_format() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\ngood\n");
    directory.write("in.csv", b"text\na cat\ngood\n");
    let run = |arguments: &[&str]| directory.run(arguments, b"");
    for (command, input, name, format) in [
        ("classify", "in.txt", "out.csv", "csv"),
        ("classify", "in.csv", "out.ndjson", "jsonl"),
        ("classify", "in.txt", "out.json", "json"),
        ("classify", "in.csv", "out.txt", "csv"),
        ("classify", "in.txt", "out", "text"),
        ("classify --labels x,y", "in.txt", "out.tsv", "tsv"),
        ("embed", "in.txt", "out.npy", "npy"),
        ("embed", "in.txt", "out.f32", "f32"),
        ("embed --layer 1", "in.txt", "out.npy", "npy"),
        ("embed", "in.csv", "out.raw", "raw"),
        ("embed", "in.csv", "out.txt", "jsonl"),
        ("tokenize", "in.txt", "out.jsonl", "jsonl"),
        ("tokenize", "in.txt", "out.txt", "text"),
    ] {
        let command: Vec<&str> = command.split(' ').chain(["-f", input, "-o"]).collect();
        let ran = |more: &[&str]| assert_eq!(run(&[&command[..], more].concat()).code, 0);
        ran(&["whole", "--format", format]);
        ran(&[name]);
        let whole = directory.read("whole");
        assert!(whole == directory.read(name), "{command:?} {name}");
        // The same rule on each start.
        if format != "json" {
            directory.write(name, &whole[..whole.len() - 3]);
            ran(&[name, "--resume"]);
            assert!(whole == directory.read(name), "{command:?} {name}");
        }
    }
    run(&["classify", "good", "-o", "out.csv", "--format", "jsonl"]).good();
    assert!(directory.read("out.csv").starts_with(b"[{"));
    for (command, name, formats) in [
        ("classify", "new.npy", "text, json, jsonl, tsv, csv"),
        ("tokenize", "new.csv", "text, ids, jsonl"),
        ("rerank", "new.f32", "text, json, jsonl, tsv, csv"),
    ] {
        let said = format!("{name}: the name asks for the format {}", &name[4..]);
        let formats = format!("say with --format which it is: {formats}\n");
        run(&[command, "a", "b", "-o", name]).failed(2, &[&said, &formats]);
        assert!(!directory.path(name).exists());
    }
}

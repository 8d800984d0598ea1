//! The command line as its users meet it: the real binary, exit codes, both output streams.

mod bad_files;
mod bench;
mod heads;
mod hostile;
mod inputs;
mod memory;
mod messages;
mod outputs;
mod shapes;
mod shipping;
mod streams;
mod support;

use bertlet::format::header::HeadConfig;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use support::{Directory, Ran, model};

#[test]
fn one_record_comes_out_for_each_that_goes_in() {
    let directory = Directory::new();
    let input = "a cat sleeps.\n\nbad dog\r\n[SEP]\nlast line";
    let ran = directory.run(&["classify"], input.as_bytes()).good();
    let lines = ran.lines();
    assert_eq!(lines.len(), 5);
    for line in lines {
        let (label, score) = line.split_once('\t').unwrap();
        assert!(["negative", "positive"].contains(&label), "{line}");
        assert!(
            (0.5..=1.0).contains(&score.parse::<f32>().unwrap()),
            "{line}"
        );
    }
}

#[test]
fn threads_and_batches_change_no_byte() {
    let directory = Directory::new();
    let texts = [
        "a cat",
        "bad dogs sleep.",
        "",
        "good",
        "a a a a a a a a a a a a",
    ];
    let input: String = (0..300)
        .map(|i| format!("{}\n", texts[i * 7 % 5]))
        .collect();
    let run = |more: &[&str]| {
        let arguments = [&["embed"], more].concat();
        directory.run(&arguments, input.as_bytes()).stdout
    };
    let expected = run(&["--threads", "1", "--batch-tokens", "1"]);
    assert_eq!(expected.split(|byte| *byte == b'\n').count(), 301);
    assert!(expected == run(&["--threads", "3", "--batch-tokens", "64"]));
    assert!(expected == run(&[]));
}

#[test]
fn arguments_files_and_stdin_give_the_same() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\ngood dog\n");
    let expected = directory
        .run(&["classify", "a cat", "good dog"], b"")
        .good()
        .stdout;
    assert_eq!(
        directory
            .run(&["classify"], b"a cat\ngood dog")
            .good()
            .stdout,
        expected
    );
    assert_eq!(
        directory
            .run(&["classify", "-"], b"a cat\ngood dog")
            .good()
            .stdout,
        expected
    );
    assert_eq!(
        directory
            .run(&["classify", "-f", "in.txt"], b"")
            .good()
            .stdout,
        expected
    );
    directory
        .run(&["classify", "-f", "in.txt", "-o", "out.txt"], b"")
        .good();
    assert_eq!(directory.read("out.txt"), expected);
}

#[test]
fn json_records_pass_through() {
    let directory = Directory::new();
    let input = br#"{"id": 1.0e5, "text": "a cat", "big": 12345678901234567890}"#;
    let ran = directory
        .run(&["classify", "--input-format", "jsonl", "--all"], input)
        .good();
    let start = r#"{"id": 1.0e5, "text": "a cat", "big": 12345678901234567890,"labels":[{"label":"#;
    assert!(ran.text().starts_with(start), "{ran:?}");
    let value: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(value["labels"].as_array().unwrap().len(), 2);
}

#[test]
fn a_cut_text_is_reported_and_marked() {
    let directory = Directory::new();
    let text = "cat ".repeat(20);
    let ran = directory.run(&["embed", "a", &text], b"");
    assert_eq!(ran.code, 0);
    assert!(!ran.lines()[0].contains("truncated"));
    assert!(ran.lines()[1].ends_with("],\"truncated\":true}"), "{ran:?}");
    assert!(
        ran.stderr
            .starts_with("bertlet: 1 of 2 texts were longer than 10 tokens"),
        "{ran:?}"
    );
    directory
        .run(&["embed", "--long", "window", &text], b"")
        .good();
    directory
        .run(&["embed", "--long", "error", &text], b"")
        .failed(1, &["argument 1: "]);
}

#[test]
fn bad_records_stop_or_are_skipped_or_recorded() {
    let directory = Directory::new();
    let input = b"{\"text\":\"a\"}\n{\"text\":1}\n{\"text\":\"cat\"}\n";
    let run = |on_error| {
        let arguments = [
            "classify",
            "--input-format",
            "jsonl",
            "--on-error",
            on_error,
        ];
        directory.run(&arguments, input)
    };
    let reason = "<stdin>:2: field \"text\" holds a number; expected a string";
    assert_eq!(run("stop").failed(1, &[reason]).lines().len(), 1);
    assert_eq!(
        run("skip")
            .failed(3, &[reason, "1 of 3 records were bad"])
            .lines()
            .len(),
        2
    );
    let recorded = run("record").failed(3, &[reason]);
    let lines = recorded.lines();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[1].starts_with("{\"text\":1,\"error\":\"field"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("{\"text\":\"cat\",\"labels\""),
        "{lines:?}"
    );
}

#[test]
fn bytes_that_are_not_utf8() {
    let directory = Directory::new();
    let ran = directory.run(&["classify"], b"a\nb\xff\n");
    assert_eq!((ran.code, ran.lines().len()), (0, 2));
    assert!(
        ran.stderr
            .contains("1 of 2 records had bytes that are not UTF-8"),
        "{ran:?}"
    );
    let ran = directory.run(&["classify", "--strict"], b"a\nb\xff\n");
    assert_eq!(
        ran.failed(1, &["<stdin>:2: byte 2 is not UTF-8 (0xff)"])
            .lines()
            .len(),
        1
    );
}

#[test]
fn arrays_in_files_and_pipes_are_the_same() {
    let directory = Directory::new();
    let arguments = ["embed", "--format", "npy", "a cat", "good", "dog"];
    let piped = directory.run(&arguments, b"").good().stdout;
    directory
        .run(&[&arguments[..], &["-o", "out.npy"]].concat(), b"")
        .good();
    assert_eq!(directory.read("out.npy"), piped);
    assert_eq!(piped.len(), 128 + 3 * 8 * 4);
    let header = String::from_utf8_lossy(&piped[10..128]);
    assert!(
        header.contains("'descr': '<f4'") && header.contains("'shape': (3, 8)"),
        "{header}"
    );
    let raw = directory
        .run(&["embed", "--format", "f32", "a cat", "good", "dog"], b"")
        .good();
    assert_eq!(raw.stdout, piped[128..]);
    let file = std::fs::File::create(directory.path("stdout.npy")).unwrap();
    let status = directory.command(&arguments).stdout(file).status().unwrap();
    assert!(status.success());
    assert_eq!(directory.read("stdout.npy"), piped);
}

#[test]
fn a_text_is_most_similar_to_itself() {
    let directory = Directory::new();
    let ran = directory
        .run(&["similarity"], b"a cat\ta cat\na cat\tbad dog\n")
        .good();
    let scores: Vec<f32> = ran
        .lines()
        .iter()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(scores[0], 1.0);
    assert!(scores[1] < 1.0);
    directory
        .run(&["similarity", "a", "b", "c"], b"")
        .failed(2, &["two by two"]);
}

#[test]
fn tokens_are_shown() {
    let directory = Directory::new();
    let run = |format| {
        directory
            .run(&["tokenize", "--format", format, "A cat sleeps!"], b"")
            .good()
    };
    assert_eq!(run("text").text(), "[CLS] a cat sleep ##s [UNK] [SEP]\n");
    assert_eq!(run("ids").text(), "2 4 5 7 8 1 3\n");
    let value: serde_json::Value = serde_json::from_str(run("jsonl").text()).unwrap();
    assert_eq!(value["offsets"][4], serde_json::json!([11, 12]));
    assert_eq!(
        value["special_tokens_mask"],
        serde_json::json!([1, 0, 0, 0, 0, 0, 1])
    );
}

#[test]
fn tables_in_tables_out() {
    let directory = Directory::new();
    directory.write("in.csv", b"n,review\r\n1,\"a, cat\nsleeps\"\r\n2,\r\n");
    let ran = directory
        .run(&["classify", "-f", "in.csv", "--text-field", "review"], b"")
        .good();
    assert!(
        ran.text()
            .starts_with("n,review,label,score\n1,\"a, cat\nsleeps\","),
        "{ran:?}"
    );
    assert!(ran.text().contains("\n2,,"), "{ran:?}");
    directory.run(&["classify", "-f", "in.csv"], b"").failed(
        1,
        &["in.csv: has no column \"text\"; its columns are n, review"],
    );
}

#[test]
fn a_trickle_is_answered_at_once() {
    let directory = Directory::new();
    let mut child = directory
        .command(&["classify"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    for text in ["a cat", "", "good"] {
        writeln!(input, "{text}").unwrap();
        // Would wait for ever if the answer were held back.
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'));
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_a_quiet_success() {
    let directory = Directory::new();
    let input: String = "a cat sleeps.\n".repeat(100_000);
    directory.write("in.txt", input.as_bytes());
    let mut child = directory
        .command(&["embed", "-f", "in.txt"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let directory = Directory::new();
    for (arguments, cause) in [
        (
            &["classify", "a"][..],
            "the output cannot be written to its end",
        ),
        (&["--help"], "cannot be written"),
        (&["--version"], "cannot be written"),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = directory.command(arguments);
        let output = command.stdout(full.unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        let expected = format!("bertlet: <stdout>: {cause}: No space left");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn wrong_files_are_named() {
    let directory = Directory::new();
    directory.write("in.txt", b"a\n");
    directory
        .run(&["classify", "-f", "none.txt"], b"")
        .failed(1, &["bertlet: none.txt: ", "No such file"]);
    directory
        .run(&["classify", "-f", "."], b"")
        .failed(1, &["bertlet: .: is a directory"]);
    directory
        .run(&["classify", "-f", "in.txt", "-o", "in.txt"], b"")
        .failed(5, &["in.txt: is also an input"]);
    assert_eq!(directory.read("in.txt"), b"a\n");
    directory
        .run(&["classify", "-f", "in.txt", "-o", "none/out"], b"")
        .failed(5, &["none/out: the output cannot be written"]);
}

#[test]
fn an_output_replaces_nothing_that_is_in_use() {
    let directory = Directory::new();
    directory.write("in.txt", b"a cat\n");
    directory.write("labels.txt", b"good\nbad\n");
    let refused = |mut command: Command, file: &str, why: &str| {
        let before = directory.read(file);
        let ran = Ran::from(command.output().unwrap());
        ran.failed(5, &[&format!("{file}: {why}")]);
        assert_eq!(directory.read(file), before, "{file}");
    };
    for arguments in [
        &["classify", "-o", "in.txt"][..],
        &["embed", "-f", "-", "-o", "in.txt"],
    ] {
        let mut command = directory.command(arguments);
        command.stdin(std::fs::File::open(directory.path("in.txt")).unwrap());
        refused(command, "in.txt", "is also the standard input");
    }
    let labels = [
        "classify",
        "a",
        "--labels-file",
        "labels.txt",
        "-o",
        "labels.txt",
    ];
    refused(directory.command(&labels), "labels.txt", "is in use");
    // From the environment, then by option, by another name, and as a picture.
    std::fs::hard_link(directory.path("model.bertlet"), directory.path("link")).unwrap();
    for arguments in [
        &["classify", "a", "-o", "model.bertlet"][..],
        &["classify", "-m", "link", "a", "-o", "model.bertlet"],
        &["attention", "a", "--svg", "model.bertlet"],
    ] {
        refused(directory.command(arguments), "model.bertlet", "is in use");
    }
}

#[test]
fn a_limit_on_files_is_an_error() {
    let directory = Directory::new();
    directory.write("in.txt", "a cat\n".repeat(20_000).as_bytes());
    let script = "ulimit -f 8; exec \"$0\" classify -f in.txt -o out";
    let output = directory.shell(script).output();
    Ran::from(output.unwrap()).failed(5, &["out: the output cannot be written", "File too large"]);
}

#[test]
fn models_that_cannot_be_used() {
    let directory = Directory::new();
    directory
        .run(&["classify", "-m", "none.bertlet", "a"], b"")
        .failed(4, &["none.bertlet: ", "No such file"]);
    directory.write("text.bertlet", b"not a model");
    directory
        .run(&["embed", "-m", "text.bertlet", "a"], b"")
        .failed(4, &["text.bertlet: "]);
    directory.write("headless.bertlet", &model(false));
    directory
        .run(&["embed", "-m", "headless.bertlet", "a"], b"")
        .good();
    directory
        .run(&["classify", "-m", "headless.bertlet", "a"], b"")
        .failed(
            4,
            &["headless.bertlet: the model is not made for sequence classification: it has no task head"],
        );
}

#[test]
fn damage_is_found_by_verify() {
    let directory = Directory::new();
    directory.run(&["verify", "model.bertlet"], b"").good();
    let mut bytes = model(true);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    directory.write("damaged.bertlet", &bytes);
    let ran = directory.run(&["verify", "damaged.bertlet", "model.bertlet"], b"");
    assert_eq!(
        ran.failed(4, &["damaged.bertlet: "]).text(),
        "model.bertlet: good\n"
    );
}

#[test]
fn info_is_for_people_and_programs() {
    let directory = Directory::new();
    let ran = directory.run(&["info"], b"").good();
    assert!(ran.text().contains("negative, positive"), "{ran:?}");
    let ran = directory
        .run(&["info", "--json", "model.bertlet"], b"")
        .good();
    let value: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(value["architecture"]["hidden_size"], 8);
    assert_eq!(value["precision"], "f16");
}

#[test]
fn wrong_options_are_usage_errors() {
    let directory = Directory::new();
    for arguments in [
        &["classify", "--nonsense"][..],
        &["classify", "-k", "0", "a"],
        &["classify", "--threads", "0", "a"],
        &["classify", "--id-field", "id"],
        &["embed", "--format", "f32", "--encoding", "int8", "a"],
        &["embed", "--dimensions", "9", "a"],
        &["embed", "--max-length", "17", "a"],
        &["embed", "-f", "in.txt", "a"],
    ] {
        directory.run(arguments, b"").failed(2, &[]);
    }
    for number in ["nan", "inf", "much"] {
        let arguments = ["classify", "--threshold", number, "a"];
        let said = format!("'{number}' for '--threshold <SCORE>'");
        directory.run(&arguments, b"").failed(2, &[&said]);
    }
}

#[test]
fn prompts_go_in_front() {
    let directory = Directory::new();
    let plain = directory.run(&["embed", "a good cat"], b"").good().stdout;
    assert_eq!(
        directory
            .run(&["embed", "--prompt", "query", "cat"], b"")
            .good()
            .stdout,
        plain
    );
    assert_eq!(
        directory
            .run(&["embed", "--prompt", "a good ", "cat"], b"")
            .good()
            .stdout,
        plain
    );
    // A word that is no name is a text too, but looks like a mistake.
    let none = messages::with(HeadConfig::TokenClassification {
        labels: ["O", "B-PET", "I-PET"].map(String::from).to_vec(),
    });
    for (directory, known) in [(&directory, "it has query"), (&none, "it has none")] {
        for more in [&[][..], &["--layer", "1"]] {
            let run = |options: &[&str]| directory.run(&[&["embed"], options, more].concat(), b"");
            let ran = run(&["--prompt", "good-", "cat"]);
            assert_eq!(ran.stdout, run(&["good-cat"]).good().stdout);
            assert_eq!(
                ran.stderr,
                format!(
                    "bertlet: --prompt good-: the model has no prompt of this name ({known}); the word is put in front of each \
                     text as it is\n"
                )
            );
        }
    }
    for text in ["good: ", "good ", ""] {
        directory
            .run(&["embed", "--prompt", text, "cat"], b"")
            .good();
    }
}

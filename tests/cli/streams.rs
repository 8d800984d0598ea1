//! Text that is odd, endless or broken, and runs that do not reach their end.

use super::support::{Directory, Ran, start};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Sends a signal to a child of this test.
fn signal(child: &std::process::Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

/// How a process ended: its exit code, or that a signal killed it.
fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

#[test]
fn odd_text_is_answered_line_by_line() {
    let directory = Directory::new();
    let expected = directory
        .run(&["embed", "a cat", "", "good dog"], b"")
        .good()
        .stdout;
    let marks = "\u{301}".repeat(100_000);
    for (name, input) in [
        ("LF", "a cat\n\ngood dog\n".to_owned()),
        ("CR LF", "a cat\r\n\r\ngood dog\r\n".to_owned()),
        ("no final line end", "a cat\n\ngood dog".to_owned()),
        ("BOM", "\u{feff}a cat\n\ngood dog\n".to_owned()),
        ("NULs", "a c\0at\n\0\0\0\n\0good dog\n".to_owned()),
        ("marks", format!("a c{marks}at\n{marks}\ngood dog\n")),
    ] {
        let ran = directory.run(&["embed"], input.as_bytes()).good();
        assert!(ran.stdout == expected, "{name}: {}", ran.text());
    }
    // One repeated character is one unknown word.
    let unknown = directory.run(&["embed", "z"], b"").good().stdout;
    let ran = directory.run(&["embed"], &b"x".repeat(1_000_000)).good();
    assert!(ran.stdout == unknown, "{}", ran.text());
}

#[test]
fn a_line_of_any_length_takes_bounded_memory() {
    let directory = Directory::new();
    // The program's address space holds its embedded model and its threads, but not a line of 300 MB.
    let script = "ulimit -v 200000; { echo a cat; head -c 300000000 /dev/zero | tr '\\0' x; echo; echo good; } \
                  | \"$0\" classify --threads 1 --on-error record";
    let output = directory.shell(script).output().unwrap();
    let ran = Ran::from(output).failed(3, &["<stdin>:2: the line has 300000000 bytes"]);
    let lines = ran.lines();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("ERROR\t<stdin>:2: "), "{lines:?}");
    let good = directory.run(&["classify", "good"], b"").good();
    assert_eq!(lines[2], good.text().trim_end());
}

#[test]
fn bad_json_lines_are_recorded_with_line_and_cause() {
    let directory = Directory::new();
    let deep = format!(
        "{{\"text\":\"a\",\"deep\":{}1{}}}",
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    );
    let lines: [(&[u8], Option<&str>); 9] = [
        (br#"{"text":"a cat"}"#, None),
        (br#"{"text":7}"#, Some("holds a number; expected a string")),
        (br#"{"txt":"a"}"#, Some("has no field \"text\"; it has txt")),
        (br#"["a"]"#, Some("holds an array; expected a JSON object")),
        (br#"{"text":"a"#, Some("is not valid JSON")),
        (b"", Some("the line is empty")),
        (b"{\"text\":\"a\xff\"}", None),
        (deep.as_bytes(), None),
        (br#"{"text":"last"}"#, None),
    ];
    let input = lines.map(|(line, _)| line).join(&b'\n');
    let arguments = [
        "classify",
        "--input-format",
        "jsonl",
        "--on-error",
        "record",
    ];
    let ran = directory
        .run(&arguments, &input)
        .failed(3, &["5 of 9 records were bad"]);
    let records = ran.lines();
    assert_eq!(records.len(), lines.len());
    for (number, (record, (_, cause))) in records.iter().zip(lines).enumerate() {
        let line = number + 1;
        match cause {
            // Too deep for a parser that recurses: looked at by its end only.
            None => assert!(record.contains(",\"labels\":[{"), "{line}"),
            Some(cause) => {
                let value: serde_json::Value = serde_json::from_str(record).unwrap();
                assert!(value["error"].as_str().unwrap().contains(cause), "{record}");
                assert_eq!(value["place"], format!("<stdin>:{line}"));
                let said = format!("bertlet: <stdin>:{line}: ");
                assert!(ran.stderr.contains(&said), "{}", ran.stderr);
            }
        }
    }
}

#[test]
fn bad_csv_rows_are_recorded_with_line_and_cells() {
    let directory = Directory::new();
    let input = b"id,text\r\n1,\"a \"\"cat\"\"\r\nsleeps\"\r\n\r\n2\r\n3,good,extra\r\n4,dog";
    let arguments = ["classify", "--input-format", "csv", "--on-error", "record"];
    let ran = directory
        .run(&arguments, input)
        .failed(3, &["3 of 5 records"]);
    let text = ran.text();
    assert!(text.starts_with("id,text,label,score,error\n1,\"a \"\"cat\"\"\r\nsleeps\","));
    for bad in [
        "\n,,,,\"<stdin>:4: the row is blank, the header has 2 columns\"\n",
        "\n2,,,,\"<stdin>:5: the row has 1 columns, the header has 2; quote a text that holds a line break\"\n",
        "\n3,good,,,\"<stdin>:6: the row has 3 columns, the header has 2 (beyond them: [\"\"extra\"\"]); quote a text that holds the separator\"\n",
        "\n4,dog,",
    ] {
        assert!(text.contains(bad), "{text} lacks {bad}");
    }
}

#[test]
fn progress_in_a_file_has_no_control_codes() {
    let directory = Directory::new();
    let input = "a cat\n".repeat(2000);
    let ran = directory.run(&["classify", "--progress"], input.as_bytes());
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.lines().all(|line| line.starts_with("bertlet: ")),
        "{:?}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(['\r', '\x1b']), "{:?}", ran.stderr);
}

#[test]
fn messages_carry_no_commands_for_the_terminal() {
    let directory = Directory::new();
    let input = b"{\"\x1b]0;title\x07\x1b[2J\":1}\n";
    let ran = directory.run(&["classify", "--input-format", "jsonl"], input);
    assert_eq!(ran.code, 1);
    assert!(
        !ran.stderr.trim_end().contains(char::is_control),
        "{:?}",
        ran.stderr
    );
}

#[test]
fn signals_end_a_run_between_two_records() {
    let directory = Directory::new();
    for (name, expected) in [("-INT", 130), ("-TERM", 143)] {
        // Work in the background of a shell is started with SIGINT ignored, these tests too perhaps.
        let mut command = Command::new("env");
        command
            .args([
                "--default-signal=INT,TERM",
                env!("CARGO_BIN_EXE_bertlet"),
                "embed",
            ])
            .env("BERTLET_MODEL", directory.path("model.bertlet"));
        let mut child = start(&mut command);
        let mut input = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut answer = String::new();
        for text in ["a cat\n", "good\n"] {
            input.write_all(text.as_bytes()).unwrap();
            answers.read_line(&mut answer).unwrap();
        }
        // The input stays open: only the signal can end the run.
        signal(&child, name);
        answers.read_to_string(&mut answer).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        let ran = Ran::from(output);
        let told = format!("interrupted by SIG{} behind record 2", &name[1..]);
        ran.failed(expected, &[&told, "--resume-from 2 >> OUTPUT"]);
        let whole = directory.run(&["embed"], b"a cat\ngood\n").good();
        assert_eq!(answer, whole.text());
    }
}

#[test]
fn the_advice_after_a_signal_can_be_followed() {
    let directory = Directory::new();
    directory.write("in.csv", b"text\na cat\ngood\nbad\n");
    for (options, records, advice) in [
        (
            &["classify", "-o", "out"][..],
            2,
            "the same command with --resume goes on",
        ),
        (
            &["classify", "-o", "out"],
            0,
            "start it again from the beginning",
        ),
        (
            &["classify", "--format", "json", "-o", "out"],
            2,
            "nothing can be added to: start it again, with jsonl",
        ),
        (
            &["classify", "--on-error", "skip", "-o", "out.csv"],
            2,
            "--resume-from 2 >> out.csv instead of -o (and --format csv, if it has no --format) goes on",
        ),
    ] {
        let out = options[options.len() - 1];
        let mut child = start(directory.command(options).args(["--input-format", "csv"]));
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"text\n").unwrap();
        for text in ["a cat\n", "good\n"].iter().take(records) {
            input.write_all(text.as_bytes()).unwrap();
        }
        // The input stays open. What is answered is in the file: a line behind the header, or a score.
        let answered = || {
            let out = std::fs::read_to_string(directory.path(out)).unwrap_or_default();
            match advice.contains("jsonl") {
                true => out.matches("score").count() == records,
                false => out.matches('\n').count() == records + 1,
            }
        };
        let begun = Instant::now();
        while !answered() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{advice}: no answers"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&child, "-TERM");
        let ran = Ran::from(child.wait_with_output().unwrap());
        drop(input);
        ran.failed(143, &[&format!("behind record {records}; "), advice]);
        if advice.contains("--resume") {
            let (output, again) = match advice.contains("--resume-from") {
                false => (None, vec!["--resume"]),
                true => {
                    let out = std::fs::OpenOptions::new()
                        .append(true)
                        .open(directory.path(out));
                    (Some(out.unwrap()), vec!["--resume-from", "2"])
                }
            };
            let options = options
                .iter()
                .filter(|option| output.is_none() || !["-o", out].contains(option));
            let mut command = directory.command(&options.copied().collect::<Vec<_>>());
            command.args(again).args(["-f", "in.csv"]);
            if let Some(output) = output {
                command.stdout(output);
            }
            assert!(command.status().unwrap().success(), "{advice}");
            let whole = directory.run(&["classify", "-f", "in.csv"], b"").good();
            assert_eq!(directory.read(out), whole.text().as_bytes(), "{advice}");
        }
    }
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let directory = Directory::new();
    let script = "trap '' INT TERM; exec \"$0\" classify";
    let mut child = directory
        .shell(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut answer = String::new();
    for text in ["a\n", "good\n"] {
        input.write_all(text.as_bytes()).unwrap();
        answers.read_line(&mut answer).unwrap();
        signal(&child, "-INT");
        signal(&child, "-TERM");
    }
    drop(input);
    assert_eq!(code(child.wait().unwrap()), Some(0));
    assert_eq!(answer.lines().count(), 2);
}

/// Runs a command with `--resume` and kills it again and again, until it reaches the end; returns how often it was
/// killed.
fn run_with_kills(directory: &Directory, arguments: &[&str], how: &str) -> usize {
    let mut pause = 40;
    for kills in 0.. {
        assert!(kills < 300, "{arguments:?} does not come to an end");
        let mut child = directory
            .command(arguments)
            .arg("--resume")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Neither regular nor always the same: a run takes as long as it takes.
        pause = (pause * 7 + 11) % 97 + 3 * (kills as u64 + 1);
        for _ in 0..pause {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            signal(&child, how);
        }
        match code(child.wait().unwrap()) {
            Some(0) => return kills,
            None | Some(143) => {}
            Some(other) => panic!("{arguments:?} ended with {other}"),
        }
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn a_run_that_is_killed_and_resumed_gives_the_same_bytes() {
    let directory = Directory::new();
    let texts = [
        "a cat",
        "bad \"dogs\"\" sleep.",
        "",
        "good, not bad",
        "a,\tb",
    ];
    let lines: String = (0..8_000)
        .map(|i| format!("{}\n", texts[i * 7 % 5]))
        .collect();
    directory.write("in.txt", lines.as_bytes());
    let rows: String = (0..8_000)
        .map(|i| {
            format!(
                "{i},\"{}{}\"\n",
                texts[i % 5].replace('"', "\"\""),
                ["", "\n\n"][i % 2]
            )
        })
        .collect();
    directory.write("in.csv", format!("n,text\n{rows}").as_bytes());
    let mut kills = 0;
    for (arguments, how) in [
        (&["classify", "-f", "in.txt", "--with-text"][..], "-KILL"),
        (&["classify", "-f", "in.csv", "--all"], "-KILL"),
        (&["embed", "-f", "in.txt", "--format", "npy"], "-KILL"),
        (&["embed", "-f", "in.txt", "--format", "f32"], "-TERM"),
        (&["embed", "-f", "in.csv", "--format", "base64"], "-TERM"),
        (&["tokenize", "-f", "in.txt", "--format", "jsonl"], "-KILL"),
    ] {
        let arguments = [arguments, &["--threads", "2", "-o"]].concat();
        directory.run(&[&arguments[..], &["whole"]].concat(), b"");
        let _ = std::fs::remove_file(directory.path("pieces"));
        kills += run_with_kills(&directory, &[&arguments[..], &["pieces"]].concat(), how);
        assert!(
            directory.read("whole") == directory.read("pieces"),
            "{arguments:?}"
        );
        // Once more finds nothing left to do.
        directory
            .run(&[&arguments[..], &["pieces", "--resume"]].concat(), b"")
            .good();
        assert!(
            directory.read("whole") == directory.read("pieces"),
            "{arguments:?}"
        );
    }
    assert!(kills > 5, "only {kills} runs were killed");
    println!("{kills} runs were killed");
}

#[test]
fn every_place_where_an_output_can_break_off_is_gone_on_from() {
    let directory = Directory::new();
    directory.write("in.csv", b"n,text\n1,\"a \"\"cat\"\"\n\"\n2,\n3,good\n");
    for format in ["csv", "tsv", "jsonl", "text"] {
        let arguments = ["classify", "-f", "in.csv", "--format", format, "-o", "out"];
        directory.run(&arguments, b"").good();
        let whole = directory.read("out");
        // From a row on: the header, every byte of the second record, and the end.
        for length in (0..whole.len()).step_by(3) {
            directory.write("out", &whole[..length]);
            directory
                .run(&[&arguments[..], &["--resume"]].concat(), b"")
                .good();
            assert!(
                directory.read("out") == whole,
                "{format} broken off at {length}"
            );
        }
    }
}

#[test]
fn the_rest_can_be_appended() {
    let directory = Directory::new();
    directory.write("in.csv", b"text\na\nb\nc\n");
    let whole = directory.run(&["classify", "-f", "in.csv"], b"").good();
    let rest = directory
        .run(&["classify", "-f", "in.csv", "--resume-from", "2"], b"")
        .good();
    assert_eq!(rest.lines(), whole.lines()[3..]);
    directory
        .run(&["classify", "-f", "in.csv", "--resume-from", "4"], b"")
        .failed(1, &["the input has only 3; is it the same input?"]);
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    let directory = Directory::new();
    directory.write("in.txt", b"a\n");
    directory.write("other.csv", b"something,else\n1,2\n");
    let run = |arguments: &[&str]| directory.run(arguments, b"");
    run(&["classify", "-f", "in.txt", "--resume"]).failed(2, &["--resume needs -o FILE"]);
    let out = ["classify", "-f", "in.txt", "-o", "other.csv", "--resume"];
    run(&[&out[..], &["--format", "csv"]].concat())
        .failed(5, &["other.csv: --resume cannot go on", "begins otherwise"]);
    run(&[&out[..], &["--format", "json"]].concat()).failed(2, &["one document"]);
    run(&[&out[..], &["--on-error", "skip"]].concat()).failed(2, &["use --on-error record"]);
    run(&[
        "embed",
        "-f",
        "in.txt",
        "--format",
        "npy",
        "--resume-from",
        "1",
    ])
    .failed(2, &["leaves out the beginning"]);
    assert_eq!(directory.read("other.csv"), b"something,else\n1,2\n");
    let full = ["classify", "-f", "in.txt", "-o", "/dev/full", "--resume"];
    run(&full).failed(5, &["/dev/full: is not a regular file"]);
}

#[test]
fn closed_standard_streams_are_no_crash() {
    let directory = Directory::new();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        for arguments in ["classify a", "classify", "info", "verify", "--help"] {
            let script = format!("\"$0\" {arguments} {closed}");
            let output = directory
                .shell(&script)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!(code(output.status), Some(0), "{script}: {output:?}");
        }
    }
}

#[test]
fn strange_surroundings_change_nothing() {
    let directory = Directory::new();
    let expected = directory.run(&["classify", "good c\u{e4}t"], b"").good();
    let output = directory
        .command(&["classify", "good c\u{e4}t"])
        .env_clear()
        .env("BERTLET_MODEL", directory.path("model.bertlet"))
        .env("LC_ALL", "de_DE.ISO-8859-1")
        .current_dir("/")
        .output()
        .unwrap();
    let ran = Ran::from(output).good();
    assert_eq!(ran.stdout, expected.stdout);
}

//! Messages that no other test asks for: each names what is wrong and what to do, with its exit code.

use super::support::{Directory, MASK, classifier, model, model_for};
use bertlet::format::header::{Activation, HeadConfig};

pub(super) fn with(head: HeadConfig) -> Directory {
    let directory = Directory::new();
    directory.write("model.bertlet", &model_for(Some(head)));
    directory
}

fn tagger() -> Directory {
    let labels = ["O", "B-PET", "I-PET"].map(String::from).to_vec();
    with(HeadConfig::TokenClassification { labels })
}

fn filler() -> Directory {
    with(HeadConfig::MaskedLanguageModel {
        mask_id: MASK,
        pad_id: None,
        clean_up_tokenization_spaces: false,
        activation: Activation::Gelu,
        tied: true,
        next_sentence: false,
    })
}

fn entailment() -> Directory {
    with(classifier(&["contradiction", "neutral", "entailment"]))
}

/// Directory, arguments, standard input, exit code, what stderr must say.
type Case<'a> = (&'a Directory, &'a [&'a str], &'a str, i32, &'a [&'a str]);

fn check(cases: &[Case]) {
    for (directory, arguments, stdin, code, said) in cases {
        let ran = directory
            .run(arguments, stdin.as_bytes())
            .failed(*code, said);
        assert!(
            ran.stderr.starts_with("bertlet: "),
            "{arguments:?}: {ran:?}"
        );
    }
}

#[test]
fn options_that_do_not_go_together() {
    let plain = &Directory::new();
    let bare = &Directory::new();
    bare.write("model.bertlet", &model(false));
    let answer = &with(HeadConfig::QuestionAnswering {});
    let choice = &with(HeadConfig::MultipleChoice {
        pooler: Some(Activation::Tanh),
    });
    let next = &with(HeadConfig::NextSentencePrediction {});
    let score = &with(classifier(&["score"]));
    let nli = &entailment();
    nli.write("examples.tsv", b"pets\ta cat\tdog\nmood\n");
    check(&[
        (
            answer,
            &["answer", "--pairs"],
            "",
            2,
            &["without --pairs; for records with fields give --question-field and --text-field"],
        ),
        (
            choice,
            &["choose", "--pairs"],
            "",
            2,
            &["a context and its candidates without --pairs; see --choices-field"],
        ),
        (
            choice,
            &["choose", "--input-format", "csv"],
            "text\na\n",
            2,
            &["tables need --choices-columns NAME,NAME"],
        ),
        (
            next,
            &["next", "--input-format", "jsonl"],
            "{}\n",
            2,
            &["records with fields need --pair-field NAME for the second text"],
        ),
        (
            plain,
            &["similarity", "--input-format", "csv"],
            "text\na\n",
            2,
            &["records with fields need --pair-field NAME for the second text"],
        ),
        (
            score,
            &["rerank", "a query", "--pairs"],
            "",
            2,
            &["rerank compares each text with the query; it takes no pairs"],
        ),
        (
            plain,
            &["similarity", "a", "b", "c"],
            "",
            2,
            &["taken from the arguments two by two, but there are 3"],
        ),
        (
            plain,
            &["embed", "a", "--format", "f32", "--encoding", "int8"],
            "",
            2,
            &[
                "--format f32 is for --encoding float32; the other encodings' bytes are --format raw",
            ],
        ),
        (
            plain,
            &["embed", "a", "--per-token", "--pooling", "mean"],
            "",
            2,
            &["--per-token does without --pooling"],
        ),
        (
            plain,
            &["embed", "a", "--dimensions", "9"],
            "",
            2,
            &["9 dimensions asked for, but the model's vectors have 8"],
        ),
        (
            plain,
            &["embed", "a", "--layer", "1", "--dimensions", "9"],
            "",
            2,
            &["9 dimensions asked for, but the vectors have 8"],
        ),
        (
            plain,
            &["classify", "a", "--multi-label"],
            "",
            2,
            &["--multi-label is for labels of your own: name them with --labels or --labels-file"],
        ),
        (
            plain,
            &["classify", "a", "--temperature", "1"],
            "",
            2,
            &["--temperature is for labels of your own: name them with --labels or --labels-file"],
        ),
        (
            plain,
            &["classify", "a", "--zero-shot", "nli"],
            "",
            2,
            &["--zero-shot is for labels of your own: name them with --labels or --labels-file"],
        ),
        (
            nli,
            &["classify", "a", "--labels", "x,y", "--temperature", "1"],
            "",
            2,
            &["--temperature is for models of sentence vectors; this one compares"],
        ),
        (
            nli,
            &["classify", "a", "--labels-file", "examples.tsv"],
            "",
            2,
            &["the label \"pets\" has example phrases, which are for models of sentence vectors"],
        ),
        (
            plain,
            &["classify", "a", "--labels", "x", "--temperature", "1"],
            "",
            2,
            &["--temperature is for the softmax over several labels"],
        ),
        (
            plain,
            &["attention", "a", "--svg", "missing/picture.svg"],
            "",
            5,
            &["missing/picture.svg: cannot be written"],
        ),
        (
            nli,
            &["classify", "a", "--labels", "x,y", "--function", "softmax"],
            "",
            2,
            &["--function is for the model's own labels"],
        ),
        (
            nli,
            &["classify", "a", "--labels", "x,y", "--long", "window"],
            "",
            2,
            &["with an NLI model long texts are cut at their end (--long truncate)"],
        ),
        (
            nli,
            &[
                "classify",
                "a",
                "--labels",
                "x,y",
                "--hypothesis-template",
                "so",
            ],
            "",
            2,
            &["the template \"so\" has no {} for the label's name"],
        ),
    ]);
}

#[test]
fn records_that_a_task_cannot_take() {
    let answer = &with(HeadConfig::QuestionAnswering {});
    let next = &with(HeadConfig::NextSentencePrediction {});
    let tagger = &tagger();
    let filler = &filler();
    let nli = &entailment();
    let plain = &Directory::new();
    check(&[
        (
            answer,
            &["answer"],
            "what is good\ta cat\nno tab\n",
            1,
            &["<stdin>:2: ", "tab"],
        ),
        (
            next,
            &["next"],
            "a cat\tgood\nno tab\n",
            1,
            &["<stdin>:2: ", "tab"],
        ),
        (
            tagger,
            &["tag", "--pairs"],
            "a\tb\n",
            1,
            &["<stdin>:1: a pair of texts; tag takes single texts"],
        ),
        (
            filler,
            &["fill", "--pairs"],
            "a [MASK]\tb\n",
            1,
            &["<stdin>:1: a pair of texts; fill takes single texts"],
        ),
        (
            nli,
            &["classify", "--labels", "x,y", "--pairs"],
            "a\tb\n",
            1,
            &["<stdin>:1: a pair of texts; zero-shot labels are for single texts"],
        ),
    ]);
    // A cell that is not UTF-8 is named by line and column.
    let ran = plain.run(
        &["classify", "--input-format", "csv", "--strict"],
        b"id,text\n1,a\n2,\xff\n",
    );
    ran.failed(1, &["<stdin>:3: column 2: "]);
    // Each kind of JSON value that is not a string has its name.
    for (value, name) in [
        ("{}", "an object"),
        ("[]", "an array"),
        ("true", "a boolean"),
        ("null", "null"),
        ("-1", "a number"),
    ] {
        let line = format!("{{\"text\": {value}}}\n");
        let arguments = ["classify", "--input-format", "jsonl"];
        plain.run(&arguments, line.as_bytes()).failed(
            1,
            &[&format!(
                "<stdin>:1: field \"text\" holds {name}; expected a string"
            )],
        );
    }
    // Of bad records that are in the output too, the first ones are shown one by one; of those that are not, all.
    let input = "{}\n".repeat(150);
    for (on_error, behind_the_first_100) in [
        ("record", "more bad records follow; they are only counted"),
        ("skip", "<stdin>:150: has no field \"text\"; it has none"),
    ] {
        plain
            .run(
                &[
                    "classify",
                    "--input-format",
                    "jsonl",
                    "--on-error",
                    on_error,
                ],
                input.as_bytes(),
            )
            .failed(
                3,
                &[
                    "<stdin>:1: has no field \"text\"; it has none",
                    behind_the_first_100,
                    "150 of 150 records were bad",
                ],
            );
    }
}

#[test]
fn files_that_people_hand_over_by_mistake() {
    let directory = Directory::new();
    for (start, kind) in [
        (
            &b"PK\x03\x04\x00\x00\x00\x00"[..],
            "(a zip archive, perhaps pytorch_model.bin)",
        ),
        (b"GGUF\x03\x00\x00\x00", "(a GGUF file)"),
        (
            b"\x40\x01\x00\x00\x00\x00\x00\x00",
            "(perhaps a safetensors file)",
        ),
        (b"\x08\x07\x12\x07pytorch", "(perhaps an ONNX file)"),
    ] {
        let mut bytes = start.to_vec();
        bytes.resize(100, b' ');
        directory.write("other", &bytes);
        directory.run(&["info", "-m", "other"], b"").failed(
            4,
            &[
                "bertlet: other: not a .bertlet file",
                kind,
                "make one with bertlet-convert",
            ],
        );
    }
    directory.run(&["classify", "-m", ".", "a"], b"").failed(
        4,
        &["bertlet: .: is a directory, expected a .bertlet file (bertlet-convert makes one"],
    );
    directory
        .run(&["classify", "-m", "/dev/null", "a"], b"")
        .failed(
            4,
            &["bertlet: /dev/null: is not a regular file; a model must be a file"],
        );
    // A pipe without a writer, for which opening would wait.
    let made = std::process::Command::new("mkfifo")
        .arg(directory.path("pipe"))
        .status();
    assert!(made.unwrap().success());
    directory
        .run(&["classify", "-m", "pipe", "a"], b"")
        .failed(4, &["bertlet: pipe: is not a regular file"]);
    // A model that comes from the environment says so.
    let output = directory
        .command(&["classify", "a"])
        .env("BERTLET_MODEL", "none.bertlet")
        .output()
        .unwrap();
    super::support::Ran::from(output).failed(4, &["the model of $BERTLET_MODEL", "none.bertlet"]);
}

#[test]
fn a_limit_on_threads_is_named() {
    let directory = Directory::new();
    directory.write("in.txt", "a cat\n".repeat(100_000).as_bytes());
    // Room for the program, but not for the stacks of so many threads. What comes first to find none, a stack, a signal
    // stack or the allocator, depends on the last kilobytes.
    for kilobytes in (200_000..202_400).step_by(60) {
        let script = format!("ulimit -v {kilobytes}; exec \"$0\" classify --threads 1000 < in.txt");
        let mut command = directory.shell(&script);
        let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
        super::support::Ran::from(output).failed(
            1,
            &["a thread cannot be started", "try fewer with --threads"],
        );
    }
}

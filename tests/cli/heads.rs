//! The commands of the task heads. What they compute is compared with transformers in tools/tests/golden/heads.

use crate::support::{Directory, MASK, Ran, classifier, model_for};
use bertlet::format::header::{Activation, HeadConfig};
use serde_json::{Value, json};

/// A directory whose model has this head.
fn with(head: HeadConfig) -> Directory {
    let directory = Directory::new();
    directory.write("model.bertlet", &model_for(Some(head)));
    directory
}

fn tagger() -> HeadConfig {
    HeadConfig::TokenClassification {
        labels: ["O", "B-PET", "I-PET"].map(String::from).to_vec(),
    }
}

fn language_model(next_sentence: bool) -> HeadConfig {
    HeadConfig::MaskedLanguageModel {
        mask_id: MASK,
        pad_id: None,
        clean_up_tokenization_spaces: false,
        activation: Activation::Gelu,
        tied: true,
        next_sentence,
    }
}

fn run(directory: &Directory, arguments: &[&str], stdin: &str) -> Ran {
    directory.run(arguments, stdin.as_bytes()).good()
}

fn values(ran: &Ran) -> Vec<Value> {
    let lines = ran.lines().into_iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn entities_come_as_json_or_in_the_text() {
    let directory = with(tagger());
    let input = "A good cat sleeps.\n\nbad dogs\n";
    let ran = run(
        &directory,
        &[
            "tag",
            "--format",
            "jsonl",
            "--ignore",
            "",
            "--aggregation",
            "none",
        ],
        input,
    );
    let found = values(&ran);
    assert_eq!(found.len(), 3);
    let words: Vec<&str> = found[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["word"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["a", "good", "cat", "sleep", "##s", "."]);
    assert_eq!(found[0][3]["start"], 11);
    assert_eq!(found[0][3]["end"], 16);
    assert_eq!(found[0][3]["index"], 4);
    assert!(found[0][3]["entity"].is_string());
    assert_eq!(found[1], json!([]));
    // Grouped: every character that is in a token is in one entity, in order.
    let ran = run(
        &directory,
        &["tag", "--format", "jsonl", "--ignore", ""],
        input,
    );
    for entity in values(&ran)[0].as_array().unwrap() {
        assert!(["O", "PET"].contains(&entity["entity_group"].as_str().unwrap()));
    }
    let ran = run(
        &directory,
        &["tag", "--ignore", "", "--aggregation", "first"],
        input,
    );
    let lines = ran.lines();
    assert_eq!(lines.len(), 3);
    let bare: String = lines[0]
        .replace("](O)", "")
        .replace("](PET)", "")
        .replace('[', "");
    assert_eq!(bare, "A good cat sleeps.");
    assert!(lines[0].contains("](") && lines[1].is_empty());
    let colored = run(
        &directory,
        &["tag", "--ignore", "", "--color", "always", "a cat"],
        "",
    );
    assert!(colored.text().contains("\x1b["), "{colored:?}");
    let none = run(&directory, &["tag", "--threshold", "1.5", "a cat"], "");
    assert_eq!(none.text(), "a cat\n");
}

#[test]
fn entities_go_with_the_users_records() {
    let directory = with(tagger());
    let ran = run(
        &directory,
        &["tag", "--input-format", "jsonl", "--ignore", ""],
        "{\"id\": 7, \"text\": \"a cat\"}\n",
    );
    let value = &values(&ran)[0];
    assert_eq!(value["id"], 7);
    assert_eq!(value["entities"][0]["start"], 0);
    let ran = run(
        &directory,
        &["tag", "--input-format", "csv", "--ignore", ""],
        "text\na cat\n",
    );
    assert!(
        ran.text()
            .starts_with("text,entities\na cat,\"[{\"\"entity_group"),
        "{ran:?}"
    );
    // A text of several windows has tokens of each.
    let long = "cat ".repeat(30);
    let ran = run(
        &directory,
        &[
            "tag",
            "--format",
            "json",
            "--ignore",
            "",
            "--aggregation",
            "none",
            &long,
        ],
        "",
    );
    let value: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(value[0].as_array().unwrap().len(), 30);
    directory
        .run(&["tag", "--stride", "8", "a"], b"")
        .failed(2, &["the stride must be less"]);
}

#[test]
fn answers_are_parts_of_the_text() {
    let directory = with(HeadConfig::QuestionAnswering {});
    let ran = run(&directory, &["answer", "a cat", "good dogs sleep ."], "");
    let cells: Vec<&str> = ran.lines()[0].split('\t').collect();
    let (start, end): (usize, usize) = (cells[2].parse().unwrap(), cells[3].parse().unwrap());
    assert_eq!(&"good dogs sleep ."[start..end], cells[0]);
    let ran = run(
        &directory,
        &["answer", "-q", "cat", "--format", "jsonl", "-k", "2"],
        "a dog\nbad\n",
    );
    let found = values(&ran);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].as_array().unwrap().len(), 2);
    assert_eq!(found[1].as_array().unwrap().len(), 1);
    assert_eq!(found[1][0]["answer"], "bad");
    assert!((0.0..=1.0).contains(&number(&found[0][0]["score"])));
    let ran = run(
        &directory,
        &[
            "answer",
            "--input-format",
            "jsonl",
            "--text-field",
            "context",
            "--no-answer",
        ],
        "{\"question\":\"a cat\",\"context\":\"\"}\n",
    );
    assert_eq!(values(&ran)[0]["answer"]["answer"], "", "{ran:?}");
    let ran = run(&directory, &["answer", "--format", "jsonl", "a", ""], "");
    assert_eq!(ran.text(), "null\n");
    directory
        .run(&["answer", &"cat ".repeat(9), "dog"], b"")
        .failed(
            1,
            &[
                "argument 1: the question has 9 tokens",
                "shorten the question",
            ],
        );
    directory
        .run(&["answer", "a question"], b"")
        .failed(2, &["a text needs a question: --question TEXT"]);
}

#[test]
fn masks_are_filled() {
    let directory = with(language_model(false));
    let ran = run(
        &directory,
        &["fill", "--format", "jsonl", "-k", "3"],
        "a [MASK] .\n[MASK] [MASK]\n",
    );
    let found = values(&ran);
    assert_eq!(found[0].as_array().unwrap().len(), 3);
    let best = &found[0][0];
    assert!(
        best["sequence"].as_str().unwrap().starts_with("[CLS] a")
            || best["sequence"].as_str().unwrap().starts_with('a')
    );
    assert!(number(&best["score"]) >= number(&found[0][1]["score"]));
    assert_eq!(found[1].as_array().unwrap().len(), 2);
    assert!(
        found[1][0][0]["sequence"]
            .as_str()
            .unwrap()
            .contains("[MASK]")
    );
    let ran = run(
        &directory,
        &["fill", "--targets", "cat,dog", "a [MASK]"],
        "",
    );
    let cells: Vec<&str> = ran.lines()[0].split('\t').collect();
    assert_eq!(cells.len(), 4);
    assert!(cells.contains(&"cat") && cells.contains(&"dog"));
    directory
        .run(&["fill", "a cat"], b"")
        .failed(1, &["argument 1: the text has no mask; write [MASK]"]);
    directory
        .run(&["fill", "--targets", "nonsense", "a [MASK]"], b"")
        .failed(2, &["\"nonsense\" is not one token"]);
    let ran = run(
        &directory,
        &["fill", "--score", "--format", "jsonl"],
        "a cat sleeps\n\n",
    );
    let found = values(&ran);
    assert_eq!(found[0]["tokens"], 4);
    let (perplexity, sum) = (
        number(&found[0]["pseudo_perplexity"]),
        number(&found[0]["log_likelihood"]),
    );
    assert!((perplexity / (-sum / 4.0).exp() - 1.0).abs() < 1e-9);
    assert_eq!(
        found[1],
        json!({"pseudo_perplexity": null, "log_likelihood": 0.0, "tokens": 0})
    );
}

#[test]
fn texts_are_ranked_for_a_query() {
    let directory = with(classifier(&["LABEL_0"]));
    let input = "a dog\ngood cat sleeps\n\nbad\n";
    let ran = run(&directory, &["rerank", "a cat", "--format", "json"], input);
    let value: Value = serde_json::from_str(ran.text()).unwrap();
    let rows = value.as_array().unwrap();
    let mut indices: Vec<u64> = rows
        .iter()
        .map(|row| row["index"].as_u64().unwrap())
        .collect();
    assert!(
        rows.windows(2)
            .all(|pair| number(&pair[0]["score"]) >= number(&pair[1]["score"]))
    );
    assert!(
        rows.iter()
            .all(|row| (0.0..=1.0).contains(&number(&row["score"])))
    );
    let first = rows.iter().find(|row| row["index"] == 1).unwrap();
    assert_eq!(first["text"], "good cat sleeps");
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3]);
    let ran = run(
        &directory,
        &[
            "rerank",
            "a cat",
            "-k",
            "2",
            "--threads",
            "3",
            "--batch-tokens",
            "1",
        ],
        input,
    );
    let expected: Vec<String> = rows[..2]
        .iter()
        .map(|row| {
            format!(
                "{}\t{}\t{}",
                row["index"],
                row["score"],
                row["text"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(ran.lines(), expected);
    let directory = with(classifier(&["no", "yes"]));
    directory
        .run(&["rerank", "a cat", "a"], b"")
        .failed(2, &["the model has the labels no, yes; say with --label"]);
    directory
        .run(&["rerank", "a cat", "--label", "maybe", "a"], b"")
        .failed(
            2,
            &["there is no label \"maybe\"; the model has the labels no, yes"],
        );
    let sum: f64 = ["no", "yes"]
        .iter()
        .map(|label| {
            let ran = run(
                &directory,
                &[
                    "rerank", "a cat", "--label", label, "--format", "jsonl", "dog",
                ],
                "",
            );
            number(&values(&ran)[0]["score"])
        })
        .sum();
    assert!((sum - 1.0).abs() < 1e-6);
}

#[test]
fn a_bad_text_is_ranked_last() {
    let directory = with(classifier(&["LABEL_0"]));
    let ran = directory.run(
        &[
            "rerank",
            "a",
            "--input-format",
            "jsonl",
            "--on-error",
            "record",
            "--format",
            "jsonl",
        ],
        b"{\"text\":1}\n{\"text\":\"cat\"}\n",
    );
    assert_eq!(ran.code, 3, "{ran:?}");
    let rows = values(&ran);
    assert_eq!(rows[0]["index"], 1);
    assert!(
        rows[1]["error"]
            .as_str()
            .unwrap()
            .starts_with("<stdin>:1: "),
        "{rows:?}"
    );
}

#[test]
fn the_next_sentence_and_the_best_candidate() {
    for head in [HeadConfig::NextSentencePrediction {}, language_model(true)] {
        let directory = with(head);
        let ran = run(&directory, &["next"], "a cat\tgood\nbad dog\tsleeps\n");
        for line in ran.lines() {
            assert!((0.0..=1.0).contains(&line.parse::<f64>().unwrap()));
        }
        let ran = run(&directory, &["next", "--format", "jsonl", "a", "b"], "");
        assert!(values(&ran)[0]["is_next"].is_number());
    }
    let directory = with(HeadConfig::MultipleChoice {
        pooler: Some(Activation::Tanh),
    });
    let ran = run(
        &directory,
        &[
            "choose", "--format", "jsonl", "a cat", "good", "bad dog", "sleeps",
        ],
        "",
    );
    let value = &values(&ran)[0];
    let scores: Vec<f64> = value["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    let index = value["index"].as_u64().unwrap() as usize;
    assert!(scores.iter().all(|score| *score <= scores[index]));
    assert_eq!(value["text"], ["good", "bad dog", "sleeps"][index]);
    let expected = run(
        &directory,
        &["choose", "a cat", "good", "bad dog", "sleeps"],
        "",
    )
    .stdout;
    let lines = "a cat\tgood\tbad dog\tsleeps\n";
    assert_eq!(run(&directory, &["choose"], lines).stdout, expected);
    let fields = "{\"text\":\"a cat\",\"choices\":[\"good\",\"bad dog\",\"sleeps\"]}\n";
    let ran = run(
        &directory,
        &["choose", "--input-format", "jsonl", "--format", "text"],
        fields,
    );
    assert_eq!(ran.stdout, expected);
    let table = "text,x,y,z\na cat,good,bad dog,sleeps\n";
    let columns = [
        "choose",
        "--input-format",
        "csv",
        "--choices-columns",
        "x,y,z",
        "--format",
        "text",
    ];
    assert_eq!(run(&directory, &columns, table).stdout, expected);
    directory
        .run(&["choose"], b"a cat\n")
        .failed(1, &["<stdin>:1: has no candidates to choose from"]);
}

#[test]
fn labels_of_ones_own_by_entailment() {
    let directory = with(classifier(&["contradiction", "entailment"]));
    let ran = run(
        &directory,
        &[
            "classify",
            "--labels",
            "cat, dog,good",
            "--max-length",
            "16",
            "--format",
            "jsonl",
        ],
        "a cat sleeps\nbad\n",
    );
    for (value, text) in values(&ran).iter().zip(["a cat sleeps", "bad"]) {
        assert_eq!(value["sequence"], text);
        let scores: Vec<f64> = value["scores"]
            .as_array()
            .unwrap()
            .iter()
            .map(number)
            .collect();
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]));
        let mut labels: Vec<&str> = value["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_str().unwrap())
            .collect();
        labels.sort_unstable();
        assert_eq!(labels, ["cat", "dog", "good"]);
    }
    let ran = run(
        &directory,
        &["classify", "--labels", "cat,dog", "a cat"],
        "",
    );
    assert_eq!(ran.lines()[0].split('\t').count(), 2);
    let template = [
        "classify",
        "--labels",
        "cat",
        "--hypothesis-template",
        "it is",
        "a",
    ];
    directory.run(&template, b"").failed(2, &["has no {}"]);
    directory
        .run(&["classify", "--labels", "cat,cat", "a"], b"")
        .failed(2, &["label \"cat\" is named twice"]);
    directory
        .run(&["classify", "--multi-label", "a"], b"")
        .failed(2, &["name them with --labels"]);
}

#[test]
fn labels_of_ones_own_by_vectors() {
    let directory = Directory::new();
    directory.write("labels.tsv", b"pets\ta cat\tdog\nmood\tgood\tbad\n\n");
    let ran = run(
        &directory,
        &[
            "classify",
            "--zero-shot",
            "embedding",
            "--labels-file",
            "labels.tsv",
            "--format",
            "jsonl",
            "a cat",
        ],
        "",
    );
    let value = &values(&ran)[0];
    assert_eq!(value["labels"].as_array().unwrap().len(), 2);
    let ran = run(
        &directory,
        &[
            "classify",
            "--zero-shot",
            "embedding",
            "--labels",
            "a cat,bad dog",
            "--multi-label",
            "--format",
            "jsonl",
            "a cat",
        ],
        "",
    );
    let value = &values(&ran)[0];
    assert_eq!(value["labels"][0], "a cat");
    assert!(
        (number(&value["scores"][0]) - 1.0).abs() < 1e-6,
        "the cosine to itself"
    );
    let ran = run(
        &directory,
        &[
            "classify",
            "--zero-shot",
            "embedding",
            "--labels",
            "a cat,bad dog",
            "--input-format",
            "jsonl",
        ],
        "{\"text\":\"bad dog\"}\n",
    );
    assert_eq!(values(&ran)[0]["labels"][0]["label"], "bad dog");
    // A single label has its cosine, not the softmax of one.
    let alone = ["classify", "--zero-shot", "embedding", "--labels", "dog"];
    let ran = run(
        &directory,
        &[&alone[..], &["--format", "jsonl", "a cat"]].concat(),
        "",
    );
    let score = number(&values(&ran)[0]["scores"][0]);
    assert!(score < 0.9999, "{score}");
    // A classifier that is a sentence encoder too does it; a model for something else says what that is worth.
    run(&directory, &["classify", "--labels", "x,y", "a"], "");
    let labels = ["O", "B-PET"].map(String::from).to_vec();
    with(HeadConfig::TokenClassification { labels })
        .run(&["classify", "--labels", "x,y", "a"], b"")
        .failed(
            0,
            &["made for token classification, not for sentence vectors"],
        );
    directory
        .run(
            &["classify", "--zero-shot", "nli", "--labels", "x", "a"],
            b"",
        )
        .failed(4, &["no label of the model begins with \"entail\""]);
}

#[test]
fn features_of_layers_and_tokens() {
    let directory = Directory::new();
    let ran = run(&directory, &["embed", "--layer", "-1,0", "a cat"], "");
    assert_eq!(values(&ran)[0]["embedding"].as_array().unwrap().len(), 16);
    let plain = run(
        &directory,
        &["embed", "--normalize", "false", "a cat", "bad"],
        "",
    )
    .stdout;
    let last = run(&directory, &["embed", "--layer", "-1", "a cat", "bad"], "").stdout;
    assert_eq!(String::from_utf8(plain), String::from_utf8(last));
    let ran = run(
        &directory,
        &[
            "embed",
            "--per-token",
            "--layer",
            "0,1",
            "--combine",
            "sum",
            "A cats",
        ],
        "",
    );
    let value = &values(&ran)[0];
    let tokens: Vec<&str> = value["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, ["[CLS]", "a", "cat", "##s", "[SEP]"]);
    assert_eq!(value["tokens"][3]["start"], 5);
    assert_eq!(value["tokens"][0]["text"], Value::Null);
    assert_eq!(value["tokens"][3]["embedding"].as_array().unwrap().len(), 8);
    let npy = run(
        &directory,
        &["embed", "--layer", "1", "--format", "npy", "a", "b", "c"],
        "",
    );
    assert_eq!(npy.stdout.len(), 128 + 3 * 8 * 4);
    directory
        .run(&["embed", "--layer", "2", "a"], b"")
        .failed(2, &["layer 2, but the model has 1"]);
    directory
        .run(&["embed", "--per-token", "--format", "npy", "a"], b"")
        .failed(2, &["--format jsonl and json"]);
}

#[test]
fn attention_is_shown() {
    let directory = Directory::new();
    let ran = run(
        &directory,
        &["attention", "--json", "A cats sleep", "--svg", "out.svg"],
        "",
    );
    let value: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(
        value["tokens"],
        json!(["[CLS]", "a", "cat", "##s", "sleep", "[SEP]"])
    );
    for row in value["weights"].as_array().unwrap() {
        let sum: f64 = row.as_array().unwrap().iter().map(number).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    let picture = String::from_utf8(directory.read("out.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains(">##s</text>"));
    let ran = run(
        &directory,
        &["attention", "A cats sleep", "--head", "2"],
        "",
    );
    assert_eq!(ran.lines().len(), 6);
    let ran = run(
        &directory,
        &["attention", "A cats sleep", "--word", "Cats", "--json"],
        "",
    );
    let value: Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(value["rows"], json!([2, 3]));
    // Each place of the word, not what only contains it; and what only its token spells so.
    for (text, word, rows) in [
        ("a cat, cats. Cat", "cat", json!([2, 7])),
        ("cáts", "CATS", json!([1, 2])),
        ("a cat", "[sep]", json!([3])),
    ] {
        let ran = run(
            &directory,
            &["attention", text, "--word", word, "--json"],
            "",
        );
        let value: Value = serde_json::from_str(ran.text()).unwrap();
        assert_eq!(value["rows"], rows, "{word} in {text:?}: {value}");
    }
    directory
        .run(&["attention", "a cat", "--word", "dog"], b"")
        .failed(
            2,
            &["the text has no word \"dog\"; its tokens are [CLS] a cat [SEP]"],
        );
    directory
        .run(&["attention", "a cat", "--layer", "2"], b"")
        .failed(2, &["layers 1 to 1"]);
    directory
        .run(&["attention", "a cat", "--head", "3"], b"")
        .failed(2, &["heads 1 to 2"]);
}

#[test]
fn a_model_without_pooler_classifies() {
    let HeadConfig::SequenceClassification { labels, .. } = classifier(&["negative", "positive"])
    else {
        panic!()
    };
    let directory = with(HeadConfig::SequenceClassification {
        labels,
        problem_type: None,
        pooler: None,
        cross_encoder: None,
    });
    let ran = run(&directory, &["classify", "--all", "a cat"], "");
    assert_eq!(ran.lines()[0].split('\t').count(), 4);
    directory.run(&["verify", "model.bertlet"], b"").good();
}

#[test]
fn a_model_for_another_task_is_one_clear_line() {
    let directory = Directory::new();
    for (arguments, wanted) in [
        (&["tag", "a"][..], "token classification"),
        (&["answer", "a", "b"], "question answering"),
        (&["fill", "a"], "masked language modelling"),
        (&["next", "a", "b"], "next-sentence prediction"),
        (&["choose", "a", "b"], "multiple choice"),
    ] {
        let ran = directory.run(arguments, b"");
        let said = format!(
            "model.bertlet: the model is not made for {wanted}: its head is for sequence classification; \
             convert a checkpoint that was trained for {wanted}"
        );
        let ran = ran.failed(4, &[&said]);
        assert_eq!(ran.stderr.lines().count(), 1);
    }
    let directory = with(tagger());
    directory
        .run(&["rerank", "a", "b"], b"")
        .failed(4, &["its head is for token classification"]);
    let ran = run(&directory, &["info"], "");
    assert!(ran.text().contains("token_classification"), "{ran:?}");
}

/// The file or record, what was found, what was expected, and what to do: in one line.
#[test]
fn what_a_task_cannot_do_is_one_clear_line() {
    let fill = with(language_model(false));
    let answer = with(HeadConfig::QuestionAnswering {});
    let labels = with(classifier(&["entailment", "contradiction"]));
    labels.write("none.txt", b"\n  \n");
    let long = "cat ".repeat(200);
    let behind = format!("{long}[MASK]");
    for (directory, arguments, code, said) in [
        (
            &fill,
            &["fill", "a cat"][..],
            1,
            "argument 1: the text has no mask; write [MASK] in the place of a word",
        ),
        (
            &fill,
            &["fill", &behind],
            1,
            "tokens that the model takes; shorten the text in front of it",
        ),
        (
            &fill,
            &["fill", "--targets", "nonsense", "a [MASK]"],
            2,
            "the target \"nonsense\" is not one token of the vocabulary, but",
        ),
        (
            &answer,
            &["answer", &long, "a cat"],
            1,
            "argument 1: the question has 200 tokens; of the",
        ),
        (
            &answer,
            &["answer", &long, "a cat"],
            1,
            "are needed; shorten the question",
        ),
        (
            &labels,
            &["classify", "--labels-file", "none.txt", "a cat"],
            2,
            "none.txt: names no label; write one a line",
        ),
        (
            &labels,
            &["classify", "--labels-file", "/dev/zero", "a cat"],
            2,
            "/dev/zero: the labels take more than 16777216 bytes; name fewer",
        ),
        (
            &labels,
            &["classify", "--labels", "a,,b", "a cat"],
            2,
            "label 2 has no name; between two commas there must be one",
        ),
        (
            &labels,
            &["classify", "--labels", &long, "a cat"],
            2,
            "none is left for the text; shorten the label or the template",
        ),
    ] {
        let ran = directory.run(arguments, b"").failed(code, &[said]);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

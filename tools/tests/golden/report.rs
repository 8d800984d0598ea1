//! `--report`: what it measures on tiny checkpoints, and what the program prints and writes.

use crate::support::Checkpoint;
use bertlet::Model;
use bertlet::format::header::Activation;
use bertlet_tools::checkpoint;
use bertlet_tools::report::{Report, compare};
use bertlet_tools::weights::Weights;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const TEXTS: &str =
    "The film is good.\n\nCafé déjà vu, naïve Straße\nzebra plays unhelloable xyz\n";

fn texts() -> Vec<String> {
    TEXTS.lines().map(str::to_owned).collect()
}

/// The model in `precision`, and the checkpoint's weights.
fn converted(checkpoint: &Checkpoint, precision: &str) -> (Model, Weights) {
    let model = Model::open(checkpoint.convert(precision)).unwrap();
    let weights = checkpoint::open(checkpoint.folder()).unwrap().weights();
    (model, weights.unwrap())
}

fn measured(model: &Model, weights: &Weights) -> Report {
    compare(model, weights, &texts(), |_, _| {}).unwrap()
}

fn errors(report: &Report) -> Vec<f64> {
    let stages = report.stages.iter();
    stages.map(|stage| stage.relative_error).collect()
}

#[test]
fn f16_models_are_faithful_and_int8_models_less_so() {
    // One label of several, several right labels, and values.
    for name in ["classifier", "odd-shapes", "wide-head"] {
        let checkpoint = Checkpoint::copy(name, "report-precisions");
        let (model, weights) = converted(&checkpoint, "f16");
        let exact = measured(&model, &weights);
        let layers = model.header().config.num_hidden_layers;
        assert_eq!(exact.texts, 4);
        assert_eq!(exact.stages.len(), layers + 1, "{name}");
        // The golden weights are f16 numbers, so that only f32 arithmetic is left.
        assert!(
            errors(&exact).iter().all(|error| *error < 1e-5),
            "{name}: {exact:?}"
        );
        assert!(exact.cosine.minimum > 1.0 - 1e-9, "{name}: {exact:?}");
        let logits = exact.logits.unwrap();
        assert!(logits.largest_difference < 1e-5, "{name}: {logits:?}");
        assert!(logits.disagreeing_lines.is_empty(), "{name}: {logits:?}");
        let expected = (name != "wide-head").then_some(1.0);
        assert_eq!(logits.label_agreement, expected, "{name}");

        let rounded = measured(&converted(&checkpoint, "int8").0, &weights);
        for (exact, rounded) in exact.stages.iter().zip(&rounded.stages) {
            assert!(
                rounded.relative_error > 1e-4
                    && rounded.relative_error > 10.0 * exact.relative_error,
                "{name}: {rounded:?}"
            );
        }
        assert!(rounded.cosine.minimum < exact.cosine.minimum, "{name}");
    }
}

#[test]
fn every_way_to_a_sentence_vector_is_compared() {
    for overlay in [
        "sentence-cls",
        "sentence-dense",
        "sentence-lasttoken",
        "sentence-max",
        "sentence-mean-sqrt-len",
        "sentence-ordered",
        "sentence-weightedmean",
    ] {
        let checkpoint = Checkpoint::copy("sentence", "report-vectors").lay_over(overlay);
        let (model, weights) = converted(&checkpoint, "f16");
        let report = measured(&model, &weights);
        assert!(report.cosine.minimum > 1.0 - 1e-9, "{overlay}: {report:?}");
        assert_eq!(report.logits, None, "{overlay}");
    }
}

#[test]
fn a_wrong_activation_is_seen_from_the_first_layer_on() {
    let checkpoint = Checkpoint::copy("classifier", "report-activation");
    let (model, mut weights) = converted(&checkpoint, "f16");
    assert_eq!(weights.config.hidden_act, Activation::Gelu);
    weights.config.hidden_act = Activation::GeluTanh;
    let errors = errors(&measured(&model, &weights));
    assert!(errors[0] < 1e-6, "{errors:?}");
    assert!(errors[1..].iter().all(|error| *error > 1e-5), "{errors:?}");
}

#[test]
fn damage_is_seen_where_it_is() {
    let checkpoint = Checkpoint::copy("classifier", "report-damage");
    let (model, weights) = converted(&checkpoint, "f16");

    let mut damaged = weights.clone();
    damaged.layers[1].output.bias[3] += 1.0;
    let report = measured(&model, &damaged);
    let found = errors(&report);
    assert!(found[1] < 1e-5 && found[2] > 1e-2, "{found:?}");
    assert!(report.cosine.minimum < 0.9999, "{report:?}");

    let mut damaged = weights.clone();
    for weight in &mut damaged.classifier.as_mut().unwrap().weight {
        *weight = -*weight;
    }
    let report = measured(&model, &damaged);
    assert!(report.cosine.minimum > 1.0 - 1e-9, "{report:?}");
    let logits = report.logits.unwrap();
    assert!(logits.largest_difference > 1e-2, "{logits:?}");
    let agreement = logits.label_agreement.unwrap();
    assert_eq!(agreement, 1.0 - logits.disagreeing_lines.len() as f64 / 4.0);
    assert!(agreement < 1.0, "{logits:?}");

    let mut damaged = weights;
    damaged.embeddings_layer_norm.bias[0] = f32::NAN;
    let error = compare(&model, &damaged, &texts(), |_, _| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("embeddings: values that are not finite on lines 1 to 4"),
        "{error}"
    );
}

#[test]
fn figures_depend_neither_on_batches_nor_on_order() {
    let checkpoint = Checkpoint::copy("classifier", "report-batches");
    let (model, weights) = converted(&checkpoint, "int8");
    // Enough for many pieces.
    let many: Vec<String> = texts().into_iter().cycle().take(400).collect();
    let report = compare(&model, &weights, &many, |_, _| {}).unwrap();
    let once = measured(&model, &weights);
    assert_eq!(report.tokens, 100 * once.tokens);
    assert!((report.cosine.mean - once.cosine.mean).abs() < 1e-9);
    assert!((report.cosine.minimum - once.cosine.minimum).abs() < 1e-9);
    for (all, once) in report.stages.iter().zip(&once.stages) {
        assert!((all.relative_error - once.relative_error).abs() < 1e-6 * once.relative_error);
    }
}

/// Runs the program with a report on `input`.
fn run(checkpoint: &Checkpoint, output: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bertlet-convert"))
        .arg(checkpoint.folder())
        .arg("-o")
        .arg(output)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn the_program_prints_a_table_and_writes_json_and_picture() {
    let checkpoint = Checkpoint::copy("classifier", "report-files");
    let beside = |name: &str| checkpoint.folder().with_extension(name);
    let (output, json, svg) = (beside("bertlet"), beside("json"), beside("svg"));
    let arguments = [
        "--report",
        "-",
        "--report-json",
        json.to_str().unwrap(),
        "--report-plot",
        svg.to_str().unwrap(),
    ];
    let done = run(&checkpoint, &output, &arguments, TEXTS.as_bytes());
    assert!(done.status.success(), "{done:?}");
    let table = String::from_utf8(done.stdout).unwrap();
    for part in [
        "classifier: int8 against f32\n4 texts, ",
        "1st percentile",
        "label agreement",
        "\nembeddings ",
        "\nlayer 1 ",
    ] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }

    let json: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(json["precision"], "int8");
    assert_eq!(json["texts"], 4);
    let number = |value: &Value| value.as_f64().unwrap();
    for key in ["mean", "percentile_1", "minimum"] {
        assert!(
            (0.5..=1.0).contains(&number(&json["cosine"][key])),
            "{json}"
        );
    }
    for key in ["largest_difference", "mean_difference", "label_agreement"] {
        assert!(number(&json["logits"][key]) >= 0.0, "{json}");
    }
    let stages = json["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, ["embeddings", "layer 0", "layer 1"]);
    for stage in stages {
        assert!(number(&stage["relative_error"]) > 0.0, "{json}");
    }

    let svg = fs::read_to_string(svg).unwrap();
    let picture = roxmltree::Document::parse(&svg).unwrap();
    let circles = picture.descendants().filter(|n| n.has_tag_name("circle"));
    assert_eq!(circles.count(), stages.len());
}

#[test]
fn bad_lines_are_refused_before_anything_is_written() {
    let checkpoint = Checkpoint::copy("classifier", "report-refused");
    let output = checkpoint.folder().with_extension("bertlet");
    let _ = fs::remove_file(&output);
    for (input, expected) in [
        (
            &b""[..],
            "stdin: is empty; a report needs at least one line of text",
        ),
        (b"good\n\xff\n", "stdin: line 2 is not UTF-8"),
    ] {
        let done = run(&checkpoint, &output, &["--report", "-"], input);
        let message = String::from_utf8(done.stderr).unwrap();
        assert!(
            !done.status.success() && message.contains(expected),
            "{message}"
        );
        assert!(done.stdout.is_empty() && !output.exists());
    }
    let done = run(&checkpoint, &output, &["--report", "no-such-file"], b"");
    let message = String::from_utf8(done.stderr).unwrap();
    assert!(
        message.contains("no-such-file: cannot be read"),
        "{message}"
    );
    let done = run(&checkpoint, &output, &["--report-plot", "x.svg"], b"");
    let message = String::from_utf8(done.stderr).unwrap();
    assert!(message.contains("--report <TEXTS>"), "{message}");
}

#[test]
fn a_report_that_cannot_be_saved_leaves_the_model() {
    let checkpoint = Checkpoint::copy("classifier", "report-unsaved");
    let output = checkpoint.folder().with_extension("bertlet");
    let _ = fs::remove_file(&output);
    let folder = checkpoint.folder().to_str().unwrap();
    let arguments = ["--report", "-", "--report-json", folder];
    let done = run(&checkpoint, &output, &arguments, TEXTS.as_bytes());
    let message = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success());
    assert!(
        message.contains(&format!("{folder}: cannot be written")),
        "{message}"
    );
    Model::open(&output).unwrap().verify().unwrap();
}

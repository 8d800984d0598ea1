//! `bertlet classify --labels`.

use super::{
    Input,
    batches::{Computation, check_options, run_batches},
    ranked::Ranked,
    record_format,
    task::{Show, TaskCommand},
};
use crate::{
    Batch, EmbeddingOptions, Encoder, EntailmentClassifier, EntailmentOptions, Label, LabelOptions,
    LabelVectors, Model, TextOptions,
    cli::{
        args::{ClassifyArgs, LongChoice, ZeroShotChoice},
        engine,
        exit::{Failure, message},
        input::{Fields, Record, Texts},
        output::{
            json,
            record::{RecordFormat, RecordShape, Row, Value},
            sink::never_overwrite,
            vectors::Note,
        },
    },
    entailment,
};
use anyhow::{Context, Result, anyhow};
use std::{fs::File, io::Read, path::Path};

/// Runs the command with the user's labels; `None` if there are none.
pub fn zero_shot(
    args: &ClassifyArgs,
    model: &Model,
    shape: RecordShape,
) -> Result<Option<u8>, Failure> {
    let options = &args.labels;
    let labels: Vec<Label> = match (&options.labels, &options.labels_file) {
        (Some(names), _) => names.iter().map(|name| Label::from(name.trim())).collect(),
        (None, Some(path)) => {
            never_overwrite(path);
            read_labels(path)?
        }
        (None, None) => {
            let given = [
                ("--multi-label", options.multi_label),
                (
                    "--hypothesis-template",
                    options.hypothesis_template.is_some(),
                ),
                ("--temperature", options.temperature.is_some()),
                ("--zero-shot", options.zero_shot != ZeroShotChoice::Auto),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(Failure::usage(format!(
                    "{option} is for labels of your own: name them with --labels or --labels-file"
                ))),
                None => Ok(None),
            };
        }
    };
    if args.function.chosen().is_some() {
        return Err(Failure::usage(
            "--function is for the model's own labels; with --labels, --multi-label scores each label by itself",
        ));
    }
    let nli = match options.zero_shot {
        ZeroShotChoice::Auto => {
            model.sequence_head().is_ok()
                && entailment(model.labels().unwrap_or_default()).is_some()
        }
        ZeroShotChoice::Nli => true,
        ZeroShotChoice::Embedding => false,
    };
    let code = match nli {
        true => by_entailment(args, model, &labels, shape)?,
        false => by_vectors(args, model, &labels, shape)?,
    };
    Ok(Some(code))
}

fn by_entailment(
    args: &ClassifyArgs,
    model: &Model,
    labels: &[Label],
    shape: RecordShape,
) -> Result<u8, Failure> {
    let options = &args.labels;
    if args.text.long != LongChoice::Truncate {
        return Err(Failure::usage(
            "with an NLI model long texts are cut at their end (--long truncate)",
        ));
    }
    let default = EntailmentOptions::default();
    let template = options.hypothesis_template.clone();
    let entailment = EntailmentOptions {
        hypothesis_template: template.unwrap_or(default.hypothesis_template),
        multi_label: options.multi_label,
        max_length: args.text.max_length,
    };
    let task = EntailmentClassifier::new(model, labels, &entailment).map_err(Failure::task)?;
    if options.temperature.is_some() {
        return Err(Failure::usage(
            "--temperature is for models of sentence vectors; this one compares texts with labels by entailment",
        ));
    }
    if let Some(label) = labels.iter().find(|label| !label.examples.is_empty()) {
        return Err(Failure::usage(format!(
            "the label {:?} has example phrases, which are for models of sentence vectors; this one compares texts with labels by entailment",
            label.name
        )));
    }
    let input = Input::open(&args.input, &args.run, false)?;
    let show = ShowLabels::new(args, labels, &input, shape);
    let io = (&args.input, &args.output, &args.run);
    TaskCommand { task, show }.run(input, io, None, args.text.max_length)
}

fn by_vectors(
    args: &ClassifyArgs,
    model: &Model,
    labels: &[Label],
    shape: RecordShape,
) -> Result<u8, Failure> {
    let options = &args.labels;
    if options.temperature.is_some() && (options.multi_label || labels.len() == 1) {
        return Err(Failure::usage(
            "--temperature is for the softmax over several labels; --multi-label, and a single label, give the cosine itself",
        ));
    }
    if options.hypothesis_template.is_some()
        && labels.iter().all(|label| !label.examples.is_empty())
    {
        return Err(Failure::usage(
            "--hypothesis-template is for labels without example phrases; all of these have some",
        ));
    }
    let text = engine::text_options(&args.text, model.prompt(None));
    let default = LabelOptions::default();
    let vectors = LabelOptions {
        template: options
            .hypothesis_template
            .clone()
            .unwrap_or(default.template),
        multi_label: options.multi_label,
        temperature: options.temperature.unwrap_or(default.temperature),
    };
    // The labels' own texts are short; they are cut rather than refused.
    let label_text = TextOptions {
        long: crate::LongText::Truncate,
        ..text.clone()
    };
    let vectors = LabelVectors::new(model, labels, label_text, vectors).map_err(Failure::task)?;
    check_options(model, &text)?;
    let input = Input::open(&args.input, &args.run, false)?;
    let nearest = NearestLabel {
        width: EmbeddingOptions::default()
            .width(model)
            .map_err(Failure::task)?,
        vectors,
        show: ShowLabels::new(args, labels, &input, shape),
    };
    let header = model.header();
    let embedding = &header.embedding;
    let made_for_vectors =
        embedding.normalize || !embedding.dense.is_empty() || !embedding.prompts.is_empty();
    if let (ZeroShotChoice::Auto, false, Some(head)) =
        (options.zero_shot, made_for_vectors, &header.head)
    {
        message(format_args!(
            "the model was made for {}, not for sentence vectors or natural language inference; what its vectors say of these labels may mean little (--zero-shot embedding says that this is meant)",
            head.task()
        ));
    }
    let io = (&args.input, &args.output, &args.run);
    run_batches((model.clone(), text), nearest, input, io, None)
}

/// Most bytes of a file of labels. There are devices that never end.
const LABELS_SIZE: u64 = 16 << 20;

/// A label a line, with example phrases behind tabs; empty lines do not count.
fn read_labels(path: &Path) -> Result<Vec<Label>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LABELS_SIZE + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{}: the labels cannot be read", path.display()))?;
    if bytes.len() as u64 > LABELS_SIZE {
        return Err(Failure::usage(format!(
            "{}: the labels take more than {LABELS_SIZE} bytes; name fewer",
            path.display()
        )));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        anyhow!(
            "{}:{line}: the labels cannot be read: not UTF-8; convert the file to UTF-8",
            path.display()
        )
    })?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let labels: Vec<Label> = lines
        .map(|line| {
            let mut parts = line.split('\t').map(str::trim);
            Label {
                name: parts.next().unwrap_or_default().to_owned(),
                examples: parts
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect(),
            }
        })
        .collect();
    match labels.is_empty() {
        true => Err(Failure::usage(format!(
            "{}: names no label; write one a line",
            path.display()
        ))),
        false => Ok(labels),
    }
}

/// How labels look.
struct ShowLabels {
    labels: Vec<String>,
    most: usize,
    threshold: Option<f32>,
    format: RecordFormat,
}

impl ShowLabels {
    fn new(args: &ClassifyArgs, labels: &[Label], input: &Input, shape: RecordShape) -> ShowLabels {
        let mut format = record_format(
            shape,
            "labels",
            &args.input,
            input,
            &args.output,
            args.with_text,
        );
        // As transformers does, JSON has all labels.
        let is_json = matches!(format.shape, RecordShape::Json | RecordShape::Jsonl);
        let all = args.all || is_json || args.threshold.is_some();
        let most = args.top.unwrap_or(if all { labels.len() } else { 1 });
        let most = most.min(labels.len());
        format.bare = true;
        format.columns = Ranked::columns(most);
        ShowLabels {
            labels: labels.iter().map(|label| label.name.clone()).collect(),
            most,
            threshold: args.threshold,
            format,
        }
    }

    fn write_scores(&self, out: &mut Vec<u8>, record: &Record, scores: &[f32], truncated: bool) {
        let bare = matches!(record.fields, Fields::None) && !self.format.with_text;
        let text = record.texts.as_ref().ok().filter(|_| bare);
        let value = Labels {
            sequence: text.map(|texts| texts.first.as_str()),
            ranked: Ranked::new(&self.labels, scores, self.most, self.threshold),
        };
        self.format.write(out, record, &value, truncated);
    }
}

/// Labels with scores, best first.
struct Labels<'a> {
    /// The text, where the record is nothing but the result: then it has the shape of transformers' pipeline.
    sequence: Option<&'a str>,
    ranked: Ranked<'a>,
}

impl Value for Labels<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        let Some(sequence) = &self.sequence else {
            return self.ranked.json(out);
        };
        let (labels, scores): (Vec<&str>, Vec<f32>) = self.ranked.labels.iter().copied().unzip();
        json::fields(
            out,
            &[
                ("sequence", sequence),
                ("labels", &labels),
                ("scores", &scores),
            ],
        );
    }

    fn cells(&self, row: &mut Row) {
        self.ranked.cells(row);
    }
}

impl Show<EntailmentClassifier> for ShowLabels {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<&'a str, String> {
        match texts.second {
            None => Ok(&texts.first),
            Some(_) => Err("a pair of texts; zero-shot labels are for single texts".to_owned()),
        }
    }

    fn weight(&self, record: &Record) -> usize {
        self.labels.len() * (engine::weight(record, usize::MAX, true) + 8)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, scores: Vec<f32>, truncated: bool) {
        self.write_scores(out, record, &scores, truncated);
    }
}

/// Labels by the nearness of vectors.
struct NearestLabel {
    vectors: LabelVectors,
    width: usize,
    show: ShowLabels,
}

impl Computation for NearestLabel {
    type Format = RecordFormat;

    fn width(&self) -> usize {
        self.width
    }

    fn separate(&self) -> bool {
        false
    }

    fn compute(&self, encoder: &mut Encoder, batch: &Batch, out: &mut Vec<f32>) -> Result<()> {
        Ok(encoder.embed(batch, &EmbeddingOptions::default(), out)?)
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, vector: &mut [f32], note: Note) {
        let scores = self.vectors.scores(vector);
        self.show.write_scores(out, record, &scores, note.truncated);
    }

    fn format(&self) -> &RecordFormat {
        &self.show.format
    }
}

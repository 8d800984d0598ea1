//! What `bertlet-convert` does.

use crate::checkpoint::{self, Checkpoint};
use crate::files;
use crate::hub::{self, HubId};
use crate::pack::{self, Tokenizer};
use crate::progress::Progress;
use crate::quantize::{self, QuantizedEncoder};
use crate::reference::Batch;
use crate::report;
use crate::weights::Weights;
use anyhow::{Context, Result, anyhow, ensure};
use bertlet::Model;
use bertlet::cli::{Unfinished, ensure_replaceable, harmless};
use bertlet::format::header::{Header, Precision};
use bertlet::format::{TensorData, write};
use clap::{Parser, ValueEnum};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  bertlet-convert ./my-checkpoint -o my.bertlet
  bertlet-convert sentence-transformers/all-MiniLM-L6-v2 -o minilm.bertlet --precision f16
  bertlet-convert owner/model@v1.0 -o model.bertlet
  bertlet-convert ./my-checkpoint -o my.bertlet --report lines.txt --report-plot errors.svg

A hub id is downloaded into the cache that Python's huggingface_hub uses; HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE are honoured.

Exit codes:
  0  done
  1  the checkpoint is refused, or something cannot be read, fetched or written; the message says which, and --output is
     as it was (a report that fails comes after it is written)
  2  the command line is wrong
  130, 143  interrupted by SIGINT or SIGTERM";

/// Turns a Hugging Face checkpoint of BERT or a relative into a .bertlet file.
#[derive(Debug, Parser)]
#[command(name = "bertlet-convert", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Directory of the checkpoint, or a hub id: owner/name[@revision]
    checkpoint: String,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How the weights are stored
    #[arg(long, value_enum, default_value_t = Choice::Int8)]
    precision: Choice,
    /// Branch, tag or commit of a hub id
    #[arg(long)]
    revision: Option<String>,
    /// Compare the written model with the checkpoint in f32 on these lines of text, and print how faithful it is ('-' for
    /// stdin). It covers the hidden states of all layers, the vectors, and the logits of sequence classification, not those
    /// of other heads
    #[arg(long, value_name = "TEXTS")]
    report: Option<PathBuf>,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE", requires = "report")]
    report_json: Option<PathBuf>,
    /// Draw the error after each layer as SVG
    #[arg(long, value_name = "FILE", requires = "report")]
    report_plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// 8-bit weights and activations: small and fast
    Int8,
    /// Half-precision weights, arithmetic in f32: the most faithful
    F16,
}

/// Converts as the command line says.
///
/// # Errors
/// The checkpoint cannot be read or is not supported, or the file cannot be written; or the report on it fails, and then
/// the file is there.
pub fn run(arguments: Arguments) -> Result<()> {
    // First, because a conversion takes long.
    let texts = arguments.report.as_deref().map(report::read_texts);
    let texts = texts.transpose()?;
    let checkpoint = open(&arguments)?;
    check_outputs(&arguments)?;
    for notice in &checkpoint.notices {
        say(notice);
    }
    let progress = Progress::new();
    progress.step("reading weights");
    let weights = checkpoint.weights()?;
    let (precision, encoder) = match arguments.precision {
        Choice::F16 => (Precision::F16, pack::Encoder::F16),
        Choice::Int8 => (
            Precision::Int8,
            pack::Encoder::Int8(quantized(&checkpoint, &weights, &progress)?),
        ),
    };
    progress.step("writing");
    let header = pack::header(&checkpoint, precision);
    let tensors = pack::tensors(&header, Tokenizer::of(&checkpoint), &weights, &encoder)?;
    let output = &arguments.output;
    write_checked(output, header, &tensors, |model| {
        check_tokenizer(&checkpoint, model)
    })?;
    progress.finish();
    let size = fs::metadata(output).map_or(0, |metadata| metadata.len());
    let megabytes = size as f64 / 1e6;
    say(format_args!(
        "wrote {} ({megabytes:.1} MB)",
        output.display()
    ));
    if let Some(texts) = texts {
        drop((tensors, encoder));
        show_report(&arguments, &weights, &texts, &progress)?;
    }
    Ok(())
}

/// Writes one line to stderr, whatever is in the names of a checkpoint that it quotes. Unlike `eprintln!` it does not panic
/// when nobody holds the other end.
pub fn say(message: impl std::fmt::Display) {
    let line = harmless(&message.to_string());
    let _ = writeln!(io::stderr(), "bertlet-convert: {line}");
}

/// Refuses outputs that would replace what is read, before the work begins.
fn check_outputs(arguments: &Arguments) -> Result<()> {
    let output = &arguments.output;
    ensure_replaceable(output).with_context(|| output.display().to_string())?;
    let reports = [&arguments.report_json, &arguments.report_plot];
    let outputs = reports.into_iter().flatten().chain([output]);
    files::ensure_not_inputs(outputs.map(PathBuf::as_path))?;
    files::ensure_model_or_nothing(output)
}

/// Compares the written file with the weights that it was made of.
fn show_report(
    arguments: &Arguments,
    weights: &Weights,
    texts: &[String],
    progress: &Progress,
) -> Result<()> {
    let model = Model::open(&arguments.output)?;
    progress.restart("comparing");
    let report = report::compare(&model, weights, texts, |done, total| {
        progress.at(done, total);
    })
    .context("no report")?;
    progress.finish();
    match write!(io::stdout().lock(), "{report}") {
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("stdout")?,
    }
    let save = |path: &Option<PathBuf>, content: &str| match path {
        Some(path) => fs::write(path, content)
            .with_context(|| format!("{}: cannot be written", path.display())),
        None => Ok(()),
    };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    save(&arguments.report_json, &json)?;
    save(&arguments.report_plot, &report::plot(&report))
}

/// A directory where there is one of that name, else the hub.
fn open(arguments: &Arguments) -> Result<Checkpoint> {
    let path = Path::new(&arguments.checkpoint);
    if path.is_dir() {
        ensure!(
            arguments.revision.is_none(),
            "{}: --revision is for a hub id, this is a directory",
            path.display()
        );
        return checkpoint::open(path);
    }
    ensure!(
        !path.exists(),
        "{}: is a file, expected the directory of a checkpoint",
        path.display()
    );
    let mut id = HubId::parse(&arguments.checkpoint)
        .with_context(|| format!("{}: no such directory", path.display()))?;
    if let Some(revision) = &arguments.revision {
        ensure!(
            id.revision.is_none(),
            "the revision is given twice: '{}' and --revision {revision}",
            arguments.checkpoint
        );
        id.revision = Some(revision.clone());
    }
    hub::fetch(&id, &hub::Options::from_env()?)?.open()
}

/// Quantizes the encoder on the calibration text that comes with the converter.
fn quantized(
    checkpoint: &Checkpoint,
    weights: &Weights,
    progress: &Progress,
) -> Result<QuantizedEncoder> {
    let mut batch = Batch::default();
    for line in quantize::CALIBRATION_TEXT.lines() {
        let encoding = checkpoint
            .reference_tokenizer()
            .encode(line, true)
            .map_err(|error| anyhow!("calibration text: {error}"))?;
        let length = encoding
            .len()
            .min(checkpoint.config.max_position_embeddings);
        // A single text is segment 0 throughout.
        batch.push(&encoding.get_ids()[..length], &vec![0; length])?;
    }
    progress.step("quantizing");
    quantize::quantize_encoder(weights, &batch, |done, total| progress.at(done, total))
}

/// Writes to a temporary file beside `output`, lets `check` look at it as a model, and only then gives it its name: a run
/// that fails or is interrupted leaves no half file, and a map of an older file of that name stays whole.
fn write_checked(
    output: &Path,
    header: Header,
    tensors: &[TensorData<'_>],
    check: impl FnOnce(&Model) -> Result<()>,
) -> Result<()> {
    let failed = || format!("{}: cannot be written", output.display());
    let (part, file) = Unfinished::create(output).with_context(failed)?;
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(header, tensors, &mut out)?;
        out.flush()?;
        out.get_ref().sync_all()
    })();
    written.with_context(failed)?;
    let unfit = || format!("{}: is not written", output.display());
    let model = Model::open(part.path()).with_context(unfit)?;
    check(&model).with_context(unfit)?;
    drop(model);
    part.finish().with_context(failed)
}

/// Refuses a model whose tokenizer does not agree with Hugging Face's on the built-in lines.
fn check_tokenizer(checkpoint: &Checkpoint, model: &Model) -> Result<()> {
    let tokenizer = model.tokenizer();
    let mut tokens = [
        bertlet::tokenizer::Tokens::new(),
        bertlet::tokenizer::Tokens::new(),
    ];
    checkpoint.check_tokenizer(|first, second| {
        let [a, b] = &mut tokens;
        tokenizer.tokenize(first, a);
        tokenizer.tokenize(second.unwrap_or_default(), b);
        let (mut ids, mut type_ids) = (Vec::new(), Vec::new());
        let template = tokenizer.rules().template();
        template.assemble(&a.ids, second.map(|_| &b.ids[..]), &mut ids, &mut type_ids);
        Ok((ids, type_ids.into_iter().map(u32::from).collect()))
    })
}

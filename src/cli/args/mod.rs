//! What the command line says, as types.

mod bench;
mod examples;
mod shared;
mod tasks;

pub use bench::BenchArgs;
pub use shared::{InputArgs, LongChoice, ModelArgs, OutputArgs, RunArgs, TextArgs};
pub use tasks::{
    AnswerArgs, AttentionArgs, ChooseArgs, ColorChoice, FeatureArgs, FillArgs, LabelArgs, NextArgs,
    RecordArgs, RerankArgs, TagArgs, ZeroShotChoice,
};

use super::{
    exit,
    output::{record::RecordShape, vectors::VectorShape},
};
use crate::{heads::Function, kernels::Kernel, vector::Element};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, sync::LazyLock};

/// BERT inference for CPUs: labels and vectors from text, offline.
#[derive(Debug, Parser)]
#[command(
    name = "bertlet",
    version = version(),
    about,
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give texts the labels of the model's classification head, or labels of your own.
    #[command(after_help = examples::CLASSIFY)]
    Classify(ClassifyArgs),
    /// Find names and other entities in texts.
    #[command(after_help = examples::TAG)]
    Tag(TagArgs),
    /// Answer questions with parts of a text.
    #[command(after_help = examples::ANSWER)]
    Answer(AnswerArgs),
    /// Find words for masks, or say how likely a line is.
    #[command(after_help = examples::FILL)]
    Fill(FillArgs),
    /// Sort texts by how well they match a query (cross-encoder).
    #[command(after_help = examples::RERANK)]
    Rerank(RerankArgs),
    /// Say how likely one text follows another.
    #[command(after_help = examples::NEXT)]
    Next(NextArgs),
    /// Choose between candidates for a text (multiple choice).
    #[command(after_help = examples::CHOOSE)]
    Choose(ChooseArgs),
    /// Turn texts into vectors.
    #[command(after_help = examples::EMBED)]
    Embed(EmbedArgs),
    /// Show what each word of a text looks at.
    #[command(after_help = examples::ATTENTION)]
    Attention(AttentionArgs),
    /// Compare pairs of texts by the cosine of their vectors.
    #[command(after_help = examples::SIMILARITY)]
    Similarity(SimilarityArgs),
    /// Show the tokens of texts.
    #[command(after_help = examples::TOKENIZE)]
    Tokenize(TokenizeArgs),
    /// Show what a model is.
    #[command(after_help = examples::INFO)]
    Info(InfoArgs),
    /// Read a whole model file and check it against its checksums.
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Measure how fast a model is on this machine.
    #[command(after_help = examples::BENCH)]
    Bench(BenchArgs),
    /// Make one executable of this program and a model.
    #[command(after_help = examples::BUNDLE)]
    Bundle(BundleArgs),
}

/// Version, commit, target and kernels.
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let kernels: Vec<&str> = Kernel::names().collect();
        format!(
            "{} ({}, {}, kernels {})",
            env!("CARGO_PKG_VERSION"),
            env!("BERTLET_COMMIT"),
            env!("BERTLET_TARGET"),
            kernels.join(" ")
        )
    });
    &TEXT
}

/// `bertlet classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// Labels of the user's.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Show the N best labels [default: 1]
    #[arg(short = 'k', long, value_name = "N", value_parser = at_least_one)]
    pub top: Option<usize>,
    /// Show all labels
    #[arg(long, conflicts_with = "top")]
    pub all: bool,
    /// Show only labels with at least this score (all of them, unless -k is given)
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = finite)]
    pub threshold: Option<f32>,
    /// How logits become scores
    #[arg(long, value_enum, default_value = "auto")]
    pub function: FunctionChoice,
    /// Shape of the output [default: by the name of -o FILE, else jsonl, csv or tsv for such an input, else text]
    #[arg(long, value_enum)]
    pub format: Option<RecordShape>,
    /// Write the text behind its result
    #[arg(long)]
    pub with_text: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// How logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FunctionChoice {
    /// As transformers does for the model: sigmoid for several right labels or a single one, none for a regression, else softmax
    Auto,
    /// Probabilities that add up to 1
    Softmax,
    /// A probability for each label by itself
    Sigmoid,
    /// The logits themselves
    None,
}

impl FunctionChoice {
    /// The function, `None` for the model's own.
    pub fn chosen(self) -> Option<Function> {
        match self {
            FunctionChoice::Auto => None,
            FunctionChoice::Softmax => Some(Function::Softmax),
            FunctionChoice::Sigmoid => Some(Function::Sigmoid),
            FunctionChoice::None => Some(Function::None),
        }
    }
}

/// `bertlet embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// From tokens to vectors.
    #[command(flatten)]
    pub vector: VectorArgs,
    /// Which states.
    #[command(flatten)]
    pub features: FeatureArgs,
    /// Shape of the output [default: by the name of -o FILE, else jsonl]
    #[arg(long, value_enum)]
    pub format: Option<VectorShape>,
    /// How a number is stored
    #[arg(long, value_enum, default_value = "float32")]
    pub encoding: EncodingChoice,
    /// Write the text with its vector (jsonl, csv, tsv)
    #[arg(long)]
    pub with_text: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// From tokens to vectors.
#[derive(Debug, Args)]
pub struct VectorArgs {
    /// Put this in front of each text: the name of one of the model's prompts, or a text (empty for none)
    #[arg(long, value_name = "NAME|TEXT")]
    pub prompt: Option<String>,
    /// Make the vector in this way instead of the model's; several are joined: mean,cls
    #[arg(long, value_name = "MODE", value_enum, value_delimiter = ',')]
    pub pooling: Option<Vec<PoolingChoice>>,
    /// Divide vectors by their length, or do not [default: as the model says]
    #[arg(long, value_name = "true|false")]
    pub normalize: Option<bool>,
    /// Keep the first N numbers of a vector (models trained for it, "Matryoshka"); a normalized vector stays so
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub dimensions: Option<usize>,
}

/// Pooling modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PoolingChoice {
    /// The first token
    Cls,
    /// The largest of each channel
    Max,
    /// The mean of all tokens
    Mean,
    /// The sum of all tokens, divided by the root of their number
    MeanSqrtLen,
    /// The mean weighted by position
    WeightedMean,
    /// The last token
    LastToken,
}

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EncodingChoice {
    /// 4 bytes, exact
    Float32,
    /// 2 bytes
    Float16,
    /// 1 byte: divided by the vector's largest magnitude, times 127; compare by cosine
    Int8,
    /// 1 bit, set above zero; packed from the highest bit into signed bytes (byte - 128), as sentence-transformers does
    Binary,
    /// The same bits in unsigned bytes
    Ubinary,
}

impl EncodingChoice {
    /// The library's name for it.
    pub fn element(self) -> Element {
        match self {
            EncodingChoice::Float32 => Element::Float32,
            EncodingChoice::Float16 => Element::Float16,
            EncodingChoice::Int8 => Element::Int8,
            EncodingChoice::Binary => Element::Binary,
            EncodingChoice::Ubinary => Element::Ubinary,
        }
    }
}

/// `bertlet similarity`.
#[derive(Debug, Args)]
pub struct SimilarityArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where pairs come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// From tokens to vectors.
    #[command(flatten)]
    pub vector: VectorArgs,
    /// Shape of the output [default: by the name of -o FILE, else jsonl, csv or tsv for such an input, else text]
    #[arg(long, value_enum)]
    pub format: Option<RecordShape>,
    /// Write the texts behind their result
    #[arg(long)]
    pub with_text: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `bertlet tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// Shape of the output [default: by the name of -o FILE, else text]
    #[arg(long, value_enum)]
    pub format: Option<TokenShape>,
    /// Leave out the special tokens around the text
    #[arg(long)]
    pub no_special: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Shapes of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenShape {
    /// Tokens with blanks between them
    Text,
    /// Token ids with blanks between them
    Ids,
    /// Tokens, ids, segment ids and offsets in characters, as JSON
    Jsonl,
}

/// `bertlet info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The model [default: as -m]
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub file: Option<PathBuf>,
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// `bertlet verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The models [default: as -m]
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub files: Vec<PathBuf>,
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `bertlet bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// Model file
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// The executable to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("is not a finite number".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("is not a whole number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_only_what_a_command_takes() {
        let mut definition = Cli::command();
        let mut help = |command: &str| {
            let command = definition.find_subcommand_mut(command);
            command.unwrap().render_long_help().to_string()
        };
        for option in ["--pairs", "--pair-field", "--resume", "--resume-from"] {
            assert!(!help("rerank").contains(option), "{option}");
            assert!(help("classify").contains(option), "{option}");
        }
    }

    #[test]
    fn every_subcommand_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("Examples:")),
                "{} has no examples",
                command.get_name()
            );
        }
    }
}

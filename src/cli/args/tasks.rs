//! The options of the task heads' commands.

use super::{
    FunctionChoice, InputArgs, ModelArgs, OutputArgs, RunArgs, TextArgs, at_least_one, finite,
};
use crate::{Aggregation, Combine, Long, cli::output::record::RecordShape};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How texts are read whose answers are parts of them.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Text")]
pub struct SpanArgs {
    /// Longest sequence in tokens, special tokens included; longer texts are read in overlapping windows [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,
    /// Tokens that neighbouring windows share
    #[arg(long, value_name = "TOKENS")]
    pub stride: Option<usize>,
}

impl SpanArgs {
    /// The library's name for it.
    pub fn long(&self) -> Long {
        Long {
            max_length: self.max_length,
            stride: self.stride,
        }
    }
}

/// What the commands have in common that give each record one result.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Shape of the output [default: by the name of -o FILE, else jsonl, csv or tsv for such an input, else text]
    #[arg(long, value_enum)]
    pub format: Option<RecordShape>,
    /// Write the text with its result
    #[arg(long)]
    pub with_text: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `bertlet tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: SpanArgs,
    /// How tokens become entities
    #[arg(long, value_enum, default_value = "simple")]
    pub aggregation: AggregationChoice,
    /// Show only entities with at least this score
    #[arg(long, value_name = "SCORE", value_parser = finite)]
    pub threshold: Option<f32>,
    /// Labels that are not shown (several with commas; empty: show all)
    #[arg(long, value_name = "LABEL", value_delimiter = ',', default_value = "O")]
    pub ignore: Vec<String>,
    /// Shape of the output [default: by the name of -o FILE, else jsonl, csv or tsv for such an input, else text: the text with its entities marked]
    #[arg(long, value_enum)]
    pub format: Option<RecordShape>,
    /// Colour the entities in the text format
    #[arg(long, value_enum, default_value = "auto")]
    pub color: ColorChoice,
    /// Write the text with its result
    #[arg(long)]
    pub with_text: bool,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// How tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AggregationChoice {
    /// Each token by itself
    None,
    /// Neighbouring tokens of one kind together
    Simple,
    /// … and a word has the label of its first token
    First,
    /// … and a word has the label with the best mean score
    Average,
    /// … and a word has the label of its surest token
    Max,
}

impl AggregationChoice {
    /// The library's name for it.
    pub fn aggregation(self) -> Aggregation {
        match self {
            AggregationChoice::None => Aggregation::None,
            AggregationChoice::Simple => Aggregation::Simple,
            AggregationChoice::First => Aggregation::First,
            AggregationChoice::Average => Aggregation::Average,
            AggregationChoice::Max => Aggregation::Max,
        }
    }
}

/// Whether the output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Yes
    Always,
    /// No
    Never,
}

/// `bertlet answer`.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where questions and contexts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// Ask this of every text; without it, records are pairs of a question and a text
    #[arg(short, long, value_name = "QUESTION")]
    pub question: Option<String>,
    /// Field (jsonl) or column (csv, tsv) of the question [default: question]
    #[arg(long, value_name = "NAME", conflicts_with = "question")]
    pub question_field: Option<String>,
    /// From text to tokens.
    #[command(flatten)]
    pub text: SpanArgs,
    /// Show the N best answers
    #[arg(short = 'k', long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub top: usize,
    /// Longest answer in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 15, value_parser = at_least_one)]
    pub max_answer_length: usize,
    /// Let "no answer" be an answer (models trained on SQuAD 2.0)
    #[arg(long)]
    pub no_answer: bool,
    /// How results look and where they go.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// `bertlet fill`.
#[derive(Debug, Args)]
pub struct FillArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// Longest sequence in tokens, special tokens included; the rest is cut off [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,
    /// Show the N best words for each mask [default: 5]
    #[arg(short = 'k', long, value_name = "N", value_parser = at_least_one)]
    pub top: Option<usize>,
    /// Look at these words only (several with commas)
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub targets: Option<Vec<String>>,
    /// Instead of filling masks, say how likely each line is: every token is masked in turn
    #[arg(long, conflicts_with_all = ["top", "targets"])]
    pub score: bool,
    /// How results look and where they go.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// `bertlet rerank`.
// Texts are compared with the query alone, and nothing is written before the last of them: what is always refused is not
// shown either.
#[derive(Debug, Args)]
#[command(
    mut_arg("pairs", |arg| arg.hide(true)),
    mut_arg("pair_field", |arg| arg.hide(true)),
    mut_arg("resume", |arg| arg.hide(true)),
    mut_arg("resume_from", |arg| arg.hide(true))
)]
pub struct RerankArgs {
    /// What the texts are ranked for
    #[arg(value_name = "QUERY")]
    pub query: String,
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where texts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// Show the N best texts [default: all]
    #[arg(short = 'k', long, value_name = "N", value_parser = at_least_one)]
    pub top: Option<usize>,
    /// How logits become scores; auto: as sentence-transformers does for a cross-encoder
    #[arg(long, value_enum, default_value = "auto")]
    pub function: FunctionChoice,
    /// The label whose score ranks the texts, of models with several (function: softmax unless another is asked for)
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Shape of the output [default: by the name of -o FILE, else text]
    #[arg(long, value_enum)]
    pub format: Option<RecordShape>,
    /// Where the output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the work is done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `bertlet next`.
#[derive(Debug, Args)]
pub struct NextArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where pairs come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// How results look and where they go.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// `bertlet choose`.
#[derive(Debug, Args)]
pub struct ChooseArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Where contexts come from.
    #[command(flatten)]
    pub input: InputArgs,
    /// Field of the candidates (jsonl: a list of texts) [default: choices]
    #[arg(long, value_name = "NAME")]
    pub choices_field: Option<String>,
    /// Columns of the candidates (csv, tsv), with commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub choices_columns: Vec<String>,
    /// From text to tokens.
    #[command(flatten)]
    pub text: TextArgs,
    /// How results look and where they go.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// Zero-shot labels of `bertlet classify`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Labels of your own (zero-shot)")]
pub struct LabelArgs {
    /// Choose between these labels instead of the model's (several with commas)
    #[arg(
        long,
        value_name = "LABELS",
        value_delimiter = ',',
        conflicts_with = "labels_file"
    )]
    pub labels: Option<Vec<String>>,
    /// Labels from a file, one a line; for embedding models, behind each label example phrases, with tabs between them
    #[arg(long, value_name = "FILE")]
    pub labels_file: Option<PathBuf>,
    /// What a label becomes, with {} for its name [default: "This example is {}." with an NLI model, "{}" with an embedding
    /// model]
    #[arg(long, value_name = "TEXT")]
    pub hypothesis_template: Option<String>,
    /// Several labels may be right: score each by itself (NLI: entailment against contradiction; embedding: the cosine)
    #[arg(long)]
    pub multi_label: bool,
    /// Embedding models: cosines are divided by this before the softmax [default: 0.05]
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    pub temperature: Option<f32>,
    /// Which part of the model compares texts with labels
    #[arg(long, value_enum, default_value = "auto")]
    pub zero_shot: ZeroShotChoice,
}

/// Which part of the model compares texts with labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZeroShotChoice {
    /// NLI if the model has a label that begins with "entail", else its vectors
    Auto,
    /// Its classification head: whether the text entails the label's hypothesis
    Nli,
    /// Its sentence vectors: their cosine
    Embedding,
}

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        Ok(_) => Err("must be above 0".to_owned()),
        Err(_) => Err("is not a number".to_owned()),
    }
}

/// Features of `bertlet embed`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Features")]
pub struct FeatureArgs {
    /// Take the hidden states of these layers: 0 is the embeddings, -1 the last layer; several with commas: -1,-2,-3,-4
    #[arg(
        long,
        value_name = "LAYERS",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub layer: Option<Vec<isize>>,
    /// How several layers become one state
    #[arg(long, value_enum, default_value = "concatenate")]
    pub combine: CombineChoice,
    /// One vector for each token, special tokens too, with its text and its place in characters (json, jsonl)
    #[arg(long)]
    pub per_token: bool,
}

/// How several layers become one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CombineChoice {
    /// Side by side
    Concatenate,
    /// Added
    Sum,
    /// Their mean
    Mean,
}

impl CombineChoice {
    /// The library's name for it.
    pub fn combine(self) -> Combine {
        match self {
            CombineChoice::Concatenate => Combine::Concatenate,
            CombineChoice::Sum => Combine::Sum,
            CombineChoice::Mean => Combine::Mean,
        }
    }
}

/// `bertlet attention`.
#[derive(Debug, Args)]
pub struct AttentionArgs {
    /// The text
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// The second text of a pair
    #[arg(value_name = "TEXT_PAIR")]
    pub text_pair: Option<String>,
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The layer: 1 is the first, -1 the last
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub layer: isize,
    /// The head, from 1 [default: the mean of all heads]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub head: Option<usize>,
    /// Show only what this word looks at
    #[arg(long, value_name = "WORD")]
    pub word: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// Draw the weights into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Colour the picture on the terminal
    #[arg(long, value_enum, default_value = "auto")]
    pub color: ColorChoice,
}

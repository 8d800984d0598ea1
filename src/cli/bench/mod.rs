//! How fast a model is on this machine.

mod machine;
mod measure;
mod profile;
mod table;
mod workload;

pub use measure::measure;

use serde::Serialize;

/// What is measured, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that compute; one text is also computed on one thread alone.
    pub threads: usize,
    /// Time for each kernel, about.
    pub seconds: f64,
    /// Every kernel that this CPU has, instead of the model's.
    pub all_kernels: bool,
    /// Where the time goes, too.
    pub profile: bool,
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// What it was compiled for.
    pub target: &'static str,
    /// The CPU's name, if the system tells it.
    pub cpu: Option<String>,
    /// The model.
    pub model: ModelFacts,
    /// Threads of the bulk figures.
    pub threads: usize,
    /// From text to token ids.
    pub tokenizer: Tokenizing,
    /// The figures that depend on the kernel.
    pub kernels: Vec<KernelReport>,
    /// The most memory that the process had in use until here, the mapped model included, if the system tells it.
    pub peak_rss_bytes: Option<u64>,
}

/// What a model is, in a few words.
#[derive(Debug, Serialize)]
pub struct ModelFacts {
    /// Path of its file.
    pub file: String,
    /// The checkpoint that it was made of.
    pub source: String,
    /// Of its weights.
    pub precision: &'static str,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
}

/// The tokenizer's rate, on one thread.
#[derive(Debug, Serialize)]
pub struct Tokenizing {
    /// Tokens a second, special tokens included.
    pub tokens_per_second: f64,
    /// Bytes of text a second.
    pub bytes_per_second: f64,
}

/// One kernel's figures.
#[derive(Debug, Serialize)]
pub struct KernelReport {
    /// Its name.
    pub kernel: &'static str,
    /// One text at a time.
    pub latency: Vec<Latency>,
    /// Many texts at a time.
    pub bulk: Vec<Bulk>,
    /// Where the time goes, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<profile::Column>,
}

/// How long one text takes, from token ids to its vector.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// The text's length.
    pub tokens: usize,
    /// Threads that computed it.
    pub threads: usize,
    /// How often it was measured.
    pub runs: usize,
    /// In milliseconds, as are the others.
    pub minimum_ms: f64,
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// Nine of ten runs were faster.
    pub p90_ms: f64,
}

/// How many texts are embedded in a second, from token ids.
#[derive(Debug, Serialize)]
pub struct Bulk {
    /// Which texts.
    pub texts: &'static str,
    /// Their mean length.
    pub mean_tokens: f64,
    /// How many were embedded in each measured pass.
    pub texts_per_pass: usize,
    /// How often the pass was measured; the rates are those of the median pass.
    pub passes: usize,
    /// Texts a second.
    pub texts_per_second: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
}

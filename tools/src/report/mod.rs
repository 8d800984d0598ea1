//! How faithful a written model is to its checkpoint in f32, on lines of text: sentence vectors, logits, and the
//! hidden state after each layer. [`compare`] measures; a [`Report`] is shown as a table ([`std::fmt::Display`]), as
//! JSON ([`serde::Serialize`]) and as a picture ([`plot`]).

mod compare;
mod plot;
mod table;

use crate::files;
use anyhow::{Context, Result, ensure};
use bertlet::format::header::Precision;
pub use compare::compare;
pub use plot::plot;
use serde::Serialize;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// What [`compare`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Hub id or directory name of the checkpoint.
    pub source: String,
    /// How the model's weights are stored.
    pub precision: Precision,
    /// The kernel that computed.
    pub kernel: String,
    /// Lines that were compared.
    pub texts: usize,
    /// Their tokens, special tokens included.
    pub tokens: usize,
    /// Lines that were cut at `max_length`.
    pub truncated: usize,
    /// Longest sequence in tokens.
    pub max_length: usize,
    /// Cosines between the sentence vectors of both models.
    pub cosine: Cosines,
    /// Differences between the logits of both models, where there is a classification head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<Logits>,
    /// Errors after the embeddings and after each layer.
    pub stages: Vec<Stage>,
}

/// Cosines over all texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cosines {
    /// Arithmetic mean.
    pub mean: f64,
    /// 1st percentile, interpolated linearly between neighbours.
    pub percentile_1: f64,
    /// The smallest.
    pub minimum: f64,
    /// Line of the smallest, from 1.
    pub minimum_line: usize,
}

/// Differences of the logits over all texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logits {
    /// Largest absolute difference.
    pub largest_difference: f64,
    /// Line of the largest difference, from 1.
    pub largest_difference_line: usize,
    /// Mean absolute difference over all texts and labels.
    pub mean_difference: f64,
    /// Part of the texts to which both models give the same label; where labels are right or wrong each for itself,
    /// the same set of labels. `None` for a regression.
    pub label_agreement: Option<f64>,
    /// Lines with another label, from 1.
    pub disagreeing_lines: Vec<usize>,
}

/// Errors of a hidden state over all tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// `embeddings`, or `layer` with its index in the file.
    pub name: String,
    /// ‖h − h_f32‖ / ‖h_f32‖, the norms taken over all tokens.
    pub relative_error: f64,
    /// Mean over the tokens of the cosine between h and h_f32.
    pub mean_cosine: f64,
    /// Smallest of these cosines.
    pub minimum_cosine: f64,
}

/// The lines of a file, or of stdin for `-`.
///
/// # Errors
/// It cannot be read, is not UTF-8, or is empty.
pub fn read_texts(path: &Path) -> Result<Vec<String>> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        // Leads to the file, if that is one.
        files::note_input(Path::new("/dev/stdin"));
        let read = io::stdin().lock().read_to_end(&mut bytes);
        ("stdin".to_owned(), read.map(|_| bytes))
    } else {
        files::note_input(path);
        (path.display().to_string(), fs::read(path))
    };
    let bytes = bytes.with_context(|| format!("{name}: cannot be read"))?;
    let text = files::text(bytes).with_context(|| name.clone())?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(
        !lines.is_empty(),
        "{name}: is empty; a report needs at least one line of text"
    );
    Ok(lines)
}

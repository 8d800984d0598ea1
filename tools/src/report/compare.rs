//! The measurement: both models over the same tokens.

use super::{Cosines, Logits, Report, Stage};
use crate::reference::parallel::for_each_piece;
use crate::reference::{self, Observed, forward};
use crate::weights::Weights;
use anyhow::{Context, Result, ensure};
use bertlet::format::header::{HeadConfig, Header, Precision};
use bertlet::heads::Function;
use bertlet::{Batch, EmbeddingOptions, Encoder, Model, Text, TextEncoder, TextOptions};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens from which on no text joins a piece: enough rows for the matrix products, and little enough memory for the
/// states of all layers on every thread.
const PIECE_TOKENS: usize = 256;

/// Compares `model` with the f32 model of `weights` on `texts`, over all cores. Texts are taken as they are, without
/// the model's prompt, and cut at its maximum length. `progress(done, total)` is called from any thread.
///
/// # Errors
/// There are no texts, the two models differ in shape, or one of them computes values that are not finite.
///
/// # Panics
/// If a tensor's length contradicts `weights.config`.
pub fn compare(
    model: &Model,
    weights: &Weights,
    texts: &[String],
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report> {
    ensure!(!texts.is_empty(), "no texts to compare on");
    let header = model.header();
    for (field, found, expected) in [
        (
            "hidden_size",
            header.config.hidden_size,
            weights.config.hidden_size,
        ),
        (
            "num_hidden_layers",
            header.config.num_hidden_layers,
            weights.config.num_hidden_layers,
        ),
        (
            "dense layers",
            header.embedding.dense.len(),
            weights.dense.len(),
        ),
    ] {
        ensure!(
            found == expected,
            "{}: {field} {found}, but the checkpoint has {expected}",
            model.file().path().display()
        );
    }
    let (mut pieces, truncated) = cut(model, texts)?;
    let total = pieces.len();
    let done = AtomicUsize::new(0);
    progress(0, total);
    for_each_piece(&mut pieces, 1, |_, pieces| {
        for piece in pieces {
            piece.measured = Some(measure(model, weights, piece));
            progress(1 + done.fetch_add(1, Ordering::Relaxed), total);
        }
    });
    // Joined in the order of the texts, so that the figures do not depend on the threads.
    let mut all = Measured::new(weights.config.num_hidden_layers + 1);
    let mut tokens = 0;
    for piece in pieces {
        tokens += piece.batch.tokens();
        if let Some(measured) = piece.measured {
            all.join(measured?);
        }
    }
    Ok(Report {
        source: header.source.name.clone(),
        precision: header.precision,
        kernel: model.kernel().name().to_owned(),
        texts: texts.len(),
        tokens,
        truncated,
        max_length: header.max_length,
        cosine: cosines(&all.cosines),
        logits: classification(header).map(|_| logits(&all.logits)),
        stages: all.stages.iter().enumerate().map(stage).collect(),
    })
}

/// The head, if its logits belong to a whole text; those of other heads are not compared.
fn classification(header: &Header) -> Option<&HeadConfig> {
    let head = header.head.as_ref();
    head.filter(|head| matches!(head, HeadConfig::SequenceClassification { .. }))
}

/// Some neighbouring texts.
struct Piece {
    /// Index of the first text.
    first: usize,
    batch: Batch,
    measured: Option<Result<Measured>>,
}

impl Piece {
    /// Where in the file its text `index` stands.
    fn line(&self, index: usize) -> usize {
        self.first + index + 1
    }
}

/// Tokenizes the texts. Gives the pieces and the number of texts that were cut off.
fn cut(model: &Model, texts: &[String]) -> Result<(Vec<Piece>, usize)> {
    let mut encoder = TextEncoder::new(model, TextOptions::default())?;
    let (mut pieces, mut truncated) = (Vec::<Piece>::new(), 0);
    for (index, text) in texts.iter().enumerate() {
        let piece = match pieces.pop() {
            Some(piece) if piece.batch.tokens() < PIECE_TOKENS => piece,
            full => {
                pieces.extend(full);
                Piece {
                    first: index,
                    batch: Batch::new(),
                    measured: None,
                }
            }
        };
        pieces.push(piece);
        if let Some(piece) = pieces.last_mut() {
            let encoded = encoder
                .encode(&Text::from(text), &mut piece.batch)
                .with_context(|| format!("line {}", index + 1))?;
            truncated += usize::from(encoded.truncated);
        }
    }
    Ok((pieces, truncated))
}

/// Figures of some texts.
struct Measured {
    /// Of each text.
    cosines: Vec<f64>,
    /// Of each text, where there is a classification head.
    logits: Vec<LogitDifference>,
    /// After the embeddings and each layer.
    stages: Vec<StageSums>,
}

impl Measured {
    fn new(stages: usize) -> Measured {
        Measured {
            cosines: Vec::new(),
            logits: Vec::new(),
            stages: vec![StageSums::default(); stages],
        }
    }

    fn join(&mut self, other: Measured) {
        self.cosines.extend(other.cosines);
        self.logits.extend(other.logits);
        for (sums, other) in self.stages.iter_mut().zip(other.stages) {
            sums.join(other);
        }
    }
}

/// How the logits of one text differ.
struct LogitDifference {
    largest: f64,
    mean: f64,
    /// `None` for a regression.
    agrees: Option<bool>,
}

/// Sums over the tokens of a hidden state.
#[derive(Debug, Clone, Copy)]
struct StageSums {
    /// Σ (h − h_f32)².
    error: f64,
    /// Σ h_f32².
    reference: f64,
    /// Σ of the tokens' cosines.
    cosine: f64,
    minimum_cosine: f64,
    tokens: usize,
}

impl Default for StageSums {
    fn default() -> StageSums {
        StageSums {
            error: 0.0,
            reference: 0.0,
            cosine: 0.0,
            minimum_cosine: 1.0,
            tokens: 0,
        }
    }
}

impl StageSums {
    /// Of the states `[tokens, width]` of both models.
    fn of(found: &[f32], expected: &[f32], width: usize) -> StageSums {
        let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
        rows.fold(StageSums::default(), |mut sums, (found, expected)| {
            let cosine = cosine(found, expected);
            sums.join(StageSums {
                error: found
                    .iter()
                    .zip(expected)
                    .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                    .sum(),
                reference: dot(expected, expected),
                cosine,
                minimum_cosine: cosine,
                tokens: 1,
            });
            sums
        })
    }

    fn join(&mut self, other: StageSums) {
        self.error += other.error;
        self.reference += other.reference;
        self.cosine += other.cosine;
        self.minimum_cosine = self.minimum_cosine.min(other.minimum_cosine);
        self.tokens += other.tokens;
    }
}

/// Runs both models over a piece.
fn measure(model: &Model, weights: &Weights, piece: &Piece) -> Result<Measured> {
    let header = model.header();
    let hidden = header.config.hidden_size;
    let sequences = piece.batch.sequences();
    let mut batch = reference::Batch::default();
    for range in sequences.ranges() {
        let type_ids: Vec<u32> = sequences.type_ids()[range.clone()]
            .iter()
            .copied()
            .map(u32::from)
            .collect();
        batch.push(&sequences.ids()[range], &type_ids)?;
    }
    let mut states = Vec::new();
    let observe = |_, state: &[f32]| states.push(state.to_vec());
    let last = forward(weights, &batch, &mut Observed(weights, observe))?;

    let mut encoder = Encoder::new(model);
    let mut measured = Measured::new(0);
    encoder.hidden_states(&piece.batch, |index, state| {
        let sums = StageSums::of(state, &states[index], hidden);
        measured.stages.push(sums);
    })?;
    for (index, sums) in measured.stages.iter().enumerate() {
        ensure!(
            sums.error.is_finite() && sums.reference.is_finite(),
            "{}: values that are not finite on lines {} to {}",
            stage_name(index),
            piece.line(0),
            piece.line(sequences.len() - 1)
        );
    }

    let mut vectors = Vec::new();
    encoder.embed(&piece.batch, &EmbeddingOptions::default(), &mut vectors)?;
    let width = vectors.len() / sequences.len();
    for (index, (range, found)) in sequences
        .ranges()
        .zip(vectors.chunks_exact(width))
        .enumerate()
    {
        let rows = &last[range.start * hidden..range.end * hidden];
        let expected = reference::sentence_vector(weights, &header.embedding, rows);
        let cosine = cosine(found, &expected);
        ensure!(
            cosine.is_finite(),
            "line {}: a sentence vector is not finite",
            piece.line(index)
        );
        measured.cosines.push(cosine);
    }

    if let Some(head) = classification(header) {
        let function = Function::auto(head);
        let mut found = Vec::new();
        encoder.classify(&piece.batch, &mut found)?;
        let labels = found.len() / sequences.len();
        for (index, (range, found)) in sequences
            .ranges()
            .zip(found.chunks_exact(labels))
            .enumerate()
        {
            let expected = reference::logits(weights, &last[range.start * hidden..][..hidden])?;
            ensure!(
                found.iter().chain(&expected).all(|logit| logit.is_finite()),
                "line {}: a logit is not finite",
                piece.line(index)
            );
            let difference = logit_difference(found, &expected, function);
            measured.logits.push(difference);
        }
    }
    Ok(measured)
}

fn logit_difference(found: &[f32], expected: &[f32], function: Function) -> LogitDifference {
    let pairs = found.iter().zip(expected);
    let differences = pairs
        .clone()
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    LogitDifference {
        largest: differences.clone().fold(0.0, f64::max),
        mean: differences.sum::<f64>() / found.len() as f64,
        agrees: match function {
            Function::Softmax => Some(best(found) == best(expected)),
            // A label is given where its probability is above one half.
            Function::Sigmoid => Some(pairs.clone().all(|(a, b)| (*a > 0.0) == (*b > 0.0))),
            Function::None => None,
        },
    }
}

/// Index of the largest value, the first of equals.
fn best(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, index| match values[index] > values[best] {
        true => index,
        false => best,
    })
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

/// In f64, where the library's own is f32. Two zero vectors are equal: 1.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 {
        return f64::from(u8::from(a == b));
    }
    (dot(a, b) / norms).clamp(-1.0, 1.0)
}

fn cosines(values: &[f64]) -> Cosines {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let place = (values.len() - 1) as f64 * 0.01;
    let (low, part) = (place as usize, place.fract());
    let at = |rank: usize| values[order[rank.min(order.len() - 1)]];
    Cosines {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        percentile_1: at(low) * (1.0 - part) + at(low + 1) * part,
        minimum: at(0),
        minimum_line: order[0] + 1,
    }
}

fn logits(differences: &[LogitDifference]) -> Logits {
    let texts = differences.len() as f64;
    let largest = (1..differences.len()).fold(0, |worst, index| {
        match differences[index].largest > differences[worst].largest {
            true => index,
            false => worst,
        }
    });
    let agreeing = |difference: &LogitDifference| difference.agrees;
    let disagreeing_lines: Vec<usize> = (1..)
        .zip(differences)
        .filter(|(_, difference)| difference.agrees == Some(false))
        .map(|(line, _)| line)
        .collect();
    Logits {
        largest_difference: differences[largest].largest,
        largest_difference_line: largest + 1,
        mean_difference: differences.iter().map(|each| each.mean).sum::<f64>() / texts,
        label_agreement: differences
            .first()
            .and_then(agreeing)
            .map(|_| 1.0 - disagreeing_lines.len() as f64 / texts),
        disagreeing_lines,
    }
}

fn stage((index, sums): (usize, &StageSums)) -> Stage {
    Stage {
        name: stage_name(index),
        relative_error: match sums.reference > 0.0 {
            true => (sums.error / sums.reference).sqrt(),
            // Only a state of zeros has no length to compare with.
            false => sums.error.sqrt(),
        },
        mean_cosine: sums.cosine / sums.tokens as f64,
        minimum_cosine: sums.minimum_cosine,
    }
}

fn stage_name(index: usize) -> String {
    match index.checked_sub(1) {
        None => "embeddings".to_owned(),
        Some(layer) => format!("layer {layer}"),
    }
}

/// As people and options write it.
pub(super) fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Int8 => "int8",
        Precision::F16 => "f16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_lies_between_its_neighbours() {
        let values: Vec<f64> = (0..151).rev().map(|i| f64::from(i) / 150.0).collect();
        let found = cosines(&values);
        // As numpy.percentile: rank 0.01·150 = 1.5 of 0…150.
        assert!((found.percentile_1 - 1.5 / 150.0).abs() < 1e-12);
        assert_eq!((found.minimum, found.minimum_line), (0.0, 151));
        assert!((found.mean - 0.5).abs() < 1e-12);
        let single = cosines(&[0.25]);
        assert_eq!(
            [single.percentile_1, single.mean, single.minimum],
            [0.25; 3]
        );
    }

    #[test]
    fn a_label_is_what_the_function_makes_of_the_logits() {
        let (found, expected) = ([2.0, 1.5, -0.1], [1.0, 1.25, 0.1]);
        let softmax = logit_difference(&found, &expected, Function::Softmax);
        assert_eq!(softmax.agrees, Some(false));
        assert!((softmax.largest - 1.0).abs() < 1e-6);
        assert!((softmax.mean - 1.45 / 3.0).abs() < 1e-6);
        let sigmoid = logit_difference(&found[..2], &expected[..2], Function::Sigmoid);
        assert_eq!(sigmoid.agrees, Some(true));
        let sigmoid = logit_difference(&found, &expected, Function::Sigmoid);
        assert_eq!(sigmoid.agrees, Some(false));
        let none = logit_difference(&found, &expected, Function::None);
        assert_eq!(none.agrees, None);
    }

    #[test]
    fn stages_are_measured_over_all_tokens() {
        let sums = StageSums::of(&[3.0, 0.0, 0.0, 1.0], &[3.0, 4.0, 0.0, 2.0], 2);
        let found = stage((2, &sums));
        assert_eq!(found.name, "layer 1");
        assert!((found.relative_error - (17.0f64 / 29.0).sqrt()).abs() < 1e-12);
        assert!((found.mean_cosine - 0.8).abs() < 1e-12);
        assert!((found.minimum_cosine - 0.6).abs() < 1e-12);
    }
}

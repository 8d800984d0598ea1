//! From f32 weights to the int8 model: calibration, smoothing, compensated rounding, packing.
//!
//! The calibration text flows through the model layer by layer, each layer seeing what the quantized layers before it
//! make of the text. Equal weights and text give equal bytes, whatever the number of threads.

mod packing;
mod rounding;
mod shared;
mod smoothing;

use crate::reference::matrix::{View, multiply};
use crate::reference::parallel::for_each_piece;
use crate::reference::{Batch, Exact, LinearKind, Linears, forward, linear};
use crate::weights::{Linear, Weights};
use anyhow::{Result, ensure};
pub use packing::PackedLinear;

/// Lines of text, one calibration sequence each, written for this purpose.
pub const CALIBRATION_TEXT: &str = include_str!("calibration.txt");

/// Part of the mean second moment that is added to every input's own: how little the calibration text is trusted. Between
/// 0.003 and 0.1 the figures of all-MiniLM-L6-v2 differ little.
const DAMPING: f64 = 0.03;

/// Neighbouring inputs that share a range when the runtime quantizes a token's activations, and a scale in each output
/// channel's weights. Smaller groups are more faithful and cost time. Cosines of all-MiniLM-L6-v2 over 1,500 sentences, mean
/// and minimum, simulated: groups of 192 .99982 and .99939, of 384 .99975 and .99930, of 768 .99972 and .99893, of 1,536 .99965
/// and .99893. With 192 the encoder takes 10 to 18 % longer than with 384.
pub const GROUP: usize = 384;

/// Matrix products of a layer.
const KINDS: usize = 4;

/// The encoder's tensors in int8. LayerNorms, positions and heads stay as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedEncoder {
    /// `[vocab_size, embedding_width]`.
    pub word_embeddings: QuantizedRows,
    /// First to last.
    pub layers: Vec<QuantizedLayer>,
}

/// A table of vectors in int8.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedRows {
    /// Row-major, −127…127.
    pub weight: Vec<i8>,
    /// Value of one step of each row; 0 for a row of zeros.
    pub scale: Vec<f32>,
}

/// The matrix products of one layer in int8.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedLayer {
    /// `[3·hidden_size, hidden_size]`.
    pub query_key_value: PackedLinear,
    /// `[hidden_size, hidden_size]`.
    pub attention_output: PackedLinear,
    /// `[intermediate_size, hidden_size]`.
    pub intermediate: PackedLinear,
    /// `[hidden_size, intermediate_size]`.
    pub output: PackedLinear,
}

/// Quantizes the encoder of `weights`, calibrated on the token sequences of `calibration`. `progress(done, total)` is
/// called before the first and after each of the matrix products.
///
/// # Errors
/// If the calibration batch is empty or does not fit the model, or if the weights are not finite.
///
/// # Panics
/// If a tensor's length contradicts `weights.config`.
pub fn quantize_encoder(
    weights: &Weights,
    calibration: &Batch,
    mut progress: impl FnMut(usize, usize),
) -> Result<QuantizedEncoder> {
    ensure!(calibration.tokens() > 0, "no calibration text");
    if weights.config.stored_layers() < weights.config.num_hidden_layers {
        return shared::quantize_encoder(weights, calibration, progress);
    }
    let total = weights.layers.len() * KINDS;
    progress(0, 2 * total);
    let mut means = OutputMeans {
        weights,
        means: Vec::new(),
        progress: |done| progress(done, 2 * total),
    };
    forward(weights, calibration, &mut means)?;
    let means = means.means;
    let mut quantizer = Quantizer {
        weights,
        means: &means,
        done: Vec::new(),
        progress: |done| progress(total + done, 2 * total),
    };
    forward(weights, calibration, &mut quantizer)?;
    Ok(encoder_of(weights, quantizer.done))
}

/// The encoder of the products `done`, in the order of computation.
fn encoder_of(weights: &Weights, done: Vec<PackedLinear>) -> QuantizedEncoder {
    let mut done = done.into_iter();
    let mut layers = Vec::with_capacity(weights.layers.len());
    while let (Some(query_key_value), Some(attention_output), Some(intermediate), Some(output)) =
        (done.next(), done.next(), done.next(), done.next())
    {
        layers.push(QuantizedLayer {
            query_key_value,
            attention_output,
            intermediate,
            output,
        });
    }
    let word_embeddings = quantize_rows(&weights.word_embeddings, weights.config.embedding_width());
    QuantizedEncoder {
        word_embeddings,
        layers,
    }
}

/// Rounds each row of `width` values to 255 even steps around zero.
pub fn quantize_rows(table: &[f32], width: usize) -> QuantizedRows {
    let rounded = rounding::round_nearest(table, width, width);
    QuantizedRows {
        weight: rounded.steps,
        scale: rounded.scale,
    }
}

/// Quantizes one layer for inputs like `input` `[tokens, in_features]`. Gives the packed layer and its output for
/// `input`. The bias makes the mean output over `input` equal to `mean_output` `[out_features]`.
///
/// # Errors
/// If the weights, the bias or the input are not finite.
///
/// # Panics
/// If a tensor's length contradicts the layer's widths.
pub fn quantize_linear(
    layer: &Linear,
    kind: LinearKind,
    input: &[f32],
    mean_output: &[f32],
) -> Result<(PackedLinear, Vec<f32>)> {
    let (k, n) = (layer.in_features, layer.out_features);
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    ensure!(
        finite(&layer.weight) && finite(&layer.bias),
        "the weights hold values that are not finite"
    );
    ensure!(
        finite(input),
        "calibration text leads to activations that are not finite"
    );
    // Computed back from the reciprocal that the file holds, so that both sides use the same factor.
    let input_scale: Vec<f32> = smoothing::factors(input, smoothing::importance(layer, kind))
        .into_iter()
        .map(|factor| 1.0 / factor)
        .collect();
    let mut weight = layer.weight.clone();
    for row in weight.chunks_exact_mut(k) {
        for (weight, scale) in row.iter_mut().zip(&input_scale) {
            *weight /= scale;
        }
    }
    let input = as_quantized(input, &input_scale);
    let moments = second_moments(&input, k);
    let rounded = rounding::round_compensated(&weight, &moments, k, GROUP, DAMPING);
    let groups = k.div_ceil(GROUP);
    for ((row, steps), scales) in weight
        .chunks_exact_mut(k)
        .zip(rounded.steps.chunks_exact(k))
        .zip(rounded.scale.chunks_exact(groups))
    {
        for (input, (weight, &step)) in row.iter_mut().zip(steps).enumerate() {
            *weight = f32::from(step) * scales[input / GROUP];
        }
    }
    let mut effective = Linear {
        weight,
        bias: layer.bias.clone(),
        in_features: k,
        out_features: n,
    };
    let mut output = linear(&input, &effective);
    let shift: Vec<f32> = column_means(&output, n)
        .iter()
        .zip(mean_output)
        .map(|(is, should)| should - is)
        .collect();
    for (bias, shift) in effective.bias.iter_mut().zip(&shift) {
        *bias += shift;
    }
    for row in output.chunks_exact_mut(n) {
        for (value, shift) in row.iter_mut().zip(&shift) {
            *value += shift;
        }
    }
    Ok((
        PackedLinear::pack(&rounded.steps, &rounded.scale, &effective.bias, input_scale),
        output,
    ))
}

/// Collects the mean output of each matrix product in f32.
struct OutputMeans<'a, F> {
    weights: &'a Weights,
    /// In the order of computation.
    means: Vec<Vec<f32>>,
    progress: F,
}

impl<F: FnMut(usize)> Linears for OutputMeans<'_, F> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        let output = Exact(self.weights).apply(layer, kind, input)?;
        let width = self.weights.layers[layer].linear(kind).out_features;
        self.means.push(column_means(&output, width));
        (self.progress)(self.means.len());
        Ok(output)
    }
}

/// Quantizes each matrix product when the calibration text reaches it, and lets the text go on through the result.
struct Quantizer<'a, F> {
    weights: &'a Weights,
    means: &'a [Vec<f32>],
    /// In the order of computation.
    done: Vec<PackedLinear>,
    progress: F,
}

impl<F: FnMut(usize)> Linears for Quantizer<'_, F> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        let mean = &self.means[self.done.len()];
        let (packed, output) =
            quantize_linear(self.weights.layers[layer].linear(kind), kind, input, mean)
                .map_err(|error| error.context(format!("layer {layer}, {kind:?}")))?;
        self.done.push(packed);
        (self.progress)(self.done.len());
        Ok(output)
    }
}

/// What the runtime's 8 bits leave of the input: each group of a token's scaled values in 255 even steps from its minimum
/// to its maximum.
fn as_quantized(input: &[f32], input_scale: &[f32]) -> Vec<f32> {
    let k = input_scale.len();
    let mut values = input.to_vec();
    for_each_piece(&mut values, 64 * k, |_, rows| {
        for row in rows.chunks_exact_mut(k) {
            for (value, scale) in row.iter_mut().zip(input_scale) {
                *value *= scale;
            }
            row.chunks_mut(GROUP).for_each(to_even_steps);
        }
    });
    values
}

/// Rounds values to 255 even steps from their minimum to their maximum.
fn to_even_steps(values: &mut [f32]) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = (high - low) / 255.0;
    for value in values {
        let steps = if step > 0.0 {
            ((*value - low) / step).round_ties_even()
        } else {
            0.0
        };
        *value = low + steps * step;
    }
}

/// Σ over tokens of inputᵀ·input, `[k, k]`; only the lower triangle is complete.
fn second_moments(input: &[f32], k: usize) -> Vec<f64> {
    /// Rows of the result that one thread takes at a time.
    const ROWS: usize = 128;
    /// Tokens whose sum is kept in f32.
    const TOKENS: usize = 512;
    let mut moments = vec![0.0f64; k * k];
    for_each_piece(&mut moments, ROWS * k, |index, rows| {
        let first = index * ROWS;
        let count = rows.len() / k;
        let columns = first + count;
        let mut part = vec![0.0f32; count * columns];
        for tokens in input.chunks(TOKENS * k) {
            let number = tokens.len() / k;
            let left = View::with_stride(&tokens[first..], number, count, k).transposed();
            multiply(
                1.0,
                left,
                View::with_stride(tokens, number, columns, k),
                0.0,
                &mut part,
                columns,
            );
            for (row, part) in rows.chunks_exact_mut(k).zip(part.chunks_exact(columns)) {
                for (sum, part) in row.iter_mut().zip(part) {
                    *sum += f64::from(*part);
                }
            }
        }
    });
    moments
}

/// Mean of each column.
fn column_means(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    for row in values.chunks_exact(width) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let rows = (values.len() / width).max(1) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

#[cfg(test)]
mod tests;

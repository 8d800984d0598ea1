//! The steps between and around the matrix products, in f32 (statistics and the error function in f64).

use super::matrix::{View, multiply};
use super::parallel::for_each_piece;
use crate::weights::{LayerNorm, Linear};
use bertlet::format::header::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::sync::LazyLock;

/// Tokens that one thread takes at a time: enough rows to be worth packing the weights for, few enough to share.
const TOKENS: usize = 256;

/// `input` `[tokens, in_features]` times the transposed weights plus bias: `[tokens, out_features]`.
///
/// # Panics
/// If the lengths of the tensors contradict the layer's widths.
pub fn linear(input: &[f32], layer: &Linear) -> Vec<f32> {
    let (k, n) = (layer.in_features, layer.out_features);
    assert_eq!(layer.bias.len(), n, "bias");
    let tokens = input.len() / k;
    let mut output = vec![0.0; tokens * n];
    let weight = View::new(&layer.weight, n, k).transposed();
    for_each_piece(&mut output, TOKENS * n, |index, rows| {
        for row in rows.chunks_exact_mut(n) {
            row.copy_from_slice(&layer.bias);
        }
        let count = rows.len() / n;
        multiply(
            1.0,
            View::new(&input[index * TOKENS * k..], count, k),
            weight,
            1.0,
            rows,
            n,
        );
    });
    output
}

/// Adds `other` to `values`, element by element.
pub fn add(values: &mut [f32], other: &[f32]) {
    for (value, other) in values.iter_mut().zip(other) {
        *value += other;
    }
}

/// Normalizes each row of `affine.weight.len()` values in place.
pub fn layer_norm(values: &mut [f32], affine: &LayerNorm, epsilon: f32) {
    let width = affine.weight.len();
    for_each_piece(values, TOKENS * width, |_, rows| {
        for row in rows.chunks_exact_mut(width) {
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
            let variance = row
                .iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / width as f64;
            let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
            for ((x, weight), bias) in row.iter_mut().zip(&affine.weight).zip(&affine.bias) {
                *x = ((f64::from(*x) - mean) * inverse) as f32 * weight + bias;
            }
        }
    });
}

/// Softmax attention of each sequence: `[tokens, 3·hidden]` to `[tokens, hidden]`. `bias`, `[heads, distances]` with
/// distance 0 in the middle, is added to the scores by the key's place less the query's.
pub fn attention(
    query_key_value: &[f32],
    lengths: &[usize],
    (heads, hidden): (usize, usize),
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let width = hidden / heads;
    let scale = 1.0 / (width as f32).sqrt();
    let mut output = vec![0.0f32; query_key_value.len() / 3];
    let mut rest = output.as_mut_slice();
    let mut start = 0;
    let mut sequences = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (sequence, tail) = rest.split_at_mut(length * hidden);
        sequences.push((start, length, sequence));
        rest = tail;
        start += length;
    }
    for_each_piece(&mut sequences, 1, |_, piece| {
        for (start, length, output) in piece {
            let tokens = *length;
            let mut scores = vec![0.0; tokens * tokens];
            for head in 0..heads {
                let part = |index: usize| {
                    let offset = *start * 3 * hidden + index * hidden + head * width;
                    View::with_stride(&query_key_value[offset..], tokens, width, 3 * hidden)
                };
                multiply(
                    scale,
                    part(0),
                    part(1).transposed(),
                    0.0,
                    &mut scores,
                    tokens,
                );
                if let Some(bias) = bias {
                    let distances = bias.len() / heads;
                    let bias = &bias[head * distances..][..distances];
                    for (query, row) in scores.chunks_exact_mut(tokens).enumerate() {
                        add(row, &bias[distances / 2 - query..][..tokens]);
                    }
                }
                scores.chunks_exact_mut(tokens).for_each(softmax);
                multiply(
                    1.0,
                    View::new(&scores, tokens, tokens),
                    part(2),
                    0.0,
                    &mut output[head * width..],
                    hidden,
                );
            }
        }
    });
    output
}

/// Exponentials of a row, divided by their sum.
fn softmax(row: &mut [f32]) {
    let largest = row
        .iter()
        .fold(f32::NEG_INFINITY, |largest, &x| largest.max(x));
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - largest).exp();
        sum += *x;
    }
    for x in row {
        *x /= sum;
    }
}

/// Applies the activation function in place.
pub fn activate(values: &mut [f32], activation: Activation) {
    for_each_piece(values, 1 << 16, |_, piece| {
        for x in piece {
            *x = activated(*x, activation);
        }
    });
}

/// The activation function at one point.
fn activated(x: f32, activation: Activation) -> f32 {
    match activation {
        Activation::Gelu => (0.5 * f64::from(x) * (1.0 + erf(f64::from(x) * FRAC_1_SQRT_2))) as f32,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Identity => x,
    }
}

/// Points of the table of the error function for a step of 1 in its argument.
const ERF_POINTS: f64 = 128.0;
/// From here on the error function is 1 to within 2e-10.
const ERF_END: f64 = 4.5;

/// The error function and its derivative times the step at each point of the table.
static ERF_TABLE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    (0..=(ERF_END * ERF_POINTS) as usize + 1)
        .map(|index| {
            let x = index as f64 / ERF_POINTS;
            (erf_series(x), FRAC_2_SQRT_PI * (-x * x).exp() / ERF_POINTS)
        })
        .collect()
});

/// The error function with an absolute error below 1e-9, by cubic Hermite interpolation.
fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let place = x.abs() * ERF_POINTS;
    if place >= ERF_END * ERF_POINTS {
        return x.signum();
    }
    let index = place as usize;
    let t = place - index as f64;
    let ((left, left_slope), (right, right_slope)) = (ERF_TABLE[index], ERF_TABLE[index + 1]);
    let difference = right - left;
    let bend = left_slope - difference;
    let twist = difference - right_slope;
    (left + t * (difference + (1.0 - t) * (bend * (1.0 - t) + twist * t))).copysign(x)
}

/// The error function of a value from 0 to 5 by 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·5…(2n+1)), whose terms all have
/// one sign (Abramowitz and Stegun 7.1.6).
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut divisor = 1.0;
    while term > 1e-16 * sum {
        divisor += 2.0;
        term *= 2.0 * x * x / divisor;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_matches_published_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.1124629160),
            (0.5, 0.5204998778),
            (1.0, 0.8427007929),
            (2.0, 0.9953222650),
            (3.0, 0.9999779095),
        ] {
            assert!((erf(x) - expected).abs() < 1e-9, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 1e-9);
        }
        for point in 0..9000 {
            let x = f64::from(point) / 2000.0;
            assert!((erf(x) - erf_series(x)).abs() < 1e-9, "erf({x})");
        }
        assert_eq!(erf(5.0), 1.0);
        assert_eq!(erf(-5.0), -1.0);
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn attention_sees_only_its_own_sequence() {
        // One head of width 2; equal keys make the weights uniform, so each output is the mean of the sequence's values.
        let token = |value: [f32; 2]| [0.3, -0.2, 0.5, 0.5, value[0], value[1]];
        let input: Vec<f32> = [[1.0, 2.0], [3.0, 6.0], [10.0, 20.0]]
            .into_iter()
            .flat_map(token)
            .collect();
        let output = attention(&input, &[2, 1], (1, 2), None);
        for (found, expected) in output.iter().zip([2.0, 4.0, 2.0, 4.0, 10.0, 20.0]) {
            assert!((found - expected).abs() < 1e-5, "{output:?}");
        }
    }

    #[test]
    fn layer_norm_gives_mean_and_deviation_of_its_affine_part() {
        let affine = LayerNorm {
            weight: vec![2.0; 4],
            bias: vec![1.0; 4],
        };
        let mut row = vec![1.0, 2.0, 3.0, 4.0];
        layer_norm(&mut row, &affine, 0.0);
        let mean = row.iter().sum::<f32>() / 4.0;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 4.0;
        assert!(
            (mean - 1.0).abs() < 1e-6 && (variance - 4.0).abs() < 1e-5,
            "{row:?}"
        );
    }

    #[test]
    fn linear_is_weights_times_input_plus_bias() {
        let layer = Linear {
            weight: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            bias: vec![0.5, -0.5],
            in_features: 3,
            out_features: 2,
        };
        assert_eq!(
            linear(&[1.0, 0.0, -1.0, 0.0, 1.0, 0.0], &layer),
            [-1.5, -2.5, 2.5, 4.5]
        );
    }
}

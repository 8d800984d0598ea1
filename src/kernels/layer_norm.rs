//! LayerNorm: (x − mean)/√(variance + eps)·weight + bias, row by row.

use super::lanes::{LANES, Lanes};
use super::matrix::MatrixMut;
use super::quantize::{TOGETHER, quantize_some};
use super::quantized::QuantizedViewMut;

#[inline(always)]
pub(crate) fn layer_norm<L: Lanes>(
    lanes: L,
    mut x: MatrixMut<'_>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) {
    let mut row = 0;
    while L::SIDE_BY_SIDE && row + TOGETHER <= x.rows() {
        some::<L, TOGETHER>(lanes, x.some_rows(row), weight, bias, eps);
        row += TOGETHER;
    }
    for row in row..x.rows() {
        some::<L, 1>(lanes, x.some_rows(row), weight, bias, eps);
    }
}

/// And the quantized rows, while they are at hand.
#[inline(always)]
pub(crate) fn layer_norm_quantize<L: Lanes>(
    lanes: L,
    mut x: MatrixMut<'_>,
    (weight, bias, eps): (&[f32], &[f32], f32),
    input_scale: Option<&[f32]>,
    mut out: QuantizedViewMut<'_>,
) {
    let mut row = 0;
    while L::SIDE_BY_SIDE && row + TOGETHER <= x.rows() {
        let rows = some::<L, TOGETHER>(lanes, x.some_rows(row), weight, bias, eps);
        quantize_some(lanes, rows, input_scale, &mut out, row);
        row += TOGETHER;
    }
    for row in row..x.rows() {
        let rows = some::<L, 1>(lanes, x.some_rows(row), weight, bias, eps);
        quantize_some(lanes, rows, input_scale, &mut out, row);
    }
}

/// Σ of x − shift, or of its square, of `N` rows, each over sixteen strided partial sums and the fixed tree. The rows take
/// turns, for each addition waits for the one before in its row.
#[inline(always)]
fn sums<L: Lanes, const N: usize>(
    lanes: L,
    x: &[&mut [f32]; N],
    shifts: [f32; N],
    square: bool,
) -> [f32; N] {
    let length = x[0].len();
    let mut sums = [lanes.zero(); N];
    let mut shift_lanes = [lanes.zero(); N];
    for i in 0..N {
        shift_lanes[i] = lanes.splat(shifts[i]);
    }
    let mut chunks = [x[0].as_chunks::<LANES>().0; N];
    for i in 0..N {
        chunks[i] = &x[i].as_chunks::<LANES>().0[..length / LANES];
    }
    let mut chunk = 0;
    while chunk < length / LANES {
        for i in 0..N {
            let d = lanes.sub(lanes.load(&chunks[i][chunk]), shift_lanes[i]);
            sums[i] = match square {
                true => lanes.fma(d, d, sums[i]),
                false => lanes.add(sums[i], d),
            };
        }
        chunk += 1;
    }
    let mut all = [0.0; N];
    for i in 0..N {
        let rest = &x[i][length / LANES * LANES..];
        if !rest.is_empty() {
            let d = lanes.sub(lanes.load_partial(rest, shifts[i]), shift_lanes[i]);
            sums[i] = match square {
                true => lanes.fma(d, d, sums[i]),
                false => lanes.add(sums[i], d),
            };
        }
        all[i] = lanes.sum(sums[i]);
    }
    all
}

/// `N` rows, in place.
#[inline(always)]
fn some<'a, L: Lanes, const N: usize>(
    lanes: L,
    x: [&'a mut [f32]; N],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) -> [&'a [f32]; N] {
    let n = x[0].len() as f32;
    let mut means = sums(lanes, &x, [0.0; N], false);
    for mean in &mut means {
        *mean /= n;
    }
    let variances = sums(lanes, &x, means, true);
    for i in 0..N {
        let inverse = 1.0 / (variances[i] / n + eps).sqrt();
        let (mean, inverse) = (lanes.splat(means[i]), lanes.splat(inverse));
        let (chunks, rest) = x[i].as_chunks_mut::<LANES>();
        let (weights, weight_rest) = weight.as_chunks::<LANES>();
        let (biases, bias_rest) = bias.as_chunks::<LANES>();
        for ((x, weight), bias) in chunks.iter_mut().zip(weights).zip(biases) {
            let d = lanes.mul(lanes.sub(lanes.load(x), mean), inverse);
            lanes.store(lanes.fma(d, lanes.load(weight), lanes.load(bias)), x);
        }
        if !rest.is_empty() {
            let d = lanes.mul(lanes.sub(lanes.load_partial(rest, 0.0), mean), inverse);
            let y = lanes.fma(
                d,
                lanes.load_partial(weight_rest, 0.0),
                lanes.load_partial(bias_rest, 0.0),
            );
            lanes.store_partial(y, rest);
        }
    }
    x.map(|x| &*x)
}

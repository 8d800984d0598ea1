//! What is done to one row after another: quantization, LayerNorm, softmax, activations, embeddings.

use super::lanes::{LANES, Lanes};
use super::math::{self, Activation, Function};
use super::matrix::{Matrix, MatrixMut};
use super::quantized::{QuantizedViewMut, RowRange};
use half::f16;

/// Σ of f over sixteen strided partial sums and the fixed tree.
#[inline(always)]
fn reduce_sum<L: Lanes>(lanes: L, x: &[f32], shift: f32, square: bool) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let shift_lanes = lanes.splat(shift);
    let mut sum = lanes.zero();
    for chunk in chunks {
        let d = lanes.sub(lanes.load(chunk), shift_lanes);
        sum = if square {
            lanes.fma(d, d, sum)
        } else {
            lanes.add(sum, d)
        };
    }
    if !rest.is_empty() {
        let d = lanes.sub(lanes.load_partial(rest, shift), shift_lanes);
        sum = if square {
            lanes.fma(d, d, sum)
        } else {
            lanes.add(sum, d)
        };
    }
    lanes.sum(sum)
}

/// One row of LayerNorm, in place: (x − mean)/√(variance + eps)·weight + bias.
#[inline(always)]
fn layer_norm_row<L: Lanes>(lanes: L, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = x.len() as f32;
    let mean = reduce_sum(lanes, x, 0.0, false) / n;
    let variance = reduce_sum(lanes, x, mean, true) / n;
    let inverse = 1.0 / (variance + eps).sqrt();
    let (mean, inverse) = (lanes.splat(mean), lanes.splat(inverse));
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
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

#[inline(always)]
pub(crate) fn layer_norm<L: Lanes>(
    lanes: L,
    mut x: MatrixMut<'_>,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) {
    for row in 0..x.rows() {
        layer_norm_row(lanes, x.row(row), weight, bias, eps);
    }
}

#[inline(always)]
pub(crate) fn layer_norm_quantize<L: Lanes>(
    lanes: L,
    mut x: MatrixMut<'_>,
    (weight, bias, eps): (&[f32], &[f32], f32),
    input_scale: Option<&[f32]>,
    mut out: QuantizedViewMut<'_>,
) {
    for row in 0..x.rows() {
        let values = x.row(row);
        layer_norm_row(lanes, values, weight, bias, eps);
        quantize_row(lanes, values, input_scale, &mut out, row);
    }
}

#[inline(always)]
pub(crate) fn quantize_rows<L: Lanes>(
    lanes: L,
    x: Matrix<'_>,
    input_scale: Option<&[f32]>,
    mut out: QuantizedViewMut<'_>,
) {
    for row in 0..x.rows() {
        quantize_row(lanes, x.row(row), input_scale, &mut out, row);
    }
}

#[inline(always)]
fn quantize_row<L: Lanes>(
    lanes: L,
    x: &[f32],
    input_scale: Option<&[f32]>,
    out: &mut QuantizedViewMut<'_>,
    row: usize,
) {
    let (k, group) = (out.k(), out.group());
    let (bytes, ranges) = out.row(row);
    for (index, range) in ranges.iter_mut().enumerate() {
        let first = index * group.min(k);
        let last = k.min(first.saturating_add(group));
        let (x, end) = (&x[first..last], bytes.len().min(last.next_multiple_of(64)));
        let bytes = &mut bytes[first..end];
        *range = match input_scale {
            Some(scale) => quantize(lanes, x, Scaled(&scale[first..last]), bytes),
            None => quantize(lanes, x, Plain, bytes),
        };
    }
}

/// What a row is multiplied by before it is quantized.
trait Factor: Copy {
    fn chunk<L: Lanes>(self, lanes: L, x: L::F, chunk: usize) -> L::F;
    fn rest<L: Lanes>(self, lanes: L, x: L::F, from: usize) -> L::F;
}

#[derive(Clone, Copy)]
struct Plain;

impl Factor for Plain {
    #[inline(always)]
    fn chunk<L: Lanes>(self, _: L, x: L::F, _: usize) -> L::F {
        x
    }
    #[inline(always)]
    fn rest<L: Lanes>(self, _: L, x: L::F, _: usize) -> L::F {
        x
    }
}

#[derive(Clone, Copy)]
struct Scaled<'a>(&'a [f32]);

impl Factor for Scaled<'_> {
    #[inline(always)]
    fn chunk<L: Lanes>(self, lanes: L, x: L::F, chunk: usize) -> L::F {
        lanes.mul(x, lanes.load(&self.0.as_chunks::<LANES>().0[chunk]))
    }
    #[inline(always)]
    fn rest<L: Lanes>(self, lanes: L, x: L::F, from: usize) -> L::F {
        lanes.mul(x, lanes.load_partial(&self.0[from..], 1.0))
    }
}

/// u = round((x·factor − low)·(255/(high − low))); a constant row gives zeros and scale 0, a row with an infinite or NaN
/// value zeros and a range of NaN, which makes every output of its row NaN.
#[inline(always)]
fn quantize<L: Lanes>(lanes: L, x: &[f32], factor: impl Factor, out: &mut [u8]) -> RowRange {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let last = x.len() - rest.len();
    // Two of each, so that one operation need not wait for the one before.
    let mut lows = [lanes.splat(f32::INFINITY); 2];
    let mut highs = [lanes.splat(f32::NEG_INFINITY); 2];
    // 0·x is NaN for what is not finite, and stays.
    let mut poisons = [lanes.zero(); 2];
    let (pairs, odd) = chunks.as_chunks::<2>();
    for (i, pair) in pairs.iter().enumerate() {
        for j in 0..2 {
            let x = factor.chunk(lanes, lanes.load(&pair[j]), 2 * i + j);
            lows[j] = lanes.min(x, lows[j]);
            highs[j] = lanes.max(x, highs[j]);
            poisons[j] = lanes.fma(x, lanes.zero(), poisons[j]);
        }
    }
    let mut low = lanes.min(lows[0], lows[1]);
    let mut high = lanes.max(highs[0], highs[1]);
    let mut poison = lanes.add(poisons[0], poisons[1]);
    if let [chunk] = odd {
        let x = factor.chunk(lanes, lanes.load(chunk), chunks.len() - 1);
        low = lanes.min(x, low);
        high = lanes.max(x, high);
        poison = lanes.fma(x, lanes.zero(), poison);
    }
    if !rest.is_empty() {
        // The unused lanes repeat the first value of the rest.
        let mut padded = [0.0; LANES];
        lanes.store(
            factor.rest(lanes, lanes.load_partial(rest, 0.0), last),
            &mut padded,
        );
        let first = padded[0];
        padded[rest.len()..].fill(first);
        let x = lanes.load(&padded);
        low = lanes.min(x, low);
        high = lanes.max(x, high);
        poison = lanes.fma(x, lanes.zero(), poison);
    }
    let (low, high) = (lanes.minimum(low), lanes.maximum(high));
    let span = high - low;
    let finite = span.is_finite() && lanes.is_zero(poison);
    if !finite && !x.is_empty() {
        out.fill(0);
        return RowRange {
            scale: f32::NAN,
            low: f32::NAN,
        };
    }
    let scale = span / 255.0;
    // A span too small for its inverse is as good as none.
    let inverse = 255.0 / span;
    if x.is_empty() || !inverse.is_finite() {
        out.fill(0);
        return RowRange {
            scale: 0.0,
            low: if x.is_empty() { 0.0 } else { low },
        };
    }
    let (low_lanes, inverse) = (lanes.splat(low), lanes.splat(inverse));
    let bytes = out.as_chunks_mut::<LANES>().0;
    for (i, chunk) in chunks.iter().enumerate() {
        let x = factor.chunk(lanes, lanes.load(chunk), i);
        let u = lanes.round(lanes.mul(lanes.sub(x, low_lanes), inverse));
        lanes.store_bytes(u, &mut bytes[i]);
    }
    if !rest.is_empty() {
        let x = factor.rest(lanes, lanes.load_partial(rest, 0.0), last);
        let u = lanes.round(lanes.mul(lanes.sub(x, low_lanes), inverse));
        let mut all = [0; LANES];
        lanes.store_bytes(u, &mut all);
        bytes[chunks.len()][..rest.len()].copy_from_slice(&all[..rest.len()]);
    }
    RowRange { scale, low }
}

#[inline(always)]
pub(crate) fn activation<L: Lanes>(lanes: L, x: &mut [f32], activation: Activation) {
    match activation {
        Activation::Identity => {}
        Activation::Gelu => apply(lanes, x, math::Gelu),
        Activation::GeluTanh => apply(lanes, x, math::GeluTanh),
        Activation::Relu => apply(lanes, x, math::Relu),
        Activation::Silu => apply(lanes, x, math::Silu),
        Activation::Tanh => apply(lanes, x, math::Tanh),
        Activation::Sigmoid => apply(lanes, x, math::Sigmoid),
    }
}

#[inline(always)]
fn apply<L: Lanes>(lanes: L, x: &mut [f32], function: impl Function) {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        lanes.store(function.apply(lanes, lanes.load(chunk)), chunk);
    }
    if !rest.is_empty() {
        let y = function.apply(lanes, lanes.load_partial(rest, 0.0));
        lanes.store_partial(y, rest);
    }
}

/// Each row becomes exp(scale·(x − max)) divided by its sum. A row with a NaN becomes NaN or stays deterministic.
#[inline(always)]
pub(crate) fn softmax_rows<L: Lanes>(lanes: L, mut x: MatrixMut<'_>, scale: f32) {
    for row in 0..x.rows() {
        softmax_row(lanes, x.row(row), scale);
    }
}

#[inline(always)]
fn softmax_row<L: Lanes>(lanes: L, x: &mut [f32], scale: f32) {
    let mut highest = lanes.splat(f32::NEG_INFINITY);
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in &*chunks {
        highest = lanes.max(lanes.load(chunk), highest);
    }
    if !rest.is_empty() {
        highest = lanes.max(lanes.load_partial(rest, f32::NEG_INFINITY), highest);
    }
    let highest = lanes.splat(lanes.maximum(highest));
    let scale = lanes.splat(scale);
    let mut sum = lanes.zero();
    for chunk in &mut *chunks {
        let power = math::exp(
            lanes,
            lanes.mul(lanes.sub(lanes.load(chunk), highest), scale),
        );
        sum = lanes.add(sum, power);
        lanes.store(power, chunk);
    }
    if !rest.is_empty() {
        let x = lanes.load_partial(rest, f32::NEG_INFINITY);
        let power = math::exp(lanes, lanes.mul(lanes.sub(x, highest), scale));
        sum = lanes.add(sum, power);
        lanes.store_partial(power, rest);
    }
    let inverse = lanes.splat(1.0 / lanes.sum(sum));
    for chunk in chunks {
        lanes.store(lanes.mul(lanes.load(chunk), inverse), chunk);
    }
    if !rest.is_empty() {
        lanes.store_partial(lanes.mul(lanes.load_partial(rest, 0.0), inverse), rest);
    }
}

/// out = word·scale + position.
#[inline(always)]
pub(crate) fn embed_i8<L: Lanes>(
    lanes: L,
    word: &[i8],
    scale: f32,
    position: &[f16],
    out: &mut [f32],
) {
    let scale = lanes.splat(scale);
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (word, word_rest) = word.as_chunks::<LANES>();
    let (position, position_rest) = position.as_chunks::<LANES>();
    for ((out, word), position) in out.iter_mut().zip(word).zip(position) {
        lanes.store(
            lanes.fma(lanes.load_i8(word), scale, lanes.load_f16(position)),
            out,
        );
    }
    if !out_rest.is_empty() {
        let (word, position) = (
            lanes.load_i8(&padded(word_rest)),
            lanes.load_f16(&padded(position_rest)),
        );
        lanes.store_partial(lanes.fma(word, scale, position), out_rest);
    }
}

/// out = word + position.
#[inline(always)]
pub(crate) fn embed_f16<L: Lanes>(lanes: L, word: &[f16], position: &[f16], out: &mut [f32]) {
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (word, word_rest) = word.as_chunks::<LANES>();
    let (position, position_rest) = position.as_chunks::<LANES>();
    for ((out, word), position) in out.iter_mut().zip(word).zip(position) {
        lanes.store(
            lanes.add(lanes.load_f16(word), lanes.load_f16(position)),
            out,
        );
    }
    if !out_rest.is_empty() {
        let sum = lanes.add(
            lanes.load_f16(&padded(word_rest)),
            lanes.load_f16(&padded(position_rest)),
        );
        lanes.store_partial(sum, out_rest);
    }
}

/// out = x in single precision, exactly.
#[inline(always)]
pub(crate) fn convert_f16<L: Lanes>(lanes: L, x: &[f16], out: &mut [f32]) {
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (x, x_rest) = x.as_chunks::<LANES>();
    for (out, x) in out.iter_mut().zip(x) {
        lanes.store(lanes.load_f16(x), out);
    }
    if !out_rest.is_empty() {
        lanes.store_partial(lanes.load_f16(&padded(x_rest)), out_rest);
    }
}

/// Fewer than sixteen values and zeros.
#[inline(always)]
fn padded<T: Copy + Default>(x: &[T]) -> [T; LANES] {
    let mut all = [T::default(); LANES];
    all[..x.len()].copy_from_slice(x);
    all
}

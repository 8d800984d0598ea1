//! What is done to one row after another: softmax, activations, embeddings.

use super::lanes::{LANES, Lanes};
use super::math::{self, Activation, Function};
use super::matrix::MatrixMut;
use half::f16;

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
    for chunk in x.chunks_mut(LANES) {
        let y = function.apply(lanes, load(lanes, chunk, 0.0));
        store(lanes, y, chunk);
    }
}

/// At most sixteen values, the rest `padding`. What follows it is written once for whole and for partial chunks.
#[inline(always)]
fn load<L: Lanes>(lanes: L, chunk: &[f32], padding: f32) -> L::F {
    match chunk.first_chunk() {
        Some(whole) => lanes.load(whole),
        None => lanes.load_partial(chunk, padding),
    }
}

#[inline(always)]
fn store<L: Lanes>(lanes: L, x: L::F, chunk: &mut [f32]) {
    match chunk.first_chunk_mut() {
        Some(whole) => lanes.store(x, whole),
        None => lanes.store_partial(x, chunk),
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
    for chunk in x.chunks(LANES) {
        highest = lanes.max(load(lanes, chunk, f32::NEG_INFINITY), highest);
    }
    let highest = lanes.splat(lanes.maximum(highest));
    let scale = lanes.splat(scale);
    let mut sum = lanes.zero();
    for chunk in x.chunks_mut(LANES) {
        let below = lanes.sub(load(lanes, chunk, f32::NEG_INFINITY), highest);
        let power = math::exp(lanes, lanes.mul(below, scale));
        sum = lanes.add(sum, power);
        store(lanes, power, chunk);
    }
    let inverse = lanes.splat(1.0 / lanes.sum(sum));
    for chunk in x.chunks_mut(LANES) {
        let share = lanes.mul(load(lanes, chunk, 0.0), inverse);
        store(lanes, share, chunk);
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

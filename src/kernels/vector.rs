//! A matrix times one vector, in f32: small heads on top of pooled vectors.

use super::lanes::{LANES, Lanes};
use half::f16;

/// Elements of a matrix that can be read as f32.
pub(crate) trait Weight: Copy {
    fn load<L: Lanes>(lanes: L, from: &[Self; LANES]) -> L::F;
    fn zero() -> Self;
}

impl Weight for f32 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, from: &[f32; LANES]) -> L::F {
        lanes.load(from)
    }
    #[inline(always)]
    fn zero() -> f32 {
        0.0
    }
}

impl Weight for i8 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, from: &[i8; LANES]) -> L::F {
        lanes.load_i8(from)
    }
    #[inline(always)]
    fn zero() -> i8 {
        0
    }
}

impl Weight for f16 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, from: &[f16; LANES]) -> L::F {
        lanes.load_f16(from)
    }
    #[inline(always)]
    fn zero() -> f16 {
        f16::ZERO
    }
}

/// Rows whose sums are computed at a time, so that one addition need not wait for the one before.
const ROWS: usize = 8;

/// out[n] = Σ weight[n, k]·x[k] by fma over sixteen strided partial sums and the fixed tree.
#[inline(always)]
pub(crate) fn matrix_vector<L: Lanes, W: Weight>(
    lanes: L,
    weight: &[W],
    x: &[f32],
    out: &mut [f32],
) {
    let k = x.len();
    if k == 0 {
        return out.fill(0.0);
    }
    let (blocks, rest) = out.as_chunks_mut::<ROWS>();
    let (weight, weight_rest) = weight.split_at(blocks.len() * ROWS * k);
    for (weight, out) in weight.chunks_exact(ROWS * k).zip(blocks) {
        rows(lanes, weight, x, out);
    }
    for (weight, out) in weight_rest.chunks_exact(k).zip(rest.as_chunks_mut::<1>().0) {
        rows(lanes, weight, x, out);
    }
}

/// `N` rows of the product.
#[inline(always)]
fn rows<L: Lanes, W: Weight, const N: usize>(
    lanes: L,
    weight: &[W],
    x: &[f32],
    out: &mut [f32; N],
) {
    let k = x.len();
    let mut sums = [lanes.zero(); N];
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut from: [&[[W; LANES]]; N] = [&[]; N];
    for (row, from) in from.iter_mut().enumerate() {
        *from = &weight[row * k..][..k].as_chunks().0[..chunks.len()];
    }
    for (chunk, x) in chunks.iter().enumerate() {
        let x = lanes.load(x);
        for (from, sum) in from.iter().zip(&mut sums) {
            *sum = lanes.fma(W::load(lanes, &from[chunk]), x, *sum);
        }
    }
    if !rest.is_empty() {
        let x = lanes.load_partial(rest, 0.0);
        for (row, sum) in sums.iter_mut().enumerate() {
            let from = &weight[row * k..][..k][chunks.len() * LANES..];
            let mut padded = [W::zero(); LANES];
            padded[..from.len()].copy_from_slice(from);
            *sum = lanes.fma(W::load(lanes, &padded), x, *sum);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = lanes.sum(sum);
    }
}

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

/// out[n] = Σ weight[n, k]·x[k] by fma over sixteen strided partial sums and the fixed tree.
#[inline(always)]
pub(crate) fn matrix_vector<L: Lanes, W: Weight>(
    lanes: L,
    weight: &[W],
    x: &[f32],
    out: &mut [f32],
) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    for (row, out) in weight.chunks_exact(x.len().max(1)).zip(out) {
        let (row_chunks, row_rest) = row.as_chunks::<LANES>();
        let mut sum = lanes.zero();
        for (weight, x) in row_chunks.iter().zip(chunks) {
            sum = lanes.fma(W::load(lanes, weight), lanes.load(x), sum);
        }
        if !rest.is_empty() {
            let mut weight = [W::zero(); LANES];
            weight[..row_rest.len()].copy_from_slice(row_rest);
            let x = lanes.load_partial(rest, 0.0);
            sum = lanes.fma(W::load(lanes, &weight), x, sum);
        }
        *out = lanes.sum(sum);
    }
}

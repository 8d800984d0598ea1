//! A matrix times one vector or some, in f32: small heads on top of hidden states, and the words for masks.

use super::lanes::{LANES, Lanes};
use super::matrix::{Matrix, MatrixMut};
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

/// Weight rows at a time for one vector, so that one addition need not wait for the one before.
const ROWS: usize = 8;

/// Vectors at a time where there are several, and weight rows at a time for these: each weight is converted once for all.
const VECTORS: usize = 4;
const ROWS_FOR_VECTORS: usize = 2;

/// out[m, n] = Σ weight[n, k]·x[m, k] by fma over sixteen strided partial sums and the fixed tree, whatever the number of
/// vectors. The weights are read once.
#[inline(always)]
pub(crate) fn matrix_product<L: Lanes, W: Weight>(
    lanes: L,
    weight: &[W],
    x: Matrix<'_>,
    mut out: MatrixMut<'_>,
) {
    let k = x.columns();
    let several = x.rows() > 1;
    let n = if several { ROWS_FOR_VECTORS } else { ROWS };
    let mut first = 0;
    while first < out.columns() {
        let count = n.min(out.columns() - first);
        let weight = &weight[first * k..][..count * k];
        match (several, count) {
            (false, ROWS) => vectors::<L, W, ROWS, 1>(lanes, weight, x, first, &mut out),
            (true, ROWS_FOR_VECTORS) => {
                vectors::<L, W, ROWS_FOR_VECTORS, VECTORS>(lanes, weight, x, first, &mut out);
            }
            _ => {
                for row in 0..count {
                    let weight = &weight[row * k..][..k];
                    vectors::<L, W, 1, 1>(lanes, weight, x, first + row, &mut out);
                }
            }
        }
        first += count;
    }
}

/// `N` columns of the product, from `first` on, with all vectors, `M` at a time.
#[inline(always)]
fn vectors<L: Lanes, W: Weight, const N: usize, const M: usize>(
    lanes: L,
    weight: &[W],
    x: Matrix<'_>,
    first: usize,
    out: &mut MatrixMut<'_>,
) {
    let mut vector = 0;
    while vector < x.rows() {
        // The last vector stands in for those that are missing.
        let mut some: [&[f32]; M] = [&[]; M];
        for (index, some) in some.iter_mut().enumerate() {
            *some = x.row((vector + index).min(x.rows() - 1));
        }
        let sums = tile::<L, W, N, M>(lanes, weight, some);
        for (index, sums) in sums.iter().enumerate().take(x.rows() - vector) {
            out.row(vector + index)[first..first + N].copy_from_slice(sums);
        }
        vector += M;
    }
}

/// The sums of `N` rows of weights with `M` vectors, `[M, N]`.
#[inline(always)]
fn tile<L: Lanes, W: Weight, const N: usize, const M: usize>(
    lanes: L,
    weight: &[W],
    x: [&[f32]; M],
) -> [[f32; N]; M] {
    let k = x[0].len();
    let mut sums = [[lanes.zero(); N]; M];
    let whole = k / LANES;
    let mut from: [&[[W; LANES]]; N] = [&[]; N];
    for (row, from) in from.iter_mut().enumerate() {
        *from = &weight[row * k..][..k].as_chunks().0[..whole];
    }
    let mut vectors: [&[[f32; LANES]]; M] = [&[]; M];
    for (x, vector) in x.iter().zip(&mut vectors) {
        *vector = &x[..k].as_chunks().0[..whole];
    }
    for chunk in 0..whole {
        let mut values = [lanes.zero(); M];
        for (value, vector) in values.iter_mut().zip(&vectors) {
            *value = lanes.load(&vector[chunk]);
        }
        for (row, from) in from.iter().enumerate() {
            let weight = W::load(lanes, &from[chunk]);
            for (value, sums) in values.iter().zip(&mut sums) {
                sums[row] = lanes.fma(weight, *value, sums[row]);
            }
        }
    }
    if !k.is_multiple_of(LANES) {
        for (x, sums) in x.iter().zip(&mut sums) {
            let value = lanes.load_partial(&x[whole * LANES..], 0.0);
            for (row, sum) in sums.iter_mut().enumerate() {
                let from = &weight[row * k..][whole * LANES..k];
                let mut padded = [W::zero(); LANES];
                padded[..from.len()].copy_from_slice(from);
                *sum = lanes.fma(W::load(lanes, &padded), value, *sum);
            }
        }
    }
    let mut out = [[0.0; N]; M];
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = lanes.sum(sum);
        }
    }
    out
}

//! Attention of one sequence.
//!
//! Short sequences are computed in f32, long ones in 8-bit integers. Which of them, and every result, depends on this sequence
//! alone.

mod head;
mod long;
mod pack;
mod parts;
mod short;
mod weights;

use super::matrix::{Matrix, MatrixMut};
use super::product::Product;

/// Working memory of attention. It grows to the longest sequence and stays.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    long: head::Head,
    short: short::Head,
}

/// Longest sequences whose attention is computed in f32: about here it takes as long as in integers with AVX-512 VNNI and AVX-VNNI,
/// and half as long at 24 tokens. (Measured beside each other on 2026-11-29: with AMX integers are a tenth faster at 64 tokens; AVX2
/// has no product of bytes and is faster in f32 always.)
const SHORT: usize = 64;

/// out = softmax(scale·query·keyᵀ)·value for `heads` heads of equal size side by side.
#[inline(always)]
pub(crate) fn attention<P: Product>(
    product: P,
    [query, key, value]: [Matrix<'_>; 3],
    heads: usize,
    scale: f32,
    scratch: &mut AttentionScratch,
    out: MatrixMut<'_>,
) {
    if key.rows() == 0 || query.rows() == 0 || query.columns() == 0 {
        return;
    }
    let head_size = query.columns() / heads;
    // Scores are exponents of 2.
    let scale = scale * std::f32::consts::LOG2_E;
    let mut state = P::State::default();
    let mut rest = out;
    for head in 0..heads {
        let columns = head * head_size..(head + 1) * head_size;
        let parts = [
            query.column_range(columns.clone()),
            key.column_range(columns.clone()),
            value.column_range(columns),
        ];
        let (out, later) = rest.split_columns(head_size);
        rest = later;
        if key.rows() <= SHORT {
            short::attention(product.lanes(), parts, scale, &mut scratch.short, out);
        } else {
            long::attention(product, &mut state, parts, scale, &mut scratch.long, out);
        }
    }
}

//! Attention of short sequences in f32, head by head: quantizing, transposing and packing for products of bytes would take
//! longer than what they save.
//!
//! Scores are computed transposed, sixteen queries side by side in the lanes and one key after another, so that neither the
//! largest score nor the sum of the weights needs a reduction across lanes. Averages are computed with channels in the lanes.
//! Each sum goes through channels, or keys, one after the other: an order that no vector width changes.

use crate::lanes::{LANES, Lanes};
use crate::math;
use crate::matrix::{Matrix, MatrixMut};
use crate::memory::Aligned;
use std::ops::Range;

/// Working memory of one head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Some queries, `[head_size]`.
    queries: Aligned<[f32; LANES]>,
    /// Scores of some queries, then weights: `[keys]`.
    weights: Aligned<[f32; LANES]>,
    /// Values whose channels are not whole vectors, padded: `[keys, channels]`.
    values: Aligned<[f32; LANES]>,
}

/// out = softmax(scale·query·keyᵀ)·value of one head.
#[inline(always)]
pub(super) fn attention<L: Lanes>(
    lanes: L,
    [query, key, value]: [Matrix<'_>; 3],
    scale: f32,
    head: &mut Head,
    mut out: MatrixMut<'_>,
) {
    let head_size = query.columns();
    head.queries.grow(head_size.next_multiple_of(LANES));
    head.weights.grow(key.rows());
    let (values, stride) = pad(lanes, value, &mut head.values);
    for first in (0..query.rows()).step_by(LANES) {
        let rows = first..query.rows().min(first + LANES);
        transpose(
            lanes,
            query.row_range(rows.clone()),
            scale,
            &mut head.queries,
        );
        let weights = &mut head.weights[..key.rows()];
        let highest = score(lanes, &head.queries[..head_size], key, weights);
        let inverse_sums = weigh(lanes, weights, highest);
        average(
            lanes,
            (weights, &inverse_sums),
            (values, stride),
            rows,
            &mut out,
        );
    }
}

/// Values with whole vectors of channels: those that are there, or a padded copy.
#[inline(always)]
fn pad<'a, L: Lanes>(
    lanes: L,
    value: Matrix<'a>,
    padded: &'a mut Aligned<[f32; LANES]>,
) -> (*const f32, usize) {
    let head_size = value.columns();
    if head_size.is_multiple_of(LANES) {
        return (value.as_ptr(), value.stride());
    }
    let chunks = head_size.div_ceil(LANES);
    padded.grow(value.rows() * chunks);
    for (row, to) in padded
        .chunks_exact_mut(chunks)
        .enumerate()
        .take(value.rows())
    {
        for (from, to) in value.row(row).chunks(LANES).zip(to) {
            lanes.store(load(lanes, from), to);
        }
    }
    (padded.as_ptr().cast(), chunks * LANES)
}

#[inline(always)]
fn load<L: Lanes>(lanes: L, from: &[f32]) -> L::F {
    match from.first_chunk() {
        Some(whole) => lanes.load(whole),
        None => lanes.load_partial(from, 0.0),
    }
}

/// scale·query of up to sixteen queries, by channel.
#[inline(always)]
fn transpose<L: Lanes>(lanes: L, query: Matrix<'_>, scale: f32, to: &mut [[f32; LANES]]) {
    let scale = lanes.splat(scale);
    for (chunk, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let columns = chunk * LANES..query.columns().min((chunk + 1) * LANES);
        if columns.start >= columns.end {
            return;
        }
        let mut block = [[0.0; LANES]; LANES];
        for (row, block) in block.iter_mut().enumerate().take(query.rows()) {
            let x = load(lanes, &query.row(row)[columns.clone()]);
            lanes.store(lanes.mul(x, scale), block);
        }
        *to = lanes.transpose(&block);
    }
}

/// Products of all keys with sixteen queries, and the largest of each query.
#[inline(always)]
fn score<L: Lanes>(
    lanes: L,
    queries: &[[f32; LANES]],
    key: Matrix<'_>,
    scores: &mut [[f32; LANES]],
) -> L::F {
    const { assert!(L::KEYS == 8 || L::KEYS == 4) };
    let mut highest = lanes.splat(f32::NEG_INFINITY);
    let mut first = 0;
    while first < scores.len() {
        // The last ones are computed again where there are not enough.
        let keys = L::KEYS;
        if keys == 8 && scores.len() >= 8 {
            first = first.min(scores.len() - 8);
            highest = score_some::<L, 8>(lanes, queries, key, first, scores, highest);
            first += 8;
        } else if scores.len() >= 4 {
            first = first.min(scores.len() - 4);
            highest = score_some::<L, 4>(lanes, queries, key, first, scores, highest);
            first += 4;
        } else {
            highest = score_some::<L, 1>(lanes, queries, key, first, scores, highest);
            first += 1;
        }
    }
    highest
}

/// The same for `N` keys from `first` on.
#[inline(always)]
fn score_some<L: Lanes, const N: usize>(
    lanes: L,
    queries: &[[f32; LANES]],
    key: Matrix<'_>,
    first: usize,
    scores: &mut [[f32; LANES]],
    mut highest: L::F,
) -> L::F {
    let scores: &mut [[f32; LANES]; N] = scores[first..].first_chunk_mut().expect("so many keys");
    assert!(first + N <= key.rows() && queries.len() <= key.columns());
    let mut keys = [key.as_ptr(); N];
    for (index, keys) in keys.iter_mut().enumerate() {
        // SAFETY: a row of the matrix.
        *keys = unsafe { keys.add((first + index) * key.stride()) };
    }
    let mut sums = [lanes.zero(); N];
    for (channel, query) in queries.iter().enumerate() {
        let query = lanes.load(query);
        for i in 0..N {
            // SAFETY: there is a channel of the key for each of the queries'.
            let key = lanes.splat(unsafe { *keys[i].add(channel) });
            sums[i] = lanes.fma(query, key, sums[i]);
        }
    }
    for (sum, score) in sums.iter().zip(scores) {
        highest = lanes.max(*sum, highest);
        lanes.store(*sum, score);
    }
    highest
}

/// 2^(score − highest) in place, and the inverse of each query's sum.
#[inline(always)]
fn weigh<L: Lanes>(lanes: L, scores: &mut [[f32; LANES]], highest: L::F) -> [f32; LANES] {
    let mut sum = lanes.zero();
    for score in scores {
        let weight = math::exp2(lanes, lanes.sub(lanes.load(score), highest));
        sum = lanes.add(sum, weight);
        lanes.store(weight, score);
    }
    let mut inverse_sums = [0.0; LANES];
    lanes.store(lanes.div(lanes.splat(1.0), sum), &mut inverse_sums);
    inverse_sums
}

/// Averages of the values with the weights of up to sixteen queries, into these rows.
#[inline(always)]
fn average<L: Lanes>(
    lanes: L,
    (weights, inverse_sums): (&[[f32; LANES]], &[f32; LANES]),
    (values, stride): (*const f32, usize),
    rows: Range<usize>,
    out: &mut MatrixMut<'_>,
) {
    let count = rows.len();
    let mut column = 0;
    while column < out.columns() {
        let chunks = if out.columns() - column >= 2 * LANES {
            2
        } else {
            1
        };
        let mut query = 0;
        while query < count {
            // The last ones are computed again where there are not enough.
            let first = if count >= L::QUERIES {
                query.min(count - L::QUERIES)
            } else {
                query
            };
            let parts = (weights, inverse_sums);
            let at = (rows.start, first, column);
            // SAFETY: the values have whole vectors of channels, as many as the columns need.
            unsafe {
                let values = values.add(column);
                match (chunks, count >= L::QUERIES, L::QUERIES) {
                    (2, true, 8) => average_some::<L, 8, 2>(lanes, parts, values, stride, at, out),
                    (2, true, _) => average_some::<L, 2, 2>(lanes, parts, values, stride, at, out),
                    (2, false, _) => average_some::<L, 1, 2>(lanes, parts, values, stride, at, out),
                    (_, true, 8) => average_some::<L, 8, 1>(lanes, parts, values, stride, at, out),
                    (_, true, _) => average_some::<L, 2, 1>(lanes, parts, values, stride, at, out),
                    (_, false, _) => average_some::<L, 1, 1>(lanes, parts, values, stride, at, out),
                }
            }
            query = first + if count >= L::QUERIES { L::QUERIES } else { 1 };
        }
        column += chunks * LANES;
    }
}

/// The same for `N` queries and `C` vectors of channels.
///
/// # Safety
/// There are so many values for each weight, `stride` apart.
#[inline(always)]
unsafe fn average_some<L: Lanes, const N: usize, const C: usize>(
    lanes: L,
    (weights, inverse_sums): (&[[f32; LANES]], &[f32; LANES]),
    mut values: *const f32,
    stride: usize,
    (row, first, column): (usize, usize, usize),
    out: &mut MatrixMut<'_>,
) {
    assert!(first + N <= LANES);
    let mut sums = [[lanes.zero(); C]; N];
    for weights in weights {
        let weights = weights.as_ptr();
        let mut value = [lanes.zero(); C];
        for (c, value) in value.iter_mut().enumerate() {
            // SAFETY: the caller promises them.
            *value = lanes.load(unsafe { &*values.add(c * LANES).cast() });
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: of sixteen.
            let weight = lanes.splat(unsafe { *weights.add(first + i) });
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum = lanes.fma(weight, value, *sum);
            }
        }
        values = values.wrapping_add(stride);
    }
    for (i, sums) in sums.iter().enumerate() {
        let inverse = lanes.splat(inverse_sums[first + i]);
        let to = &mut out.row(row + first + i)[column..];
        let end = to.len().min(C * LANES);
        for (c, to) in to[..end].chunks_mut(LANES).enumerate() {
            let y = lanes.mul(sums[c], inverse);
            match to.first_chunk_mut() {
                Some(to) => lanes.store(y, to),
                None => lanes.store_partial(y, to),
            }
        }
    }
}

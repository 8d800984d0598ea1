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
    /// Some queries, `[panels, head_size]`, the channels padded.
    queries: Aligned<[f32; LANES]>,
    /// Scores of some queries, then weights: `[panels, keys]`, the keys padded.
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
    let (head_size, keys) = (query.columns(), key.rows());
    let channels = head_size.next_multiple_of(LANES);
    head.queries.grow(L::PANELS * channels);
    let padded_keys = keys.next_multiple_of(L::KEYS);
    head.weights.grow(L::PANELS * padded_keys);
    let (values, stride) = pad(lanes, value, &mut head.values);
    for first in (0..query.rows()).step_by(L::PANELS * LANES) {
        let rows = first..query.rows().min(first + L::PANELS * LANES);
        let panels = rows.len().div_ceil(LANES);
        let panel_rows =
            |panel: usize| first + panel * LANES..rows.end.min(first + (panel + 1) * LANES);
        for panel in 0..panels {
            let to = &mut head.queries[panel * channels..][..channels];
            transpose(lanes, query.row_range(panel_rows(panel)), scale, to);
        }
        let queries = (&head.queries[..panels * channels], channels);
        let weights = &mut head.weights[..panels * padded_keys];
        let highest = match panels {
            2 if L::PANELS == 2 => score::<L, 2>(lanes, queries, key, weights),
            _ => {
                let [highest] = score::<L, 1>(lanes, queries, key, weights);
                [highest; 2]
            }
        };
        for (panel, weights) in weights.chunks_exact_mut(padded_keys).enumerate() {
            let weights = &mut weights[..keys];
            let inverse_sums = weigh(lanes, weights, highest[panel]);
            average(
                lanes,
                (weights, &inverse_sums),
                (values, stride),
                panel_rows(panel),
                &mut out,
            );
        }
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
        let mut block = [[0.0; LANES]; LANES];
        for (row, block) in block.iter_mut().enumerate().take(query.rows()) {
            let x = load(lanes, &query.row(row)[columns.clone()]);
            lanes.store(lanes.mul(x, scale), block);
        }
        *to = lanes.transpose(&block);
    }
}

/// Products of all keys with `P` panels of sixteen queries, the first channels of which are `channels` apart, and the largest of each
/// query.
#[inline(always)]
fn score<L: Lanes, const P: usize>(
    lanes: L,
    queries: (&[[f32; LANES]], usize),
    key: Matrix<'_>,
    scores: &mut [[f32; LANES]],
) -> [L::F; P] {
    const { assert!((L::KEYS == 8 || L::KEYS == 4) && L::PANELS <= 2) };
    let keys = key.rows();
    let mut highest = [lanes.splat(f32::NEG_INFINITY); P];
    let mut first = 0;
    while first < keys {
        if L::KEYS == 8 && keys - first > 4 {
            score_some::<L, P, 8>(lanes, queries, key, first, scores, &mut highest);
            first += 8;
        } else {
            score_some::<L, P, 4>(lanes, queries, key, first, scores, &mut highest);
            first += 4;
        }
    }
    highest
}

/// The same for up to `N` keys from `first` on.
#[inline(always)]
fn score_some<L: Lanes, const P: usize, const N: usize>(
    lanes: L,
    (queries, channels): (&[[f32; LANES]], usize),
    key: Matrix<'_>,
    first: usize,
    scores: &mut [[f32; LANES]],
    highest: &mut [L::F; P],
) {
    let padded_keys = scores.len() / P;
    assert!(first < key.rows() && first + N <= padded_keys);
    assert!(key.columns() <= channels && queries.len() == P * channels);
    // The last one stands for those that are missing.
    let mut keys = [key.as_ptr(); N];
    for (index, keys) in keys.iter_mut().enumerate() {
        let row = (first + index).min(key.rows() - 1);
        // SAFETY: a row of the matrix.
        *keys = unsafe { keys.add(row * key.stride()) };
    }
    let mut sums = [[lanes.zero(); N]; P];
    for channel in 0..key.columns() {
        let mut query = [lanes.zero(); P];
        for (panel, query) in query.iter_mut().enumerate() {
            // SAFETY: the panel has as many channels as the keys, or more.
            *query = lanes.load(unsafe { queries.get_unchecked(panel * channels + channel) });
        }
        for i in 0..N {
            // SAFETY: a channel of a row.
            let key = lanes.splat(unsafe { *keys[i].add(channel) });
            for (query, sums) in query.iter().zip(&mut sums) {
                sums[i] = lanes.fma(*query, key, sums[i]);
            }
        }
    }
    let panels = scores.chunks_exact_mut(padded_keys);
    for ((sums, scores), highest) in sums.iter().zip(panels).zip(highest) {
        let scores: &mut [_; N] = scores[first..].first_chunk_mut().expect("padded");
        for (sum, score) in sums.iter().zip(scores) {
            *highest = lanes.max(*sum, *highest);
            lanes.store(*sum, score);
        }
    }
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
    const { assert!(L::QUERIES == 8 || L::QUERIES == 2) };
    let count = rows.len();
    let mut column = 0;
    while column < out.columns() {
        let chunks = if out.columns() - column >= 2 * LANES {
            2
        } else {
            1
        };
        // Sixteen have weights, be there so many queries or not.
        for first in (0..count).step_by(L::QUERIES) {
            let parts = (weights, inverse_sums);
            let queries = first..count.min(first + L::QUERIES);
            let at = (rows.start, queries, column);
            // SAFETY: the values have whole vectors of channels, as many as the columns need.
            unsafe {
                let values = values.add(column);
                match (chunks, L::QUERIES) {
                    (2, 8) => average_some::<L, 8, 2>(lanes, parts, values, stride, at, out),
                    (2, _) => average_some::<L, 2, 2>(lanes, parts, values, stride, at, out),
                    (_, 8) => average_some::<L, 8, 1>(lanes, parts, values, stride, at, out),
                    (_, _) => average_some::<L, 2, 1>(lanes, parts, values, stride, at, out),
                }
            }
        }
        column += chunks * LANES;
    }
}

/// The same for up to `N` queries from a multiple of that on, and `C` vectors of channels.
///
/// # Safety
/// There are so many values for each weight, `stride` apart.
#[inline(always)]
unsafe fn average_some<L: Lanes, const N: usize, const C: usize>(
    lanes: L,
    (weights, inverse_sums): (&[[f32; LANES]], &[f32; LANES]),
    mut values: *const f32,
    stride: usize,
    (row, queries, column): (usize, Range<usize>, usize),
    out: &mut MatrixMut<'_>,
) {
    let first = queries.start;
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
    for (i, sums) in sums.iter().enumerate().take(queries.len()) {
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

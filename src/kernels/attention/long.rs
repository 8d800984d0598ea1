//! Attention of long sequences in 8-bit integers, head by head.
//!
//! Everything is computed transposed, sixteen queries side by side in the lanes and one key after another, so that
//! neither the largest score nor the sum of the weights needs a reduction across lanes.
//!
//! - Keys are bytes, symmetric per channel: k ≈ s·(u − 128). The channels' scales move to the queries, which are symmetric
//!   per query. That u is off by 128 adds the same to all scores of a query, and softmax does not see it.
//! - Scores stay integers until the largest is subtracted. A weight is round(65535·2ᵗ) with t ≤ 0, kept as two bytes, and
//!   the sum of these integers is the divisor.
//! - Values are bytes between their channel's minimum and maximum in the sequence; the minimum is added back at the end:
//!   the weights add up to 1.
//!
//! Sixteen queries pass through everything at a time, so that their scores and weights stay near: 48 KiB for 512 keys,
//! beside as much for keys and values.

use super::pack::{pack_keys, pack_queries, pack_values};
use crate::lanes::{LANES, Lanes};
use crate::math;
use crate::matrix::{Matrix, MatrixMut};
use crate::memory::{Aligned, grow};
use crate::product::{Product, Tile};
use crate::quantized::Block;
use std::ops::Range;

/// Working memory of one head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// `[keys, depth]`, `depth` blocks for a head.
    pub(super) keys: Vec<Block>,
    /// Channels of the keys, padded to whole vectors: what a key is multiplied by.
    pub(super) key_inverse: Aligned<f32>,
    /// What a query is multiplied by.
    pub(super) query_factor: Aligned<f32>,
    /// Sixteen queries as a panel: `[depth·16]` groups.
    pub(super) queries: Vec<Block>,
    /// Products of all keys with sixteen queries: `[keys, 16]`.
    scores: Aligned<[i32; LANES]>,
    /// High bytes of the weights less 128, then low bytes: `[2, keys/4]` groups.
    weights: Vec<Block>,
    /// `[channels, keys]` in blocks.
    pub(super) values: Vec<Block>,
    /// Least value of each channel.
    pub(super) lows: Aligned<f32>,
    /// Step between a channel's bytes.
    pub(super) value_steps: Aligned<f32>,
    /// Sum of a channel's bytes.
    pub(super) value_sums: Aligned<f32>,
    /// A tile of products with high bytes and one with low bytes.
    products: Aligned<[i32; LANES]>,
    /// `[channels, 16]`: queries before they are packed, results before they go to the output.
    pub(super) transposed: Aligned<[f32; LANES]>,
    /// Of sixteen queries: what a unit of their scores is worth in the exponent of 2.
    pub(super) steps: [f32; LANES],
    /// Of sixteen queries: their largest score.
    highest: [i32; LANES],
    /// Of sixteen queries: the inverse of the sum of their weights.
    inverse_sums: [f32; LANES],
}

/// out = softmax(scale·query·keyᵀ)·value of one head.
#[inline(always)]
pub(super) fn attention<P: Product>(
    product: P,
    state: &mut P::State,
    [query, key, value]: [Matrix<'_>; 3],
    scale: f32,
    head: &mut Head,
    mut out: MatrixMut<'_>,
) {
    let lanes = product.lanes();
    let shape = Shape::of::<P>(key.rows(), query.columns());
    head.reserve::<P>(shape);
    pack_keys(lanes, key, shape, head);
    pack_values(lanes, value, shape, head);
    for first in (0..query.rows()).step_by(LANES) {
        let rows = first..query.rows().min(first + LANES);
        pack_queries(lanes, query.row_range(rows.clone()), scale, shape, head);
        score(product, state, shape, head);
        weigh(lanes, shape, head);
        average(product, state, shape, head);
        write(lanes, shape, &head.transposed, rows, &mut out);
    }
}

/// Products of all keys with a panel of queries, and the largest of each query.
#[inline(always)]
fn score<P: Product>(product: P, state: &mut P::State, shape: Shape, scratch: &mut Head) {
    let lanes = product.lanes();
    let queries = signed(&scratch.queries[..shape.depth * LANES]);
    let mut highest = lanes.splat_int(i32::MIN);
    let mut begin = 0;
    // The maximum comes one tile behind, so that it need not wait for the stores of its own.
    for first in (0..shape.keys).step_by(shape.height) {
        let rows = shape.height.min(shape.keys - first);
        let tile = Tile {
            rows_of_blocks: &scratch.keys[first * shape.depth..],
            weights: queries,
            rows: tile_rows::<P>(rows),
            panels: 1,
            depth: shape.depth,
            row_stride: shape.depth,
            panel_stride: shape.depth * 64 * LANES,
        };
        product.tall(state, tile, scratch.scores[first..].as_flattened_mut());
        for scores in &scratch.scores[begin..first] {
            highest = lanes.max_int(highest, lanes.load_int(scores));
        }
        begin = first;
    }
    for scores in &scratch.scores[begin..shape.keys] {
        highest = lanes.max_int(highest, lanes.load_int(scores));
    }
    lanes.store_int(highest, &mut scratch.highest);
}

/// Weights of sixteen queries for all keys, and the inverse of their sums.
#[inline(always)]
fn weigh<L: Lanes>(lanes: L, shape: Shape, scratch: &mut Head) {
    let (highest, step) = (lanes.load_int(&scratch.highest), lanes.load(&scratch.steps));
    let (high, low) = scratch.weights.split_at_mut(shape.key_depth * LANES);
    let groups = high.iter_mut().zip(low);
    let (quads, rest) = scratch.scores[..shape.keys].as_chunks::<4>();
    let mut sum = lanes.splat_int(0);
    for ((high, low), scores) in groups.zip(quads) {
        let mut quad = [lanes.splat_int(0); 4];
        for i in 0..4 {
            quad[i] = weight(lanes, lanes.load_int(&scores[i]), highest, step);
            sum = lanes.add_int(sum, quad[i]);
        }
        lanes.store_quad_halves(quad, &mut low.0, &mut high.0);
    }
    if !rest.is_empty() {
        let mut quad = [lanes.splat_int(0); 4];
        for (quad, score) in quad.iter_mut().zip(rest) {
            *quad = weight(lanes, lanes.load_int(score), highest, step);
            sum = lanes.add_int(sum, *quad);
        }
        let (high, low) = scratch.weights.split_at_mut(shape.key_depth * LANES);
        let (high, low) = (&mut high[quads.len()].0, &mut low[quads.len()].0);
        lanes.store_quad_halves(quad, low, high);
    }
    let inverse = lanes.div(lanes.splat(1.0), lanes.to_float(sum));
    lanes.store(inverse, &mut scratch.inverse_sums);
}

/// The weight of a key for sixteen queries.
#[inline(always)]
fn weight<L: Lanes>(lanes: L, score: L::I, highest: L::I, step: L::F) -> L::I {
    let distance = lanes.to_float(lanes.sub_int(score, highest));
    math::exp2_u16(lanes, lanes.mul(distance, step))
}

/// Averages of the values with the weights of sixteen queries: `transposed` gets `[channels, 16]`.
#[inline(always)]
fn average<P: Product>(product: P, state: &mut P::State, shape: Shape, scratch: &mut Head) {
    let inverse_sum = product.lanes().load(&scratch.inverse_sums);
    let most = P::tall_rows(2);
    for first in (0..shape.head_size).step_by(most) {
        let rows = most.min(shape.head_size - first);
        // The high bytes are one panel, the low bytes another.
        let tile = Tile {
            rows_of_blocks: &scratch.values[first * shape.key_depth..],
            weights: signed(&scratch.weights[..2 * shape.key_depth * LANES]),
            rows: tile_rows::<P>(rows),
            panels: 2,
            depth: shape.key_depth,
            row_stride: shape.key_depth,
            panel_stride: shape.key_depth * 64 * LANES,
        };
        product.tall(state, tile, scratch.products.as_flattened_mut());
        dequantize(
            product.lanes(),
            scratch,
            first..first + rows,
            most,
            inverse_sum,
        );
    }
}

/// Some channels of sixteen queries from the products of their weights' high and low bytes.
#[inline(always)]
fn dequantize<L: Lanes>(
    lanes: L,
    scratch: &mut Head,
    channels: Range<usize>,
    most: usize,
    inverse_sum: L::F,
) {
    let (high, low) = scratch.products.split_at(most);
    for (channel, (high, low)) in channels.zip(high.iter().zip(low)) {
        // The weights' bytes were less by 128.
        let sum = scratch.value_sums[channel] as i32;
        let offset = lanes.splat_int(sum.wrapping_mul(128));
        let high = lanes.to_float(lanes.add_int(lanes.load_int(high), offset));
        let low = lanes.to_float(lanes.add_int(lanes.load_int(low), offset));
        let sum = lanes.mul(lanes.fma(high, lanes.splat(256.0), low), inverse_sum);
        let step = lanes.splat(scratch.value_steps[channel]);
        let y = lanes.fma(sum, step, lanes.splat(scratch.lows[channel]));
        lanes.store(y, &mut scratch.transposed[channel]);
    }
}

/// Writes the results of some queries as rows.
#[inline(always)]
fn write<L: Lanes>(
    lanes: L,
    shape: Shape,
    transposed: &[[f32; LANES]],
    rows: Range<usize>,
    out: &mut MatrixMut<'_>,
) {
    let blocks = transposed[..shape.channels].as_chunks::<LANES>().0;
    for (chunk, block) in blocks.iter().enumerate() {
        let block = lanes.transpose(block);
        let columns = chunk * LANES..shape.head_size.min((chunk + 1) * LANES);
        for (row, y) in rows.clone().zip(&block) {
            let to = &mut out.row(row)[columns.clone()];
            match to.first_chunk_mut() {
                Some(to) => lanes.store(lanes.load(y), to),
                None => lanes.store_partial(lanes.load(y), to),
            }
        }
    }
}

/// Rows that a kernel with tiles multiplies for so many: whole tiles.
#[inline(always)]
fn tile_rows<P: Product>(rows: usize) -> usize {
    rows.next_multiple_of(P::TILE_ROWS)
}

/// Sizes that follow from the kernel, the sequence and the head.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) keys: usize,
    head_size: usize,
    /// The head's size in whole vectors.
    pub(super) channels: usize,
    /// Blocks of a head.
    pub(super) depth: usize,
    /// Blocks of all keys.
    pub(super) key_depth: usize,
    /// Keys of a tile.
    height: usize,
}

impl Shape {
    #[inline(always)]
    fn of<P: Product>(keys: usize, head_size: usize) -> Self {
        let most = P::tall_rows(1);
        Shape {
            keys,
            head_size,
            channels: head_size.div_ceil(LANES) * LANES,
            depth: head_size.div_ceil(64),
            key_depth: keys.div_ceil(64),
            // Of equal height, unless that saves nothing.
            height: if P::TILE_ROWS > 1 {
                most
            } else {
                keys.div_ceil(keys.div_ceil(most))
            },
        }
    }
}

impl Head {
    #[inline(always)]
    fn reserve<P: Product>(&mut self, shape: Shape) {
        let empty = Block([0; 64]);
        // Whole tiles: what lies beyond the keys and channels is multiplied and not looked at.
        let tiles = shape.keys.next_multiple_of(P::tall_rows(1)) + P::tall_rows(1);
        let channels = shape.channels.next_multiple_of(P::tall_rows(2));
        grow(&mut self.keys, tiles * shape.depth, empty);
        self.key_inverse.grow(shape.channels);
        self.query_factor.grow(shape.channels);
        grow(&mut self.queries, shape.depth * LANES, empty);
        self.scores.grow(tiles);
        grow(&mut self.weights, 2 * shape.key_depth * LANES, empty);
        grow(&mut self.values, channels * shape.key_depth, empty);
        self.lows.grow(shape.channels);
        self.value_steps.grow(shape.channels);
        self.value_sums.grow(shape.channels);
        self.products.grow(2 * P::tall_rows(2));
        self.transposed.grow(shape.channels);
    }
}

/// Bytes as the signed operand of a product.
#[inline(always)]
fn signed(blocks: &[Block]) -> &[i8] {
    // SAFETY: a `Block` is 64 initialized bytes without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * 64) }
}

//! Attention of one sequence and head in 8-bit integers.
//!
//! Everything is computed transposed, sixteen queries side by side in the lanes and one key after another, so that
//! neither the largest score nor the sum of the weights needs a reduction across lanes, however short the sequence.
//!
//! - Keys are bytes, symmetric per channel: k ≈ s·(u − 128). The channels' scales move to the queries, which are symmetric
//!   per query. That u is off by 128 adds the same to all scores of a query, and softmax does not see it.
//! - Scores stay integers until the largest is subtracted. A weight is round(65535·2ᵗ) with t ≤ 0, kept as two bytes, and
//!   the sum of these integers is the divisor.
//! - Values are bytes between their channel's minimum and maximum in the sequence; the minimum is added back at the end:
//!   the weights add up to 1.
//!
//! All of it depends on this sequence alone.

use super::lanes::{LANES, Lanes};
use super::math;
use super::matrix::{Matrix, MatrixMut};
use super::product::{Product, Tile};
use super::quantized::{Block, bytes_mut};

/// Working memory of attention. It grows to the longest sequence and stays.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// `[keys, depth]`, `depth` blocks for a head.
    keys: Vec<Block>,
    /// Channels of the keys, padded to whole vectors: what a key is multiplied by.
    key_inverse: Vec<f32>,
    /// What a query is multiplied by.
    query_factor: Vec<f32>,
    /// Queries as panels: `[NR, depth·16]` groups.
    queries: Vec<Block>,
    /// Scale of each query's scores in the exponent of 2: `[NR·16]`.
    steps: Vec<f32>,
    /// Products of all keys with a block of queries, tile after tile.
    scores: Vec<i32>,
    /// High bytes of the weights less 128, then low bytes: `[2, panels, keys/4]` groups.
    weights: Vec<Block>,
    /// `[channels, keys]` in blocks.
    values: Vec<Block>,
    /// Least value of each channel.
    lows: Vec<f32>,
    /// Step between a channel's bytes.
    value_steps: Vec<f32>,
    /// Sum of a channel's bytes.
    value_sums: Vec<f32>,
    /// One tile of products with high bytes, one with low bytes.
    products: Vec<i32>,
    /// `[channels, 16]`, before it is transposed into the output.
    transposed: Vec<[f32; LANES]>,
}

/// out = softmax(scale·query·keyᵀ)·value.
#[inline(always)]
pub(crate) fn attention<P: Product>(
    product: P,
    (query, key, value): (Matrix<'_>, Matrix<'_>, Matrix<'_>),
    scale: f32,
    scratch: &mut AttentionScratch,
    mut out: MatrixMut<'_>,
) {
    let (keys, head_size) = (key.rows(), key.columns());
    if keys == 0 || head_size == 0 || query.rows() == 0 {
        return;
    }
    let lanes = product.lanes();
    let shape = Shape::of::<P>(keys, head_size);
    scratch.reserve::<P>(shape);
    pack_keys(lanes, key, shape, scratch);
    pack_values(lanes, value, shape, scratch);
    let mut state = P::State::default();
    for first in (0..query.rows()).step_by(P::NR * LANES) {
        let queries = query.row_range(first..query.rows().min(first + P::NR * LANES));
        let panels = queries.rows().div_ceil(LANES);
        pack_queries(
            lanes,
            queries,
            scale * std::f32::consts::LOG2_E,
            shape,
            scratch,
        );
        let mut highest = [lanes.splat_int(i32::MIN); MAX_PANELS];
        for (tile, first_key) in (0..keys).step_by(shape.height).enumerate() {
            let rows = shape.height.min(keys - first_key);
            let tile_of_keys = Tile {
                rows_of_blocks: &scratch.keys[first_key * shape.depth..],
                weights: signed(&scratch.queries[..panels * shape.depth * LANES]),
                rows: if P::TILES { P::MR } else { rows },
                panels,
                depth: shape.depth,
                row_stride: shape.depth,
                panel_stride: shape.depth * 64 * LANES,
            };
            let scores = &mut scratch.scores[tile * shape.tile_size..][..shape.tile_size];
            product.whole(&mut state, tile_of_keys, scores);
            let scores = scores.as_chunks::<LANES>().0;
            for (panel, highest) in highest[..panels].iter_mut().enumerate() {
                for scores in &scores[panel * P::MR..][..rows] {
                    *highest = lanes.max_int(*highest, lanes.load_int(scores));
                }
            }
        }
        let mut inverse_sums = [lanes.zero(); MAX_PANELS];
        for panel in 0..panels {
            inverse_sums[panel] =
                weigh::<P>(lanes, shape, scratch, (panel, panels), highest[panel]);
        }
        for first_channel in (0..head_size).step_by(P::MR) {
            let rows = P::MR.min(head_size - first_channel);
            let (high, low) = scratch.products.split_at_mut(shape.tile_size);
            for (part, products) in [&mut *high, &mut *low].into_iter().enumerate() {
                let size = panels * shape.key_depth * LANES;
                let channels = Tile {
                    rows_of_blocks: &scratch.values[first_channel * shape.key_depth..],
                    weights: signed(&scratch.weights[part * size..][..size]),
                    rows: if P::TILES { P::MR } else { rows },
                    panels,
                    depth: shape.key_depth,
                    row_stride: shape.key_depth,
                    panel_stride: shape.key_depth * 64 * LANES,
                };
                product.whole(&mut state, channels, products);
            }
            for (panel, inverse_sum) in inverse_sums[..panels].iter().enumerate() {
                let tile = panel * P::MR * LANES..(panel * P::MR + rows) * LANES;
                for (row, (high, low)) in high[tile.clone()]
                    .as_chunks::<LANES>()
                    .0
                    .iter()
                    .zip(low[tile].as_chunks::<LANES>().0)
                    .enumerate()
                {
                    let channel = first_channel + row;
                    let offset =
                        lanes.splat_int((scratch.value_sums[channel] as i32).wrapping_mul(128));
                    let high = lanes.to_float(lanes.add_int(lanes.load_int(high), offset));
                    let low = lanes.to_float(lanes.add_int(lanes.load_int(low), offset));
                    let sum = lanes.mul(lanes.fma(high, lanes.splat(256.0), low), *inverse_sum);
                    let step = lanes.splat(scratch.value_steps[channel]);
                    let y = lanes.fma(sum, step, lanes.splat(scratch.lows[channel]));
                    lanes.store(y, &mut scratch.transposed[panel * shape.channels + channel]);
                }
            }
        }
        for panel in 0..panels {
            let transposed = &scratch.transposed[panel * shape.channels..][..shape.channels];
            let rows = first + panel * LANES..query.rows().min(first + (panel + 1) * LANES);
            for (chunk, block) in transposed.as_chunks::<LANES>().0.iter().enumerate() {
                let block = lanes.transpose(block);
                let columns = chunk * LANES..head_size.min((chunk + 1) * LANES);
                for (row, y) in rows.clone().zip(&block) {
                    let to = &mut out.row(row)[columns.clone()];
                    match to.first_chunk_mut() {
                        Some(to) => lanes.store(lanes.load(y), to),
                        None => lanes.store_partial(lanes.load(y), to),
                    }
                }
            }
        }
    }
}

/// Most panels that a tile of any kernel has.
const MAX_PANELS: usize = 8;

/// Sizes that follow from the kernel, the sequence and the head.
#[derive(Clone, Copy)]
struct Shape {
    keys: usize,
    /// The head's size in whole vectors.
    channels: usize,
    /// Blocks of a head.
    depth: usize,
    /// Blocks of all keys.
    key_depth: usize,
    /// Keys of a tile.
    height: usize,
    /// Accumulators of a tile.
    tile_size: usize,
}

impl Shape {
    #[inline(always)]
    fn of<P: Product>(keys: usize, head_size: usize) -> Self {
        Shape {
            keys,
            channels: head_size.div_ceil(LANES) * LANES,
            depth: head_size.div_ceil(64),
            key_depth: keys.div_ceil(64),
            // Of equal height, unless that saves nothing.
            height: if P::TILES {
                P::MR
            } else {
                keys.div_ceil(keys.div_ceil(P::MR))
            },
            tile_size: P::MR * P::NR * LANES,
        }
    }
}

impl AttentionScratch {
    #[inline(always)]
    fn reserve<P: Product>(&mut self, shape: Shape) {
        let empty = Block([0; 64]);
        // Whole tiles: what lies beyond the keys and channels is multiplied and not looked at.
        grow(
            &mut self.keys,
            shape.keys.next_multiple_of(P::MR) * shape.depth,
            empty,
        );
        grow(&mut self.key_inverse, shape.channels, 0.0);
        grow(&mut self.query_factor, shape.channels, 0.0);
        grow(&mut self.queries, P::NR * shape.depth * LANES, empty);
        grow(&mut self.steps, P::NR * LANES, 0.0);
        grow(
            &mut self.scores,
            shape.keys.div_ceil(shape.height) * shape.tile_size,
            0,
        );
        grow(
            &mut self.weights,
            2 * P::NR * shape.key_depth * LANES,
            empty,
        );
        grow(
            &mut self.values,
            shape.channels.next_multiple_of(P::MR) * shape.key_depth,
            empty,
        );
        grow(&mut self.lows, shape.channels, 0.0);
        grow(&mut self.value_steps, shape.channels, 0.0);
        grow(&mut self.value_sums, shape.channels, 0.0);
        grow(&mut self.products, 2 * shape.tile_size, 0);
        grow(&mut self.transposed, P::NR * shape.channels, [0.0; LANES]);
    }
}

fn grow<T: Copy>(buffer: &mut Vec<T>, length: usize, fill: T) {
    if buffer.len() < length {
        buffer.resize(length, fill);
    }
}

/// Bytes as the signed operand of a product.
#[inline(always)]
fn signed(blocks: &[Block]) -> &[i8] {
    // SAFETY: a `Block` is 64 initialized bytes without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * 64) }
}

/// The part of a row that chunk `chunk` of sixteen channels covers.
#[inline(always)]
fn load_chunk<L: Lanes>(lanes: L, row: &[f32], chunk: usize) -> L::F {
    let rest = &row[chunk * LANES..];
    match rest.first_chunk() {
        Some(x) => lanes.load(x),
        None => lanes.load_partial(rest, 0.0),
    }
}

/// Keys as bytes u = round(127·k/largest) + 128, with each channel's largest magnitude; queries get largest/127.
#[inline(always)]
fn pack_keys<L: Lanes>(lanes: L, key: Matrix<'_>, shape: Shape, scratch: &mut AttentionScratch) {
    for chunk in 0..shape.channels / LANES {
        let mut largest = lanes.zero();
        // 0·x is NaN for what is not finite, and stays.
        let mut poison = lanes.zero();
        for row in 0..shape.keys {
            let x = load_chunk(lanes, key.row(row), chunk);
            largest = lanes.max(lanes.abs(x), largest);
            poison = lanes.fma(x, lanes.zero(), poison);
        }
        // A channel too small for its inverse is as good as none.
        let enough = lanes.less(lanes.splat(1e-36), largest);
        let full = lanes.splat(127.0);
        let inverse = lanes.select(enough, lanes.div(full, largest), lanes.zero());
        let factor = lanes.select(enough, lanes.div(largest, full), lanes.zero());
        let at = chunk * LANES..(chunk + 1) * LANES;
        let to = scratch.key_inverse[at.clone()]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(inverse, to);
        let to = scratch.query_factor[at]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(lanes.add(factor, poison), to);
    }
    let inverses = scratch.key_inverse.as_chunks::<LANES>().0;
    for row in 0..shape.keys {
        let bytes = bytes_mut(&mut scratch.keys[row * shape.depth..][..shape.depth]);
        for ((chunk, to), inverse) in bytes
            .as_chunks_mut::<LANES>()
            .0
            .iter_mut()
            .enumerate()
            .zip(inverses)
            .take(shape.channels / LANES)
        {
            let x = load_chunk(lanes, key.row(row), chunk);
            let u = lanes.round(lanes.fma(x, lanes.load(inverse), lanes.splat(128.0)));
            lanes.store_bytes(u, to);
        }
    }
}

/// Queries in −127…127 as panels, with what a unit of their products is worth in the exponent of 2.
#[inline(always)]
fn pack_queries<L: Lanes>(
    lanes: L,
    query: Matrix<'_>,
    scale: f32,
    shape: Shape,
    scratch: &mut AttentionScratch,
) {
    let groups = shape.depth * LANES;
    for panel in 0..query.rows().div_ceil(LANES) {
        let rows = panel * LANES..query.rows().min((panel + 1) * LANES);
        let mut largest = lanes.zero();
        let mut poison = lanes.zero();
        for chunk in 0..shape.channels / LANES {
            let factor = lanes.load(
                scratch.query_factor[chunk * LANES..]
                    .first_chunk()
                    .expect("a whole vector"),
            );
            let mut block = [[0.0; LANES]; LANES];
            for (row, to) in rows.clone().zip(&mut block) {
                lanes.store(
                    lanes.mul(load_chunk(lanes, query.row(row), chunk), factor),
                    to,
                );
            }
            let block = lanes.transpose(&block);
            for x in &block {
                largest = lanes.max(lanes.abs(lanes.load(x)), largest);
                poison = lanes.fma(lanes.load(x), lanes.zero(), poison);
            }
            scratch.transposed[chunk * LANES..][..LANES].copy_from_slice(&block);
        }
        let enough = lanes.less(lanes.splat(1e-36), largest);
        let full = lanes.splat(127.0);
        let inverse = lanes.select(enough, lanes.div(full, largest), lanes.zero());
        let step = lanes.mul(
            lanes.select(enough, lanes.div(largest, full), lanes.zero()),
            lanes.splat(scale),
        );
        let to = scratch.steps[panel * LANES..]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(lanes.add(step, poison), to);
        let channels = scratch.transposed[..shape.channels].as_chunks::<4>().0;
        for (group, channels) in scratch.queries[panel * groups..][..groups]
            .iter_mut()
            .zip(channels)
        {
            let mut quad = [lanes.splat_int(0); 4];
            for (quad, x) in quad.iter_mut().zip(channels) {
                *quad = lanes.round(lanes.mul(lanes.load(x), inverse));
            }
            lanes.store_quads(quad, &mut group.0);
        }
        let used = panel * groups + shape.channels / 4..(panel + 1) * groups;
        scratch.queries[used].fill(Block([0; 64]));
    }
}

/// Values as bytes u = round(255·(v − low)/span) of `[channels, keys]`, zero where keys are padded.
#[inline(always)]
fn pack_values<L: Lanes>(
    lanes: L,
    value: Matrix<'_>,
    shape: Shape,
    scratch: &mut AttentionScratch,
) {
    for chunk in 0..shape.channels / LANES {
        let mut low = lanes.splat(f32::INFINITY);
        let mut high = lanes.splat(f32::NEG_INFINITY);
        let mut poison = lanes.zero();
        for row in 0..shape.keys {
            let x = load_chunk(lanes, value.row(row), chunk);
            low = lanes.min(x, low);
            high = lanes.max(x, high);
            poison = lanes.fma(x, lanes.zero(), poison);
        }
        let span = lanes.sub(high, low);
        let poison = lanes.fma(span, lanes.zero(), poison);
        let enough = lanes.less(lanes.splat(1e-36), span);
        let full = lanes.splat(255.0);
        let inverse = lanes.select(enough, lanes.div(full, span), lanes.zero());
        let step = lanes.select(enough, lanes.div(span, full), lanes.zero());
        let at = chunk * LANES..(chunk + 1) * LANES;
        let to = scratch.lows[at.clone()]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(lanes.add(low, poison), to);
        let to = scratch.value_steps[at.clone()]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(step, to);

        let mut sum = lanes.zero();
        let stride = shape.key_depth * 64;
        let rows = &mut scratch.values[at.start * shape.key_depth..at.end * shape.key_depth];
        let rows = bytes_mut(rows);
        for group in 0..shape.keys.div_ceil(4) {
            let mut quad = [lanes.splat_int(0); 4];
            for (i, quad) in quad.iter_mut().enumerate() {
                if 4 * group + i < shape.keys {
                    let x = load_chunk(lanes, value.row(4 * group + i), chunk);
                    *quad = lanes.round(lanes.mul(lanes.sub(x, low), inverse));
                    sum = lanes.add(sum, lanes.to_float(*quad));
                }
            }
            let mut bytes = [0; 64];
            lanes.store_quads(quad, &mut bytes);
            for (row, bytes) in rows.chunks_exact_mut(stride).zip(bytes.as_chunks::<4>().0) {
                row[4 * group..][..4].copy_from_slice(bytes);
            }
        }
        for row in rows.chunks_exact_mut(stride) {
            row[shape.keys.div_ceil(4) * 4..].fill(0);
        }
        let to = scratch.value_sums[at]
            .first_chunk_mut()
            .expect("a whole vector");
        lanes.store(sum, to);
    }
}

/// Weights of sixteen queries for all keys, and the inverse of their sums.
#[inline(always)]
fn weigh<P: Product>(
    lanes: P::Lanes,
    shape: Shape,
    scratch: &mut AttentionScratch,
    (panel, panels): (usize, usize),
    highest: <P::Lanes as Lanes>::I,
) -> <P::Lanes as Lanes>::F {
    let step = lanes.load(
        scratch.steps[panel * LANES..]
            .first_chunk()
            .expect("a whole vector"),
    );
    let scores = scratch.scores.as_chunks::<LANES>().0;
    let groups = shape.key_depth * LANES;
    let (high, low) = scratch.weights.split_at_mut(panels * groups);
    let (high, low) = (
        &mut high[panel * groups..][..groups],
        &mut low[panel * groups..][..groups],
    );
    let mut sum = lanes.splat_int(0);
    // Where the next key's scores lie: rows of a tile follow each other, tiles begin `P::MR·P::NR` apart.
    let (mut at, mut left) = (panel * P::MR, shape.height);
    for (group, (high, low)) in high
        .iter_mut()
        .zip(low)
        .enumerate()
        .take(shape.keys.div_ceil(4))
    {
        let mut quad = [lanes.splat_int(0); 4];
        for (i, quad) in quad.iter_mut().enumerate() {
            if 4 * group + i < shape.keys {
                let distance = lanes.sub_int(lanes.load_int(&scores[at]), highest);
                *quad = math::exp2_u16(lanes, lanes.mul(lanes.to_float(distance), step));
                sum = lanes.add_int(sum, *quad);
                at += 1;
                left -= 1;
                if left == 0 {
                    at += P::MR * P::NR - shape.height;
                    left = shape.height;
                }
            }
        }
        lanes.store_quad_halves(quad, &mut low.0, &mut high.0);
    }
    lanes.div(lanes.splat(1.0), lanes.to_float(sum))
}

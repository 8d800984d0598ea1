//! Attention of long sequences in 8-bit integers, head by head.
//!
//! Everything is computed transposed, sixteen queries side by side in the lanes and one key after another, so that
//! neither the largest score nor the sum of the weights needs a reduction across lanes.
//!
//! - Keys are bytes, symmetric per channel: k ≈ s·(u − 128). The channels' scales move to the queries, which are symmetric
//!   per query. That u is off by 128 adds the same to all scores of a query, and softmax does not see it.
//! - A weight is a whole number of fifteen bits in two signed bytes, and the sum of these numbers is the divisor.
//! - Values are bytes between their channel's minimum and maximum in the sequence; the minimum is added back at the end:
//!   the weights add up to 1.
//!
//! Keys come in blocks, whose scores and weights for sixteen queries (8 and 4 KiB) stay in the first-level cache. Scores count
//! from the largest so far, and where a block has a larger one, what has been summed shrinks by the difference (Milakov and
//! Gimelshein, arXiv:1805.02867).

use super::head::{Head, Shape};
use super::pack::{pack_keys, pack_queries, pack_values};
use super::parts::{KEY_DEPTH, KEYS, Part, Parts};
use super::weights::{refer, weigh};
use crate::lanes::{LANES, Lanes};
use crate::matrix::{Matrix, MatrixMut};
use crate::product::{Packing, Product, Tile, height};
use crate::quantized::Block;
use std::ops::Range;

/// out = softmax(scale·query·keyᵀ)·value of one head.
///
/// Each product comes well behind what its operands are stored by, and well before what needs its result. And there are products
/// in the midst of a part's weights: AMX's multiplier falls asleep when it has nothing to do for some 0.4 µs, and takes 0.25 µs
/// to wake.
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
    let shape = Shape::of(key.rows(), query.columns());
    head.reserve::<P>(shape);
    pack_keys(lanes, key, shape, head);
    pack_values(lanes, value, shape, head);
    let parts = Parts::of(query.rows(), shape.keys);
    let mut before = None;
    let mut now = parts.get(0);
    let mut next = parts.get(1);
    if let Some(part) = now {
        begin(lanes, query, scale, shape, part, head);
        score(product, state, shape, part, head);
    }
    if let Some(part) = next {
        begin(lanes, query, scale, shape, part, head);
    }
    let mut index = 1;
    while before.is_some() || now.is_some() {
        if let Some(part) = before {
            average(product, state, shape, part, head);
        }
        if let Some(part) = now {
            refer(lanes, part, head);
            weigh(lanes, part, 0..KEYS / 2, head);
        }
        if let Some(part) = before {
            add_up::<P>(lanes, shape, part, head, &mut out);
        }
        if let Some(part) = next {
            score(product, state, shape, part, head);
        }
        if let Some(part) = now {
            weigh(lanes, part, KEYS / 2..KEYS, head);
        }
        index += 1;
        (before, now, next) = (now, next, parts.get(index));
        if let Some(part) = next {
            begin(lanes, query, scale, shape, part, head);
        }
    }
}

/// Packs the queries of a part that is its panel's first.
#[inline(always)]
fn begin<L: Lanes>(
    lanes: L,
    query: Matrix<'_>,
    scale: f32,
    shape: Shape,
    part: Part,
    head: &mut Head,
) {
    if part.block == 0 {
        let rows = part.first_query..part.first_query + part.queries;
        pack_queries(lanes, query.row_range(rows), scale, shape, head, part.panel);
    }
}

/// Products of a part's keys and queries.
#[inline(always)]
fn score<P: Product>(product: P, state: &mut P::State, shape: Shape, part: Part, head: &mut Head) {
    let most = P::tall_rows(1);
    let height = height::<P>(part.keys, most);
    let queries = &head.queries[part.panel * shape.depth * LANES..][..shape.depth * LANES];
    for first in (0..part.keys).step_by(height) {
        let rows = height.min(part.keys - first);
        let tile = Tile {
            rows_of_blocks: &head.keys[(part.block * KEYS + first) * shape.depth..],
            weights: signed(queries),
            rows: tile_rows::<P>(rows),
            panels: 1,
            depth: shape.channels / LANES,
            column_sum: None,
            packing: packing(shape, part, first, Operand::Keys),
            row_stride: shape.depth,
            panel_stride: shape.depth * 64 * LANES,
        };
        let scores = head.scores[part.side * KEYS + first..].as_flattened_mut();
        product.tall(state, tile, scores);
    }
}

/// Products of a part's values and weights.
#[inline(always)]
fn average<P: Product>(
    product: P,
    state: &mut P::State,
    shape: Shape,
    part: Part,
    head: &mut Head,
) {
    let most = P::tall_rows(2);
    let weights = &head.weights[part.side * 2 * KEY_DEPTH * LANES..][..2 * KEY_DEPTH * LANES];
    for first in (0..shape.head_size).step_by(most) {
        let rows = most.min(shape.head_size - first);
        let tile = Tile {
            rows_of_blocks: &head.values[(part.block * shape.channels + first) * KEY_DEPTH..],
            weights: signed(weights),
            rows: tile_rows::<P>(rows),
            // The high bytes are one panel, the low bytes another.
            panels: 2,
            depth: part.keys.div_ceil(LANES),
            column_sum: None,
            packing: packing(shape, part, first, Operand::Values),
            row_stride: KEY_DEPTH,
            panel_stride: KEY_DEPTH * 64 * LANES,
        };
        let products = head.products[2 * first..].as_flattened_mut();
        product.halves(state, tile, products);
    }
}

/// What is multiplied by queries or by weights.
enum Operand {
    Keys,
    Values,
}

/// Where rows of an operand lie among those of all: keys and values of a block of keys, side by side. The second of two panels meets what the
/// first one met.
#[inline(always)]
fn packing(shape: Shape, part: Part, row: usize, operand: Operand) -> Packing {
    let keys_depth = shape.channels / LANES;
    Packing {
        row,
        rows: KEYS.max(shape.channels),
        before: match operand {
            Operand::Keys => 0,
            Operand::Values => keys_depth,
        },
        whole: keys_depth + KEYS / LANES,
        is_done: part.panel > 0,
    }
}

/// Adds a part's products to its panel's sums, and writes the averages behind the last one.
#[inline(always)]
fn add_up<P: Product>(
    lanes: P::Lanes,
    shape: Shape,
    part: Part,
    head: &mut Head,
    out: &mut MatrixMut<'_>,
) {
    let most = P::tall_rows(2);
    let shrink = lanes.load(&head.shrink[part.side]);
    let sums = &mut head.sums[part.panel * shape.channels..][..shape.head_size];
    for (sums, products) in sums.chunks_mut(most).zip(head.products.chunks(2 * most)) {
        let (high, low) = products.split_at(most);
        for ((sum, high), low) in sums.iter_mut().zip(high).zip(low) {
            let low = lanes.to_float(lanes.load_int(low));
            let high = lanes.to_float(lanes.load_int(high));
            let mut y = lanes.fma(high, lanes.splat(256.0), low);
            if part.block > 0 {
                y = lanes.fma(lanes.load(sum), shrink, y);
            }
            lanes.store(y, sum);
        }
    }
    if part.is_last {
        let rows = part.first_query..part.first_query + part.queries;
        write(lanes, shape, head, part.panel, rows, out);
    }
}

/// Writes the averages of a panel's queries as rows.
#[inline(always)]
fn write<L: Lanes>(
    lanes: L,
    shape: Shape,
    head: &mut Head,
    panel: usize,
    rows: Range<usize>,
    out: &mut MatrixMut<'_>,
) {
    let inverse_sum = lanes.div(lanes.splat(1.0), lanes.load(&head.panels[panel].sum));
    let sums = &mut head.sums[panel * shape.channels..][..shape.channels];
    let channels = head.value_steps.iter().zip(head.lows.iter());
    for (sum, (step, low)) in sums.iter_mut().zip(channels) {
        let average = lanes.mul(lanes.load(sum), inverse_sum);
        let y = lanes.fma(average, lanes.splat(*step), lanes.splat(*low));
        lanes.store(y, sum);
    }
    let blocks = sums.as_chunks::<LANES>().0;
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

/// Bytes as the signed operand of a product.
#[inline(always)]
fn signed(blocks: &[Block]) -> &[i8] {
    // SAFETY: a `Block` is 64 initialized bytes without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * 64) }
}

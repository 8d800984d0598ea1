//! Queries, keys and values as the bytes of integer products.

use super::head::{Head, Shape};
use super::parts::{KEY_DEPTH, KEYS};
use super::weights::MAX_EXPONENT;
use crate::lanes::{LANES, Lanes};
use crate::matrix::Matrix;
use crate::quantized::{Block, bytes_mut};

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
pub(super) fn pack_keys<L: Lanes>(lanes: L, key: Matrix<'_>, shape: Shape, scratch: &mut Head) {
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

/// Up to sixteen queries in −127…127 as a panel, and what a unit of their products is worth in the exponent of 2.
#[inline(always)]
pub(super) fn pack_queries<L: Lanes>(
    lanes: L,
    query: Matrix<'_>,
    scale: f32,
    shape: Shape,
    scratch: &mut Head,
    panel: usize,
) {
    let mut largest = lanes.zero();
    let mut poison = lanes.zero();
    for chunk in 0..shape.channels / LANES {
        let factor = lanes.load(
            scratch.query_factor[chunk * LANES..]
                .first_chunk()
                .expect("a whole vector"),
        );
        let mut block = [[0.0; LANES]; LANES];
        for (row, to) in block.iter_mut().enumerate().take(query.rows()) {
            let x = load_chunk(lanes, query.row(row), chunk);
            lanes.store(lanes.mul(x, factor), to);
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
    let most = MAX_EXPONENT / (255 * 127 * shape.head_size) as f32;
    // Scores that differ by more than a million powers of two: their bytes say no more than which is the largest.
    let step = lanes.min(lanes.splat(most), step);
    let channels = scratch.transposed[..shape.channels].as_chunks::<4>().0;
    let groups = &mut scratch.queries[panel * shape.depth * LANES..][..shape.depth * LANES];
    for (group, channels) in groups.iter_mut().zip(channels) {
        let mut quad = [lanes.splat_int(0); 4];
        for (quad, x) in quad.iter_mut().zip(channels) {
            *quad = lanes.round(lanes.mul(lanes.load(x), inverse));
        }
        lanes.store_quads(quad, &mut group.0);
    }
    groups[shape.channels / 4..].fill(Block([0; 64]));
    lanes.store(lanes.add(step, poison), &mut scratch.panels[panel].steps);
}

/// Values as bytes u = round(255·(v − low)/span) of `[channels, keys]`, zero where keys are padded.
#[inline(always)]
pub(super) fn pack_values<L: Lanes>(lanes: L, value: Matrix<'_>, shape: Shape, scratch: &mut Head) {
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

        for first in (0..shape.keys).step_by(64) {
            // Four keys of sixteen channels are a row; transposed, sixty-four keys of a channel are.
            let mut groups = [[0.0; LANES]; LANES];
            let keys = 64.min(shape.keys - first);
            for (group, to) in groups[..keys.div_ceil(4)].iter_mut().enumerate() {
                let mut quad = [lanes.splat_int(0); 4];
                for (i, quad) in quad.iter_mut().enumerate() {
                    if 4 * group + i < keys {
                        let x = load_chunk(lanes, value.row(first + 4 * group + i), chunk);
                        *quad = lanes.round(lanes.mul(lanes.sub(x, low), inverse));
                    }
                }
                lanes.store_quads(quad, bytemuck::cast_mut(to));
            }
            let block = first / KEYS * shape.channels + at.start;
            let channels: [[u8; 64]; LANES] = bytemuck::cast(lanes.transpose(&groups));
            let rows = &mut scratch.values[block * KEY_DEPTH..][..LANES * KEY_DEPTH];
            for (row, bytes) in rows.chunks_exact_mut(KEY_DEPTH).zip(channels) {
                row[first % KEYS / 64].0 = bytes;
            }
        }
    }
}

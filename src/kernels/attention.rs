//! Attention of one sequence and head in 8-bit integers.
//!
//! Queries are bytes between their row's minimum and maximum, keys are symmetric in −127…127 per row: scores come from
//! the same integer product as a linear layer. Softmax needs no division: a weight is round(65535·2ᵗ) with t ≤ 0, kept as
//! two bytes, and the sum of these integers is the divisor. Values are symmetric per channel around the middle of their
//! range in the sequence, which is added back: the weights add up to 1. Everything depends on this sequence alone.

use super::lanes::{LANES, Lanes};
use super::math;
use super::matrix::{Matrix, MatrixMut, QuantizedRows, RowRange, WHOLE_ROW, bytes_mut};
use super::product::{self, PackedLinear, Product};
use super::rows;

/// Queries that pass together: with 512 keys their scores are 64 KiB and their weights 32 KiB.
const QUERY_BLOCK: usize = 32;

/// Working memory of attention. It grows to the longest sequence and stays.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// Keys as the columns of a linear layer: `[keys/16, depth/4, 16, 4]`.
    keys: Packed,
    /// Channels of the values as columns: `[channels/16, keys/4, 16, 4]`.
    values: Packed,
    /// Middle of each channel of the values.
    middle: Vec<f32>,
    /// `[QUERY_BLOCK, head_size]`
    queries: QuantizedRows,
    /// `[QUERY_BLOCK, keys]`
    scores: Vec<f32>,
    /// High bytes, then low bytes: `[2·QUERY_BLOCK, keys]`.
    weights: QuantizedRows,
    /// 1/Σ of a query's weights.
    inverse_sums: [f32; QUERY_BLOCK],
    /// `[2·QUERY_BLOCK, head_size]`
    products: Vec<f32>,
}

/// The parts of a [`PackedLinear`] that is made here.
#[derive(Debug, Default)]
struct Packed {
    panels: Vec<Group>,
    scale: Vec<f32>,
    column_sum: Vec<i32>,
    bias: Vec<f32>,
}

/// Four bytes of each of sixteen columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Group([u8; 64]);

impl Packed {
    fn resize(&mut self, n: usize, k: usize) {
        let columns = n.div_ceil(LANES) * LANES;
        let groups = n.div_ceil(LANES) * k.div_ceil(64) * 16;
        if self.panels.len() < groups {
            self.panels.resize(groups, Group([0; 64]));
        }
        if self.scale.len() < columns {
            self.scale.resize(columns, 0.0);
            self.column_sum.resize(columns, 0);
            self.bias.resize(columns, 0.0);
        }
    }

    fn view(&self, n: usize, k: usize) -> PackedLinear<'_> {
        let columns = n.div_ceil(LANES) * LANES;
        let size = columns * k.div_ceil(64) * 64;
        // SAFETY: a `Group` is 64 initialized bytes without padding, and there are at least that many.
        let panels = unsafe {
            std::slice::from_raw_parts(self.panels[..size / 64].as_ptr().cast::<i8>(), size)
        };
        PackedLinear {
            panels,
            scale: &self.scale[..columns],
            column_sum: &self.column_sum[..columns],
            sum_stride: columns,
            bias: &self.bias[..columns],
            n,
            k,
            group: WHOLE_ROW,
        }
    }
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
    pack_keys(
        lanes,
        key,
        scale * std::f32::consts::LOG2_E,
        &mut scratch.keys,
    );
    if scratch.middle.len() < head_size {
        scratch.middle.resize(head_size, 0.0);
    }
    pack_values(
        lanes,
        value,
        &mut scratch.values,
        &mut scratch.middle[..head_size],
    );
    let block = QUERY_BLOCK.min(query.rows());
    grow(&mut scratch.scores, block * keys);
    grow(&mut scratch.products, 2 * block * head_size);
    for first in (0..query.rows()).step_by(QUERY_BLOCK) {
        let rows = block.min(query.rows() - first);
        let queries = query.row_range(first..first + rows);
        scratch.queries.resize(rows, head_size, WHOLE_ROW);
        rows::quantize_rows(lanes, queries, None, scratch.queries.view_mut());
        let scores = MatrixMut::new(&mut scratch.scores, rows, keys, keys);
        product::store(
            product,
            scratch.queries.view(),
            scratch.keys.view(keys, head_size),
            scores,
        );

        scratch.weights.resize(2 * rows, keys, WHOLE_ROW);
        let scores = Matrix::new(&scratch.scores, rows, keys, keys);
        softmax(
            lanes,
            scores,
            &mut scratch.weights,
            &mut scratch.inverse_sums,
        );

        let products = MatrixMut::new(&mut scratch.products, 2 * rows, head_size, head_size);
        product::store(
            product,
            scratch.weights.view(),
            scratch.values.view(head_size, keys),
            products,
        );
        let (high, low) = scratch.products[..2 * rows * head_size].split_at(rows * head_size);
        for row in 0..rows {
            let parts = (
                &high[row * head_size..][..head_size],
                &low[row * head_size..][..head_size],
            );
            let inverse = lanes.splat(scratch.inverse_sums[row]);
            combine(
                lanes,
                parts,
                inverse,
                &scratch.middle[..head_size],
                out.row(first + row),
            );
        }
    }
}

fn grow(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
}

/// Keys symmetric in −127…127, `factor` folded into their scales.
#[inline(always)]
fn pack_keys<L: Lanes>(lanes: L, key: Matrix<'_>, factor: f32, packed: &mut Packed) {
    let (keys, head_size) = (key.rows(), key.columns());
    packed.resize(keys, head_size);
    let groups = head_size.div_ceil(64) * 16;
    let panels = &mut packed.panels[..keys.div_ceil(LANES) * groups];
    if !head_size.is_multiple_of(64) {
        panels.fill(Group([0; 64]));
    }
    for row in 0..keys {
        let (chunks, rest) = key.row(row).as_chunks::<LANES>();
        let mut largest = lanes.zero();
        // 0·x is NaN for what is not finite, and stays.
        let mut poison = lanes.zero();
        for chunk in chunks {
            let x = lanes.load(chunk);
            largest = lanes.max(lanes.abs(x), largest);
            poison = lanes.fma(x, lanes.zero(), poison);
        }
        if !rest.is_empty() {
            let x = lanes.load_partial(rest, 0.0);
            largest = lanes.max(lanes.abs(x), largest);
            poison = lanes.fma(x, lanes.zero(), poison);
        }
        let largest = lanes.maximum(largest);
        let finite = lanes.sum(poison) == 0.0;
        let inverse = 127.0 / largest;
        let (inverse, scale) = match (finite, inverse.is_finite()) {
            (true, true) => (inverse, largest / 127.0 * factor),
            (true, false) => (0.0, 0.0),
            (false, _) => (0.0, f32::NAN),
        };
        let inverse = lanes.splat(inverse);
        let zero_point = lanes.splat(128.0);
        let panel = &mut panels[row / LANES * groups..][..groups];
        let mut sum = lanes.zero();
        for (i, to) in panel
            .chunks_mut(4)
            .enumerate()
            .take(head_size.div_ceil(LANES))
        {
            let x = match chunks.get(i) {
                Some(chunk) => lanes.load(chunk),
                None => lanes.load_partial(rest, 0.0),
            };
            let x = if finite { x } else { lanes.zero() };
            let u = lanes.round(lanes.fma(x, inverse, zero_point));
            sum = lanes.add(sum, lanes.sub(lanes.to_float(u), zero_point));
            let mut bytes = [0; LANES];
            lanes.store_bytes(u, &mut bytes);
            for (group, bytes) in to.iter_mut().zip(bytes.as_chunks::<4>().0) {
                // From 1…255 to −127…127.
                group.0[row % LANES * 4..][..4].copy_from_slice(&bytes.map(|u| u ^ 0x80));
            }
        }
        packed.scale[row] = scale;
        packed.column_sum[row] = lanes.sum(sum) as i32;
    }
}

/// Values symmetric in −127…127 around the middle of their channel's range.
#[inline(always)]
fn pack_values<L: Lanes>(lanes: L, value: Matrix<'_>, packed: &mut Packed, middle: &mut [f32]) {
    let (keys, head_size) = (value.rows(), value.columns());
    packed.resize(head_size, keys);
    let groups = keys.div_ceil(64) * 16;
    for (panel, middle) in middle.chunks_mut(LANES).enumerate() {
        let columns = panel * LANES..panel * LANES + middle.len();
        let mut low = lanes.splat(f32::INFINITY);
        let mut high = lanes.splat(f32::NEG_INFINITY);
        let mut poison = lanes.zero();
        for row in 0..keys {
            let x = load(lanes, &value.row(row)[columns.clone()]);
            low = lanes.min(x, low);
            high = lanes.max(x, high);
            poison = lanes.fma(x, lanes.zero(), poison);
        }
        let half = lanes.splat(0.5);
        // Halves first: the sum of two large numbers may not be finite.
        let center = lanes.add(
            lanes.add(lanes.mul(low, half), lanes.mul(high, half)),
            poison,
        );
        let radius = lanes.sub(lanes.mul(high, half), lanes.mul(low, half));
        // A radius too small for its inverse is as good as none.
        let enough = lanes.less(lanes.splat(1e-36), radius);
        let inverse = lanes.select(enough, lanes.div(lanes.splat(127.0), radius), lanes.zero());
        let scale = lanes.select(enough, lanes.div(radius, lanes.splat(127.0)), lanes.zero());
        store(lanes, center, middle);
        let to = packed.scale[panel * LANES..]
            .first_chunk_mut()
            .expect("whole panels");
        lanes.store(scale, to);
        for (group, to) in packed.panels[panel * groups..][..groups]
            .iter_mut()
            .enumerate()
        {
            let mut quad = [lanes.round(lanes.zero()); 4];
            for (i, quad) in quad.iter_mut().enumerate() {
                if 4 * group + i < keys {
                    let x = load(lanes, &value.row(4 * group + i)[columns.clone()]);
                    *quad = lanes.round(lanes.mul(lanes.sub(x, center), inverse));
                }
            }
            lanes.store_quads(quad, &mut to.0);
        }
    }
}

/// Up to sixteen values, zeros behind them.
#[inline(always)]
fn load<L: Lanes>(lanes: L, x: &[f32]) -> L::F {
    match x.first_chunk() {
        Some(x) => lanes.load(x),
        None => lanes.load_partial(x, 0.0),
    }
}

/// Up to sixteen values.
#[inline(always)]
fn store<L: Lanes>(lanes: L, x: L::F, to: &mut [f32]) {
    match to.first_chunk_mut() {
        Some(to) => lanes.store(x, to),
        None => lanes.store_partial(x, to),
    }
}

/// round(65535·2^(score − highest)) as high and low bytes, and the inverse of each row's sum.
#[inline(always)]
fn softmax<L: Lanes>(
    lanes: L,
    scores: Matrix<'_>,
    weights: &mut QuantizedRows,
    inverse_sums: &mut [f32],
) {
    let (rows, keys) = (scores.rows(), scores.columns());
    let depth = keys.div_ceil(64);
    let view = weights.view_mut();
    let (high, low) = view.blocks.split_at_mut(rows * depth);
    view.ranges[..rows].fill(RowRange {
        scale: 256.0,
        low: 0.0,
    });
    view.ranges[rows..].fill(RowRange {
        scale: 1.0,
        low: 0.0,
    });
    for (row, inverse_sum) in inverse_sums[..rows].iter_mut().enumerate() {
        let (chunks, rest) = scores.row(row).as_chunks::<LANES>();
        let high = bytes_mut(&mut high[row * depth..][..depth])
            .as_chunks_mut::<LANES>()
            .0;
        let low = bytes_mut(&mut low[row * depth..][..depth])
            .as_chunks_mut::<LANES>()
            .0;
        let mut highest = lanes.splat(f32::NEG_INFINITY);
        for chunk in chunks {
            highest = lanes.max(lanes.load(chunk), highest);
        }
        if !rest.is_empty() {
            highest = lanes.max(lanes.load_partial(rest, f32::NEG_INFINITY), highest);
        }
        let highest = lanes.splat(lanes.maximum(highest));
        let mut sum = lanes.zero();
        for ((chunk, high), low) in chunks.iter().zip(&mut *high).zip(&mut *low) {
            let weight = math::exp2_u16(lanes, lanes.sub(lanes.load(chunk), highest));
            sum = lanes.add(sum, lanes.to_float(weight));
            lanes.store_halves(weight, low, high);
        }
        if !rest.is_empty() {
            let score = lanes.load_partial(rest, f32::NEG_INFINITY);
            let weight = math::exp2_u16(lanes, lanes.sub(score, highest));
            sum = lanes.add(sum, lanes.to_float(weight));
            lanes.store_halves(weight, &mut low[chunks.len()], &mut high[chunks.len()]);
        }
        *inverse_sum = 1.0 / lanes.sum(sum);
    }
}

/// out = (high + low)·inverse + middle, where high and low are the two products times the values' scale.
#[inline(always)]
fn combine<L: Lanes>(
    lanes: L,
    parts: (&[f32], &[f32]),
    inverse: L::F,
    middle: &[f32],
    out: &mut [f32],
) {
    let columns = parts
        .0
        .chunks(LANES)
        .zip(parts.1.chunks(LANES))
        .zip(middle.chunks(LANES));
    for (((high, low), middle), out) in columns.zip(out.chunks_mut(LANES)) {
        let sum = lanes.add(load(lanes, high), load(lanes, low));
        store(lanes, lanes.fma(sum, inverse, load(lanes, middle)), out);
    }
}

//! The integer product and what follows it while its result is in the cache: dequantization, bias, activation or
//! residual.

use super::lanes::{LANES, Lanes};
use super::math::{self, Activation};
use super::matrix::{Block, MatrixMut, QuantizedView, RowRange, bytes};
use std::fmt;
use std::ops::Range;

/// What an instruction set adds to its [`Lanes`]: exact products of bytes.
pub(crate) trait Product: Copy {
    /// The vector half of the kernel.
    type Lanes: Lanes;
    /// What lasts from tile to tile of one product, and is dropped at its end.
    type State: Default;
    /// Rows of a full tile.
    const MR: usize;
    /// Panels of sixteen columns in a full tile.
    const NR: usize;

    fn lanes(self) -> Self::Lanes;

    /// Sets `accumulators[(panel·MR + row)·16 + column]` to Σ u·w over the tile, exactly.
    fn multiply(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]);
}

/// Up to `MR` rows of bytes against up to `NR` panels of weights.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// `[rows, depth]`, rows `row_stride` apart.
    pub(crate) rows_of_blocks: &'a [Block],
    /// `[panels, depth, 16, 16, 4]`, panels `panel_stride` apart.
    pub(crate) weights: &'a [i8],
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    /// Blocks of 64 along k.
    pub(crate) depth: usize,
    /// Blocks from one row to the next, at least `depth`.
    pub(crate) row_stride: usize,
    /// Weights from one panel to the next, at least those of `depth` blocks.
    pub(crate) panel_stride: usize,
}

impl<'a> Tile<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        bytes(&self.rows_of_blocks[row * self.row_stride..][..self.depth])
    }

    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &'a [i8] {
        &self.weights[panel * self.panel_stride..][..self.depth * 64 * LANES]
    }

    /// What every kernel may rely on when it reads through pointers.
    #[inline(always)]
    pub(crate) fn check(&self, accumulators: &[i32], mr: usize) {
        assert!(
            self.rows > 0
                && self.panels > 0
                && (self.rows - 1) * self.row_stride + self.depth <= self.rows_of_blocks.len()
                && (self.panels - 1) * self.panel_stride + self.depth * 64 * LANES
                    <= self.weights.len()
                && self.panels * mr * LANES <= accumulators.len()
                && self.rows <= mr
        );
    }
}

/// The weights of a linear layer as they lie in the file; `n` outputs from `k` inputs.
#[derive(Debug, Clone, Copy)]
pub struct PackedLinear<'a> {
    /// `[ceil(n/16), 16·ceil(k/64), 16, 4]`, zero where k or n is padded.
    panels: &'a [i8],
    /// `[groups, ceil(n/16)·16]`, groups `group_stride` apart: what a step of a column's weights in the group is worth.
    scale: &'a [f32],
    /// `[groups, ceil(n/16)·16]`, groups `group_stride` apart: Σ over the group's part of k of a column's weights.
    column_sum: &'a [i32],
    group_stride: usize,
    /// `[ceil(n/16)·16]`
    bias: &'a [f32],
    n: usize,
    k: usize,
    /// Inputs that share a range in every row, and a scale in every column.
    group: usize,
}

/// A slice of a [`PackedLinear`] has the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeError {
    /// Which slice.
    pub part: &'static str,
    /// Its length.
    pub found: usize,
    /// The length that n and k ask for.
    pub expected: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has {} elements where the shape asks for {}",
            self.part, self.found, self.expected
        )
    }
}

impl std::error::Error for ShapeError {}

/// Longest rows whose sums of products, at most 255·127·k, fit in an `i32`.
pub const MAX_K: usize = 65536;

impl<'a> PackedLinear<'a> {
    /// Puts the parts together. All weights must be in −127…127 (a −128 gives a result that is exact all the same).
    ///
    /// # Errors
    /// If a slice does not have the length that `n`, `k` and `group` ask for, `k` is more than [`MAX_K`], or `group` is not
    /// a multiple of 64.
    pub fn new(
        panels: &'a [i8],
        scale: &'a [f32],
        column_sum: &'a [i32],
        bias: &'a [f32],
        [n, k]: [usize; 2],
        group: usize,
    ) -> Result<Self, ShapeError> {
        let check = |part, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(ShapeError {
                    part,
                    found,
                    expected,
                })
            }
        };
        if k > MAX_K {
            return Err(ShapeError {
                part: "a row",
                found: k,
                expected: MAX_K,
            });
        }
        let padded = n.div_ceil(LANES) * LANES;
        check(
            "weight",
            panels.len(),
            padded.saturating_mul(k.div_ceil(64) * 64),
        )?;
        check("group", group.max(64) % 64, 0)?;
        let grouped = padded.saturating_mul(groups(k, group));
        check("scale", scale.len(), grouped)?;
        check("column_sum", column_sum.len(), grouped)?;
        check("bias", bias.len(), padded)?;
        Ok(PackedLinear {
            panels,
            scale,
            column_sum,
            group_stride: padded,
            bias,
            n,
            k,
            group,
        })
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of inputs that share a range in a row, and a scale in a column.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The layer that computes only these outputs.
    ///
    /// # Panics
    /// If the range leaves the layer, or begins (or ends, unless at n) off a multiple of 16.
    pub fn columns(&self, columns: Range<usize>) -> PackedLinear<'a> {
        assert!(columns.start <= columns.end && columns.end <= self.n);
        let aligned = |column: usize| column.is_multiple_of(LANES) || column == self.n;
        assert!(aligned(columns.start) && aligned(columns.end));
        let padded = columns.start.div_ceil(LANES) * LANES..columns.end.div_ceil(LANES) * LANES;
        let k = self.k.div_ceil(64) * 64;
        PackedLinear {
            panels: &self.panels[padded.start * k..padded.end * k],
            scale: &self.scale[padded.start..],
            column_sum: &self.column_sum[padded.start..],
            bias: &self.bias[padded],
            n: columns.len(),
            ..*self
        }
    }
}

/// Number of ranges in a row of `k` values of which `group` neighbours share one.
pub(crate) fn groups(k: usize, group: usize) -> usize {
    k.div_ceil(group.max(1)).max(1)
}

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// out = activation(y)
    Store(Activation),
    /// out = out + y
    Accumulate,
}

/// Most accumulators that a tile of any kernel has: 4 panels of 32 rows.
const MAX_TILE: usize = 4 * 32 * LANES;

/// Most panels that a tile of any kernel has.
const MAX_PANELS: usize = 8;

#[repr(C, align(64))]
struct Accumulators([i32; MAX_TILE]);

/// What the groups of a tile so far add up to.
#[repr(C, align(64))]
struct Partial([f32; MAX_TILE]);

/// out = epilogue(a·wᵀ + bias), tile by tile: panels outermost, so that weights stream through once for each block of
/// rows and stay in the first-level cache while the rows pass.
#[inline(always)]
pub(crate) fn linear<P: Product>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    epilogue: Epilogue,
    out: MatrixMut<'_>,
) {
    match epilogue {
        Epilogue::Accumulate => run(product, a, w, Add, out),
        Epilogue::Store(Activation::Identity) => run(product, a, w, Replace(math::Identity), out),
        Epilogue::Store(Activation::Gelu) => run(product, a, w, Replace(math::Gelu), out),
        Epilogue::Store(Activation::GeluTanh) => run(product, a, w, Replace(math::GeluTanh), out),
        Epilogue::Store(Activation::Relu) => run(product, a, w, Replace(math::Relu), out),
        Epilogue::Store(Activation::Silu) => run(product, a, w, Replace(math::Silu), out),
        Epilogue::Store(Activation::Tanh) => run(product, a, w, Replace(math::Tanh), out),
        Epilogue::Store(Activation::Sigmoid) => run(product, a, w, Replace(math::Sigmoid), out),
    }
}

/// How a new value meets the one that is there.
trait Finish: Copy {
    fn finish<L: Lanes>(self, lanes: L, y: L::F, out: &mut [f32; LANES]);
}

#[derive(Clone, Copy)]
struct Add;

impl Finish for Add {
    #[inline(always)]
    fn finish<L: Lanes>(self, lanes: L, y: L::F, out: &mut [f32; LANES]) {
        lanes.store(lanes.add(lanes.load(out), y), out);
    }
}

#[derive(Clone, Copy)]
struct Replace<F>(F);

impl<F: math::Function> Finish for Replace<F> {
    #[inline(always)]
    fn finish<L: Lanes>(self, lanes: L, y: L::F, out: &mut [f32; LANES]) {
        lanes.store(self.0.apply(lanes, y), out);
    }
}

#[inline(always)]
fn run<P: Product, E: Finish>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    finish: E,
    mut out: MatrixMut<'_>,
) {
    let rows = a.rows();
    if rows == 0 || w.n == 0 {
        return;
    }
    let depth = w.k.div_ceil(64);
    let panel_size = depth * 64 * LANES;
    let groups = groups(w.k, w.group);
    let group_depth = depth.min(w.group / 64);
    // Tiles of equal height rather than full ones and a low rest.
    let tiles = rows.div_ceil(P::MR);
    let height = rows.div_ceil(tiles);
    let mut accumulators = Accumulators([0; MAX_TILE]);
    let mut partial = Partial([0.0; MAX_TILE]);
    let mut state = P::State::default();
    let lanes = product.lanes();
    for first_panel in (0..w.n.div_ceil(LANES)).step_by(P::NR) {
        let panels = P::NR.min(w.n.div_ceil(LANES) - first_panel);
        let first_column = first_panel * LANES;
        let columns = first_column..w.n.min(first_column + panels * LANES);
        let mut channels = [Channels {
            scale: lanes.zero(),
            sum: lanes.zero(),
            bias: lanes.zero(),
        }; MAX_PANELS];
        for (panel, channels) in channels[..panels].iter_mut().enumerate() {
            let column = first_column + panel * LANES;
            channels.bias = lanes.load(slice16(w.bias, column));
        }
        for first_row in (0..rows).step_by(height) {
            let tile_rows = height.min(rows - first_row);
            for group in 0..groups {
                let first_block = group * group_depth;
                let tile = Tile {
                    rows_of_blocks: &a.blocks[first_row * depth + first_block..],
                    weights: &w.panels[first_panel * panel_size + first_block * 64 * LANES..],
                    rows: tile_rows,
                    panels,
                    depth: group_depth.min(depth - first_block),
                    row_stride: depth,
                    panel_stride: panel_size,
                };
                product.multiply(&mut state, tile, &mut accumulators.0);
                for (panel, channels) in channels[..panels].iter_mut().enumerate() {
                    let column = group * w.group_stride + first_column + panel * LANES;
                    channels.scale = lanes.load(slice16(w.scale, column));
                    let sum = lanes.to_float(lanes.load_int(slice16(w.column_sum, column)));
                    channels.sum = lanes.mul(channels.scale, sum);
                }
                let accumulators = accumulators.0.as_chunks::<LANES>().0;
                let partial = partial.0.as_chunks_mut::<LANES>().0;
                for row in 0..tile_rows {
                    let dequantize = Dequantize {
                        lanes,
                        range: a.ranges[(first_row + row) * groups + group],
                        channels: &channels[..panels],
                        is_first: group == 0,
                        stride: P::MR,
                    };
                    let (accumulators, partial) = (&accumulators[row..], &mut partial[row..]);
                    if group + 1 < groups {
                        dequantize.add(accumulators, partial);
                    } else {
                        let out = &mut out.row(first_row + row)[columns.clone()];
                        dequantize.finish(accumulators, partial, finish, out);
                    }
                }
            }
        }
    }
}

/// What sixteen columns bring to their outputs.
#[derive(Clone, Copy)]
struct Channels<F> {
    /// Of the group.
    scale: F,
    /// scale·column_sum of the group
    sum: F,
    bias: F,
}

/// From integer sums of one row and group to f32, panel by panel; panels of accumulators and of partial sums lie
/// `stride` apart.
struct Dequantize<'a, L: Lanes> {
    lanes: L,
    range: RowRange,
    channels: &'a [Channels<L::F>],
    is_first: bool,
    stride: usize,
}

impl<L: Lanes> Dequantize<'_, L> {
    /// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, y)), where the first group's y is the bias.
    #[inline(always)]
    fn value(
        &self,
        panel: usize,
        (scale, low): (L::F, L::F),
        accumulators: &[[i32; LANES]],
        partial: &[[f32; LANES]],
    ) -> L::F {
        let (lanes, channels) = (self.lanes, &self.channels[panel]);
        let before = if self.is_first {
            channels.bias
        } else {
            lanes.load(&partial[panel * self.stride])
        };
        let offset = lanes.fma(low, channels.sum, before);
        let step = lanes.mul(scale, channels.scale);
        let accumulators = lanes.load_int(&accumulators[panel * self.stride]);
        lanes.fma(lanes.to_float(accumulators), step, offset)
    }

    #[inline(always)]
    fn range(&self) -> (L::F, L::F) {
        let lanes = self.lanes;
        (lanes.splat(self.range.scale), lanes.splat(self.range.low))
    }

    /// A group that others follow.
    #[inline(always)]
    fn add(&self, accumulators: &[[i32; LANES]], partial: &mut [[f32; LANES]]) {
        let range = self.range();
        for panel in 0..self.channels.len() {
            let y = self.value(panel, range, accumulators, partial);
            self.lanes.store(y, &mut partial[panel * self.stride]);
        }
    }

    /// The last group.
    #[inline(always)]
    fn finish<E: Finish>(
        &self,
        accumulators: &[[i32; LANES]],
        partial: &[[f32; LANES]],
        finish: E,
        out: &mut [f32],
    ) {
        let range = self.range();
        let (chunks, rest) = out.as_chunks_mut::<LANES>();
        for panel in 0..self.channels.len() {
            let y = self.value(panel, range, accumulators, partial);
            if let Some(out) = chunks.get_mut(panel) {
                finish.finish(self.lanes, y, out);
                continue;
            }
            let mut all = [0.0; LANES];
            let width = rest.len();
            all[..width].copy_from_slice(rest);
            finish.finish(self.lanes, y, &mut all);
            rest.copy_from_slice(&all[..width]);
        }
    }
}

#[inline(always)]
fn slice16<T>(slice: &[T], at: usize) -> &[T; LANES] {
    slice[at..]
        .first_chunk()
        .expect("scales, sums and biases are padded to whole panels")
}

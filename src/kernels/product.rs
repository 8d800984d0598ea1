//! The integer product and what follows it while its result is in the cache: dequantization, bias, activation or
//! residual.

mod alone;

pub(crate) use alone::products;

use super::lanes::{LANES, Lanes};
use super::math::{self, Activation};
use super::matrix::MatrixMut;
use super::quantized::{Block, QuantizedView, RowRange, bytes};
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
    /// Most panels of sixteen columns in a tile.
    const NR: usize;

    fn lanes(self) -> Self::Lanes;

    /// Whether a tile takes as long with few rows as with `MR`, and its products may be computed in parts between which
    /// the CPU does something else.
    const TILES: bool = false;

    /// Adds the products of some blocks along k to what will be `accumulators[(panel·MR + row)·16 + column]` = Σ u·w over
    /// the tile, exactly. The blocks come in order, from 0 on, and kernels without [`Product::TILES`] get all at once.
    fn multiply(
        self,
        state: &mut Self::State,
        tile: Tile<'_>,
        blocks: Range<usize>,
        accumulators: &mut [i32],
    );

    /// Puts the sums of the tile multiplied last where `multiply` says, if they are not there yet.
    #[inline(always)]
    fn store(self, _tile: Tile<'_>, _accumulators: &mut [i32]) {}

    /// All blocks at once.
    #[inline(always)]
    fn whole(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]) {
        self.multiply(state, tile, 0..tile.depth, accumulators);
        self.store(tile, accumulators);
    }

    /// Most rows of a tile of one or two panels in [`Product::tall`].
    fn tall_rows(_panels: usize) -> usize {
        Self::MR
    }

    /// All products of a tile of one or two panels with many rows (whole multiples of `MR` where there are
    /// [`Product::TILES`]): `accumulators[(panel·tall_rows(panels) + row)·16 + column]` = Σ u·w.
    #[inline(always)]
    fn tall(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]) {
        self.whole(state, tile, accumulators);
    }
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

/// What becomes of a product while it is in the cache: each of them is a copy of the whole loop in every kernel, so that
/// only the usual ones are here.
#[derive(Clone, Copy)]
pub(crate) enum Fused {
    Store,
    StoreGelu,
    Add,
}

impl Epilogue {
    /// The part in the loop, and the function that is applied to its results.
    pub(crate) fn split(self) -> (Fused, Activation) {
        match self {
            Epilogue::Accumulate => (Fused::Add, Activation::Identity),
            Epilogue::Store(Activation::Gelu) => (Fused::StoreGelu, Activation::Identity),
            Epilogue::Store(activation) => (Fused::Store, activation),
        }
    }
}

/// Most rows and panels that a tile of any kernel has, and most accumulators.
const MAX_PANELS: usize = 4;
const MAX_TILE: usize = MAX_PANELS * 32 * LANES;

/// Two tiles of accumulators: one is filled while the other is finished.
#[repr(C, align(64))]
struct Accumulators([[i32; MAX_TILE]; 2]);

/// Blocks of 64 along k that are multiplied between parts of a long epilogue.
const KC: usize = 2;

/// Rows that pass together: a group of a tile's weights stays in the first-level cache while they do.
const BLOCK_ROWS: usize = 64;

/// What the groups of a block's rows so far add up to: `[BLOCK_ROWS, MAX_PANELS]`.
#[repr(C, align(64))]
struct Partial([[[f32; LANES]; MAX_PANELS]; BLOCK_ROWS]);

/// out = fused(a·wᵀ + bias), tile by tile: panels outermost, so that weights stream through once for each block of
/// rows and stay in the first-level cache while the rows pass.
#[inline(always)]
pub(crate) fn linear<P: Product>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    fused: Fused,
    out: MatrixMut<'_>,
) {
    match fused {
        Fused::Add => run(product, a, w, Add, out),
        Fused::Store => run(product, a, w, Replace(math::Identity), out),
        Fused::StoreGelu => run(product, a, w, Replace(math::Gelu), out),
    }
}

/// How a new value meets the one that is there.
trait Finish: Copy {
    /// Whether it takes much longer than dequantizing does.
    const IS_LONG: bool;

    /// `N` neighbouring vectors of a row.
    fn finish<L: Lanes, const N: usize>(self, lanes: L, y: [L::F; N], out: &mut [[f32; LANES]; N]);
}

#[derive(Clone, Copy)]
struct Add;

impl Finish for Add {
    const IS_LONG: bool = false;

    #[inline(always)]
    fn finish<L: Lanes, const N: usize>(self, lanes: L, y: [L::F; N], out: &mut [[f32; LANES]; N]) {
        for (out, y) in out.iter_mut().zip(y) {
            lanes.store(lanes.add(lanes.load(out), y), out);
        }
    }
}

#[derive(Clone, Copy)]
struct Replace<F>(F);

impl<F: math::Function> Finish for Replace<F> {
    const IS_LONG: bool = F::IS_LONG;

    #[inline(always)]
    fn finish<L: Lanes, const N: usize>(self, lanes: L, y: [L::F; N], out: &mut [[f32; LANES]; N]) {
        for (out, y) in out.iter_mut().zip(self.0.apply_all(lanes, y)) {
            lanes.store(y, out);
        }
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
    if a.rows() == 0 || w.n == 0 {
        return;
    }
    const { assert!(P::NR <= MAX_PANELS && P::MR * P::NR * LANES <= MAX_TILE) };
    let mut accumulators = Accumulators([[0; MAX_TILE]; 2]);
    let mut partial = Partial([[[0.0; LANES]; MAX_PANELS]; BLOCK_ROWS]);
    let mut state = P::State::default();
    let mut plan = Plan::of::<P>(a, w);
    let mut before: Option<Step> = None;
    let mut parity = 0;
    // One step behind, so that the CPU multiplies while it finishes: neither waits for the other's results.
    loop {
        let now = plan.next::<P>();
        let tile = now.map(|step| plan.tile(a, w, step));
        let depth = tile.map_or(1, |tile| tile.depth);
        // Long epilogues take turns with parts of the product, so that both are in the CPU's window at once.
        let is_long = E::IS_LONG && before.is_some_and(|step| step.group + 1 == plan.groups);
        let part = if P::TILES && is_long { KC } else { depth };
        for block in (0..depth).step_by(part) {
            if let Some(tile) = tile {
                let blocks = block..depth.min(block + part);
                product.multiply(&mut state, tile, blocks, &mut accumulators.0[parity]);
            }
            if let Some(step) = before {
                let rows = step.rows.div_ceil(depth.div_ceil(part));
                let first = step.rows.min(block / part * rows);
                let dequantize = Dequantize {
                    lanes: product.lanes(),
                    w: &w,
                    step,
                    rows: first..step.rows.min(first + rows),
                    ranges: &a.ranges[step.row * plan.groups..],
                    groups: plan.groups,
                    stride: P::MR,
                };
                let accumulators = accumulators.0[1 - parity].as_chunks::<LANES>().0;
                let partial = &mut partial.0[step.row - step.block..][..step.rows];
                dequantize.tile(accumulators, partial, finish, &mut out);
            }
        }
        if let Some(tile) = tile {
            product.store(tile, &mut accumulators.0[parity]);
        }
        if now.is_none() {
            return;
        }
        before = now;
        parity = 1 - parity;
    }
}

/// How a product is cut into tiles: blocks of rows, for each the tiles' panels, for each their groups, for each the
/// rows' tiles.
#[derive(Clone, Copy)]
struct Plan {
    /// Blocks of 64 along k.
    depth: usize,
    groups: usize,
    /// Blocks of a group.
    group_depth: usize,
    rows: usize,
    /// Panels of the layer.
    panels: usize,
    /// Where the next step begins.
    block: usize,
    panel: usize,
    group: usize,
    row: usize,
}

/// One group of one tile.
#[derive(Clone, Copy)]
struct Step {
    /// First row of the block.
    block: usize,
    row: usize,
    rows: usize,
    panel: usize,
    panels: usize,
    group: usize,
}

impl Plan {
    #[inline(always)]
    fn of<P: Product>(a: QuantizedView<'_>, w: PackedLinear<'_>) -> Self {
        let depth = w.k.div_ceil(64);
        Plan {
            depth,
            groups: groups(w.k, w.group),
            group_depth: depth.min(w.group / 64),
            rows: a.rows(),
            panels: w.n.div_ceil(LANES),
            block: 0,
            panel: 0,
            group: 0,
            row: 0,
        }
    }

    #[inline(always)]
    fn next<P: Product>(&mut self) -> Option<Step> {
        if self.block >= self.rows {
            return None;
        }
        let end = self.rows.min(self.block + BLOCK_ROWS);
        let block_rows = end - self.block;
        // Tiles of equal height rather than full ones and a low rest.
        let height = block_rows.div_ceil(block_rows.div_ceil(P::MR));
        let step = Step {
            block: self.block,
            row: self.row,
            rows: height.min(end - self.row),
            panel: self.panel,
            panels: P::NR.min(self.panels - self.panel),
            group: self.group,
        };
        self.row += step.rows;
        if self.row >= end {
            self.row = self.block;
            self.group += 1;
            if self.group == self.groups {
                self.group = 0;
                self.panel += step.panels;
                if self.panel >= self.panels {
                    self.panel = 0;
                    self.block = end;
                    self.row = end;
                }
            }
        }
        Some(step)
    }

    #[inline(always)]
    fn tile<'a>(&self, a: QuantizedView<'a>, w: PackedLinear<'a>, step: Step) -> Tile<'a> {
        let panel_stride = self.depth * 64 * LANES;
        let first_block = step.group * self.group_depth;
        Tile {
            rows_of_blocks: &a.blocks[step.row * self.depth + first_block..],
            weights: &w.panels[step.panel * panel_stride + first_block * 64 * LANES..],
            rows: step.rows,
            panels: step.panels,
            depth: self.group_depth.min(self.depth - first_block),
            row_stride: self.depth,
            panel_stride,
        }
    }
}

/// From integer sums of some rows of a tile and group to f32.
struct Dequantize<'a, L: Lanes> {
    lanes: L,
    w: &'a PackedLinear<'a>,
    step: Step,
    /// Of the step's.
    rows: Range<usize>,
    /// `[step.rows, groups]`
    ranges: &'a [RowRange],
    groups: usize,
    /// Rows between panels of accumulators.
    stride: usize,
}

/// What sixteen columns bring to their outputs in a group.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
    bias: F,
}

// No closures over vectors here: the compiler would not inline them into a function with the kernel's CPU features.
impl<L: Lanes> Dequantize<'_, L> {
    #[inline(always)]
    fn tile<E: Finish>(
        &self,
        accumulators: &[[i32; LANES]],
        partial: &mut [[[f32; LANES]; MAX_PANELS]],
        finish: E,
        out: &mut MatrixMut<'_>,
    ) {
        let is_first = self.step.group == 0;
        let is_last = self.step.group + 1 == self.groups;
        let is_whole = (self.step.panel + 4) * LANES <= self.w.n;
        let mut panel = 0;
        while panel < self.step.panels {
            let accumulators = &accumulators[panel * self.stride..];
            if is_whole && self.step.panels == 4 {
                match (is_first, is_last) {
                    (true, true) => {
                        self.last::<E, 4, true>(panel, accumulators, partial, finish, out)
                    }
                    (false, true) => {
                        self.last::<E, 4, false>(panel, accumulators, partial, finish, out)
                    }
                    (true, false) => self.add::<4, true>(panel, accumulators, partial),
                    (false, false) => self.add::<4, false>(panel, accumulators, partial),
                }
                return;
            }
            match (is_first, is_last) {
                (true, true) => self.last::<E, 1, true>(panel, accumulators, partial, finish, out),
                (false, true) => {
                    self.last::<E, 1, false>(panel, accumulators, partial, finish, out)
                }
                (true, false) => self.add::<1, true>(panel, accumulators, partial),
                (false, false) => self.add::<1, false>(panel, accumulators, partial),
            }
            panel += 1;
        }
    }

    #[inline(always)]
    fn channels<const N: usize>(&self, panel: usize) -> [Channels<L::F>; N] {
        let (lanes, w, step) = (self.lanes, self.w, self.step);
        let mut channels = [Channels {
            scale: lanes.zero(),
            sum: lanes.zero(),
            bias: lanes.zero(),
        }; N];
        for (i, channels) in channels.iter_mut().enumerate() {
            let column = (step.panel + panel + i) * LANES;
            let at = step.group * w.group_stride + column;
            channels.scale = lanes.load(slice16(w.scale, at));
            let sum = lanes.to_float(lanes.load_int(slice16(w.column_sum, at)));
            channels.sum = lanes.mul(channels.scale, sum);
            channels.bias = lanes.load(slice16(w.bias, column));
        }
        channels
    }

    /// A group that others follow: `N` panels from panel `panel` of the tile on.
    #[inline(always)]
    fn add<const N: usize, const FIRST: bool>(
        &self,
        panel: usize,
        accumulators: &[[i32; LANES]],
        partial: &mut [[[f32; LANES]; MAX_PANELS]],
    ) {
        let lanes = self.lanes;
        let channels: [_; N] = self.channels(panel);
        assert!(
            accumulators.len() >= (N - 1) * self.stride + self.step.rows && panel + N <= MAX_PANELS
        );
        for row in self.rows.clone() {
            let range = &self.ranges[row * self.groups + self.step.group];
            let partial = &mut partial[row];
            for (i, channels) in channels.iter().enumerate() {
                // SAFETY: as asserted, with `row` below `step.rows`.
                let (partial, acc) = unsafe {
                    (
                        partial.get_unchecked_mut(panel + i),
                        accumulators.get_unchecked(i * self.stride + row),
                    )
                };
                let before = if FIRST {
                    channels.bias
                } else {
                    lanes.load(partial)
                };
                lanes.store(value(lanes, channels, range, acc, before), partial);
            }
        }
    }

    /// The last group of `N` panels, neighbours in `out`.
    #[inline(always)]
    fn last<E: Finish, const N: usize, const FIRST: bool>(
        &self,
        panel: usize,
        accumulators: &[[i32; LANES]],
        partial: &[[[f32; LANES]; MAX_PANELS]],
        finish: E,
        out: &mut MatrixMut<'_>,
    ) {
        let lanes = self.lanes;
        let column = (self.step.panel + panel) * LANES;
        let width = (self.w.n - column).min(N * LANES);
        let channels: [_; N] = self.channels(panel);
        assert!(
            accumulators.len() >= (N - 1) * self.stride + self.step.rows && panel + N <= MAX_PANELS
        );
        for row in self.rows.clone() {
            let range = &self.ranges[row * self.groups + self.step.group];
            let partial = &partial[row];
            let mut y = [lanes.zero(); N];
            for i in 0..N {
                // SAFETY: as asserted, with `row` below `step.rows`.
                let (partial, acc) = unsafe {
                    (
                        partial.get_unchecked(panel + i),
                        accumulators.get_unchecked(i * self.stride + row),
                    )
                };
                let before = if FIRST {
                    channels[i].bias
                } else {
                    lanes.load(partial)
                };
                y[i] = value(lanes, &channels[i], range, acc, before);
            }
            let out = &mut out.row(self.step.row + row)[column..column + width];
            match out.as_chunks_mut().0.first_chunk_mut() {
                Some(out) => finish.finish(lanes, y, out),
                None => finish_part(lanes, finish, y[0], out),
            }
        }
    }
}

/// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, y)), where the first group's y is the bias.
#[inline(always)]
fn value<L: Lanes>(
    lanes: L,
    channels: &Channels<L::F>,
    range: &RowRange,
    accumulators: &[i32; LANES],
    before: L::F,
) -> L::F {
    let offset = lanes.fma(lanes.splat(range.low), channels.sum, before);
    let step = lanes.mul(lanes.splat(range.scale), channels.scale);
    lanes.fma(lanes.to_float(lanes.load_int(accumulators)), step, offset)
}

/// Fewer than sixteen columns.
#[inline(always)]
fn finish_part<L: Lanes, E: Finish>(lanes: L, finish: E, y: L::F, out: &mut [f32]) {
    let mut all = [[0.0; LANES]];
    let width = out.len();
    all[0][..width].copy_from_slice(out);
    finish.finish(lanes, [y], &mut all);
    out.copy_from_slice(&all[0][..width]);
}

#[inline(always)]
fn slice16<T>(slice: &[T], at: usize) -> &[T; LANES] {
    slice[at..]
        .first_chunk()
        .expect("scales, sums and biases are padded to whole panels")
}

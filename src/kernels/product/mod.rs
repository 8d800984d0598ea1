//! The integer product and what follows it while its result is in the cache: dequantization, bias, activation or
//! residual.

mod alone;
mod dequantize;
mod fused;
mod jobs;
mod packed;
mod plan;
mod run;
mod tiles;

pub(crate) use alone::products;
pub(crate) use fused::{ActivateQuantize, activate_quantize, linear_quantize};
pub(crate) use jobs::{Jobs, Layers};
pub(crate) use packed::groups;
pub use packed::{MAX_K, PackedLinear, ShapeError};
pub(crate) use plan::height;
#[cfg(target_arch = "x86_64")]
pub(crate) use plan::level;
pub(crate) use run::linear;

use super::lanes::{LANES, Lanes};
use super::math::Activation;
use super::quantized::{Block, bytes};
use std::mem::MaybeUninit;

/// What an instruction set adds to its [`Lanes`]: exact products of bytes.
pub(crate) trait Product: Copy {
    /// The vector half of the kernel.
    type Lanes: Lanes;
    /// What lasts from tile to tile of a run of products, and is dropped at its end.
    type State: Default;
    /// Rows of a full tile.
    const MR: usize;
    /// Most panels of sixteen columns in a tile.
    const NR: usize;

    fn lanes(self) -> Self::Lanes;

    /// Rows that an instruction multiplies at a time, and in which tiles grow: more than one where there are tile registers,
    /// and where the CPU does other things between the products.
    const TILE_ROWS: usize = 1;
    /// Fewest rows of a tile in tile registers.
    const LEAST_ROWS: usize = 1;
    /// Rows for which weights are read once from the second-level cache or beyond.
    const BLOCK_ROWS: usize = 64;
    /// Most rows whose results lie in f32 before they are quantized for the next product: 32 with a group of 384 outputs are 48 KiB,
    /// in a second-level cache at worst.
    const FUSED_ROWS: usize = 32;
    /// What the groups so far add up to: an array of [`TilePartials`], one for each tile of panels that goes group by group with the
    /// others of the array. With more of them, what is done to rows before they are multiplied is done less often, and more lies in
    /// f32 until the last group.
    type Partials;
    /// Panels of the tiles of so many rows.
    #[inline(always)]
    fn panels(_rows: usize) -> usize {
        Self::NR
    }

    /// Rows from one panel's accumulators to the next's, in tiles of so many panels. So high are full tiles.
    #[inline(always)]
    fn stride(_panels: usize) -> usize {
        Self::MR
    }

    /// `accumulators[(panel·stride + row)·16 + column]` = Σ u·w over the tile, exactly.
    fn multiply(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]);

    /// The same for a tile of `N` panels, four with up to [`Product::TILE_ROWS`] rows or two with more, up to `stride(2)`, and
    /// `DEPTH` blocks, at most [`FULL_DEPTH`]; `meanwhile` is done between the instructions. Called where there are tile registers.
    ///
    /// # Safety
    /// The tile has all that.
    #[inline(always)]
    unsafe fn multiply_full<const N: usize, const DEPTH: usize>(
        self,
        _: &mut Self::State,
        _: FullTile,
        _: &mut [i32; MAX_TILE],
        _: &mut impl Meanwhile,
    ) {
        unreachable!("a kernel without tile registers");
    }

    /// Most rows of a tile of one or two panels in [`Product::tall`].
    fn tall_rows(_panels: usize) -> usize {
        Self::MR
    }

    /// All products of a tile of one or two panels with many rows (whole multiples of
    /// [`Product::TILE_ROWS`]): `accumulators[(panel·tall_rows(panels) + row)·16 + column]` = Σ u·w.
    #[inline(always)]
    fn tall(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]) {
        self.multiply(state, tile, accumulators);
    }

    /// [`Product::tall`] with the high bytes of one panel's weights of fifteen bits and their low bytes as another: sums with the same
    /// 256·high + low, below 2²⁴ or all in the low ones. `depth` is at most eight.
    #[inline(always)]
    fn halves(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]) {
        self.tall(state, tile, accumulators);
    }
}

/// What is done between the parts of a product.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AMX multiplies in parts")
)]
pub(crate) trait Meanwhile {
    /// Part `index` of `count` that are about equal.
    fn part(&mut self, index: usize, count: usize);
}

/// Nothing to do.
struct Nothing;

impl Meanwhile for Nothing {
    #[inline(always)]
    fn part(&mut self, _: usize, _: usize) {}
}

/// A [`Tile`] whose panels and groups are those of models, and where they are.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AMX has tile registers")
)]
pub(crate) struct FullTile {
    pub(crate) rows_of_blocks: *const Block,
    pub(crate) weights: *const i8,
    pub(crate) rows: usize,
    /// Bytes from one row to the next.
    pub(crate) row_stride: usize,
    /// Weights from one panel to the next.
    pub(crate) panel_stride: usize,
}

/// Blocks along k in the groups of models: 384 inputs.
pub(crate) const FULL_DEPTH: usize = 6;

/// Tiles of so many rows have an even number of them.
const EVEN_TILES: usize = 32;

/// A tile's rows among those of its block, for kernels that keep them in an order of their own from panel to panel.
#[derive(Clone, Copy)]
#[cfg_attr(
    target_arch = "x86_64",
    allow(dead_code, reason = "AVX2 keeps but the rows that it widened last")
)]
pub(crate) struct Packing {
    /// The first row's place in the block, even where a kernel has tiles of [`EVEN_TILES`] rows or more.
    pub(crate) row: usize,
    /// Rows of the block.
    pub(crate) rows: usize,
    /// Sixteens along k before the tile's.
    pub(crate) before: usize,
    /// Those of all tiles with these rows.
    pub(crate) whole: usize,
    /// Whether the same rows and inputs were multiplied with this state before, and since then nothing else with the same `row` and
    /// `before`: of other rows, other tiles may have been.
    pub(crate) is_done: bool,
}

/// Up to `MR` rows of bytes against up to `NR` panels of weights.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// `[rows, blocks]`, rows `row_stride` apart.
    pub(crate) rows_of_blocks: &'a [Block],
    /// `[panels, blocks, 16, 16, 4]`, panels `panel_stride` apart.
    pub(crate) weights: &'a [i8],
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    /// Sixteens along k. Behind them a row's last block is zero, or the weights are.
    pub(crate) depth: usize,
    pub(crate) packing: Packing,
    /// Σ of each column's weights over all of the tile's depth, `[panels, 16]`, where it is known.
    #[cfg_attr(
        target_arch = "x86_64",
        allow(dead_code, reason = "products of signed bytes by signed ones need it")
    )]
    pub(crate) column_sum: Option<&'a [i32]>,
    /// Blocks from one row to the next, at least `blocks`.
    pub(crate) row_stride: usize,
    /// Weights from one panel to the next, at least those of `blocks` blocks.
    pub(crate) panel_stride: usize,
}

impl<'a> Tile<'a> {
    /// Blocks of 64 along k.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> usize {
        self.depth.div_ceil(64 / LANES)
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        let blocks = &self.rows_of_blocks[row * self.row_stride..][..self.blocks()];
        &bytes(blocks)[..self.depth * LANES]
    }

    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &'a [i8] {
        &self.weights[panel * self.panel_stride..][..self.depth * LANES * LANES]
    }

    /// A panel with all of its blocks, whatever of the last one lies behind the depth.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only AVX2 takes more than the depth")
    )]
    #[inline(always)]
    pub(crate) fn whole_panel(&self, panel: usize) -> &'a [i8] {
        &self.weights[panel * self.panel_stride..][..self.blocks() * 64 * LANES]
    }

    /// What every kernel may rely on when it reads through pointers.
    #[inline(always)]
    pub(crate) fn check(&self, accumulators: &[i32], mr: usize) {
        assert!(
            self.rows > 0
                && self.panels > 0
                && (self.rows - 1) * self.row_stride + self.blocks() <= self.rows_of_blocks.len()
                && (self.panels - 1) * self.panel_stride + self.blocks() * 64 * LANES
                    <= self.weights.len()
                && self.panels * mr * LANES <= accumulators.len()
                && self.rows <= mr
        );
    }
}

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// out = activation(y)
    Store(Activation),
    /// out = out + y
    Accumulate,
}

impl Epilogue {
    /// Whether the product is added to what is there, and the function that is applied to its results.
    pub(crate) fn split(self) -> (bool, Activation) {
        match self {
            Epilogue::Accumulate => (true, Activation::Identity),
            Epilogue::Store(activation) => (false, activation),
        }
    }
}

/// Most panels that a tile of any kernel has.
const MAX_PANELS: usize = 4;

/// Accumulators of a full tile in tile registers.
pub(crate) const MAX_TILE: usize = 64 * LANES;

/// Those of a step.
#[repr(C, align(64))]
struct Accumulators([i32; MAX_TILE]);

impl Default for Accumulators {
    #[inline(always)]
    fn default() -> Self {
        Accumulators([0; MAX_TILE])
    }
}

/// Most rows of any kernel's block.
const MAX_BLOCK_ROWS: usize = 128;

/// What the groups of a tile's row so far add up to.
#[repr(C, align(64))]
pub(crate) struct Partial([[f32; LANES]; MAX_PANELS]);

/// Those of a tile's rows, all of a block's, which the first group writes.
pub(crate) type TilePartials = [MaybeUninit<Partial>; MAX_BLOCK_ROWS];

/// Tiles of panels that go group by group.
const fn tiles_by_group<P: Product>() -> usize {
    size_of::<P::Partials>() / size_of::<TilePartials>()
}

/// Working memory of products that go tile by tile.
#[repr(C, align(64))]
struct Room<P: Product> {
    accumulators: MaybeUninit<[i32; MAX_BLOCK_ROWS * MAX_PANELS * LANES]>,
    partials: MaybeUninit<P::Partials>,
}

impl<P: Product> Room<P> {
    #[inline(always)]
    fn new() -> Self {
        Room {
            accumulators: MaybeUninit::uninit(),
            partials: MaybeUninit::uninit(),
        }
    }

    /// The accumulators of a kernel's tiles, all zero, and what is not written yet.
    #[inline(always)]
    fn split(&mut self) -> (&mut [i32], &mut [TilePartials]) {
        const { assert!(P::MR <= P::BLOCK_ROWS && P::BLOCK_ROWS <= MAX_BLOCK_ROWS) };
        const { assert!(P::NR <= MAX_PANELS) };
        const { assert!(size_of::<P::Partials>() == tiles_by_group::<P>() * size_of::<TilePartials>()) };
        const { assert!(align_of::<P::Partials>() == align_of::<TilePartials>()) };
        let first: *mut i32 = self.accumulators.as_mut_ptr().cast();
        let count = P::MR * P::NR * LANES;
        // SAFETY: there is room for so many, and zeros are numbers; room for so many tiles too, of which nothing need be written.
        unsafe {
            first.write_bytes(0, count);
            let partials = self.partials.as_mut_ptr().cast();
            (
                std::slice::from_raw_parts_mut(first, count),
                std::slice::from_raw_parts_mut(partials, tiles_by_group::<P>()),
            )
        }
    }
}

/// [`Product::FUSED_ROWS`] of the kernel that this is the proof of.
pub(crate) const fn fused_rows<P: Product>(_: unsafe fn() -> P) -> usize {
    P::FUSED_ROWS
}

/// A kernel's [`linear`], compiled.
pub(crate) type Linear = unsafe fn(&mut dyn Jobs<'_>, bool);

//! The integer product and what follows it while its result is in the cache: dequantization, bias, activation or
//! residual.

mod alone;
mod dequantize;
mod packed;
mod plan;
mod run;

pub(crate) use alone::products;
pub(crate) use packed::groups;
pub use packed::{MAX_K, PackedLinear, ShapeError};

use super::lanes::{LANES, Lanes};
use super::math::{self, Activation};
use super::matrix::MatrixMut;
use super::quantized::{Block, QuantizedView, bytes};
use run::run;

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

    /// Whether it multiplies by tile instructions: a tile takes as long with few rows as with `MR`, and the CPU does other
    /// things between them.
    const TILES: bool = false;

    /// `accumulators[(panel·MR + row)·16 + column]` = Σ u·w over the tile, exactly. Kernels with [`Product::TILES`] do
    /// `meanwhile` between parts of the product.
    fn multiply(
        self,
        state: &mut Self::State,
        tile: Tile<'_>,
        accumulators: &mut [i32],
        meanwhile: &mut impl Meanwhile,
    );

    /// Most rows of a tile of one or two panels in [`Product::tall`].
    fn tall_rows(_panels: usize) -> usize {
        Self::MR
    }

    /// All products of a tile of one or two panels with many rows (whole multiples of `MR` where there are
    /// [`Product::TILES`]): `accumulators[(panel·tall_rows(panels) + row)·16 + column]` = Σ u·w.
    #[inline(always)]
    fn tall(self, state: &mut Self::State, tile: Tile<'_>, accumulators: &mut [i32]) {
        self.multiply(state, tile, accumulators, &mut Nothing);
    }
}

/// What is done between the parts of a product.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AMX multiplies in parts")
)]
pub(crate) trait Meanwhile {
    /// The product has so many parts.
    fn begin(&mut self, parts: usize);
    /// Behind each part.
    fn part(&mut self);
    /// All that is left, at the end.
    fn end(&mut self);
}

/// Nothing to do.
pub(crate) struct Nothing;

impl Meanwhile for Nothing {
    #[inline(always)]
    fn begin(&mut self, _: usize) {}
    #[inline(always)]
    fn part(&mut self) {}
    #[inline(always)]
    fn end(&mut self) {}
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

/// Most panels that a tile of any kernel has.
const MAX_PANELS: usize = 4;

/// Most accumulators that a tile of any of this build's kernels has.
const MAX_TILE: usize = if cfg!(target_arch = "aarch64") {
    128
} else {
    64
} * LANES;

/// Most tiles of rows in a block.
const BLOCK_TILES: usize = 4;

/// Accumulators of `TILES` tiles.
#[repr(C, align(64))]
struct Accumulators<const TILES: usize>([[i32; MAX_TILE]; TILES]);

/// Rows that pass together: a group of a tile's weights stays in the first-level cache while they do.
const BLOCK_ROWS: usize = 64;

/// What the groups of a block's rows so far add up to: `[BLOCK_ROWS, MAX_PANELS]`.
#[repr(C, align(64))]
struct Partial([[[f32; LANES]; MAX_PANELS]; BLOCK_ROWS]);

/// Where the results of a product go.
struct Output<'o> {
    partial: Partial,
    out: MatrixMut<'o>,
}

impl<'o> Output<'o> {
    #[inline(always)]
    fn of(out: MatrixMut<'o>) -> Self {
        Output {
            partial: Partial([[[0.0; LANES]; MAX_PANELS]; BLOCK_ROWS]),
            out,
        }
    }
}

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

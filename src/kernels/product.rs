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
    /// `[rows, depth]`
    pub(crate) rows_of_blocks: &'a [Block],
    /// `[panels, depth, 16, 16, 4]`
    pub(crate) weights: &'a [i8],
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    /// Blocks of 64 along k.
    pub(crate) depth: usize,
}

impl<'a> Tile<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        bytes(&self.rows_of_blocks[row * self.depth..][..self.depth])
    }

    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &'a [i8] {
        let size = self.depth * 64 * LANES;
        &self.weights[panel * size..][..size]
    }

    /// What every kernel may rely on when it reads through pointers.
    #[inline(always)]
    pub(crate) fn check(&self, accumulators: &[i32], mr: usize) {
        assert!(
            self.rows * self.depth <= self.rows_of_blocks.len()
                && self.panels * self.depth * 64 * LANES <= self.weights.len()
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
    /// `[ceil(n/16)·16]`
    scale: &'a [f32],
    /// `[ceil(n/16)·16]`: Σ over k of a column's weights.
    column_sum: &'a [i32],
    /// `[ceil(n/16)·16]`
    bias: &'a [f32],
    n: usize,
    k: usize,
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
    /// If a slice does not have the length that `n` and `k` ask for, or `k` is more than [`MAX_K`].
    pub fn new(
        panels: &'a [i8],
        scale: &'a [f32],
        column_sum: &'a [i32],
        bias: &'a [f32],
        n: usize,
        k: usize,
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
        check("scale", scale.len(), padded)?;
        check("column_sum", column_sum.len(), padded)?;
        check("bias", bias.len(), padded)?;
        Ok(PackedLinear {
            panels,
            scale,
            column_sum,
            bias,
            n,
            k,
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
            scale: &self.scale[padded.clone()],
            column_sum: &self.column_sum[padded.clone()],
            bias: &self.bias[padded],
            n: columns.len(),
            k: self.k,
        }
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

/// Most accumulators that a tile of any kernel has: 4 panels of 32 rows.
const MAX_TILE: usize = 4 * 32 * LANES;

/// Most panels that a tile of any kernel has.
const MAX_PANELS: usize = 8;

#[repr(C, align(64))]
struct Accumulators([i32; MAX_TILE]);

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
    // Tiles of equal height rather than full ones and a low rest.
    let tiles = rows.div_ceil(P::MR);
    let height = rows.div_ceil(tiles);
    let mut accumulators = Accumulators([0; MAX_TILE]);
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
            channels.scale = lanes.load(slice16(w.scale, column));
            let sum = lanes.to_float(lanes.load_int(slice16(w.column_sum, column)));
            channels.sum = lanes.mul(channels.scale, sum);
            channels.bias = lanes.load(slice16(w.bias, column));
        }
        for first_row in (0..rows).step_by(height) {
            let tile_rows = height.min(rows - first_row);
            let tile = Tile {
                rows_of_blocks: &a.blocks[first_row * depth..][..tile_rows * depth],
                weights: &w.panels[first_panel * panel_size..][..panels * panel_size],
                rows: tile_rows,
                panels,
                depth,
            };
            product.multiply(&mut state, tile, &mut accumulators.0);
            let accumulators = accumulators.0.as_chunks::<LANES>().0;
            for (row, range) in a.ranges[first_row..][..tile_rows].iter().enumerate() {
                let out = &mut out.row(first_row + row)[columns.clone()];
                finish_row(
                    lanes,
                    &accumulators[row..],
                    P::MR,
                    *range,
                    &channels[..panels],
                    finish,
                    out,
                );
            }
        }
    }
}

/// What sixteen columns bring to their outputs.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
    bias: F,
}

/// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, bias)) for the panels of one row, whose accumulators lie
/// `stride` apart.
#[inline(always)]
fn finish_row<L: Lanes, E: Finish>(
    lanes: L,
    accumulators: &[[i32; LANES]],
    stride: usize,
    range: RowRange,
    channels: &[Channels<L::F>],
    finish: E,
    out: &mut [f32],
) {
    let (scale, low) = (lanes.splat(range.scale), lanes.splat(range.low));
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (panel, channels) in channels.iter().enumerate() {
        let offset = lanes.fma(low, channels.sum, channels.bias);
        let step = lanes.mul(scale, channels.scale);
        let accumulators = lanes.load_int(&accumulators[panel * stride]);
        let y = lanes.fma(lanes.to_float(accumulators), step, offset);
        if let Some(out) = chunks.get_mut(panel) {
            finish.finish(lanes, y, out);
            continue;
        }
        let mut all = [0.0; LANES];
        let width = rest.len();
        all[..width].copy_from_slice(rest);
        finish.finish(lanes, y, &mut all);
        rest.copy_from_slice(&all[..width]);
    }
}

#[inline(always)]
fn slice16<T>(slice: &[T], at: usize) -> &[T; LANES] {
    slice[at..]
        .first_chunk()
        .expect("scales, sums and biases are padded to whole panels")
}

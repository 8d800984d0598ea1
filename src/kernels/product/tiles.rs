//! Products by tile registers: each tile is multiplied while the sums of the one before it are dequantized, so that neither waits
//! for the other's results, and the next product follows without a pause.
//!
//! That is for tiles of full height with whole panels and groups as models have them. Whatever else a product has goes tile by
//! tile without that.

use super::dequantize::{Group, Rows, Vectors};
use super::jobs::Jobs;
use super::plan::Plan;
use super::run::one_by_one;
use super::{FULL_DEPTH, LANES, MAX_TILE, PackedLinear, Product, Tile};
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;
use std::mem::MaybeUninit;

/// Panels of a block's tiles, and of lower ones.
const PANELS: [usize; 2] = [2, 4];

/// Columns whose groups follow each other: those before the last go to a block's sums (48 KiB), and its rows are read for each
/// group once, not for each panel.
const COLUMNS: usize = 384;

/// Most rows of a block.
const MAX_ROWS: usize = 32;

/// Sums of a tile.
#[repr(C, align(64))]
struct Accumulators([i32; MAX_TILE]);

/// What a block's groups so far add up to.
#[repr(C, align(64))]
struct Sums([[f32; COLUMNS]; MAX_ROWS]);

/// Where the results of a product go.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
}

impl Out {
    #[inline(always)]
    fn of(mut out: MatrixMut<'_>) -> Self {
        Out {
            first: out.as_mut_ptr(),
            stride: out.stride(),
            rows: out.rows(),
            columns: out.columns(),
        }
    }
}

/// A tile whose sums are to be dequantized.
#[derive(Clone, Copy)]
struct Pending<'a> {
    group: Group<'a>,
    from: Vectors<*const [f32; LANES]>,
    /// Where the sums go, unless they are the last of their product's.
    sums: Option<Vectors<*mut [f32; LANES]>>,
    row: usize,
    column: usize,
    panels: usize,
    /// Whether its product ends with it.
    is_end: bool,
}

/// Products of tiles one after the other.
struct Run<'r, 'j, 'a, P: Product> {
    product: P,
    state: &'r mut P::State,
    jobs: &'r mut (dyn Jobs<'a> + 'j),
    add: bool,
    accumulators: [Accumulators; 2],
    /// Which accumulators the pending tile has.
    side: usize,
    pending: Option<Pending<'a>>,
    /// Of the product that the pending tile belongs to.
    out: Option<Out>,
}

/// out = a·wᵀ + bias of each product, or with `add` out + that.
#[inline(always)]
pub(super) fn linear<'a, P: Product>(
    product: P,
    state: &mut P::State,
    jobs: &mut dyn Jobs<'a>,
    add: bool,
) {
    let mut sums = MaybeUninit::<Sums>::uninit();
    let sums = sums.as_mut_ptr();
    let mut run = Run {
        product,
        state,
        jobs,
        add,
        accumulators: [const { Accumulators([0; MAX_TILE]) }; 2],
        side: 0,
        pending: None,
        out: None,
    };
    while let Some((a, w)) = run.jobs.next() {
        run.product(&a, &w, sums);
    }
    run.flush();
}

impl<'a, P: Product> Run<'_, '_, 'a, P> {
    #[inline(always)]
    fn product(&mut self, a: &QuantizedView<'a>, w: &PackedLinear<'a>, sums: *mut Sums) {
        assert!(a.rows() > 0 && w.n > 0);
        let plan = Plan::of(a, w);
        let mut row = 0;
        if plan.is_of_groups(FULL_DEPTH) {
            for panels in PANELS {
                let height = P::stride(panels);
                while w.n.is_multiple_of(panels * LANES) && row + height <= a.rows() {
                    let is_end = row + height == a.rows();
                    match panels {
                        2 => self.block::<2>((a, w), plan.groups, row, is_end, sums),
                        _ => self.block::<4>((a, w), plan.groups, row, is_end, sums),
                    }
                    row += height;
                }
            }
        }
        if row < a.rows() {
            self.flush();
            let rest = a.row_range(row..a.rows());
            let out = self.jobs.out().split_rows(row).1;
            one_by_one(self.product, self.state, (&rest, w), out, self.add);
            self.jobs.end();
            self.out = None;
        }
    }

    /// A block of rows with all columns, in tiles of `N` panels.
    #[inline(always)]
    fn block<const N: usize>(
        &mut self,
        (a, w): (&QuantizedView<'a>, &PackedLinear<'a>),
        groups: usize,
        row: usize,
        is_end: bool,
        sums: *mut Sums,
    ) {
        const { assert!((COLUMNS / LANES).is_multiple_of(N)) };
        let (height, depth) = (P::stride(N), groups * FULL_DEPTH);
        assert!(height <= MAX_ROWS);
        let panel_stride = depth * 64 * LANES;
        for begin in (0..w.n / LANES).step_by(COLUMNS / LANES) {
            let end = (begin + COLUMNS / LANES).min(w.n / LANES);
            for group in 0..groups {
                let is_last = group + 1 == groups;
                for panel in (begin..end).step_by(N) {
                    let tile = Tile {
                        rows_of_blocks: &a.blocks[row * depth + group * FULL_DEPTH..],
                        weights: &w.panels
                            [panel * panel_stride + group * FULL_DEPTH * 64 * LANES..],
                        rows: height,
                        panels: N,
                        depth: FULL_DEPTH,
                        row_stride: depth,
                        panel_stride,
                    };
                    let to = Vectors {
                        first: sums.cast::<[f32; LANES]>().wrapping_add(panel - begin),
                        stride: size_of::<[f32; COLUMNS]>(),
                    };
                    let from = match group {
                        0 => Vectors::bias::<N>(w, panel),
                        _ => Vectors {
                            first: to.first.cast_const(),
                            stride: to.stride,
                        },
                    };
                    let next = Pending {
                        group: Group::of(a, w, (row, panel, group), groups),
                        from,
                        sums: (!is_last).then_some(to),
                        row,
                        column: panel * LANES,
                        panels: N,
                        is_end: is_end && is_last && panel + N == w.n / LANES,
                    };
                    self.step::<N>(tile, next);
                }
            }
        }
    }

    /// Multiplies a tile and dequantizes the one before it.
    #[inline(always)]
    fn step<const N: usize>(&mut self, tile: Tile<'a>, next: Pending<'a>) {
        if self.pending.is_none_or(|pending| pending.panels != N) {
            self.flush();
            self.side = 0;
            let accumulators = &mut self.accumulators[0].0;
            self.product.multiply(self.state, tile, accumulators);
            self.pending = Some(next);
            return;
        }
        if let Some(pending) = self.pending {
            let (to, add) = self.to(pending);
            let [one, other] = &mut self.accumulators;
            let (full, fill) = match self.side {
                0 => (one, other),
                _ => (other, one),
            };
            let accumulators = (full.0.as_chunks().0, P::stride(N));
            let (lanes, group, from) = (self.product.lanes(), pending.group, pending.from);
            // Known when this is compiled, and with it where each row lies.
            let rows = P::stride(N);
            // SAFETY: `to` saw the output's rows and columns, and the sums have those of a block.
            unsafe {
                match add {
                    false => {
                        let mut rows =
                            Rows::<_, N, false>::new(lanes, group, accumulators, from, to, rows);
                        let fill = &mut fill.0;
                        self.product
                            .multiply_full(self.state, tile, fill, &mut rows);
                    }
                    true => {
                        let mut rows =
                            Rows::<_, N, true>::new(lanes, group, accumulators, from, to, rows);
                        let fill = &mut fill.0;
                        self.product
                            .multiply_full(self.state, tile, fill, &mut rows);
                    }
                }
            }
            self.side = 1 - self.side;
            self.ended(pending);
            self.pending = Some(next);
        }
    }

    /// Where a pending tile goes, and whether it is added to what is there.
    #[inline(always)]
    fn to(&mut self, pending: Pending<'a>) -> (Vectors<*mut [f32; LANES]>, bool) {
        if let Some(sums) = pending.sums {
            return (sums, false);
        }
        let out = match self.out {
            Some(out) => out,
            None => *self.out.insert(Out::of(self.jobs.out())),
        };
        assert!(
            pending.row + P::stride(pending.panels) <= out.rows
                && pending.column + pending.panels * LANES <= out.columns
        );
        let first = out
            .first
            .wrapping_add(pending.row * out.stride + pending.column);
        let to = Vectors {
            first: first.cast(),
            stride: out.stride * size_of::<f32>(),
        };
        (to, self.add)
    }

    /// Dequantizes the pending tile.
    #[inline(always)]
    fn flush(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let (to, add) = self.to(pending);
        let (lanes, group, from) = (self.product.lanes(), pending.group, pending.from);
        let rows = P::stride(pending.panels);
        let accumulators = (self.accumulators[self.side].0.as_chunks().0, rows);
        // SAFETY: as in `step`.
        unsafe {
            match (pending.panels, add) {
                (2, false) => {
                    Rows::<_, 2, false>::new(lanes, group, accumulators, from, to, rows).all()
                }
                (2, true) => {
                    Rows::<_, 2, true>::new(lanes, group, accumulators, from, to, rows).all()
                }
                (_, false) => {
                    Rows::<_, 4, false>::new(lanes, group, accumulators, from, to, rows).all()
                }
                (_, true) => {
                    Rows::<_, 4, true>::new(lanes, group, accumulators, from, to, rows).all()
                }
            }
        }
        self.ended(pending);
    }

    /// Tells the jobs that a product has ended, if one has with this tile.
    #[inline(always)]
    fn ended(&mut self, pending: Pending<'a>) {
        if pending.is_end {
            self.jobs.end();
            self.out = None;
        }
    }
}

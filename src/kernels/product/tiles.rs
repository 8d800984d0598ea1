//! Products by tile registers: each tile is multiplied while the sums of the one before it are dequantized, so that neither waits
//! for the other's results, and the next product follows without a pause.
//!
//! That is for panels and groups as models have them. Other products, and the rests that it has no form for, go tile by tile without
//! that. Between two tiles there is little more than pointers to move: bounds are checked once for a product.

use super::dequantize::{Rows, Source, Vectors};
use super::jobs::Jobs;
use super::plan::Plan;
use super::run::one_by_one;
use super::{Accumulators, FULL_DEPTH, FullTile, LANES, Nothing, PackedLinear, Product, Room};
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::ops::Range;

/// Panels of a block's tiles, and of a low block's.
const PANELS: [usize; 2] = [2, 4];

/// Columns whose groups follow each other: those before the last go to a block's sums (48 KiB), and its rows are read for each
/// group once, not for each panel.
const COLUMNS: usize = 384;

/// Most rows of a block.
const MAX_ROWS: usize = 32;

/// What a block's groups so far add up to.
#[repr(C, align(64))]
struct Sums([[f32; COLUMNS]; MAX_ROWS]);

thread_local! {
    /// Only the products of one call use them at a time: nothing that they do meanwhile multiplies.
    static SUMS: UnsafeCell<Sums> = const { UnsafeCell::new(Sums([[0.0; COLUMNS]; MAX_ROWS])) };
}

/// Where the results of a product go.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    stride: usize,
}

impl Out {
    /// With room for those of so many rows and columns.
    #[inline(always)]
    fn of(mut out: MatrixMut<'_>, rows: usize, columns: usize) -> Self {
        assert!((out.rows(), out.columns()) == (rows, columns));
        Out {
            first: out.as_mut_ptr(),
            stride: out.stride(),
        }
    }
}

/// A tile whose sums are to be dequantized.
#[derive(Clone, Copy)]
struct Pending {
    source: Source,
    to: Vectors<*mut [f32; LANES]>,
    add: bool,
    rows: usize,
    /// Whether its product ends with it.
    is_end: bool,
}

/// Products of tiles one after the other.
struct Run<'r, 'j, 'a, P: Product> {
    product: P,
    state: &'r mut P::State,
    jobs: &'r mut (dyn Jobs<'a> + 'j),
    add: bool,
    /// Those of the pending tile, and those of the next.
    accumulators: [*mut Accumulators; 2],
    sums: *mut Sums,
    pending: Option<Pending>,
    /// Of the first product that has not ended.
    out: Option<Out>,
}

/// A product whose tiles may be full: whole pairs of panels, groups of [`FULL_DEPTH`] blocks, and a last one of two, four or six.
#[derive(Clone, Copy)]
struct Full<'p, 'a> {
    a: &'p QuantizedView<'a>,
    w: &'p PackedLinear<'a>,
    /// Blocks of 64 along k.
    depth: usize,
    groups: usize,
}

impl<'p, 'a> Full<'p, 'a> {
    /// Checks the lengths of everything that [`Run::block`] reads.
    fn of(a: &'p QuantizedView<'a>, w: &'p PackedLinear<'a>) -> Option<Self> {
        let plan = Plan::of(a, w);
        let (rows, groups, depth, n) = (a.rows(), plan.groups, plan.depth, w.n);
        let last = depth - (groups - 1) * plan.group_depth;
        let is_full = (groups == 1 || plan.group_depth == FULL_DEPTH) && matches!(last, 2 | 4 | 6);
        if !is_full || !n.is_multiple_of(PANELS[0] * LANES) {
            return None;
        }
        let columns = (groups - 1) * w.group_stride + n;
        assert!(a.blocks.len() == rows * depth && a.ranges.len() == rows * groups);
        assert!(w.panels.len() >= n * depth * 64 && w.bias.len() >= n);
        assert!(w.scale.len() >= columns && w.column_sum.len() >= columns);
        Some(Full {
            a,
            w,
            depth,
            groups,
        })
    }
}

impl Full<'_, '_> {
    /// Whether the last group has as many blocks as the others.
    fn has_whole_groups(&self) -> bool {
        self.depth == self.groups * FULL_DEPTH
    }

    /// The tile of some rows, a panel and a group, and how many blocks it has.
    ///
    /// # Safety
    /// There are those rows, the panel and the group, and the panels behind it that the tile takes.
    #[inline(always)]
    unsafe fn tile(&self, rows: &Range<usize>, panel: usize, group: usize) -> (FullTile, usize) {
        let panel_stride = self.depth * 64 * LANES;
        let first = group * FULL_DEPTH;
        // SAFETY: the caller's promise; `of` saw the lengths.
        let tile = unsafe {
            FullTile {
                rows_of_blocks: self.a.blocks.as_ptr().add(rows.start * self.depth + first),
                weights: self
                    .w
                    .panels
                    .as_ptr()
                    .add(panel * panel_stride + first * 64 * LANES),
                rows: rows.len(),
                row_stride: self.depth * 64,
                panel_stride,
            }
        };
        (tile, self.depth - first)
    }
}

/// The products of [`linear`] without what follows them, and whether all of them are in full tiles of two panels and whole groups;
/// if not, none is multiplied.
#[inline(always)]
pub(super) fn products<P: Product>(
    product: P,
    state: &mut P::State,
    a: &QuantizedView<'_>,
    w: &PackedLinear<'_>,
) -> bool {
    const N: usize = PANELS[0];
    let (rows, panels) = (a.rows(), w.n / LANES);
    let Some(full) = Full::of(a, w) else {
        return false;
    };
    if !rows.is_multiple_of(P::stride(N)) || !full.has_whole_groups() {
        return false;
    }
    let mut accumulators = Accumulators::default();
    for row in (0..rows).step_by(P::stride(N)) {
        for begin in (0..panels).step_by(COLUMNS / LANES) {
            let end = panels.min(begin + COLUMNS / LANES);
            for group in 0..full.groups {
                for panel in (begin..end).step_by(N) {
                    let (sums, nothing) = (&mut accumulators.0, &mut Nothing);
                    // SAFETY: row, panel and group are the product's, and so are those behind them.
                    unsafe {
                        let (tile, _) = full.tile(&(row..row + P::stride(N)), panel, group);
                        product.multiply_full::<N, FULL_DEPTH>(state, tile, sums, nothing);
                    }
                    black_box(&mut accumulators);
                }
            }
        }
    }
    true
}

/// out = a·wᵀ + bias of each product, or with `add` out + that.
#[inline(always)]
pub(super) fn linear<'a, P: Product>(
    product: P,
    state: &mut P::State,
    jobs: &mut dyn Jobs<'a>,
    add: bool,
) {
    let mut accumulators = [Accumulators::default(), Accumulators::default()];
    let [one, other] = &mut accumulators;
    let mut run = Run {
        product,
        state,
        jobs,
        add,
        accumulators: [one, other],
        sums: SUMS.with(UnsafeCell::get),
        pending: None,
        out: None,
    };
    while let Some((a, w)) = run.jobs.next() {
        run.product(&a, &w);
    }
    run.flush();
}

impl<'a, P: Product> Run<'_, '_, 'a, P> {
    #[inline(always)]
    fn product(&mut self, a: &QuantizedView<'a>, w: &PackedLinear<'a>) {
        assert!(a.rows() > 0 && w.n > 0);
        let mut row = 0;
        if let Some(full) = Full::of(a, w) {
            // More forms would make the program larger than they are worth.
            let has_low_form = full.has_whole_groups() && w.n.is_multiple_of(PANELS[1] * LANES);
            while row + P::LEAST_ROWS <= a.rows() {
                let rows = row..a.rows().min(row + MAX_ROWS);
                let end = rows.end;
                match P::panels(rows.len()) {
                    2 => self.block::<2>(full, rows),
                    _ if has_low_form => self.block::<4>(full, rows),
                    _ => break,
                }
                row = end;
            }
        }
        if row < a.rows() {
            self.flush();
            let rest = a.row_range(row..a.rows());
            let out = self.jobs.out().split_rows(row).1;
            let mut room = Room::<P>::new();
            let mut room = room.split();
            one_by_one(
                self.product,
                self.state,
                &mut room,
                (&rest, w),
                out,
                self.add,
            );
            self.end();
        }
    }

    /// The first product that has not ended does.
    #[inline(always)]
    fn end(&mut self) {
        self.jobs.end();
        self.out = None;
    }

    /// A block of rows with all columns, in tiles of `N` panels.
    #[inline(always)]
    fn block<const N: usize>(&mut self, full: Full<'_, 'a>, rows: Range<usize>) {
        const { assert!(FULL_DEPTH == 6) };
        let Full { a, w, groups, .. } = full;
        const { assert!((COLUMNS / LANES).is_multiple_of(N)) };
        assert!(rows.len() <= P::stride(N) && P::stride(N) <= MAX_ROWS && rows.end <= a.rows());
        assert!(P::panels(rows.len()) == N);
        let is_last_block = rows.end == a.rows();
        let panels = w.n / LANES;
        assert!(panels.is_multiple_of(N));
        for begin in (0..panels).step_by(COLUMNS / LANES) {
            let end = panels.min(begin + COLUMNS / LANES);
            for group in 0..groups {
                let is_last = group + 1 == groups;
                for panel in (begin..end).step_by(N) {
                    // SAFETY: `Full` saw all rows, panels and groups; the height is that of N panels; the sums have room for a block's.
                    unsafe {
                        let (tile, depth) = full.tile(&rows, panel, group);
                        match depth {
                            2 if N == PANELS[0] => self.step::<N, 2>(tile),
                            4 if N == PANELS[0] => self.step::<N, 4>(tile),
                            _ => self.step::<N, FULL_DEPTH>(tile),
                        }
                        let sums = Vectors {
                            first: self.sums.cast::<[f32; LANES]>().add(panel - begin),
                            stride: size_of::<[f32; COLUMNS]>(),
                        };
                        let from = match group {
                            0 => Vectors {
                                first: w.bias.as_ptr().add(panel * LANES).cast(),
                                stride: 0,
                            },
                            _ => Vectors {
                                first: sums.first.cast_const(),
                                stride: sums.stride,
                            },
                        };
                        let column = group * w.group_stride + panel * LANES;
                        let source = Source {
                            scale: w.scale.as_ptr().add(column),
                            column_sum: w.column_sum.as_ptr().add(column),
                            ranges: a.ranges.as_ptr().add(rows.start * groups + group),
                            groups,
                            from,
                        };
                        let to = match is_last {
                            true => self.to(full, rows.start, panel * LANES),
                            false => sums,
                        };
                        self.pending = Some(Pending {
                            source,
                            to,
                            add: self.add && is_last,
                            rows: rows.len(),
                            is_end: is_last_block && is_last && panel + N == panels,
                        });
                    }
                }
            }
        }
    }

    /// Where a tile's results go: the product before it has ended.
    #[inline(always)]
    fn to(
        &mut self,
        Full { a, w, .. }: Full<'_, 'a>,
        row: usize,
        column: usize,
    ) -> Vectors<*mut [f32; LANES]> {
        let out = match self.out {
            Some(out) => out,
            None => *self.out.insert(Out::of(self.jobs.out(), a.rows(), w.n)),
        };
        let first = out.first.wrapping_add(row * out.stride + column);
        Vectors {
            first: first.cast(),
            stride: out.stride * size_of::<f32>(),
        }
    }

    /// Multiplies a tile while the one before it is dequantized.
    ///
    /// # Safety
    /// The tile has `N` panels with as many rows as go with them, and `DEPTH` blocks.
    #[inline(always)]
    unsafe fn step<const N: usize, const DEPTH: usize>(&mut self, tile: FullTile) {
        let [full, fill] = self.accumulators;
        // SAFETY: the caller's promise; the accumulators are of this run, and hold the sums of the pending tile, whose source
        // and output were those of whole tiles.
        unsafe {
            let (full, fill) = (&(*full).0, &mut (*fill).0);
            match self.pending {
                Some(Pending {
                    source,
                    to,
                    add,
                    rows,
                    is_end,
                }) if P::panels(rows) == N => {
                    let (product, lanes) = (self.product, self.product.lanes());
                    let sums = (full.as_ptr().cast(), P::stride(N));
                    if add {
                        let mut rows = Rows::<_, N, true>::new(lanes, source, sums, to, rows);
                        product.multiply_full::<N, DEPTH>(self.state, tile, fill, &mut rows);
                    } else {
                        let mut rows = Rows::<_, N, false>::new(lanes, source, sums, to, rows);
                        product.multiply_full::<N, DEPTH>(self.state, tile, fill, &mut rows);
                    }
                    if is_end {
                        self.end();
                    }
                }
                _ => {
                    self.flush();
                    let nothing = &mut Nothing;
                    self.product
                        .multiply_full::<N, DEPTH>(self.state, tile, fill, nothing);
                }
            }
        }
        self.accumulators.swap(0, 1);
    }

    /// Dequantizes the pending tile.
    #[inline(always)]
    fn flush(&mut self) {
        let Some(Pending {
            source,
            to,
            add,
            rows,
            is_end,
        }) = self.pending.take()
        else {
            return;
        };
        let lanes = self.product.lanes();
        // SAFETY: as in `step`.
        unsafe {
            let panels = P::panels(rows);
            let stride = P::stride(panels);
            let sums = ((*self.accumulators[0]).0.as_ptr().cast(), stride);
            match (panels, add) {
                (2, false) => Rows::<_, 2, false>::new(lanes, source, sums, to, rows).all(),
                (2, true) => Rows::<_, 2, true>::new(lanes, source, sums, to, rows).all(),
                (_, false) => Rows::<_, 4, false>::new(lanes, source, sums, to, rows).all(),
                (_, true) => Rows::<_, 4, true>::new(lanes, source, sums, to, rows).all(),
            }
        }
        if is_end {
            self.end();
        }
    }
}

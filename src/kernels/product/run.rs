//! Products tile by tile.

use super::dequantize::{Rows, Source, Vectors};
use super::jobs::Jobs;
use super::plan::{Plan, Step};
use super::{
    LANES, MAX_BLOCK_ROWS, MAX_PANELS, PackedLinear, Partial, Product, Room, TilePartials, tiles,
};
use crate::lanes::Lanes;
use crate::matrix::MatrixMut;
use crate::quantized::{QuantizedView, RowRange};

/// out = a·wᵀ + bias of each product, or with `add` out + that.
#[inline(always)]
pub(crate) fn linear<'a, P: Product>(product: P, jobs: &mut dyn Jobs<'a>, add: bool) {
    let mut state = P::State::default();
    if P::TILE_ROWS > 1 {
        return tiles::linear(product, &mut state, jobs, add);
    }
    // What is zero at first stays so where there is nothing to multiply: all products have the same number of inputs.
    let mut room = Room::<P>::new();
    let mut room = room.split();
    while let Some((a, w)) = jobs.next() {
        one_by_one(product, &mut state, &mut room, (&a, &w), jobs.out(), add);
        jobs.end();
    }
}

/// One product, each tile multiplied and then dequantized.
#[inline(always)]
pub(super) fn one_by_one<P: Product>(
    product: P,
    state: &mut P::State,
    (accumulators, partials): &mut (&mut [i32], &mut [TilePartials]),
    (a, w): (&QuantizedView<'_>, &PackedLinear<'_>),
    mut out: MatrixMut<'_>,
    add: bool,
) {
    assert!(a.rows() == out.rows() && w.n == out.columns());
    let mut plan = Plan::of(a, w);
    while let Some(step) = plan.next::<P>() {
        let tile = plan.tile(a, w, step);
        product.multiply(state, tile, accumulators);
        let first = step.row - step.block;
        let dequantize = Dequantize {
            ranges: &a.ranges[step.row * plan.groups + step.group..],
            groups: plan.groups,
            accumulators: accumulators.as_chunks().0,
            stride: P::stride(step.panels),
            partial: partials[step.tile][first..][..step.rows]
                .as_mut_ptr()
                .cast(),
            step,
            w,
        };
        let is_last = step.group + 1 == plan.groups;
        dequantize.step(product.lanes(), is_last.then_some((&mut out, add)));
    }
}

/// The sums of a step and what they are worth.
struct Dequantize<'a> {
    /// From the step's first row and group on.
    ranges: &'a [RowRange],
    groups: usize,
    accumulators: &'a [[i32; LANES]],
    stride: usize,
    /// What earlier groups add up to: room for one of these for each of the step's rows, written by the first group. A pointer, for rows
    /// are read and written through it in turns.
    partial: *mut Partial,
    step: Step,
    w: &'a PackedLinear<'a>,
}

impl Dequantize<'_> {
    /// To the output or added to it, or where there is none, to what later groups begin with.
    #[inline(always)]
    fn step<L: Lanes>(self, lanes: L, out: Option<(&mut MatrixMut<'_>, bool)>) {
        let Step {
            row,
            rows,
            panel,
            panels,
            ..
        } = self.step;
        let (column, width) = (panel * LANES, panels * LANES);
        let Some((out, add)) = out else {
            let to = self.partial_rows(0);
            // SAFETY: there is room for each of the rows, with MAX_PANELS panels.
            return unsafe {
                match panels {
                    4 => self.rows::<L, 4, false>(lanes, 0, to).all(),
                    2 => self.rows::<L, 2, false>(lanes, 0, to).all(),
                    _ => {
                        for panel in 0..panels {
                            let to = self.partial_rows(panel);
                            self.rows::<L, 1, false>(lanes, panel, to).all();
                        }
                    }
                }
            };
        };
        if column + width <= self.w.n && (panels == 4 || panels == 2) {
            assert!(row + rows <= out.rows() && column + width <= out.columns());
            let stride = out.stride();
            // SAFETY: row and column are the matrix's, and so are all of the step's.
            unsafe {
                let to = Vectors {
                    first: out.as_mut_ptr().add(row * stride + column).cast(),
                    stride: stride * size_of::<f32>(),
                };
                return match (panels, add) {
                    (4, false) => self.rows::<L, 4, false>(lanes, 0, to).all(),
                    (4, true) => self.rows::<L, 4, true>(lanes, 0, to).all(),
                    (_, false) => self.rows::<L, 2, false>(lanes, 0, to).all(),
                    (_, true) => self.rows::<L, 2, true>(lanes, 0, to).all(),
                };
            }
        }
        // Panels that the output has but a part of go by way of a buffer.
        let mut buffer = [[0.0; LANES]; MAX_BLOCK_ROWS];
        for panel in 0..panels {
            let to = Vectors {
                first: buffer[..rows].as_mut_ptr(),
                stride: size_of_val(&buffer[0]),
            };
            // SAFETY: the buffer has so many rows.
            unsafe { self.rows::<L, 1, false>(lanes, panel, to).all() };
            let column = column + panel * LANES;
            let width = (self.w.n - column).min(LANES);
            for (index, y) in buffer[..rows].iter().enumerate() {
                let out = &mut out.row(row + index)[column..column + width];
                match add {
                    true => out.iter_mut().zip(y).for_each(|(out, y)| *out += y),
                    false => out.copy_from_slice(&y[..width]),
                }
            }
        }
    }

    fn partial_rows(&self, panel: usize) -> Vectors<*mut [f32; LANES]> {
        Vectors {
            first: self.partial.cast::<[f32; LANES]>().wrapping_add(panel),
            stride: size_of::<Partial>(),
        }
    }

    /// `N` panels from the step's panel `first` on.
    ///
    /// # Safety
    /// There are N·16 values for each of the step's rows in `to`, which nothing else uses.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const N: usize, const ADD: bool>(
        &self,
        lanes: L,
        first: usize,
        to: Vectors<*mut [f32; LANES]>,
    ) -> Rows<L, N, ADD> {
        let Step {
            group, panel, rows, ..
        } = self.step;
        let column = (panel + first) * LANES;
        let from = match group {
            0 => Vectors {
                first: self.w.bias[column..][..N * LANES].as_ptr().cast(),
                stride: 0,
            },
            _ => {
                let rows = self.partial_rows(first);
                Vectors {
                    first: rows.first.cast_const(),
                    stride: rows.stride,
                }
            }
        };
        let column = group * self.w.group_stride + column;
        let sums = &self.accumulators[first * self.stride..];
        assert!(first + N <= MAX_PANELS && sums.len() >= (N - 1) * self.stride + rows);
        assert!(rows > 0 && self.ranges.len() > (rows - 1) * self.groups);
        let source = Source {
            scale: self.w.scale[column..][..N * LANES].as_ptr(),
            column_sum: self.w.column_sum[column..][..N * LANES].as_ptr(),
            ranges: self.ranges.as_ptr(),
            groups: self.groups,
            from,
        };
        // SAFETY: all of it has N panels and so many rows, `partial` too where there is a group before this one. The caller promises
        // `to`.
        unsafe { Rows::new(lanes, source, (sums.as_ptr(), self.stride), to, rows) }
    }
}

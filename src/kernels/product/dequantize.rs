//! From integer sums to what they stand for.

use super::plan::Step;
use super::{Finish, LANES, MAX_PANELS, Meanwhile, PackedLinear};
use crate::lanes::Lanes;
use crate::matrix::MatrixMut;
use crate::quantized::RowRange;

/// What sixteen columns bring to their outputs in a group.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
    bias: F,
}

/// The integer sums of one step, and where they go.
pub(super) struct Sums<'a, 'o, L> {
    pub(super) lanes: L,
    pub(super) w: &'a PackedLinear<'a>,
    pub(super) step: Step,
    pub(super) groups: usize,
    /// `[step.rows, groups]`
    pub(super) ranges: &'a [RowRange],
    /// `[step.panels, stride, 16]`
    pub(super) accumulators: &'a [[i32; LANES]],
    pub(super) stride: usize,
    /// What the step's groups so far add up to: `[step.rows, MAX_PANELS, 16]`.
    pub(super) partial: &'a mut [[[f32; LANES]; MAX_PANELS]],
    pub(super) out: &'a mut MatrixMut<'o>,
}

/// One group of `N` panels, row by row: the `FIRST` begins with the bias, and behind the `LAST` the results go to the
/// output.
pub(super) struct Group<'a, 'o, L: Lanes, E, const N: usize, const FIRST: bool, const LAST: bool> {
    sums: Sums<'a, 'o, L>,
    finish: E,
    /// First panel, in the step.
    panel: usize,
    channels: [Channels<L::F>; N],
    /// The next row.
    row: usize,
    progress: Progress,
}

/// Rows that should be done, and rows for each part of a product, in 65536ths.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only AMX multiplies in parts")
)]
#[derive(Default)]
struct Progress {
    due: usize,
    rate: usize,
}

// No closures over vectors here: the compiler would not inline them into a function with the kernel's CPU features.
impl<'a, 'o, L: Lanes, E: Finish, const N: usize, const FIRST: bool, const LAST: bool>
    Group<'a, 'o, L, E, N, FIRST, LAST>
{
    #[inline(always)]
    pub(super) fn of(sums: Sums<'a, 'o, L>, finish: E, panel: usize) -> Self {
        let (lanes, w, step) = (sums.lanes, sums.w, sums.step);
        assert!(
            sums.accumulators.len() >= (panel + N - 1) * sums.stride + step.rows
                && sums.partial.len() == step.rows
                && sums.ranges.len() == step.rows * sums.groups
                && panel + N <= MAX_PANELS
        );
        let zero = lanes.zero();
        let none = Channels {
            scale: zero,
            sum: zero,
            bias: zero,
        };
        let mut channels = [none; N];
        for (i, channels) in channels.iter_mut().enumerate() {
            let column = (step.panel + panel + i) * LANES;
            let at = step.group * w.group_stride + column;
            channels.scale = lanes.load(slice16(w.scale, at));
            let sum = lanes.to_float(lanes.load_int(slice16(w.column_sum, at)));
            channels.sum = lanes.mul(channels.scale, sum);
            channels.bias = lanes.load(slice16(w.bias, column));
        }
        Group {
            sums,
            finish,
            panel,
            channels,
            row: 0,
            progress: Progress::default(),
        }
    }

    /// # Safety
    /// `row` is one of the step's.
    #[inline(always)]
    unsafe fn row(&mut self, row: usize) {
        let Sums {
            lanes,
            w,
            step,
            stride,
            ..
        } = self.sums;
        // SAFETY: `of` saw accumulators, partial sums and ranges of all the step's rows.
        let (accumulators, partial, range) = unsafe {
            (
                self.sums
                    .accumulators
                    .get_unchecked(self.panel * stride + row..),
                self.sums.partial.get_unchecked_mut(row),
                self.sums
                    .ranges
                    .get_unchecked(row * self.sums.groups + step.group),
            )
        };
        let mut y = [lanes.zero(); N];
        for (i, y) in y.iter_mut().enumerate() {
            // SAFETY: as above, for these panels.
            let (partial, accumulators) = unsafe {
                (
                    partial.get_unchecked_mut(self.panel + i),
                    accumulators.get_unchecked(i * stride),
                )
            };
            let before = if FIRST {
                self.channels[i].bias
            } else {
                lanes.load(partial)
            };
            *y = value(lanes, &self.channels[i], range, accumulators, before);
            if !LAST {
                lanes.store(*y, partial);
            }
        }
        if LAST {
            let column = (step.panel + self.panel) * LANES;
            let width = (w.n - column).min(N * LANES);
            let out = &mut self.sums.out.row(step.row + row)[column..column + width];
            match out.as_chunks_mut().0.first_chunk_mut() {
                Some(out) => self.finish.finish(lanes, y, out),
                None => finish_part(lanes, self.finish, y[0], out),
            }
        }
    }
}

impl<L: Lanes, E: Finish, const N: usize, const FIRST: bool, const LAST: bool> Meanwhile
    for Group<'_, '_, L, E, N, FIRST, LAST>
{
    #[inline(always)]
    fn begin(&mut self, parts: usize) {
        self.progress.rate = (self.sums.step.rows << 16) / parts;
    }

    #[inline(always)]
    fn part(&mut self) {
        self.progress.due += self.progress.rate;
        while self.row < self.progress.due >> 16 && self.row < self.sums.step.rows {
            // SAFETY: it is below the rows.
            unsafe { self.row(self.row) };
            self.row += 1;
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        for row in self.row..self.sums.step.rows {
            // SAFETY: it is below the rows.
            unsafe { self.row(row) };
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

//! From integer sums to what they stand for.

use super::plan::Step;
use super::{Accumulators, LANES, MAX_BLOCK_ROWS, MAX_PANELS, Meanwhile, PackedLinear, Partial};
use crate::lanes::Lanes;
use crate::matrix::MatrixMut;
use crate::quantized::{QuantizedView, RowRange};

/// The integer sums of a step, and where they go.
pub(super) struct Parts<'a, 'o> {
    pub(super) a: QuantizedView<'a>,
    pub(super) w: &'a PackedLinear<'a>,
    pub(super) step: Step,
    /// Groups of the whole product.
    pub(super) groups: usize,
    /// For each of the step's groups `[step.panels, stride, 16]`.
    pub(super) accumulators: &'a Accumulators,
    pub(super) stride: usize,
    /// What earlier groups of the block's rows add up to, where there are any.
    pub(super) partial: &'a mut [Partial],
    pub(super) out: &'a mut MatrixMut<'o>,
}

impl Parts<'_, '_> {
    /// Whether the step has the product's last group.
    pub(super) fn has_last_group(&self) -> bool {
        self.step.group + self.step.groups == self.groups
    }

    /// What earlier groups of the step's rows add up to, and where these go: null where a step has all groups. The one way to
    /// them while a step is dequantized.
    fn step_rows(&mut self) -> *mut Partial {
        if self.step.groups == self.groups {
            return std::ptr::null_mut();
        }
        let first = self.step.row - self.step.block;
        self.partial[first..first + self.step.rows].as_mut_ptr()
    }
}

/// What sixteen columns bring to their outputs in a group.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
}

/// `G` groups of `N` neighbouring panels, row by row. The first groups begin with the bias, others with what those before
/// them left; the last ones go to the output.
pub(super) struct Rows<'a, L: Lanes, const N: usize, const G: usize> {
    lanes: L,
    channels: [[Channels<L::F>; N]; G],
    /// The next row's first group of these.
    ranges: *const RowRange,
    range_stride: usize,
    /// The next row's sums in the first panel of each group.
    accumulators: [*const [i32; LANES]; G],
    /// Sums from one panel to the next.
    stride: usize,
    /// Where the next row begins, and where it goes, `[N]` each.
    from: *const [f32; LANES],
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    /// Whether results are added to what is there.
    add: bool,
    row: usize,
    rows: usize,
    /// Of what the pointers point to.
    lifetime: std::marker::PhantomData<&'a mut f32>,
}

/// Rows of `n` panels for each part of a product. Always as many, for the CPU guesses wrong where a loop's length varies:
/// enough for full tiles beside the usual twelve parts, those of one group with six blocks.
const fn part_rows(n: usize) -> usize {
    if n > 2 { 2 } else { 3 }
}

// No closures over vectors here: the compiler would not inline them into a function with the kernel's CPU features.
impl<'a, L: Lanes, const N: usize, const G: usize> Rows<'a, L, N, G> {
    /// All panels of a step, which are whole.
    #[inline(always)]
    pub(super) fn of(lanes: L, mut parts: Parts<'a, '_>, add: bool) -> Self {
        let (step, partial) = (parts.step, parts.step_rows());
        let column = step.panel * LANES;
        assert!(step.panels == N && column + N * LANES <= parts.w.n);
        let (to, to_stride) = if parts.has_last_group() {
            let out = &mut *parts.out;
            assert!(step.row + step.rows <= out.rows() && column + N * LANES <= out.columns());
            let stride = out.stride();
            // SAFETY: row and column are the matrix's.
            let to = unsafe { out.as_mut_ptr().add(step.row * stride + column) };
            (to, stride)
        } else {
            (partial.cast(), MAX_PANELS * LANES)
        };
        // SAFETY: so are all of the step's rows and columns; `step_rows` has as many of `MAX_PANELS` panels.
        let rows = unsafe { Self::panels(lanes, &parts, 0, partial, (to, to_stride)) };
        Rows { add, ..rows }
    }

    /// `N` panels from the step's panel `first` on.
    ///
    /// # Safety
    /// There are N·16 values for each of the step's rows behind `to`, `to_stride` apart, which nothing else uses; `partial` is
    /// what [`Parts::step_rows`] gave.
    #[inline(always)]
    unsafe fn panels(
        lanes: L,
        parts: &Parts<'a, '_>,
        first: usize,
        partial: *const Partial,
        (to, to_stride): (*mut f32, usize),
    ) -> Self {
        let (w, step, stride) = (parts.w, parts.step, parts.stride);
        assert!(step.groups == G && first + N <= MAX_PANELS);
        let none = Channels {
            scale: lanes.zero(),
            sum: lanes.zero(),
        };
        let mut channels = [[none; N]; G];
        let mut accumulators = [std::ptr::null(); G];
        for g in 0..G {
            for (n, channels) in channels[g].iter_mut().enumerate() {
                let at = (step.group + g) * w.group_stride + (step.panel + first + n) * LANES;
                channels.scale = lanes.load(slice16(w.scale, at));
                let sum = lanes.to_float(lanes.load_int(slice16(w.column_sum, at)));
                channels.sum = lanes.mul(channels.scale, sum);
            }
            let sums = &parts.accumulators.0[g].as_chunks().0[first * stride..];
            assert!(sums.len() >= (N - 1) * stride + step.rows);
            accumulators[g] = sums.as_ptr();
        }
        let ranges = &parts.a.ranges[step.row * parts.groups..][..step.rows * parts.groups];
        let (from, from_stride) = if step.group == 0 {
            let bias = w.bias[(step.panel + first) * LANES..].as_chunks().0;
            (bias[..N].as_ptr(), 0)
        } else {
            // SAFETY: one of the first row's panels.
            (
                unsafe { partial.cast::<[f32; LANES]>().add(first) },
                MAX_PANELS,
            )
        };
        Rows {
            lanes,
            channels,
            ranges: ranges[step.group..].as_ptr(),
            range_stride: parts.groups,
            accumulators,
            stride,
            from,
            from_stride,
            to,
            to_stride,
            add: false,
            row: 0,
            rows: step.rows,
            lifetime: std::marker::PhantomData,
        }
    }

    /// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, y)), group by group.
    ///
    /// # Safety
    /// There is a next row.
    #[inline(always)]
    unsafe fn next(&mut self) {
        let lanes = self.lanes;
        // SAFETY: `panels` and its caller saw or promised all rows of everything that is read and written here.
        unsafe {
            let mut y = [lanes.zero(); N];
            for (n, y) in y.iter_mut().enumerate() {
                *y = lanes.load(&*self.from.add(n));
            }
            for g in 0..G {
                let range = &*self.ranges.add(g);
                let (low, scale) = (lanes.splat(range.low), lanes.splat(range.scale));
                for (n, (y, channels)) in y.iter_mut().zip(&self.channels[g]).enumerate() {
                    let sums = &*self.accumulators[g].add(n * self.stride);
                    let offset = lanes.fma(low, channels.sum, *y);
                    let step = lanes.mul(scale, channels.scale);
                    *y = lanes.fma(lanes.to_float(lanes.load_int(sums)), step, offset);
                }
                self.accumulators[g] = self.accumulators[g].add(1);
            }
            for (n, y) in y.iter().enumerate() {
                let to = &mut *self.to.add(n * LANES).cast::<[f32; LANES]>();
                let y = if self.add {
                    lanes.add(lanes.load(to), *y)
                } else {
                    *y
                };
                lanes.store(y, to);
            }
        }
        // Behind the last row these point to nothing, and are not used.
        self.ranges = self.ranges.wrapping_add(self.range_stride);
        self.from = self.from.wrapping_add(self.from_stride);
        self.to = self.to.wrapping_add(self.to_stride);
        self.row += 1;
    }
}

impl<L: Lanes, const N: usize, const G: usize> Meanwhile for Rows<'_, L, N, G> {
    #[inline(always)]
    fn part(&mut self) {
        if self.row + part_rows(N) <= self.rows {
            for _ in 0..part_rows(N) {
                // SAFETY: there are so many rows left.
                unsafe { self.next() };
            }
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        while self.row < self.rows {
            // SAFETY: it is below the rows.
            unsafe { self.next() };
        }
    }
}

/// A step with other panels than whole pairs or fours: one by one, the output's by way of a buffer for a whole panel.
#[inline(always)]
pub(super) fn narrow<L: Lanes>(lanes: L, mut parts: Parts<'_, '_>, add: bool) {
    let (step, has_last_group) = (parts.step, parts.has_last_group());
    let partial = parts.step_rows();
    let mut buffer = [[0.0; LANES]; MAX_BLOCK_ROWS];
    for panel in 0..step.panels {
        let (to, stride) = if has_last_group {
            (buffer[..step.rows].as_mut_ptr().cast(), LANES)
        } else {
            // SAFETY: one of the first row's panels.
            let to = unsafe { partial.cast::<f32>().add(panel * LANES) };
            (to, MAX_PANELS * LANES)
        };
        // SAFETY: there is room for a panel of each of the step's rows.
        unsafe {
            let to = (to, stride);
            match step.groups {
                1 => Rows::<L, 1, 1>::panels(lanes, &parts, panel, partial, to).end(),
                _ => Rows::<L, 1, 2>::panels(lanes, &parts, panel, partial, to).end(),
            }
        }
        if !has_last_group {
            continue;
        }
        let column = (step.panel + panel) * LANES;
        let width = (parts.w.n - column).min(LANES);
        for (row, y) in buffer[..step.rows].iter().enumerate() {
            let out = &mut parts.out.row(step.row + row)[column..column + width];
            match add {
                true => out.iter_mut().zip(y).for_each(|(out, y)| *out += y),
                false => out.copy_from_slice(&y[..width]),
            }
        }
    }
}

#[inline(always)]
fn slice16<T>(slice: &[T], at: usize) -> &[T; LANES] {
    slice[at..]
        .first_chunk()
        .expect("scales, sums and biases are padded to whole panels")
}

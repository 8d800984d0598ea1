//! From integer sums to what they stand for.

use super::{LANES, Meanwhile};
use crate::lanes::Lanes;
use crate::quantized::RowRange;

/// Where rows of some panels begin, with so many vectors, and how many bytes further the next row does.
#[derive(Clone, Copy)]
pub(super) struct Vectors<T> {
    pub(super) first: T,
    pub(super) stride: usize,
}

/// What a tile's sums are worth, and what they are added to: that of its first panel and row, with that of others behind it.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) scale: *const f32,
    pub(super) column_sum: *const i32,
    /// Of the tile's group, with those of the others behind it.
    pub(super) ranges: *const RowRange,
    pub(super) groups: usize,
    pub(super) from: Vectors<*const [f32; LANES]>,
}

/// What sixteen columns bring to their outputs.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
}

/// `N` neighbouring panels of a group, row by row; with `ADD` they are added to what is there. Strides from row to row are in bytes,
/// for there are almost more of them than registers.
pub(super) struct Rows<L: Lanes, const N: usize, const ADD: bool> {
    lanes: L,
    channels: [Channels<L::F>; N],
    /// The next row's.
    ranges: *const RowRange,
    range_stride: usize,
    /// The next row's sums in the first panel.
    sums: *const [i32; LANES],
    /// Sums from one panel to the next.
    stride: usize,
    from: Vectors<*const [f32; LANES]>,
    to: Vectors<*mut [f32; LANES]>,
    row: usize,
    rows: usize,
}

// No closures over vectors here: the compiler would not inline them into a function with the kernel's CPU features.
impl<L: Lanes, const N: usize, const ADD: bool> Rows<L, N, ADD> {
    /// `rows` rows of `sums`, `[N, stride, 16]`, which go to `to`.
    ///
    /// # Safety
    /// While this is used, the source and the sums have N panels and so many rows, and stay as they are; there are N·16 values for
    /// each row in `to`, which nothing else uses.
    #[inline(always)]
    pub(super) unsafe fn new(
        lanes: L,
        source: Source,
        (sums, stride): (*const [i32; LANES], usize),
        to: Vectors<*mut [f32; LANES]>,
        rows: usize,
    ) -> Self {
        let mut channels = [Channels {
            scale: lanes.zero(),
            sum: lanes.zero(),
        }; N];
        for (n, channels) in channels.iter_mut().enumerate() {
            // SAFETY: the caller promises N panels.
            unsafe {
                channels.scale = lanes.load(&*source.scale.add(n * LANES).cast());
                let sum = lanes.load_int(&*source.column_sum.add(n * LANES).cast());
                channels.sum = lanes.mul(channels.scale, lanes.to_float(sum));
            }
        }
        Rows {
            lanes,
            channels,
            ranges: source.ranges,
            range_stride: source.groups * size_of::<RowRange>(),
            sums,
            stride,
            from: source.from,
            to,
            row: 0,
            rows,
        }
    }

    /// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, y))
    ///
    /// # Safety
    /// There is a next row.
    #[inline(always)]
    unsafe fn next(&mut self) {
        let lanes = self.lanes;
        // SAFETY: `new`'s caller promised all rows of everything that is read and written here.
        unsafe {
            let range = &*self.ranges;
            let (low, scale) = (lanes.splat(range.low), lanes.splat(range.scale));
            for (n, channels) in self.channels.iter().enumerate() {
                let y = lanes.load(&*self.from.first.add(n));
                let sums = &*self.sums.add(n * self.stride);
                let offset = lanes.fma(low, channels.sum, y);
                let step = lanes.mul(scale, channels.scale);
                let y = lanes.fma(lanes.to_float(lanes.load_int(sums)), step, offset);
                let to = &mut *self.to.first.add(n);
                let y = if ADD { lanes.add(lanes.load(to), y) } else { y };
                lanes.store(y, to);
            }
        }
        // Behind the last row these point to nothing, and are not used.
        self.ranges = self.ranges.wrapping_byte_add(self.range_stride);
        self.sums = self.sums.wrapping_add(1);
        self.from.first = self.from.first.wrapping_byte_add(self.from.stride);
        self.to.first = self.to.first.wrapping_byte_add(self.to.stride);
        self.row += 1;
    }

    /// All rows that are left.
    #[inline(always)]
    pub(super) fn all(&mut self) {
        while self.row < self.rows {
            // SAFETY: it is below the rows.
            unsafe { self.next() };
        }
    }
}

impl<L: Lanes, const N: usize, const ADD: bool> Meanwhile for Rows<L, N, ADD> {
    #[inline(always)]
    fn part(&mut self, index: usize, count: usize) {
        while self.row < ((index + 1) * self.rows / count).min(self.rows) {
            // SAFETY: it is below the rows.
            unsafe { self.next() };
        }
    }
}

//! From integer sums to what they stand for.

use super::{LANES, Meanwhile, PackedLinear};
use crate::lanes::Lanes;
use crate::quantized::{QuantizedView, RowRange};

/// What the bytes of a group stand for, in the panels and rows of a tile.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// Of the tile's first panel and those behind it.
    scale: &'a [f32],
    column_sum: &'a [i32],
    /// Of the tile's first row, then those of other groups, and those of the rows behind it.
    ranges: &'a [RowRange],
    groups: usize,
}

impl<'a> Group<'a> {
    #[inline(always)]
    pub(super) fn of(
        a: &QuantizedView<'a>,
        w: &PackedLinear<'a>,
        (row, panel, group): (usize, usize, usize),
        groups: usize,
    ) -> Self {
        let column = group * w.group_stride + panel * LANES;
        Group {
            scale: &w.scale[column..],
            column_sum: &w.column_sum[column..],
            ranges: &a.ranges[row * groups + group..],
            groups,
        }
    }

    /// From panel `first` of these on.
    pub(super) fn panels_from(&self, first: usize) -> Self {
        Group {
            scale: &self.scale[first * LANES..],
            column_sum: &self.column_sum[first * LANES..],
            ..*self
        }
    }
}

/// Where rows of `N` panels begin, `[N]` vectors each, and how many bytes further the next row does.
#[derive(Clone, Copy)]
pub(super) struct Vectors<T> {
    pub(super) first: T,
    pub(super) stride: usize,
}

impl Vectors<*const [f32; LANES]> {
    /// The same bias for each row.
    #[inline(always)]
    pub(super) fn bias<const N: usize>(w: &PackedLinear<'_>, panel: usize) -> Self {
        let bias = w.bias[panel * LANES..].as_chunks().0;
        Vectors {
            first: bias[..N].as_ptr(),
            stride: 0,
        }
    }
}

/// What sixteen columns bring to their outputs.
#[derive(Clone, Copy)]
struct Channels<F> {
    scale: F,
    /// scale·column_sum
    sum: F,
}

/// `N` neighbouring panels of a group, row by row; with `ADD` they are added to what is there. All strides are in bytes, for there
/// are almost more of them than registers.
pub(super) struct Rows<L: Lanes, const N: usize, const ADD: bool> {
    lanes: L,
    channels: [Channels<L::F>; N],
    /// The next row's.
    ranges: *const RowRange,
    range_stride: usize,
    /// The next row's sums in the first panel.
    accumulators: *const [i32; LANES],
    /// Sums from one panel to the next.
    stride: usize,
    from: Vectors<*const [f32; LANES]>,
    to: Vectors<*mut [f32; LANES]>,
    row: usize,
    rows: usize,
}

// No closures over vectors here: the compiler would not inline them into a function with the kernel's CPU features.
impl<L: Lanes, const N: usize, const ADD: bool> Rows<L, N, ADD> {
    /// `rows` rows of `accumulators`, `[N, stride, 16]`, which begin with what is in `from` and go to `to`.
    ///
    /// # Safety
    /// While this is used, there are N·16 values for each row in `from` and `to`, nothing else uses those of `to`, and the
    /// accumulators and the group's parts stay as they are.
    #[inline(always)]
    pub(super) unsafe fn new(
        lanes: L,
        group: Group<'_>,
        (accumulators, stride): (&[[i32; LANES]], usize),
        from: Vectors<*const [f32; LANES]>,
        to: Vectors<*mut [f32; LANES]>,
        rows: usize,
    ) -> Self {
        assert!(rows > 0 && accumulators.len() >= (N - 1) * stride + rows);
        assert!(group.ranges.len() > (rows - 1) * group.groups);
        let mut channels = [Channels {
            scale: lanes.zero(),
            sum: lanes.zero(),
        }; N];
        let scales = &group.scale.as_chunks().0[..N];
        let sums = &group.column_sum.as_chunks().0[..N];
        for n in 0..N {
            channels[n].scale = lanes.load(&scales[n]);
            let sum = lanes.to_float(lanes.load_int(&sums[n]));
            channels[n].sum = lanes.mul(channels[n].scale, sum);
        }
        Rows {
            lanes,
            channels,
            ranges: group.ranges.as_ptr(),
            range_stride: group.groups * size_of::<RowRange>(),
            accumulators: accumulators.as_ptr(),
            stride,
            from,
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
        // SAFETY: `new` and its caller saw or promised all rows of everything that is read and written here.
        unsafe {
            let range = &*self.ranges;
            let (low, scale) = (lanes.splat(range.low), lanes.splat(range.scale));
            for (n, channels) in self.channels.iter().enumerate() {
                let y = lanes.load(&*self.from.first.add(n));
                let sums = &*self.accumulators.add(n * self.stride);
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
        self.accumulators = self.accumulators.wrapping_add(1);
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
        while self.row < (index + 1) * self.rows / count {
            // SAFETY: it is below the rows.
            unsafe { self.next() };
        }
    }
}

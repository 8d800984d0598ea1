//! 8-bit rows with their ranges: the left operand of an integer product.

use super::memory::grow;
use super::product::groups;
use std::marker::PhantomData;
use std::ops::Range;

/// 64 bytes of a row: one cache line, one AVX-512 register, one row of an AMX tile.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Block(pub(crate) [u8; 64]);

/// What the bytes of a row stand for: x ≈ low + scale·u.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowRange {
    /// Step between neighbouring bytes; 0 for a constant row, NaN for a row that was not finite.
    pub scale: f32,
    /// What byte 0 stands for.
    pub low: f32,
}

/// A group as wide as any row: one range for the whole row.
pub const WHOLE_ROW: usize = usize::MAX / 64 * 64;

/// Rows of bytes with a range for each group of neighbours: the left operand of an integer product. Owns its buffers, which only grow.
#[derive(Debug, Default)]
pub struct QuantizedRows {
    blocks: Vec<Block>,
    /// `[rows, groups]`
    ranges: Vec<RowRange>,
    rows: usize,
    k: usize,
    group: usize,
}

impl QuantizedRows {
    /// Without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `rows` rows of `k` bytes, of which `group` neighbours, a multiple of 64, share a range. What the
    /// rows hold is unspecified until they are quantized.
    pub fn resize(&mut self, rows: usize, k: usize, group: usize) {
        assert!(group > 0 && group.is_multiple_of(64), "group of {group}");
        let ranges = rows * groups(k, group);
        let blocks = rows * k.div_ceil(64);
        grow(&mut self.blocks, blocks, Block([0; 64]));
        let none = RowRange {
            scale: 0.0,
            low: 0.0,
        };
        grow(&mut self.ranges, ranges, none);
        self.rows = rows;
        self.k = k;
        self.group = group;
    }

    /// All rows, for reading.
    pub fn view(&self) -> QuantizedView<'_> {
        let blocks = self.rows * self.k.div_ceil(64);
        QuantizedView {
            blocks: &self.blocks[..blocks],
            ranges: &self.ranges[..self.rows * groups(self.k, self.group)],
            k: self.k,
            group: self.group,
        }
    }

    /// All rows, for writing.
    pub fn view_mut(&mut self) -> QuantizedViewMut<'_> {
        let (depth, groups) = (self.k.div_ceil(64), groups(self.k, self.group));
        QuantizedViewMut {
            blocks: self.blocks[..self.rows * depth].as_mut_ptr(),
            ranges: self.ranges[..self.rows * groups].as_mut_ptr(),
            block_stride: depth,
            range_stride: groups,
            rows: self.rows,
            k: self.k,
            group: self.group,
            lifetime: PhantomData,
        }
    }

    /// A range of the rows, for writing.
    ///
    /// # Panics
    /// If it leaves the rows.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> QuantizedViewMut<'_> {
        let (before, _) = self.view_mut().split_rows(rows.end);
        before.split_rows(rows.start).1
    }
}

/// Quantized rows for reading, `[rows, k]`.
#[derive(Clone, Copy)]
pub struct QuantizedView<'a> {
    pub(crate) blocks: &'a [Block],
    pub(crate) ranges: &'a [RowRange],
    pub(crate) k: usize,
    pub(crate) group: usize,
}

impl<'a> QuantizedView<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ranges.len() / groups(self.k, self.group)
    }

    /// Bytes in a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of a row that share a range.
    pub fn group(&self) -> usize {
        self.group
    }

    /// What the bytes of each group of each row stand for, `[rows, groups]`.
    pub fn ranges(&self) -> &'a [RowRange] {
        self.ranges
    }

    /// The bytes of a row, `[k]`.
    pub fn row(&self, row: usize) -> impl Iterator<Item = u8> + 'a {
        let blocks = self.k.div_ceil(64);
        self.blocks[row * blocks..][..blocks]
            .iter()
            .flat_map(|block| block.0)
            .take(self.k)
    }

    /// A range of the rows.
    pub fn row_range(&self, rows: Range<usize>) -> QuantizedView<'a> {
        let blocks = self.k.div_ceil(64);
        QuantizedView {
            blocks: &self.blocks[rows.start * blocks..rows.end * blocks],
            ranges: {
                let groups = groups(self.k, self.group);
                &self.ranges[rows.start * groups..rows.end * groups]
            },
            ..*self
        }
    }
}

/// Quantized rows for writing, `[rows, k]`. They can be split by rows or by groups into views that do not overlap, for
/// threads to fill.
pub struct QuantizedViewMut<'a> {
    blocks: *mut Block,
    ranges: *mut RowRange,
    /// Blocks and ranges from one row to the next.
    block_stride: usize,
    range_stride: usize,
    rows: usize,
    k: usize,
    group: usize,
    lifetime: PhantomData<(&'a mut [Block], &'a mut [RowRange])>,
}

// SAFETY: a view is the only way to its rows, as a `&mut` slice would be.
unsafe impl Send for QuantizedViewMut<'_> {}

impl<'a> QuantizedViewMut<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes in a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of a row that share a range.
    pub fn group(&self) -> usize {
        self.group
    }

    /// A row's bytes, in blocks, and its ranges, one for each group.
    #[inline(always)]
    pub(crate) fn row(&mut self, row: usize) -> (&mut [u8], &mut [RowRange]) {
        assert!(row < self.rows);
        let (depth, groups) = (self.k.div_ceil(64), groups(self.k, self.group));
        // SAFETY: `view_mut` checked that all rows lie in the buffers, splitting only narrows, and `&mut self` makes these the
        // only accesses.
        let (blocks, ranges) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.blocks.add(row * self.block_stride), depth),
                std::slice::from_raw_parts_mut(self.ranges.add(row * self.range_stride), groups),
            )
        };
        (bytes_mut(blocks), ranges)
    }

    /// The rows before `row`, and those from `row` on.
    ///
    /// # Panics
    /// If `row > rows`.
    pub fn split_rows(self, row: usize) -> (QuantizedViewMut<'a>, QuantizedViewMut<'a>) {
        assert!(row <= self.rows);
        let rows = if row == self.rows { 0 } else { row };
        // SAFETY: the offsets are those of a row that exists, or zero for a view without rows.
        let (blocks, ranges) = unsafe {
            (
                self.blocks.add(rows * self.block_stride),
                self.ranges.add(rows * self.range_stride),
            )
        };
        let rest = self.rows - row;
        (
            QuantizedViewMut { rows: row, ..self },
            QuantizedViewMut {
                blocks,
                ranges,
                rows: rest,
                ..self
            },
        )
    }

    /// The same view for a shorter time.
    pub(crate) fn reborrow(&mut self) -> QuantizedViewMut<'_> {
        QuantizedViewMut {
            lifetime: PhantomData,
            ..*self
        }
    }

    /// A range of each row's bytes, cut as by [`QuantizedViewMut::split_columns`].
    pub(crate) fn column_range(self, columns: Range<usize>) -> QuantizedViewMut<'a> {
        let (before, _) = self.split_columns(columns.end);
        before.split_columns(columns.start).1
    }

    /// The bytes before byte `column` of each row, which must begin a group or be the rows' end, and those from it on.
    ///
    /// # Panics
    /// If `column` is neither.
    pub fn split_columns(self, column: usize) -> (QuantizedViewMut<'a>, QuantizedViewMut<'a>) {
        assert!(column <= self.k && (column == self.k || column.is_multiple_of(self.group)));
        // A view without bytes has no rows, and so no ranges either.
        let rows_of = |k: usize| if k == 0 { 0 } else { self.rows };
        let inside = match rows_of(self.k - column) {
            0 => 0,
            _ => column,
        };
        // SAFETY: the offsets are those of a group of the first row, or zero for a view without rows.
        let (blocks, ranges) = unsafe {
            (
                self.blocks.add(inside / 64),
                self.ranges.add(inside / self.group),
            )
        };
        (
            QuantizedViewMut {
                rows: rows_of(column),
                k: column,
                ..self
            },
            QuantizedViewMut {
                blocks,
                ranges,
                rows: rows_of(self.k - column),
                k: self.k - column,
                ..self
            },
        )
    }
}

/// The bytes of whole blocks.
#[inline(always)]
pub(crate) fn bytes(blocks: &[Block]) -> &[u8] {
    // SAFETY: a `Block` is 64 initialized bytes without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * 64) }
}

/// The bytes of whole blocks, for writing.
#[inline(always)]
pub(crate) fn bytes_mut(blocks: &mut [Block]) -> &mut [u8] {
    // SAFETY: a `Block` is 64 initialized bytes without padding, and any bytes make one.
    unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len() * 64) }
}

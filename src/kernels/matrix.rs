//! Views of `f32` matrices, and 8-bit rows with their ranges.

use super::product::groups;
use std::marker::PhantomData;
use std::ops::Range;

/// A read-only row-major view, `[rows, columns]`, whose rows lie `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Views `rows` rows of `columns` elements in `data`, `stride` elements apart.
    ///
    /// # Panics
    /// If the rows overlap or `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(data.len(), rows, columns, stride);
        Matrix {
            data,
            rows,
            columns,
            stride,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first element; all others lie where rows, columns and stride say.
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// One row, `[columns]`.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows);
        &self.data[row * self.stride..][..self.columns]
    }

    /// A range of the rows.
    pub fn row_range(&self, rows: Range<usize>) -> Matrix<'a> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        let data = if rows.is_empty() {
            &[]
        } else {
            &self.data[rows.start * self.stride..]
        };
        Matrix {
            data,
            rows: rows.len(),
            ..*self
        }
    }
}

/// A writable row-major view, `[rows, columns]`, whose rows lie `stride` elements apart. It can be split by rows or by
/// columns into views that do not overlap, for threads to fill.
pub struct MatrixMut<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only way to its elements, as a `&mut [f32]` would be.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: a shared reference to the view gives no access to the elements.
unsafe impl Sync for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// Views `rows` rows of `columns` elements in `data`, `stride` elements apart.
    ///
    /// # Panics
    /// If the rows overlap or `data` is too short.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(data.len(), rows, columns, stride);
        MatrixMut {
            data: data.as_mut_ptr(),
            rows,
            columns,
            stride,
            lifetime: PhantomData,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Elements from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first element; all others lie where rows, columns and stride say.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data
    }

    /// One row, `[columns]`.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: `new` checked that all rows lie in the slice, splitting only narrows, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.columns) }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut {
            lifetime: PhantomData,
            ..*self
        }
    }

    /// The rows before `row`, and those from `row` on.
    ///
    /// # Panics
    /// If `row > rows`.
    pub fn split_rows(self, row: usize) -> (MatrixMut<'a>, MatrixMut<'a>) {
        assert!(row <= self.rows);
        let offset = if row == self.rows {
            0
        } else {
            row * self.stride
        };
        // SAFETY: the offset is that of a row that exists, or zero for a view without rows.
        let data = unsafe { self.data.add(offset) };
        (
            MatrixMut { rows: row, ..self },
            MatrixMut {
                data,
                rows: self.rows - row,
                ..self
            },
        )
    }

    /// The columns before `column`, and those from `column` on.
    ///
    /// # Panics
    /// If `column > columns`.
    pub fn split_columns(self, column: usize) -> (MatrixMut<'a>, MatrixMut<'a>) {
        assert!(column <= self.columns);
        let offset = if self.rows == 0 { 0 } else { column };
        // SAFETY: within the first row, or at its end.
        let data = unsafe { self.data.add(offset) };
        (
            MatrixMut {
                columns: column,
                ..self
            },
            MatrixMut {
                data,
                columns: self.columns - column,
                ..self
            },
        )
    }
}

fn check(length: usize, rows: usize, columns: usize, stride: usize) {
    if rows > 0 {
        let needed = (rows - 1)
            .checked_mul(stride)
            .and_then(|n| n.checked_add(columns));
        assert!(
            stride >= columns && needed.is_some_and(|n| n <= length),
            "a matrix of {rows} rows and {columns} columns, {stride} apart, does not fit in {length} elements"
        );
    }
}

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
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, Block([0; 64]));
        }
        if self.ranges.len() < ranges {
            self.ranges.resize(
                ranges,
                RowRange {
                    scale: 0.0,
                    low: 0.0,
                },
            );
        }
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
        let blocks = self.rows * self.k.div_ceil(64);
        QuantizedViewMut {
            blocks: &mut self.blocks[..blocks],
            ranges: &mut self.ranges[..self.rows * groups(self.k, self.group)],
            k: self.k,
            group: self.group,
        }
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

/// Quantized rows for writing, `[rows, k]`.
pub struct QuantizedViewMut<'a> {
    pub(crate) blocks: &'a mut [Block],
    pub(crate) ranges: &'a mut [RowRange],
    pub(crate) k: usize,
    pub(crate) group: usize,
}

impl<'a> QuantizedViewMut<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ranges.len() / groups(self.k, self.group)
    }

    /// Bytes in a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> QuantizedViewMut<'_> {
        QuantizedViewMut {
            blocks: self.blocks,
            ranges: self.ranges,
            k: self.k,
            group: self.group,
        }
    }

    /// The rows before `row`, and those from `row` on.
    ///
    /// # Panics
    /// If `row > rows`.
    pub fn split_rows(self, row: usize) -> (QuantizedViewMut<'a>, QuantizedViewMut<'a>) {
        let (blocks, other_blocks) = self.blocks.split_at_mut(row * self.k.div_ceil(64));
        let groups = groups(self.k, self.group);
        let (ranges, other_ranges) = self.ranges.split_at_mut(row * groups);
        (
            QuantizedViewMut {
                blocks,
                ranges,
                k: self.k,
                group: self.group,
            },
            QuantizedViewMut {
                blocks: other_blocks,
                ranges: other_ranges,
                k: self.k,
                group: self.group,
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

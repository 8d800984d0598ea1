//! Views of `f32` matrices.

use std::marker::PhantomData;
use std::ops::Range;

/// A read-only row-major view, `[rows, columns]`, whose rows lie `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: *const f32,
    rows: usize,
    columns: usize,
    stride: usize,
    lifetime: PhantomData<&'a [f32]>,
}

// SAFETY: a view gives shared access to its elements, as a `&[f32]` would.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Sync for Matrix<'_> {}

impl<'a> Matrix<'a> {
    /// Views `rows` rows of `columns` elements in `data`, `stride` elements apart.
    ///
    /// # Panics
    /// If the rows overlap or `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(data.len(), rows, columns, stride);
        Matrix {
            data: data.as_ptr(),
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
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data
    }

    /// One row, `[columns]`.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows);
        // SAFETY: `new` checked that all rows lie in the slice, and ranges only narrow; nobody writes to them for 'a.
        unsafe { std::slice::from_raw_parts(self.data.add(row * self.stride), self.columns) }
    }

    /// A range of the columns.
    ///
    /// # Panics
    /// If it leaves the view.
    pub fn column_range(&self, columns: Range<usize>) -> Matrix<'a> {
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        let start = if self.rows == 0 { 0 } else { columns.start };
        Matrix {
            // SAFETY: within the first row, or at its end.
            data: unsafe { self.data.add(start) },
            columns: columns.len(),
            ..*self
        }
    }

    /// A range of the rows.
    ///
    /// # Panics
    /// If it leaves the view.
    pub fn row_range(&self, rows: Range<usize>) -> Matrix<'a> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        let start = if rows.is_empty() { 0 } else { rows.start };
        Matrix {
            // SAFETY: the offset is that of a row that exists, or zero.
            data: unsafe { self.data.add(start * self.stride) },
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

    /// `N` rows from `first` on, each `[columns]`.
    #[inline(always)]
    pub(crate) fn some_rows<const N: usize>(&mut self, first: usize) -> [&mut [f32]; N] {
        assert!(first + N <= self.rows && (N < 2 || self.stride >= self.columns));
        std::array::from_fn(|row| {
            // SAFETY: as in `row`; rows do not overlap, for they are at least `columns` apart.
            unsafe {
                std::slice::from_raw_parts_mut(
                    self.data.add((first + row) * self.stride),
                    self.columns,
                )
            }
        })
    }

    /// The same elements for reading.
    pub fn view(&self) -> Matrix<'_> {
        Matrix {
            data: self.data,
            rows: self.rows,
            columns: self.columns,
            stride: self.stride,
            lifetime: PhantomData,
        }
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

//! Safe strided matrix products over `matrixmultiply`.
// The crate's functions take raw pointers; the bounds that make them sound are checked here and nowhere else.
#![allow(unsafe_code)]

/// Element types with a product.
pub trait Element: Copy + sealed::Gemm {}
impl Element for f32 {}
impl Element for f64 {}

/// A matrix in a slice: element (i, j) lies at `i·row_stride + j·column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// A row-major matrix without gaps.
    ///
    /// # Panics
    /// If `data` is shorter than `rows · columns`.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::with_stride(data, rows, columns, columns)
    }

    /// A row-major matrix whose rows begin `stride` elements apart.
    ///
    /// # Panics
    /// If `data` is too short for it.
    pub fn with_stride(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, stride);
        Self {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `output = alpha·left·right + beta·output`; the output's rows begin `stride` elements apart.
///
/// # Panics
/// If the shapes do not fit together or the output is too short.
pub fn multiply<T: Element>(
    alpha: T,
    left: View<T>,
    right: View<T>,
    beta: T,
    output: &mut [T],
    stride: usize,
) {
    assert_eq!(left.columns, right.rows, "inner dimensions");
    assert_fits(output.len(), left.rows, right.columns, stride);
    // SAFETY: the constructors and the assertion above make sure that every element addressed by shapes and strides
    // lies inside its slice; the output is borrowed exclusively, so it overlaps neither input.
    unsafe {
        T::gemm(
            [left.rows, left.columns, right.columns],
            alpha,
            (
                left.data.as_ptr(),
                left.row_stride as isize,
                left.column_stride as isize,
            ),
            (
                right.data.as_ptr(),
                right.row_stride as isize,
                right.column_stride as isize,
            ),
            beta,
            (output.as_mut_ptr(), stride as isize),
        );
    }
}

/// Panics unless a row-major matrix fits into `length` elements.
fn assert_fits(length: usize, rows: usize, columns: usize, stride: usize) {
    if rows > 0 && columns > 0 {
        assert!(
            stride >= columns,
            "rows of {columns} elements overlap at stride {stride}"
        );
        assert!(
            (rows - 1) * stride + columns <= length,
            "{rows}×{columns} (stride {stride}) in {length} elements"
        );
    }
}

mod sealed {
    /// The product behind [`super::multiply`].
    pub trait Gemm: Sized {
        /// `shape` is m, k, n; each matrix is a pointer with its row and column stride (the output's columns are adjacent).
        ///
        /// # Safety
        /// Every element addressed must lie inside one allocation, and the output must not overlap the inputs.
        unsafe fn gemm(
            shape: [usize; 3],
            alpha: Self,
            left: (*const Self, isize, isize),
            right: (*const Self, isize, isize),
            beta: Self,
            output: (*mut Self, isize),
        );
    }

    macro_rules! gemm {
        ($type:ty, $function:path) => {
            impl Gemm for $type {
                unsafe fn gemm(
                    [m, k, n]: [usize; 3],
                    alpha: Self,
                    left: (*const Self, isize, isize),
                    right: (*const Self, isize, isize),
                    beta: Self,
                    output: (*mut Self, isize),
                ) {
                    // SAFETY: the caller keeps this function's contract, which is the callee's.
                    unsafe {
                        $function(
                            m, k, n, alpha, left.0, left.1, left.2, right.0, right.1, right.2,
                            beta, output.0, output.1, 1,
                        );
                    }
                }
            }
        };
    }
    gemm!(f32, matrixmultiply::sgemm);
    gemm!(f64, matrixmultiply::dgemm);
}

#[cfg(test)]
mod tests {
    use super::{View, multiply};

    #[test]
    fn product_with_a_transposed_factor_and_strides() {
        let left = [1.0f32, 2.0, 9.0, 3.0, 4.0, 9.0];
        let right = [5.0f32, 6.0, 7.0, 8.0];
        let mut output = [1.0f32; 6];
        multiply(
            1.0,
            View::with_stride(&left, 2, 2, 3),
            View::new(&right, 2, 2).transposed(),
            2.0,
            &mut output,
            3,
        );
        assert_eq!(output, [19.0, 25.0, 1.0, 41.0, 55.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "2×3")]
    fn a_short_slice_is_refused() {
        View::new(&[0.0f64; 5], 2, 3);
    }
}

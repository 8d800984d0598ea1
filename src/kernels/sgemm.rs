//! f32 matrix products through `matrixmultiply`, for models whose weights are not quantized.
//!
//! Unlike the integer products, their last bits may depend on the CPU.

use super::{Matrix, MatrixMut};

/// c = a·b, with `a` `[m, k]`, `b` `[k, n]` and `c` `[m, n]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn product(a: Matrix<'_>, b: Matrix<'_>, c: MatrixMut<'_>) {
    assert_eq!(a.columns(), b.rows(), "product: inner sizes of a and b");
    assert_eq!(b.columns(), c.columns(), "product: columns of b and c");
    let strides = [b.stride() as isize, 1];
    gemm(a, b, strides, 0.0, c);
}

/// c = c + a·bᵀ, with `a` `[m, k]`, `b` `[n, k]` and `c` `[m, n]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn add_product_transposed(a: Matrix<'_>, b: Matrix<'_>, c: MatrixMut<'_>) {
    assert_eq!(a.columns(), b.columns(), "product: inner sizes of a and b");
    assert_eq!(b.rows(), c.columns(), "product: rows of b and columns of c");
    let strides = [1, b.stride() as isize];
    gemm(a, b, strides, 1.0, c);
}

fn gemm(a: Matrix<'_>, b: Matrix<'_>, [rsb, csb]: [isize; 2], beta: f32, mut c: MatrixMut<'_>) {
    assert_eq!(a.rows(), c.rows(), "product: rows of a and c");
    let (m, k, n) = (a.rows(), a.columns(), c.columns());
    // SAFETY: the views have been checked to hold all their elements when they were made, the shapes fit each other,
    // and the rows of `c` do not overlap.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            a.stride() as isize,
            1,
            b.as_ptr(),
            rsb,
            csb,
            beta,
            c.as_mut_ptr(),
            c.stride() as isize,
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const B: [f32; 6] = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0];

    #[test]
    fn multiplies_rows_by_rows_and_adds() {
        let mut c = [10.0, 20.0, -1.0, 30.0, 40.0];
        add_product_transposed(
            Matrix::new(&A, 2, 3, 3),
            Matrix::new(&B, 2, 3, 3),
            MatrixMut::new(&mut c, 2, 2, 3),
        );
        assert_eq!(c, [17.0, 25.0, -1.0, 46.0, 51.0]);
    }

    #[test]
    fn multiplies_rows_by_columns_and_replaces() {
        let mut c = [f32::NAN; 4];
        product(
            Matrix::new(&A, 2, 3, 3),
            Matrix::new(&B, 3, 2, 2),
            MatrixMut::new(&mut c, 2, 2, 2),
        );
        assert_eq!(c, [8.0, 3.0, 20.0, 6.0]);
    }

    #[test]
    #[should_panic(expected = "inner sizes")]
    fn shapes_that_do_not_fit_are_refused() {
        let mut c = [0.0; 4];
        product(
            Matrix::new(&A, 2, 3, 3),
            Matrix::new(&B, 2, 2, 3),
            MatrixMut::new(&mut c, 2, 2, 2),
        );
    }
}

//! f32 matrix products through `matrixmultiply`, for models whose weights are not quantized.
#![allow(unsafe_code)] // matrixmultiply's interface takes pointers; sizes are checked right before the call

/// A read-only matrix: element (i, j) is `data[i·strides[0] + j·strides[1]]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Views `data` with the strides of a row and of a column, in elements.
    pub fn new(data: &'a [f32], strides: [usize; 2]) -> Matrix<'a> {
        Matrix { data, strides }
    }
}

/// A matrix that is written, with distinct places for distinct elements.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    strides: [usize; 2],
}

impl<'a> MatrixMut<'a> {
    /// Views `data` with the strides of a row and of a column, in elements.
    pub fn new(data: &'a mut [f32], strides: [usize; 2]) -> MatrixMut<'a> {
        MatrixMut { data, strides }
    }
}

/// c = alpha·a·b + beta·c, with `a` `[m, k]`, `b` `[k, n]` and `c` `[m, n]`. With `beta` 0, `c` is not read.
///
/// # Panics
/// If a matrix is too short for its shape, or rows of `c` overlap.
pub fn sgemm(
    [m, k, n]: [usize; 3],
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    beta: f32,
    c: MatrixMut<'_>,
) {
    check(a.data.len(), [m, k], a.strides);
    check(b.data.len(), [k, n], b.strides);
    check(c.data.len(), [m, n], c.strides);
    assert!(m <= 1 || n <= 1 || (c.strides[1] == 1 && c.strides[0] >= n));
    let stride = |strides: [usize; 2]| strides.map(|stride| stride as isize);
    let ([rsa, csa], [rsb, csb], [rsc, csc]) =
        (stride(a.strides), stride(b.strides), stride(c.strides));
    // SAFETY: `check` has shown that every element that the shapes and strides reach lies in its slice, and the
    // elements of `c` are distinct because a row is at least as far from the next as it is long.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            alpha,
            a.data.as_ptr(),
            rsa,
            csa,
            b.data.as_ptr(),
            rsb,
            csb,
            beta,
            c.data.as_mut_ptr(),
            rsc,
            csc,
        );
    }
}

/// Panics unless the last element of a matrix of this shape lies in `length` elements.
fn check(length: usize, [rows, columns]: [usize; 2], strides: [usize; 2]) {
    if rows == 0 || columns == 0 {
        return;
    }
    let last = (rows - 1)
        .checked_mul(strides[0])
        .zip((columns - 1).checked_mul(strides[1]))
        .and_then(|(row, column)| row.checked_add(column));
    assert!(
        last.is_some_and(|last| last < length && length <= isize::MAX as usize),
        "[{rows}, {columns}] with strides {strides:?} does not fit {length} elements"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_with_strides_and_adds() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0]; // [2, 3], used transposed
        let mut c = [10.0, 20.0, -1.0, 30.0, 40.0];
        sgemm(
            [2, 3, 2],
            2.0,
            Matrix::new(&a, [3, 1]),
            Matrix::new(&b, [1, 3]),
            1.0,
            MatrixMut::new(&mut c, [3, 1]),
        );
        assert_eq!(c, [24.0, 30.0, -1.0, 62.0, 62.0]);
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_short_matrix_is_refused() {
        let mut c = [0.0; 4];
        sgemm(
            [2, 2, 2],
            1.0,
            Matrix::new(&[0.0; 3], [2, 1]),
            Matrix::new(&[0.0; 4], [2, 1]),
            0.0,
            MatrixMut::new(&mut c, [2, 1]),
        );
    }
}

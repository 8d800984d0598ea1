//! Matrix times vectors: the same bits from every kernel, and the exact product within f32's rounding.

use super::*;
use half::f16;

/// out[row] = weight·x[row] with one vector at a time by the oracle.
fn one_by_one(weight: &[i8], x: &[f32], rows: usize) -> Vec<f32> {
    let k = x.len() / rows;
    let n = weight.len() / k;
    let mut out = vec![0.0; rows * n];
    for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        let (x, out) = (Matrix::new(x, 1, k, k), MatrixMut::new(out, 1, n, n));
        generic().matrix_product_i8(weight, x, out);
    }
    out
}

#[test]
fn every_kernel_gives_the_same_bits_for_any_number_of_vectors() {
    let mut random = Random(11);
    let shapes = [
        (1, 1),
        (3, 15),
        (2, 16),
        (5, 17),
        (7, 100),
        (8, 26),
        (19, 384),
    ];
    for &(n, k) in cases(&shapes, &shapes[..5]) {
        for m in (1..=9).step_by(if cfg!(miri) { 4 } else { 1 }) {
            let x = random.floats(m * k, 3.0);
            let bytes: Vec<i8> = (0..n * k).map(|_| (random.next() >> 24) as i8).collect();
            // All of these numbers are exact in the other types.
            let singles: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
            let halves: Vec<f16> = singles.iter().map(|value| f16::from_f32(*value)).collect();
            let expected = one_by_one(&bytes, &x, m);
            for (index, found) in expected.iter().enumerate() {
                let row = &bytes[index % n * k..][..k];
                let x = &x[index / n * k..][..k];
                let products = row
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (sum, sizes) =
                    products.fold((0.0, 0.0), |(sum, sizes), p| (sum + p, sizes + p.abs()));
                assert!(
                    (f64::from(*found) - sum).abs() <= 1e-6 * sizes + 1e-30,
                    "{n}×{k}: {found}, {sum}"
                );
            }
            for_each_kernel(|kernel| {
                let name = kernel.name();
                // Rows of `out` that do not lie side by side, as where threads share the columns.
                let stride = n + 3;
                let mut found = vec![7.0; m * stride];
                let x_rows = Matrix::new(&x, m, k, k);
                let check = |found: &[f32], weights: &str| {
                    for (found, expected) in found.chunks_exact(stride).zip(expected.chunks(n)) {
                        assert_eq!(
                            bits(&found[..n]),
                            bits(expected),
                            "{name}: {weights} {m} of {n}×{k}"
                        );
                        assert_eq!(found[n..], [7.0; 3], "{name}: written beside {n} columns");
                    }
                };
                let out = MatrixMut::new(&mut found, m, n, stride);
                kernel.matrix_product_i8(&bytes, x_rows, out);
                check(&found, "i8");
                found.fill(7.0);
                let out = MatrixMut::new(&mut found, m, n, stride);
                kernel.matrix_product_f16(&halves, x_rows, out);
                check(&found, "f16");
                let (x, expected) = (&x[..k], &expected[..n]);
                kernel.matrix_vector_f16(&halves, x, &mut found[..n]);
                assert_eq!(bits(&found[..n]), bits(expected), "{name}: f16 {n}×{k}");
                kernel.matrix_vector_f32(&singles, x, &mut found[..n]);
                assert_eq!(bits(&found[..n]), bits(expected), "{name}: f32 {n}×{k}");
            });
        }
    }
}

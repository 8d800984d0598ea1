//! Matrix times vector: the same bits from every kernel, and the exact product within f32's rounding.

use super::*;
use half::f16;

#[test]
fn every_kernel_gives_the_same_bits() {
    let mut random = Random(11);
    for (n, k) in [(1, 1), (3, 15), (2, 16), (5, 17), (7, 100), (4, 384)] {
        let x = random.floats(k, 3.0);
        let bytes: Vec<i8> = (0..n * k).map(|_| (random.next() >> 24) as i8).collect();
        let singles: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
        let halves: Vec<f16> = singles.iter().map(|value| f16::from_f32(*value)).collect();
        let mut expected = vec![0.0; n];
        generic().matrix_vector_i8(&bytes, &x, &mut expected);
        for (row, found) in bytes.chunks_exact(k).zip(&expected) {
            let products = row
                .iter()
                .zip(&x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x));
            let (sum, sizes) =
                products.fold((0.0, 0.0), |(sum, sizes), p| (sum + p, sizes + p.abs()));
            assert!(
                (f64::from(*found) - sum).abs() <= 1e-6 * sizes + 1e-30,
                "{n}×{k}: {found}, {sum}"
            );
        }
        for_each_kernel(|kernel| {
            let mut found = vec![0.0; n];
            kernel.matrix_vector_i8(&bytes, &x, &mut found);
            assert_eq!(
                bits(&found),
                bits(&expected),
                "{}: i8 {n}×{k}",
                kernel.name()
            );
            // All of these numbers are exact in the other types.
            kernel.matrix_vector_f16(&halves, &x, &mut found);
            assert_eq!(
                bits(&found),
                bits(&expected),
                "{}: f16 {n}×{k}",
                kernel.name()
            );
            kernel.matrix_vector_f32(&singles, &x, &mut found);
            assert_eq!(
                bits(&found),
                bits(&expected),
                "{}: f32 {n}×{k}",
                kernel.name()
            );
        });
    }
}

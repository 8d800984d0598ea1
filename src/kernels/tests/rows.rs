//! Row-wise arithmetic: equal to the generic kernel, and close to the same in double precision.

use super::*;

const WIDTHS: &[usize] = if cfg!(miri) {
    &[1, 17, 63]
} else {
    &[1, 2, 15, 16, 17, 26, 31, 32, 48, 63, 100, 213, 384]
};

#[test]
fn quantized_rows_are_within_half_a_step() {
    let random = &mut Random(11);
    let groups_of = [GROUP, 192, 384, WHOLE_ROW];
    for (&k, group) in WIDTHS
        .iter()
        .flat_map(|k| groups_of.map(|group| (k, group)))
    {
        let (rows, stride) = (3, k + 5);
        let x = random.floats(rows * stride, 4.0);
        let factor: Vec<f32> = (0..k).map(|_| 0.25 + random.unit().abs()).collect();
        for input_scale in [None, Some(&factor[..])] {
            let mut expected = QuantizedRows::new();
            expected.resize(rows, k, group);
            generic().quantize_rows(
                Matrix::new(&x, rows, k, stride),
                input_scale,
                expected.view_mut(),
            );
            for row in 0..rows {
                for (i, u) in expected.view().row(row).enumerate() {
                    let range = expected.view().ranges()[row * groups(k, group) + i / group];
                    let x = x[row * stride + i] * input_scale.map_or(1.0, |scale| scale[i]);
                    let error = (range.low + range.scale * f32::from(u) - x).abs();
                    assert!(
                        error <= range.scale * 0.501 + 1e-6,
                        "width {k}, groups of {group}, row {row}, element {i}: {error}"
                    );
                }
            }
            for_each_kernel(|kernel| {
                let mut found = QuantizedRows::new();
                found.resize(rows, k, group);
                kernel.quantize_rows(
                    Matrix::new(&x, rows, k, stride),
                    input_scale,
                    found.view_mut(),
                );
                assert_eq!(
                    found.view().ranges(),
                    expected.view().ranges(),
                    "{kernel:?}, width {k}, groups of {group}"
                );
                for row in 0..rows {
                    assert!(
                        found.view().row(row).eq(expected.view().row(row)),
                        "{kernel:?}, width {k}, groups of {group}"
                    );
                }
            });
        }
    }
}

#[test]
fn tiny_and_huge_spans_do_not_trap() {
    for values in [
        [1e-45f32, 0.0],
        [f32::MIN_POSITIVE, 0.0],
        [3e38, -3e38],
        [1e38, 0.0],
        [-0.0, 0.0],
        [1.0, 1.0],
    ] {
        let x: Vec<f32> = (0..40).map(|i| values[i % 2]).collect();
        let expected = quantized(generic(), &x, 1, 40);
        let range = expected.view().ranges()[0];
        let finite = (values[0] - values[1]).is_finite();
        assert_eq!(
            range.scale.is_finite() && range.low.is_finite(),
            finite,
            "{values:?}"
        );
        for_each_kernel(|kernel| {
            let found = quantized(kernel, &x, 1, 40);
            let found = found.view().ranges()[0];
            assert_eq!(
                bits(&[found.scale, found.low]),
                bits(&[range.scale, range.low]),
                "{kernel:?}, {values:?}"
            );
        });
    }
}

/// Rows are looked at in fours: what is in one of them must not change what is said of its neighbours.
#[test]
fn what_is_not_finite_is_found_in_its_own_row() {
    let random = &mut Random(13);
    for k in [1, 16, 40, 64] {
        let rows = 9;
        let mut x = random.floats(rows * k, 4.0);
        let all_finite = x.clone();
        // Products of neighbouring rows overflow, though the rows are finite.
        x[0] = 2e38;
        x[k] = -2e38;
        x[2 * k + k / 2] = f32::NAN;
        x[4 * k + k - 1] = f32::INFINITY;
        x[6 * k] = f32::NEG_INFINITY;
        x[8 * k + k - 1] = f32::NAN;
        for_each_kernel(|kernel| {
            let found = quantized(kernel, &x, rows, k);
            let finite = quantized(kernel, &all_finite, rows, k);
            for row in 0..rows {
                let range = found.view().ranges()[row];
                let expected = !matches!(row, 2 | 4 | 6 | 8);
                let context = format!("{kernel:?}, {k}, row {row}: {range:?}");
                assert_eq!(range.scale.is_finite(), expected, "{context}");
                assert_eq!(range.low.is_finite(), expected, "{context}");
                if matches!(row, 3 | 5 | 7) {
                    assert_eq!(range, finite.view().ranges()[row], "{context}");
                    assert!(
                        found.view().row(row).eq(finite.view().row(row)),
                        "{context}"
                    );
                }
            }
        });
    }
}

/// Where the span has but few of f32's steps, bytes are as near as those steps are, and none wraps around.
#[test]
fn values_far_from_zero_keep_their_digits() {
    for offset in [1e3f32, 1e6, -1e6, 1e30] {
        let step = f32::from_bits(offset.abs().to_bits() + 1) - offset.abs();
        for steps in [1, 2, 3, 100, 255, 1000] {
            let x: Vec<f32> = (0..60)
                .map(|i| offset + step * (i * 7 % (steps + 1)) as f32)
                .collect();
            let expected = quantized(generic(), &x, 1, 60);
            let range = expected.view().ranges()[0];
            for (x, u) in x.iter().zip(expected.view().row(0)) {
                let y = f64::from(range.low) + f64::from(range.scale) * f64::from(u);
                let error = (y - f64::from(*x)).abs();
                let bound = 0.501 * f64::from(range.scale) + f64::from(step);
                assert!(error <= bound, "{x} of {offset} and {steps} steps: {y}");
            }
            for_each_kernel(|kernel| {
                let found = quantized(kernel, &x, 1, 60);
                assert!(
                    found.view().row(0).eq(expected.view().row(0)),
                    "{kernel:?}, {offset} and {steps} steps"
                );
            });
        }
    }
}

#[test]
fn layer_norm_is_close_to_double_precision() {
    let random = &mut Random(12);
    for &n in WIDTHS {
        let (rows, stride) = (3, n + 2);
        let x: Vec<f32> = random
            .floats(rows * stride, 2.0)
            .iter()
            .map(|x| x + 3.0)
            .collect();
        let (weight, bias) = (random.floats(n, 1.5), random.floats(n, 1.0));
        let norm = |kernel: Kernel| {
            let mut x = x.clone();
            kernel.layer_norm(
                MatrixMut::new(&mut x[..(rows - 1) * stride + n], rows, n, stride),
                &weight,
                &bias,
                1e-12,
            );
            x
        };
        let (original, expected) = (&x, norm(generic()));
        for row in 0..rows {
            let x: Vec<f64> = x[row * stride..][..n].iter().map(|&x| x.into()).collect();
            let mean = x.iter().sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            for i in 0..n {
                let y = (x[i] - mean) / (variance + 1e-12).sqrt() * f64::from(weight[i])
                    + f64::from(bias[i]);
                // With one or two elements the deviation is all cancellation.
                assert!(
                    (f64::from(expected[row * stride + i]) - y).abs() < 1e-5,
                    "width {n}, row {row}, element {i}"
                );
            }
            // What lies between the rows stays.
            let gap = row * stride + n..((row + 1) * stride).min(expected.len());
            assert_eq!(expected[gap.clone()], original[gap]);
        }
        for_each_kernel(|kernel| {
            assert_eq!(
                bits(&norm(kernel)),
                bits(&expected),
                "{kernel:?}, width {n}"
            )
        });
    }
}

#[test]
fn layer_norm_quantize_equals_its_two_halves() {
    let random = &mut Random(13);
    for &n in WIDTHS {
        let rows = 4;
        let x = random.floats(rows * n, 2.0);
        let (weight, bias, scale) = (
            random.floats(n, 1.5),
            random.floats(n, 1.0),
            random.floats(n, 1.0),
        );
        for_each_kernel(|kernel| {
            let (mut apart, mut fused) = (x.clone(), x.clone());
            kernel.layer_norm(MatrixMut::new(&mut apart, rows, n, n), &weight, &bias, 1e-5);
            let [mut expected, mut found] = [QuantizedRows::new(), QuantizedRows::new()];
            expected.resize(rows, n, GROUP);
            found.resize(rows, n, GROUP);
            kernel.quantize_rows(
                Matrix::new(&apart, rows, n, n),
                Some(&scale),
                expected.view_mut(),
            );
            let fused_view = MatrixMut::new(&mut fused, rows, n, n);
            kernel.layer_norm_quantize(
                fused_view,
                &weight,
                &bias,
                1e-5,
                Some(&scale),
                found.view_mut(),
            );
            assert_eq!(bits(&fused), bits(&apart), "{kernel:?}, width {n}");
            assert_eq!(
                found.view().ranges(),
                expected.view().ranges(),
                "{kernel:?}, width {n}"
            );
            for row in 0..rows {
                assert!(
                    found.view().row(row).eq(expected.view().row(row)),
                    "{kernel:?}, width {n}"
                );
            }
        });
    }
}

#[test]
fn softmax_is_close_to_double_precision() {
    let random = &mut Random(14);
    for &n in WIDTHS {
        let x = random.floats(2 * n, 30.0);
        let softmax = |kernel: Kernel| {
            let mut x = x.clone();
            kernel.softmax_rows(MatrixMut::new(&mut x, 2, n, n), 0.25);
            x
        };
        let expected = softmax(generic());
        for (x, y) in x.chunks(n).zip(expected.chunks(n)) {
            let highest = x.iter().fold(f64::MIN, |a, &b| a.max(b.into()));
            let powers: Vec<f64> = x
                .iter()
                .map(|&x| ((f64::from(x) - highest) * 0.25).exp())
                .collect();
            let sum: f64 = powers.iter().sum();
            for (power, y) in powers.iter().zip(y) {
                assert!((power / sum - f64::from(*y)).abs() < 3e-7, "width {n}");
            }
        }
        for_each_kernel(|kernel| {
            assert_eq!(
                bits(&softmax(kernel)),
                bits(&expected),
                "{kernel:?}, width {n}"
            )
        });
    }
}

#[test]
fn embeddings_and_half_precision_are_exact() {
    let random = &mut Random(15);
    for &n in WIDTHS {
        let word: Vec<i8> = (0..n).map(|_| random.next() as i8).collect();
        let half: Vec<f16> = random
            .floats(n, 2.0)
            .iter()
            .map(|&x| f16::from_f32(x))
            .collect();
        let other: Vec<f16> = random
            .floats(n, 2.0)
            .iter()
            .map(|&x| f16::from_f32(x))
            .collect();
        for_each_kernel(|kernel| {
            let mut out = vec![0.0; n];
            kernel.embed_i8(&word, 0.037, &half, &mut out);
            let expected: Vec<f32> = word
                .iter()
                .zip(&half)
                .map(|(&w, p)| f32::from(w).mul_add(0.037, p.to_f32()))
                .collect();
            assert_eq!(bits(&out), bits(&expected), "{kernel:?}, width {n}");
            kernel.embed_f16(&other, &half, &mut out);
            let expected: Vec<f32> = other
                .iter()
                .zip(&half)
                .map(|(w, p)| w.to_f32() + p.to_f32())
                .collect();
            assert_eq!(bits(&out), bits(&expected), "{kernel:?}, width {n}");
        });
    }
    let every: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let expected: Vec<f32> = every.iter().map(|x| x.to_f32()).collect();
    for_each_kernel(|kernel| {
        let mut out = vec![0.0; every.len()];
        kernel.convert_f16(&every, &mut out);
        assert_eq!(bits(&out), bits(&expected), "{kernel:?}");
    });
}

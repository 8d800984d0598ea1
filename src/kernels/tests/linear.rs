//! Integer products and what follows them.

use super::*;
use crate::math::{Function, GeluToBytes};

pub(super) const STORE: Epilogue = Epilogue::Store(Activation::Identity);

pub(super) fn run(
    kernel: Kernel,
    a: &QuantizedRows,
    layer: &Layer,
    epilogue: Epilogue,
) -> Vec<f32> {
    let rows = a.view().rows();
    let mut out: Vec<f32> = (0..rows * layer.n).map(|i| i as f32 * 0.01).collect();
    kernel.linear(
        a.view(),
        layer.packed(),
        epilogue,
        MatrixMut::new(&mut out, rows, layer.n, layer.n),
    );
    out
}

/// The definition, term by term.
pub(super) fn define(a: &QuantizedRows, layer: &Layer) -> Vec<f32> {
    let a = a.view();
    let mut out = Vec::new();
    for row in 0..a.rows() {
        let u: Vec<u8> = a.row(row).collect();
        let groups = groups(layer.k, layer.group);
        let ranges = &a.ranges()[row * groups..][..groups];
        for n in 0..layer.n {
            let weights = &layer.weights[n * layer.k..][..layer.k];
            let mut y = layer.bias[n];
            for (index, range) in ranges.iter().enumerate() {
                let inputs = index * layer.group.min(layer.k)..;
                let terms = u[inputs.clone()].iter().zip(&weights[inputs]);
                let terms = terms.map(|(&u, &w)| i64::from(u) * i64::from(w));
                let acc: i64 = terms.take(layer.group).sum();
                let sum = layer.column_sum[index * layer.bias.len() + n] as f32;
                let scale = layer.scale[index * layer.bias.len() + n];
                let offset = range.low.mul_add(scale * sum, y);
                y = (acc as f32).mul_add(range.scale * scale, offset);
            }
            out.push(y);
        }
    }
    out
}

#[test]
fn products_equal_the_definition_on_all_edge_sizes() {
    let random = &mut Random(1);
    let rows = [
        0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 15, 16, 17, 25, 31, 32, 33, 47, 65,
    ];
    let shapes = [
        (1, 1),
        (15, 3),
        (16, 4),
        (17, 63),
        (31, 64),
        (32, 65),
        (33, 128),
        (64, 100),
        (65, 448),
        (80, 516),
        (129, 26),
    ];
    for &(n, k) in cases(&shapes, &[(1, 1), (17, 63), (32, 65)]) {
        let layer = Layer::new(n, k, random, |random| (random.next() % 255) as i8);
        for &rows in cases(&rows, &[0, 1, 5, 17]) {
            let x = random.floats(rows * k, 3.0);
            let a = quantized(generic(), &x, rows, k);
            let expected = define(&a, &layer);
            for_each_kernel(|kernel| {
                let found = run(kernel, &a, &layer, STORE);
                assert_eq!(
                    bits(&found),
                    bits(&expected),
                    "{kernel:?}, {rows} × {k} × {n}"
                );
            });
        }
    }
}

#[test]
fn several_blocks_of_rows_and_a_group_of_many_inputs_equal_the_definition() {
    let random = &mut Random(8);
    // More columns than a kernel multiplies group by group, and twice more than one keeps of rows for all panels.
    let shapes = [
        (129, 80, 800, WHOLE_ROW),
        (259, 70, 200, 128),
        (131, 870, 450, 192),
        (65, 130, 1600, 384),
        (65, 130, 1600, WHOLE_ROW),
    ];
    for &(rows, n, k, group) in cases(&shapes, &[(2, 17, 70, WHOLE_ROW)]) {
        let weight = |random: &mut Random| (random.next() % 255) as i8;
        let layer = Layer::grouped([n, k], group, random, weight);
        let x = random.floats(rows * k, 3.0);
        let a = quantized_by(generic(), &x, [rows, k], group);
        let expected = define(&a, &layer);
        for_each_kernel(|kernel| {
            let found = run(kernel, &a, &layer, STORE);
            assert_eq!(bits(&found), bits(&expected), "{kernel:?}, {rows} rows");
        });
    }
}

#[test]
fn extremes_neither_saturate_nor_overflow() {
    let random = &mut Random(2);
    for weight in [127i8, -127, -128] {
        let (rows, n, k) = if cfg!(miri) {
            (3, 17, 192)
        } else {
            (33, 40, 1536)
        };
        let layer = Layer::new(n, k, random, |_| weight);
        // One low value in each group makes the others 255.
        let mut x = vec![1.0; rows * k];
        x.iter_mut().step_by(GROUP).for_each(|x| *x = -1.0);
        let a = quantized(generic(), &x, rows, k);
        assert_eq!(a.view().row(1).filter(|&u| u == 255).count(), k - k / GROUP);
        let expected = define(&a, &layer);
        for_each_kernel(|kernel| {
            let found = run(kernel, &a, &layer, STORE);
            assert_eq!(
                bits(&found),
                bits(&expected),
                "{kernel:?}, weights {weight}"
            );
        });
    }
}

#[test]
fn the_deepest_row_fits() {
    let k = if cfg!(miri) { 1000 } else { MAX_K };
    let layer = Layer::grouped([1, k], WHOLE_ROW, &mut Random(3), |_| -128);
    let mut x = vec![1.0; k];
    x[0] = 0.0;
    let a = quantized_by(generic(), &x, [1, k], WHOLE_ROW);
    let expected = define(&a, &layer);
    for_each_kernel(|kernel| {
        assert_eq!(run(kernel, &a, &layer, STORE), expected, "{kernel:?}");
    });
    let layer = layer.packed();
    assert!(PackedLinear::new(&[], &[], &[], &[], [0, MAX_K + 1], GROUP).is_err());
    assert_eq!((layer.n(), layer.k()), (1, k));
}

#[test]
fn constant_rows_keep_their_value_and_others_theirs() {
    let random = &mut Random(4);
    let (rows, n, k) = (5, 20, 70);
    let layer = Layer::new(n, k, random, |random| (random.next() % 255) as i8);
    let mut x = random.floats(rows * k, 1.0);
    x[..k].fill(0.0);
    x[k..2 * k].fill(-2.5);
    x[2 * k + 5] = f32::NAN;
    x[3 * k + 69] = f32::NEG_INFINITY;
    let a = quantized(generic(), &x, rows, k);
    let expected = define(&a, &layer);
    assert_eq!(&expected[..n], &layer.bias[..n]);
    let first = layer.column_sum.iter().zip(&layer.scale);
    let first = first.step_by(layer.bias.len());
    let sum: f32 = first.map(|(&sum, scale)| sum as f32 * scale).sum();
    assert!((expected[n] - (layer.bias[0] - 2.5 * sum)).abs() < 1e-4);
    assert!(expected[2 * n..4 * n].iter().all(|y| y.is_nan()));
    assert!(expected[4 * n..].iter().all(|y| y.is_finite()));
    for_each_kernel(|kernel| {
        let a = quantized(kernel, &x, rows, k);
        let found = run(kernel, &a, &layer, STORE);
        assert_eq!(bits(&found), bits(&expected), "{kernel:?}");
    });
}

#[test]
fn epilogues_are_the_functions_applied_afterwards() {
    let random = &mut Random(5);
    let (rows, n, k) = if cfg!(miri) {
        (3, 17, 70)
    } else {
        (19, 37, 96)
    };
    let layer = Layer::new(n, k, random, |random| (random.next() % 255) as i8);
    let x = random.floats(rows * k, 2.0);
    for_each_kernel(|kernel| {
        let a = quantized(kernel, &x, rows, k);
        let plain = run(kernel, &a, &layer, STORE);
        for activation in super::functions::ALL {
            let mut expected = plain.clone();
            kernel.activation(&mut expected, activation);
            let found = run(kernel, &a, &layer, Epilogue::Store(activation));
            assert_eq!(bits(&found), bits(&expected), "{kernel:?}, {activation:?}");
        }
        let expected: Vec<f32> = plain
            .iter()
            .enumerate()
            .map(|(i, y)| i as f32 * 0.01 + y)
            .collect();
        let found = run(kernel, &a, &layer, Epilogue::Accumulate);
        assert_eq!(bits(&found), bits(&expected), "{kernel:?}");
    });
}

/// GELU as it is where its results are quantized.
fn gelu_to_bytes(mut y: Vec<f32>) -> Vec<f32> {
    let lanes = crate::generic::Generic;
    for y in &mut y {
        *y = GeluToBytes.apply(lanes, [*y; 16])[0];
    }
    y
}

#[test]
fn linear_quantize_equals_its_parts() {
    let random = &mut Random(7);
    let rows = [0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 48, 65];
    // Outputs and inputs, and the results' groups, which the next layer reads: one group, whole groups, and a rest, in whole
    // panels and not.
    let shapes = [
        (0, 64, GROUP),
        (1, 3, WHOLE_ROW),
        (64, 100, 192),
        (130, 448, GROUP),
        (384, 26, 384),
        (448, 26, 192),
        (1213, 70, 384),
        (800, 384, 384),
        (100, 70, WHOLE_ROW),
    ];
    for &(n, k, group) in cases(&shapes, &[(1, 3, WHOLE_ROW), (130, 65, GROUP)]) {
        let inputs = if k == 384 { k } else { GROUP };
        let weight = |random: &mut Random| (random.next() % 255) as i8;
        let layer = Layer::grouped([n, k], inputs, random, weight);
        let scale = random.floats(n, 1.5);
        for &rows in cases(&rows, &[0, 1, 5]) {
            let x = random.floats(rows * k, 0.2);
            let a = quantized_by(generic(), &x, [rows, k], inputs);
            for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                let y = match activation {
                    Activation::Gelu => gelu_to_bytes(run(generic(), &a, &layer, STORE)),
                    _ => run(generic(), &a, &layer, Epilogue::Store(activation)),
                };
                let mut expected = QuantizedRows::new();
                expected.resize(rows, n, group);
                let y = Matrix::new(&y, rows, n, n);
                generic().quantize_rows(y, Some(&scale), expected.view_mut());
                for_each_kernel(|kernel| {
                    let mut found = QuantizedRows::new();
                    found.resize(rows, n, group);
                    let then = (activation, &scale[..]);
                    let (packed, to) = (layer.packed(), found.view_mut());
                    kernel.linear_quantize(a.view(), packed, then, &mut Aligned::new(), to);
                    let context = format!("{kernel:?}, {activation:?}, {rows} × {k} × {n}");
                    let (found, expected) = (found.view(), expected.view());
                    assert_eq!(found.ranges(), expected.ranges(), "{context}");
                    for row in 0..rows {
                        assert!(found.row(row).eq(expected.row(row)), "{context}, row {row}");
                    }
                });
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_seen_behind_the_activation() {
    let random = &mut Random(9);
    let (rows, n, k) = (5, 130, 64);
    let layer = Layer::new(n, k, random, |random| (random.next() % 255) as i8);
    let mut x = random.floats(rows * k, 1.0);
    x[k + 3] = f32::NAN;
    let mut scale = random.floats(n, 1.0);
    scale[70] = f32::INFINITY;
    for_each_kernel(|kernel| {
        let a = quantized(kernel, &x, rows, k);
        let mut found = QuantizedRows::new();
        found.resize(rows, n, GROUP);
        let then = (Activation::Gelu, &scale[..]);
        kernel.linear_quantize(
            a.view(),
            layer.packed(),
            then,
            &mut Aligned::new(),
            found.view_mut(),
        );
        for (index, range) in found.view().ranges().iter().enumerate() {
            let (row, group) = (index / 3, index % 3);
            let is_finite = row != 1 && group != 1;
            assert_eq!(
                range.scale.is_finite(),
                is_finite,
                "{kernel:?}, {row}, {group}"
            );
        }
    });
}

#[test]
fn parts_computed_apart_equal_the_whole() {
    let random = &mut Random(6);
    let (rows, n, k) = if cfg!(miri) {
        (5, 37, 70)
    } else {
        (41, 75, 130)
    };
    let layer = Layer::new(n, k, random, |random| (random.next() % 255) as i8);
    let x = random.floats(rows * k, 2.0);
    for_each_kernel(|kernel| {
        let a = quantized(kernel, &x, rows, k);
        let whole = run(kernel, &a, &layer, Epilogue::Store(Activation::Gelu));
        let cuts = [(0, 0), (1, 16), (17, 48), (40, 64), (41, 75)];
        for &(row, column) in cases(&cuts, &[(0, 0), (3, 16), (5, 37)]) {
            // A stride wider than the rows: what lies between must stay.
            let stride = n + 3;
            let mut out = vec![9.0; rows * stride];
            let (top, bottom) = MatrixMut::new(&mut out, rows, n, stride).split_rows(row);
            for (part, rows) in [(top, 0..row), (bottom, row..rows)] {
                let (left, right) = part.split_columns(column);
                for (part, columns) in [(left, 0..column), (right, column..n)] {
                    let (a, w) = (
                        a.view().row_range(rows.clone()),
                        layer.packed().columns(columns),
                    );
                    kernel.linear(a, w, Epilogue::Store(Activation::Gelu), part);
                }
            }
            for (row, out) in out.chunks(stride).enumerate() {
                assert_eq!(
                    bits(&out[..n]),
                    bits(&whole[row * n..][..n]),
                    "{kernel:?}, row {row}"
                );
                assert_eq!(out[n..], [9.0; 3], "{kernel:?}, row {row}");
            }
        }
    });
}

#[test]
fn several_layers_at_once_equal_each_alone() {
    let random = &mut Random(10);
    let heights = [0, 1, 16, 17, 32, 65, 100];
    // In groups of 64, and of 384.
    let shapes = [(64, GROUP), (130, GROUP), (448, GROUP), (768, 384)];
    for &(k, group) in cases(&shapes, &shapes[1..2]) {
        let n = 213;
        let weight = |random: &mut Random| (random.next() % 255) as i8;
        let layer = Layer::grouped([n, k], group, random, weight);
        // Backwards; 1 and a rest, 4, 3 and 1 panels.
        let ranges = [192..n, 128..192, 64..112, 32..48];
        for &rows in cases(&heights, &[0, 5]) {
            let x = random.floats(rows * k, 2.0);
            for_each_kernel(|kernel| {
                let a = quantized_by(kernel, &x, [rows, k], group);
                let whole = run(kernel, &a, &layer, STORE);
                // Side by side, as queries, keys and values are, with a gap behind each: what lies there must stay.
                let stride = ranges.iter().map(|range| range.len() + 2).sum();
                let mut out = vec![9.0; rows * stride];
                let mut rest = MatrixMut::new(&mut out, rows, stride, stride);
                let mut parts = Vec::new();
                for range in &ranges {
                    let (part, later) = rest.split_columns(range.len());
                    parts.push((layer.packed().columns(range.clone()), part));
                    rest = later.split_columns(2).1;
                }
                kernel.linear_several(a.view(), &mut parts);
                for (row, mut out) in out.chunks(stride).enumerate() {
                    for range in &ranges {
                        let (part, later) = out.split_at(range.len());
                        let expected = &whole[row * n..][range.clone()];
                        let context = format!("{kernel:?}, {rows} × {k}, row {row} of {range:?}");
                        assert_eq!(bits(part), bits(expected), "{context}");
                        assert_eq!(later[..2], [9.0; 2], "{context}");
                        out = &later[2..];
                    }
                }
            });
        }
    }
}

#[test]
fn wrong_lengths_are_named() {
    let layer = Layer::new(20, 70, &mut Random(8), |_| 1);
    let error = PackedLinear::new(
        &layer.panels,
        &layer.scale,
        &layer.column_sum,
        &layer.bias[1..],
        [20, 70],
        GROUP,
    )
    .err();
    assert_eq!(
        error,
        Some(ShapeError {
            part: "bias",
            found: 31,
            expected: 32
        })
    );
    let error = PackedLinear::new(
        &layer.panels[1..],
        &layer.scale,
        &layer.column_sum,
        &layer.bias,
        [20, 70],
        GROUP,
    )
    .err();
    assert_eq!(
        error,
        Some(ShapeError {
            part: "weight",
            found: 4095,
            expected: 4096
        })
    );
}

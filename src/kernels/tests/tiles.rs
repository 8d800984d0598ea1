//! Products in tiles that follow each other without a pause, in kernels that have such; the same from all others.

use super::linear::{STORE, define, run};
use super::*;

fn layer([n, k]: [usize; 2], random: &mut Random) -> Layer {
    Layer::grouped([n, k], 384, random, |random| (random.next() % 255) as i8)
}

/// Groups as models have them, by the kernels that go from tile to tile without a pause: one block and several,
/// higher and lower ones, one group and several, more columns than go together, and rests of each.
#[test]
fn products_of_models_groups_equal_the_definition() {
    let random = &mut Random(11);
    let rows = [2, 3, 5, 16, 17, 20, 31, 32, 33, 35, 48, 63, 64, 112];
    let shapes = [
        (32, 384),
        (64, 768),
        (96, 384),
        (384, 768),
        (416, 1152),
        (832, 384),
        (400, 768),
        (64, 512),
        (96, 1024),
        (64, 256),
        (32, 128),
        (64, 448),
        (64, 192),
    ];
    for &(n, k) in cases(&shapes, &[(32, 384)]) {
        let layer = layer([n, k], random);
        for &rows in cases(&rows, &[3]) {
            let x = random.floats(rows * k, 3.0);
            let a = quantized_by(generic(), &x, [rows, k], 384);
            let expected = define(&a, &layer);
            for_each_kernel(|kernel| {
                let found = run(kernel, &a, &layer, STORE);
                let context = format!("{kernel:?}, {rows} × {k} × {n}");
                assert_eq!(bits(&found), bits(&expected), "{context}");
                let added = run(kernel, &a, &layer, Epilogue::Accumulate);
                let expected = expected.iter().enumerate();
                let expected: Vec<f32> = expected.map(|(i, y)| i as f32 * 0.01 + y).collect();
                assert_eq!(bits(&added), bits(&expected), "{context}, added");
            });
        }
    }
}

/// One product's last tile is dequantized while the next product's first one is multiplied, be it of the same form or not.
#[test]
#[cfg_attr(
    miri,
    ignore = "the generic kernel, all that Miri runs, has no such tiles, and it takes minutes"
)]
fn products_that_follow_each_other_equal_each_alone() {
    let random = &mut Random(12);
    // Two and four panels at a time, and rests.
    let ranges = [0..64, 64..96, 96..224, 224..272, 272..400];
    for k in [128, 384, 768] {
        let layer = layer([400, k], random);
        for rows in [7, 16, 29, 32, 48, 64, 75, 100] {
            let x = random.floats(rows * k, 2.0);
            for_each_kernel(|kernel| {
                let a = quantized_by(kernel, &x, [rows, k], 384);
                let whole = run(kernel, &a, &layer, STORE);
                let mut found = vec![0.0; rows * 400];
                let mut rest = MatrixMut::new(&mut found, rows, 400, 400);
                let mut parts = Vec::new();
                for range in &ranges {
                    let (part, later) = rest.split_columns(range.len());
                    parts.push((layer.packed().columns(range.clone()), part));
                    rest = later;
                }
                kernel.linear_several(a.view(), &mut parts);
                assert_eq!(bits(&found), bits(&whole), "{kernel:?}, {rows} × {k}");
            });
        }
    }
}

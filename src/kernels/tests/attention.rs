//! Attention, short in f32 and long in 8-bit integers: close to double precision, the same bits from every kernel.

use super::*;

/// Queries, keys and values side by side, as a projection leaves them: `[tokens, 3·head_size]`.
struct Heads {
    data: Vec<f32>,
    tokens: usize,
    head_size: usize,
}

impl Heads {
    fn new(tokens: usize, head_size: usize, random: &mut Random) -> Self {
        let mut data = random.floats(tokens * 3 * head_size, 2.0);
        for row in data.chunks_mut(3 * head_size) {
            // Values off center, as they are in practice.
            row[2 * head_size..]
                .iter_mut()
                .for_each(|x| *x = *x * 0.5 + 0.7);
        }
        Heads {
            data,
            tokens,
            head_size,
        }
    }

    fn part(&self, part: usize) -> Matrix<'_> {
        let first = (part * self.head_size).min(self.data.len());
        Matrix::new(
            &self.data[first..],
            self.tokens,
            self.head_size,
            3 * self.head_size,
        )
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }

    fn run(&self, kernel: Kernel, scratch: &mut AttentionScratch) -> Vec<f32> {
        let mut out = vec![0.0; self.tokens * self.head_size];
        let view = MatrixMut::new(&mut out, self.tokens, self.head_size, self.head_size);
        kernel.attention(
            [0, 1, 2].map(|part| self.part(part)),
            1,
            self.scale(),
            scratch,
            view,
        );
        out
    }

    /// In double precision.
    fn exact(&self) -> Vec<f64> {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let mut out = Vec::new();
        for query in 0..self.tokens {
            let query = self.part(0).row(query);
            let scores: Vec<f64> = (0..self.tokens)
                .map(|key| dot(query, self.part(1).row(key)) * f64::from(self.scale()))
                .collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for channel in 0..self.head_size {
                let value = |key: usize| f64::from(self.part(2).row(key)[channel]);
                out.push(
                    (0..self.tokens)
                        .map(|key| weights[key] * value(key))
                        .sum::<f64>()
                        / sum,
                );
            }
        }
        out
    }
}

#[test]
fn attention_is_close_to_double_precision_and_the_same_from_every_kernel() {
    let random = &mut Random(21);
    let lengths = [
        0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130, 192, 193, 256, 257, 300,
    ];
    for &head_size in cases(&[1, 16, 26, 32, 64, 65, 128, 256, 272], &[26]) {
        // Large ones take long.
        let some_lengths = match head_size {
            ..=128 => &lengths[..],
            _ => &[1, 64, 65, 130, 300],
        };
        for &tokens in cases(some_lengths, &[0, 1, 5]) {
            let heads = Heads::new(tokens, head_size, random);
            let expected = heads.run(generic(), &mut AttentionScratch::default());
            // In integers query and key steps blur a score by some 1/100, and values are within 1/254 of their range.
            let tolerance = if tokens > 64 { 0.03 } else { 1e-5 };
            let worst = expected
                .iter()
                .zip(heads.exact())
                .map(|(y, exact)| (f64::from(*y) - exact).abs());
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < tolerance, "{tokens} × {head_size}: {worst}");
            for_each_kernel(|kernel| {
                let found = heads.run(kernel, &mut AttentionScratch::default());
                assert_eq!(
                    bits(&found),
                    bits(&expected),
                    "{kernel:?}, {tokens} × {head_size}"
                );
            });
        }
    }
}

#[test]
fn used_scratch_and_apart_queries_change_nothing() {
    let random = &mut Random(22);
    let long = if cfg!(miri) {
        Heads::new(7, 16, random)
    } else {
        Heads::new(200, 64, random)
    };
    for_each_kernel(|kernel| {
        let mut scratch = AttentionScratch::default();
        long.run(kernel, &mut scratch);
        for &(tokens, head_size) in cases(&[(37, 26), (70, 32), (5, 128)], &[(5, 16)]) {
            let heads = Heads::new(tokens, head_size, &mut Random(23));
            let expected = heads.run(kernel, &mut AttentionScratch::default());
            assert_eq!(
                bits(&heads.run(kernel, &mut scratch)),
                bits(&expected),
                "{kernel:?}"
            );
            for query in [0..1, 3..5, tokens - 1..tokens] {
                let mut out = vec![0.0; query.len() * head_size];
                let view = MatrixMut::new(&mut out, query.len(), head_size, head_size);
                let queries = heads.part(0).row_range(query.clone());
                kernel.attention(
                    [queries, heads.part(1), heads.part(2)],
                    1,
                    heads.scale(),
                    &mut scratch,
                    view,
                );
                let expected = &expected[query.start * head_size..query.end * head_size];
                assert_eq!(bits(&out), bits(expected), "{kernel:?}, queries {query:?}");
            }
        }
    });
}

#[test]
fn heads_side_by_side_are_what_each_is_alone() {
    let random = &mut Random(26);
    for &(count, head_size) in cases(&[(2, 16), (3, 26), (5, 32), (12, 32)], &[(2, 16)]) {
        for &tokens in cases(&[1, 17, 64, 65], &[5]) {
            let all = Heads::new(tokens, count * head_size, random);
            for_each_kernel(|kernel| {
                let scale = 0.2;
                let mut scratch = AttentionScratch::default();
                let mut together = vec![0.0; tokens * count * head_size];
                let width = count * head_size;
                let [q, k, v] = [0, 1, 2].map(|part| all.part(part));
                let out = MatrixMut::new(&mut together, tokens, width, width);
                kernel.attention([q, k, v], count, scale, &mut scratch, out);
                let mut alone = vec![0.0; tokens * width];
                for head in 0..count {
                    let columns = head * head_size..(head + 1) * head_size;
                    let out = MatrixMut::new(&mut alone, tokens, width, width);
                    let (_, rest) = out.split_columns(columns.start);
                    let (out, _) = rest.split_columns(head_size);
                    let [q, k, v] = [q, k, v].map(|rows| rows.column_range(columns.clone()));
                    kernel.attention([q, k, v], 1, scale, &mut scratch, out);
                }
                assert_eq!(
                    bits(&together),
                    bits(&alone),
                    "{kernel:?}, {tokens} tokens, {count} heads of {head_size}"
                );
            });
        }
    }
}

#[test]
fn flat_weights_average_the_values_and_sharp_ones_pick_one() {
    let (tokens, head_size, picked) = if cfg!(miri) {
        (5, 16, 3)
    } else {
        (300, 32, 123)
    };
    let random = &mut Random(24);
    let mut flat = Heads::new(tokens, head_size, random);
    let mut sharp = Heads::new(tokens, head_size, random);
    for (flat, sharp) in flat
        .data
        .chunks_mut(3 * head_size)
        .zip(sharp.data.chunks_mut(3 * head_size))
    {
        flat[..head_size].fill(0.0);
        sharp[head_size..2 * head_size].fill(0.0);
        sharp[..head_size].fill(60.0);
    }
    sharp.data[picked * 3 * head_size + head_size..][..head_size].fill(10.0);
    for heads in [flat, sharp] {
        let exact = heads.exact();
        for_each_kernel(|kernel| {
            for (y, exact) in heads
                .run(kernel, &mut AttentionScratch::default())
                .iter()
                .zip(&exact)
            {
                // Half a step of the values: their range is about 2.
                assert!(
                    (f64::from(*y) - exact).abs() < 2.0 / 254.0 / 2.0 * 1.01,
                    "{kernel:?}: {y} for {exact}"
                );
            }
        });
    }
}

#[test]
fn what_is_not_finite_stays_in_its_place_and_does_not_trap() {
    let all = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38];
    // In f32, and in integers.
    for &(tokens, head_size) in cases(&[(40, 32), (65, 32), (130, 24)], &[(9, 16), (66, 16)]) {
        for (&bad, part) in cases(&all, &all[..1])
            .iter()
            .flat_map(|bad| [0, 1, 2].map(|part| (bad, part)))
        {
            let mut heads = Heads::new(tokens, head_size, &mut Random(25));
            heads.data[(7 * 3 + part) * head_size + 3] = bad;
            heads.data[(8 * 3 + part) * head_size + 3] = -bad;
            let expected = heads.run(generic(), &mut AttentionScratch::default());
            if part == 2 && !bad.is_finite() {
                let channel = |index| expected.iter().skip(index).step_by(head_size);
                assert!(channel(3).all(|y| y.is_nan()));
                assert!(channel(4).all(|y| y.is_finite()));
            }
            for_each_kernel(|kernel| {
                let found = heads.run(kernel, &mut AttentionScratch::default());
                assert_eq!(
                    bits(&found),
                    bits(&expected),
                    "{kernel:?}, {bad} in part {part}"
                );
            });
        }
    }
}

/// As many keys as a model may have positions, most of them with the largest weight.
#[test]
fn the_longest_sequences_fit() {
    let keys = 1 << 15;
    let key = vec![0.0; keys * 16];
    let mut value = vec![1.25; keys * 16];
    value[..16].fill(-1.0);
    let query = vec![1.0; 16];
    for_each_kernel(|kernel| {
        let mut out = [0.0; 16];
        let parts = [
            Matrix::new(&query, 1, 16, 16),
            Matrix::new(&key, keys, 16, 16),
            Matrix::new(&value, keys, 16, 16),
        ];
        let to = MatrixMut::new(&mut out, 1, 16, 16);
        kernel.attention(parts, 1, 1.0, &mut AttentionScratch::default(), to);
        for y in out {
            assert!((y - 1.25).abs() < 1e-3, "{kernel:?}: {y}");
        }
    });
}

/// Powers of two are made by other instructions where AVX-512 is: the same at every half, at both ends, and between.
#[test]
fn weights_are_the_same_powers_of_two_from_every_kernel() {
    // Scores are exponents of 2 when this takes the factor away.
    let scale = std::f32::consts::LN_2;
    assert_eq!(scale * std::f32::consts::LOG2_E, 1.0);
    let halves = (0..=300).map(|i| i as f32 * -0.5);
    let near = [0.0, -0.5, -1.5, -2.5, -126.0, -126.5].into_iter();
    let near = near.flat_map(|t: f32| {
        let bits = t.abs().to_bits();
        [bits + 1, bits.saturating_sub(1)].map(|bits| -f32::from_bits(bits))
    });
    let random = &mut Random(31);
    let between: Vec<f32> = (0..200).map(|_| -127.0 * random.unit().abs()).collect();
    let others = [-0.0, -1e-40, -1e9, f32::NEG_INFINITY];
    let exponents = halves.chain(near).chain(between).chain(others);
    let exponents: Vec<f32> = exponents.step_by(if cfg!(miri) { 50 } else { 1 }).collect();
    // One query, two keys with scores 0 and t, and values 0 and 1: 2ᵗ/(1 + 2ᵗ).
    let average = |kernel: Kernel, t: f32| {
        let (query, key, value, mut out) = ([1.0], [0.0, t], [0.0, 1.0], [0.0]);
        let parts = [
            Matrix::new(&query, 1, 1, 1),
            Matrix::new(&key, 2, 1, 1),
            Matrix::new(&value, 2, 1, 1),
        ];
        let to = MatrixMut::new(&mut out, 1, 1, 1);
        kernel.attention(parts, 1, scale, &mut AttentionScratch::default(), to);
        out[0]
    };
    for &t in &exponents {
        let power = f64::from(t).max(-126.0).exp2();
        let error = f64::from(average(generic(), t)) / (power / (1.0 + power)) - 1.0;
        assert!(error.abs() < 4e-7, "{t}: {error:e}");
    }
    for_each_kernel(|kernel| {
        for &t in &exponents {
            let (found, expected) = (average(kernel, t), average(generic(), t));
            assert_eq!(found.to_bits(), expected.to_bits(), "{kernel:?}, {t}");
        }
    });
}

//! Rounding weights to int8 so that the errors of one input make up for those of another.
//!
//! With inputs of second moment H, rounding a row w to q costs (w−q)·H·(w−q)ᵀ. With H = L·Lᵀ this is a sum of squares,
//! the j-th of which is (L_jj·(w_j−q_j) + Σ_{k>j} L_kj·(w_k−q_k))². Going from the last input to the first, each q_j is
//! chosen to make its square least, the later ones being settled. This gives the same weights as GPTQ (Frantar et al.
//! 2022, arXiv:2210.17323; the equivalence is Babai's nearest plane), and needs no inverse.

use crate::reference::matrix::{View, multiply};
use crate::reference::parallel::for_each_piece;

/// Largest int8 weight; −128 is not used, so that a weight can be negated.
const LARGEST: f32 = 127.0;
/// Inputs that are settled before their errors are carried on by one matrix product.
const BLOCK: usize = 64;
/// Output channels that one thread takes at a time.
const CHANNELS: usize = 64;

/// A matrix rounded to int8.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rounded {
    /// `[N, K]`, −127…127.
    pub steps: Vec<i8>,
    /// `[N, G]`: value of a step in each group of inputs; 0 where all weights are zero.
    pub scale: Vec<f32>,
}

/// Rounds each group of `group` inputs (the last may be smaller) in each row of `k` to the nearest steps of its largest
/// magnitude / 127.
pub(super) fn round_nearest(weight: &[f32], k: usize, group: usize) -> Rounded {
    let scale = scales(weight, k, group);
    let parts = weight.chunks_exact(k).flat_map(|row| row.chunks(group));
    let steps = parts
        .zip(&scale)
        .flat_map(|(part, &scale)| part.iter().map(move |&weight| nearest(weight, scale)))
        .collect();
    Rounded { steps, scale }
}

/// Rounds `weight` `[N, K]` for inputs with second moments `moments` `[K, K]` (lower triangle), of which `damping` times
/// the mean of the diagonal is added to the diagonal. Scales are those of [`round_nearest`].
pub(super) fn round_compensated(
    weight: &[f32],
    moments: &[f64],
    k: usize,
    group: usize,
    damping: f64,
) -> Rounded {
    let diagonal: Vec<f64> = (0..k).map(|j| moments[j * k + j]).collect();
    let mean = diagonal.iter().sum::<f64>() / k as f64;
    if mean <= 0.0 || !mean.is_finite() {
        return round_nearest(weight, k, group);
    }
    // The inputs that matter most are settled first, when there is most room left to make up for their errors.
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]).then(b.cmp(&a)));
    let mut factor = vec![0.0; k * k];
    for (row, &a) in order.iter().enumerate() {
        for (column, &b) in order[..=row].iter().enumerate() {
            factor[row * k + column] = moments[a.max(b) * k + a.min(b)];
        }
        factor[row * k + row] += damping * mean;
    }
    if !cholesky(&mut factor, k) {
        return round_nearest(weight, k, group);
    }
    let factor: Vec<f32> = factor.into_iter().map(|value| value as f32).collect();
    let scale = scales(weight, k, group);
    let groups = k.div_ceil(group);
    let mut steps = vec![0; weight.len()];
    for_each_piece(&mut steps, CHANNELS * k, |index, piece| {
        let first = index * CHANNELS;
        let count = piece.len() / k;
        let rows = &weight[first * k..][..piece.len()];
        round_channels(
            rows,
            &scale[first * groups..][..count * groups],
            group,
            &factor,
            &order,
            piece,
        );
    });
    Rounded { steps, scale }
}

/// Rounds some rows; `factor` is L, its rows and columns in `order`.
fn round_channels(
    rows: &[f32],
    scale: &[f32],
    group: usize,
    factor: &[f32],
    order: &[usize],
    steps: &mut [i8],
) {
    let k = order.len();
    let count = rows.len() / k;
    let groups = k.div_ceil(group);
    // w − q of the settled inputs, in `order`.
    let mut error = vec![0.0f32; count * k];
    let mut carried = vec![0.0f32; count * BLOCK];
    for start in (0..k).step_by(BLOCK).rev() {
        let end = (start + BLOCK).min(k);
        let width = end - start;
        if end < k {
            multiply(
                1.0,
                View::with_stride(&error[end..], count, k - end, k),
                View::with_stride(&factor[end * k + start..], k - end, width, k),
                0.0,
                &mut carried,
                BLOCK,
            );
        } else {
            carried.fill(0.0);
        }
        for channel in 0..count {
            let carried = &mut carried[channel * BLOCK..][..width];
            for j in (start..end).rev() {
                let row = &factor[j * k + start..][..j - start + 1];
                let weight = rows[channel * k + order[j]];
                let scale = scale[channel * groups + order[j] / group];
                let step = nearest(weight + carried[j - start] / row[j - start], scale);
                let left = weight - f32::from(step) * scale;
                steps[channel * k + order[j]] = step;
                error[channel * k + j] = left;
                for (carried, &factor) in carried[..j - start].iter_mut().zip(row) {
                    *carried += left * factor;
                }
            }
        }
    }
}

/// Largest magnitude of each group in each row over 127: `[N, G]`.
fn scales(weight: &[f32], k: usize, group: usize) -> Vec<f32> {
    let largest = |part: &[f32]| part.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    weight
        .chunks_exact(k)
        .flat_map(|row| row.chunks(group))
        .map(|part| largest(part) / LARGEST)
        .collect()
}

/// The nearest step; 0 where a step has no size.
fn nearest(weight: f32, scale: f32) -> i8 {
    if scale > 0.0 {
        (weight / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
    } else {
        0
    }
}

/// Replaces the lower triangle of a symmetric matrix by L with L·Lᵀ = matrix. False if the matrix is not positive
/// definite; its content is then undefined. The upper triangle is neither read nor meaningful afterwards.
fn cholesky(matrix: &mut [f64], k: usize) -> bool {
    for start in (0..k).step_by(BLOCK) {
        let end = (start + BLOCK).min(k);
        let width = end - start;
        for j in start..end {
            let (above, rest) = matrix.split_at_mut(j * k);
            let row = &mut rest[start..=j];
            for column in start..j {
                let other = &above[column * k + start..=column * k + column];
                row[column - start] = solved(row, other);
            }
            let pivot = row[j - start] - row[..j - start].iter().map(|x| x * x).sum::<f64>();
            if pivot <= 0.0 || !pivot.is_finite() {
                return false;
            }
            row[j - start] = pivot.sqrt();
        }
        let (done, below) = matrix.split_at_mut(end * k);
        let triangle = &done[start * k..];
        for_each_piece(below, BLOCK * k, |_, rows| {
            for row in rows.chunks_exact_mut(k) {
                let row = &mut row[start..end];
                for column in 0..width {
                    row[column] =
                        solved(&row[..=column], &triangle[column * k + start..][..=column]);
                }
            }
        });
        let panel: Vec<f64> = below
            .chunks_exact(k)
            .flat_map(|row| &row[start..end])
            .copied()
            .collect();
        for_each_piece(below, BLOCK * k, |index, rows| {
            let count = rows.len() / k;
            let columns = index * BLOCK + count;
            let left = View::new(&panel[index * BLOCK * width..], count, width);
            let right = View::new(&panel, columns, width).transposed();
            multiply(-1.0, left, right, 1.0, &mut rows[end..], k);
        });
    }
    true
}

/// One step of forward substitution: the last value of `row` less the product of what stands before, over the pivot
/// that ends `other`.
fn solved(row: &[f64], other: &[f64]) -> f64 {
    let last = other.len() - 1;
    let product: f64 = row[..last].iter().zip(other).map(|(a, b)| a * b).sum();
    (row[last] - product) / other[last]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repeatable values in −1…1.
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        }
    }

    /// Inputs `[tokens, k]` that share a few common causes, and their second moments.
    fn correlated(tokens: usize, k: usize) -> (Vec<f32>, Vec<f64>) {
        let mut next = noise(7);
        let causes = 6;
        let mixing: Vec<f32> = (0..causes * k).map(|_| next()).collect();
        let mut input = Vec::new();
        for _ in 0..tokens {
            let cause: Vec<f32> = (0..causes).map(|_| next()).collect();
            input.extend((0..k).map(|j| {
                (0..causes)
                    .map(|c| cause[c] * mixing[c * k + j])
                    .sum::<f32>()
                    + 0.1 * next()
            }));
        }
        let mut moments = vec![0.0; k * k];
        for row in input.chunks_exact(k) {
            for (i, a) in row.iter().enumerate() {
                for (j, b) in row.iter().enumerate() {
                    moments[i * k + j] += f64::from(*a) * f64::from(*b);
                }
            }
        }
        (input, moments)
    }

    /// Squared difference of the outputs of a matrix `[n, k]` and of its rounded form.
    fn output_error(
        input: &[f32],
        weight: &[f32],
        rounded: &Rounded,
        [k, group]: [usize; 2],
    ) -> f64 {
        let groups = k.div_ceil(group);
        let scale = |i: usize| rounded.scale[i / k * groups + i % k / group];
        let difference: Vec<f32> = (0..weight.len())
            .map(|i| weight[i] - f32::from(rounded.steps[i]) * scale(i))
            .collect();
        let mut error = 0.0;
        for row in input.chunks_exact(k) {
            for difference in difference.chunks_exact(k) {
                let product: f32 = row.iter().zip(difference).map(|(x, d)| x * d).sum();
                error += f64::from(product * product);
            }
        }
        error
    }

    #[test]
    fn compensation_lowers_the_output_error_on_correlated_inputs() {
        let (n, k) = (70, 150);
        let (input, moments) = correlated(600, k);
        let mut next = noise(3);
        let weight: Vec<f32> = (0..n * k).map(|_| next()).collect();
        let error = |rounded, group| output_error(&input, &weight, &rounded, [k, group]);
        let plain = error(round_nearest(&weight, k, k), k);
        let errors =
            [k, 60].map(|group| error(round_compensated(&weight, &moments, k, group, 0.01), group));
        assert!(errors[0] < 0.4 * plain, "{errors:?} against {plain}");
        assert!(
            errors[1] < errors[0],
            "smaller groups have finer steps: {errors:?}"
        );
    }

    #[test]
    fn uncorrelated_inputs_are_rounded_to_the_nearest() {
        let (n, k) = (5, 100);
        let mut next = noise(11);
        let weight: Vec<f32> = (0..n * k).map(|_| next()).collect();
        let mut moments = vec![0.0; k * k];
        for j in 0..k {
            moments[j * k + j] = 1.0 + j as f64;
        }
        for group in [k, 30] {
            assert_eq!(
                round_compensated(&weight, &moments, k, group, 0.01),
                round_nearest(&weight, k, group)
            );
        }
    }

    #[test]
    fn zero_rows_dead_inputs_and_zero_moments() {
        let k = 70;
        let (_, mut moments) = correlated(200, k);
        for j in 0..k {
            moments[3 * k + j] = 0.0;
            moments[j * k + 3] = 0.0;
        }
        let mut next = noise(5);
        let mut weight: Vec<f32> = (0..3 * k).map(|_| next()).collect();
        weight[k..2 * k].fill(0.0);
        let rounded = round_compensated(&weight, &moments, k, k, 0.01);
        assert_eq!(rounded.scale[1], 0.0);
        assert!(rounded.steps[k..2 * k].iter().all(|&step| step == 0));
        let plain = round_nearest(&weight, k, k);
        assert_eq!(
            rounded.steps[3], plain.steps[3],
            "an input that never occurs is rounded to the nearest"
        );
        assert_eq!(
            round_compensated(&weight, &vec![0.0; k * k], k, k, 0.01),
            plain
        );
    }

    #[test]
    fn cholesky_factor_times_its_transpose_is_the_matrix() {
        for k in [1, 63, 64, 65, 200] {
            let (_, mut moments) = correlated(400, k);
            for j in 0..k {
                moments[j * k + j] += 1.0;
            }
            let mut factor = moments.clone();
            assert!(cholesky(&mut factor, k));
            for i in 0..k {
                for j in 0..=i {
                    let product: f64 = (0..=j).map(|c| factor[i * k + c] * factor[j * k + c]).sum();
                    assert!(
                        (product - moments[i * k + j]).abs() < 1e-9 * moments[i * k + i].max(1.0),
                        "({i}, {j})"
                    );
                }
            }
        }
        assert!(
            !cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2),
            "not positive definite"
        );
    }
}

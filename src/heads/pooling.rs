//! One vector for a sequence out of its tokens' hidden states.

use crate::format::header::Pooling;

/// Appends the pooled vectors of one sequence to `out`, one behind the other.
///
/// `hidden` is `[tokens, hidden_size]`; the first `skip` tokens (a prompt that the model leaves out) take no part,
/// except that [`Pooling::Cls`] is the first token in any case. As in sentence-transformers' `Pooling`, a sequence
/// with no token left is all zeros.
pub(crate) fn pool(
    modes: &[Pooling],
    hidden: &[f32],
    hidden_size: usize,
    skip: usize,
    out: &mut Vec<f32>,
) {
    let rows = || hidden.chunks_exact(hidden_size).enumerate().skip(skip);
    for mode in modes {
        let start = out.len();
        out.resize(start + hidden_size, 0.0);
        let pooled = &mut out[start..];
        match mode {
            Pooling::Cls => copy(hidden.chunks_exact(hidden_size).next(), pooled),
            Pooling::LastToken => copy(rows().last().map(|(_, row)| row), pooled),
            Pooling::Max => {
                copy(rows().next().map(|(_, row)| row), pooled);
                for (_, row) in rows() {
                    for (max, value) in pooled.iter_mut().zip(row) {
                        *max = max.max(*value);
                    }
                }
            }
            Pooling::Mean | Pooling::MeanSqrtLen => {
                for (_, row) in rows() {
                    for (sum, value) in pooled.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
                let count = rows().count() as f32;
                let divisor = match mode {
                    Pooling::Mean => count,
                    _ => count.sqrt(),
                };
                divide(pooled, divisor);
            }
            Pooling::WeightedMean => {
                let mut weights = 0.0;
                for (position, row) in rows() {
                    let weight = (position + 1) as f32;
                    weights += weight;
                    for (sum, value) in pooled.iter_mut().zip(row) {
                        *sum += weight * value;
                    }
                }
                divide(pooled, weights);
            }
        }
    }
}

fn copy(row: Option<&[f32]>, pooled: &mut [f32]) {
    if let Some(row) = row {
        pooled.copy_from_slice(row);
    }
}

/// Leaves zeros where nothing was summed.
fn divide(values: &mut [f32], divisor: f32) {
    if divisor > 0.0 {
        values.iter_mut().for_each(|value| *value /= divisor);
    }
}

/// Divides `vector` by its Euclidean norm, as `torch.nn.functional.normalize` does: by at least 1e-12.
pub(crate) fn normalize(vector: &mut [f32]) {
    divide(vector, squared_norm(vector).sqrt().max(1e-12));
}

/// Sum of squares in the order that the kernels define: 16 strided partial sums, then one tree.
fn squared_norm(vector: &[f32]) -> f32 {
    let mut partial = [0.0f32; 16];
    for chunk in vector.chunks(16) {
        for (sum, value) in partial.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            partial[i] += partial[i + width];
        }
        width /= 2;
    }
    partial[0]
}

/// Cosine of the angle between two vectors; 0 where one of them is zero.
///
/// # Panics
/// If their lengths differ.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one length");
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 {
        return 0.0;
    }
    ((dot(a, b) / norms) as f32).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: [f32; 6] = [1.0, -4.0, 2.0, 0.0, 6.0, -2.0];

    fn pooled(mode: Pooling, skip: usize) -> Vec<f32> {
        let mut out = Vec::new();
        pool(&[mode], &HIDDEN, 2, skip, &mut out);
        out
    }

    #[test]
    fn each_mode_follows_its_definition() {
        assert_eq!(pooled(Pooling::Cls, 0), [1.0, -4.0]);
        assert_eq!(pooled(Pooling::LastToken, 0), [6.0, -2.0]);
        assert_eq!(pooled(Pooling::Max, 0), [6.0, 0.0]);
        assert_eq!(pooled(Pooling::Mean, 0), [3.0, -2.0]);
        let root = 3.0f32.sqrt();
        assert_eq!(pooled(Pooling::MeanSqrtLen, 0), [9.0 / root, -6.0 / root]);
        assert_eq!(pooled(Pooling::WeightedMean, 0), [23.0 / 6.0, -10.0 / 6.0]);
    }

    #[test]
    fn a_skipped_prompt_counts_for_its_positions_only() {
        assert_eq!(pooled(Pooling::Mean, 1), [4.0, -1.0]);
        assert_eq!(pooled(Pooling::WeightedMean, 1), [22.0 / 5.0, -6.0 / 5.0]);
        assert_eq!(pooled(Pooling::Cls, 1), [1.0, -4.0]);
        assert_eq!(pooled(Pooling::Mean, 3), [0.0, 0.0]);
        assert_eq!(pooled(Pooling::Max, 3), [0.0, 0.0]);
    }

    #[test]
    fn all_negative_channels_keep_their_maximum() {
        let mut out = Vec::new();
        pool(&[Pooling::Max], &[-3.0, -2.0, -5.0], 1, 0, &mut out);
        assert_eq!(out, [-2.0]);
    }

    #[test]
    fn modes_are_concatenated_in_order() {
        let mut out = vec![9.0];
        pool(&[Pooling::Max, Pooling::Cls], &HIDDEN, 2, 0, &mut out);
        assert_eq!(out, [9.0, 6.0, 0.0, 1.0, -4.0]);
    }

    #[test]
    fn normalize_gives_unit_length_and_leaves_zero_alone() {
        let mut vector: Vec<f32> = (0..37).map(|i| i as f32 - 11.0).collect();
        normalize(&mut vector);
        assert!((squared_norm(&vector) - 1.0).abs() < 1e-6);
        let mut zero = [0.0; 5];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 5]);
    }

    #[test]
    fn cosine_of_known_angles() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[1.0, 2.0], &[2.0, 4.0]), 1.0);
        assert_eq!(cosine(&[1.0, 2.0], &[-1.0, -2.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }
}

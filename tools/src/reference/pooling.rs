//! From the last hidden state to answers: sentence vectors and logits of the f32 model.

use super::linear;
use super::operations::activate;
use crate::weights::Weights;
use anyhow::{Context, Result};
use bertlet::format::header::{Activation, EmbeddingConfig, Pooling};

/// The sentence vector of one sequence whose last hidden state is `rows` `[tokens, hidden_size]`: pooling (sums in
/// f64), dense layers, normalization.
///
/// # Panics
/// If there is no token, or if a dense layer of `weights` does not fit `embedding`.
pub fn sentence_vector(weights: &Weights, embedding: &EmbeddingConfig, rows: &[f32]) -> Vec<f32> {
    let hidden = weights.config.hidden_size;
    let mut vector: Vec<f32> = embedding
        .pooling
        .iter()
        .flat_map(|mode| pool(*mode, rows, hidden))
        .collect();
    for (layer, dense) in weights.dense.iter().zip(&embedding.dense) {
        vector = linear(&vector, layer);
        activate(&mut vector, dense.activation);
    }
    if embedding.normalize {
        let squares = vector.iter().map(|value| f64::from(*value).powi(2));
        // torch.nn.functional.normalize's lower bound for the divisor.
        let norm = squares.sum::<f64>().sqrt().max(1e-12);
        for value in &mut vector {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
    vector
}

/// One pooled vector `[hidden]`.
fn pool(mode: Pooling, rows: &[f32], hidden: usize) -> Vec<f32> {
    let count = rows.len() / hidden;
    let weighted = |weight: &dyn Fn(usize) -> f64| -> Vec<f32> {
        (0..hidden)
            .map(|channel| {
                let column = rows.iter().skip(channel).step_by(hidden).enumerate();
                column
                    .map(|(token, value)| weight(token) * f64::from(*value))
                    .sum::<f64>() as f32
            })
            .collect()
    };
    match mode {
        Pooling::Cls => rows[..hidden].to_vec(),
        Pooling::LastToken => rows[rows.len() - hidden..].to_vec(),
        Pooling::Max => (0..hidden)
            .map(|channel| {
                let column = rows.iter().skip(channel).step_by(hidden);
                column.copied().fold(f32::NEG_INFINITY, f32::max)
            })
            .collect(),
        Pooling::Mean => weighted(&|_| 1.0 / count as f64),
        Pooling::MeanSqrtLen => weighted(&|_| 1.0 / (count as f64).sqrt()),
        Pooling::WeightedMean => {
            let all = (count * (count + 1) / 2) as f64;
            weighted(&|token| (token + 1) as f64 / all)
        }
    }
}

/// The logits of a sequence classification whose first token's last hidden state is `first` `[hidden_size]`.
///
/// # Errors
/// If the checkpoint has no pooler or no classifier.
pub fn logits(weights: &Weights, first: &[f32]) -> Result<Vec<f32>> {
    let missing = "the checkpoint has no classification head";
    let mut pooled = linear(first, weights.pooler.as_ref().context(missing)?);
    activate(&mut pooled, Activation::Tanh);
    Ok(linear(
        &pooled,
        weights.classifier.as_ref().context(missing)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_follows_its_definition() {
        let rows = [1.0, -4.0, 2.0, -1.0, 6.0, -2.0];
        let root = 3.0f32.sqrt();
        for (mode, expected) in [
            (Pooling::Cls, [1.0, -4.0]),
            (Pooling::LastToken, [6.0, -2.0]),
            (Pooling::Max, [6.0, -1.0]),
            (Pooling::Mean, [3.0, -7.0 / 3.0]),
            (Pooling::MeanSqrtLen, [9.0 / root, -7.0 / root]),
            (Pooling::WeightedMean, [23.0 / 6.0, -2.0]),
        ] {
            for (found, expected) in pool(mode, &rows, 2).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{mode:?}: {found}");
            }
        }
    }
}

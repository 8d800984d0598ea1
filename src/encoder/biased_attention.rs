//! Attention with a bias by distance (MPNet), in f32 for every model.
//!
//! It is made of the kernels' matrix-vector products and softmax, whose order of operations no CPU changes, so that an int8
//! model's result stays the same everywhere. Keys and values are laid out once for a head; the bias of a query lies in the file
//! as a row that is used as it is.

use crate::kernels::{Aligned, Kernel, Matrix, MatrixMut};

/// Working memory of [`run`].
#[derive(Debug, Default)]
pub(super) struct BiasedScratch {
    /// `[tokens, head_size]`
    keys: Aligned<f32>,
    /// `[head_size, tokens]`
    values: Aligned<f32>,
    /// One query, scaled: `[head_size]`
    query: Aligned<f32>,
    /// Its scores, then weights: `[tokens]`
    scores: Aligned<f32>,
}

/// context = softmax(query·keyᵀ/√d + bias)·value of one sequence and head. The queries are those of its tokens from `first` on.
///
/// `bias` `[2·positions − 1]` has the distance 0 in its middle; a key behind the query is right of it.
pub(super) fn run(
    kernel: Kernel,
    (query, key, value): (Matrix<'_>, Matrix<'_>, Matrix<'_>),
    (bias, first): (&[f32], usize),
    scratch: &mut BiasedScratch,
    mut context: MatrixMut<'_>,
) {
    let (tokens, head_size) = (key.rows(), key.columns());
    let BiasedScratch {
        keys,
        values,
        query: scaled,
        scores,
    } = scratch;
    keys.grow(tokens * head_size);
    values.grow(tokens * head_size);
    scaled.grow(head_size);
    scores.grow(tokens);
    let keys = &mut keys[..tokens * head_size];
    let values = &mut values[..tokens * head_size];
    for (token, row) in keys.chunks_exact_mut(head_size).enumerate() {
        row.copy_from_slice(key.row(token));
        for (channel, x) in value.row(token).iter().enumerate() {
            values[channel * tokens + token] = *x;
        }
    }
    let scale = 1.0 / (head_size as f32).sqrt();
    let scaled = &mut scaled[..head_size];
    let scores = &mut scores[..tokens];
    for row in 0..query.rows() {
        for (scaled, x) in scaled.iter_mut().zip(query.row(row)) {
            *scaled = x * scale;
        }
        kernel.matrix_vector_f32(keys, scaled, scores);
        let bias = &bias[bias.len() / 2 - (first + row)..][..tokens];
        for (score, bias) in scores.iter_mut().zip(bias) {
            *score += bias;
        }
        kernel.softmax_rows(MatrixMut::new(scores, 1, tokens, tokens), 1.0);
        kernel.matrix_vector_f32(values, scores, context.row(row));
    }
}

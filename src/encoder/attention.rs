//! Scaled dot-product attention, one sequence and head at a time.

use super::biased_attention::{self, BiasedScratch};
use super::{Forward, SequencesView, resize};
use crate::format::header::{Config, Precision};
use crate::kernels::{self, Kernel, Matrix, MatrixMut, sgemm};

/// Queries that are scored together in f32: their scores for 512 keys are 128 KiB.
const QUERY_ROWS: usize = 64;

/// Working memory of [`run`].
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    int8: kernels::AttentionScratch,
    biased: BiasedScratch,
    /// `[QUERY_ROWS, keys]`
    scores: Vec<f32>,
}

/// Writes softmax(Q·Kᵀ/√d)·V (with the model's bias, if it has one) of every head to `context`, `[tokens, hidden_size]`.
///
/// `query_key_value` is `[tokens, 3·hidden_size]`: queries, keys, values, each with its heads side by side.
pub(super) fn run(
    forward: &Forward<'_>,
    config: &Config,
    sequences: SequencesView<'_>,
    query_key_value: &[f32],
    scratch: &mut AttentionScratch,
    context: &mut [f32],
) {
    let hidden = config.hidden_size;
    let head_size = hidden / config.num_attention_heads;
    let bias = forward.tensors.relative_attention_bias;
    let bias = bias.map(|tensor| forward.file.get(tensor));
    for range in sequences.ranges() {
        let rows = &query_key_value[range.start * 3 * hidden..range.end * 3 * hidden];
        let context = &mut context[range.start * hidden..range.end * hidden];
        for head in 0..config.num_attention_heads {
            let part = |index: usize| {
                let first = index * hidden + head * head_size;
                Matrix::new(&rows[first..], range.len(), head_size, 3 * hidden)
            };
            let (query, key, value) = (part(0), part(1), part(2));
            let out = &mut context[head * head_size..];
            let out = MatrixMut::new(out, range.len(), head_size, hidden);
            let kernel = forward.kernel;
            if let Some(bias) = bias {
                let distances = bias.len() / config.num_attention_heads;
                let bias = &bias[head * distances..][..distances];
                let parts = (query, key, value);
                biased_attention::run(kernel, parts, bias, &mut scratch.biased, out);
                continue;
            }
            match forward.file.header().precision {
                Precision::Int8 => {
                    let scale = 1.0 / (head_size as f32).sqrt();
                    kernel.attention(query, key, value, scale, &mut scratch.int8, out);
                }
                Precision::F16 => in_f32(kernel, query, key, value, &mut scratch.scores, out),
            }
        }
    }
}

/// The f32 form, for f16 models: the reference that int8 is measured against.
fn in_f32(
    kernel: Kernel,
    query: Matrix<'_>,
    key: Matrix<'_>,
    value: Matrix<'_>,
    scores: &mut Vec<f32>,
    mut context: MatrixMut<'_>,
) {
    let (tokens, head_size) = (query.rows(), query.columns());
    resize(scores, QUERY_ROWS.min(tokens) * tokens);
    for first in (0..tokens).step_by(QUERY_ROWS) {
        let rows = QUERY_ROWS.min(tokens - first);
        let scores = &mut scores[..rows * tokens];
        scores.fill(0.0);
        let query = query.row_range(first..first + rows);
        sgemm::add_product_transposed(query, key, MatrixMut::new(scores, rows, tokens, tokens));
        let scale = 1.0 / (head_size as f32).sqrt();
        kernel.softmax_rows(MatrixMut::new(scores, rows, tokens, tokens), scale);
        let (now, later) = context.split_rows(rows);
        sgemm::product(Matrix::new(scores, rows, tokens, tokens), value, now);
        context = later;
    }
}

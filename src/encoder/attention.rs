//! Scaled dot-product attention, one sequence and head at a time.

use super::biased_attention::{self, BiasedScratch};
use super::share::{self, columns_of};
use super::{Forward, SequencesView, resize};
use crate::format::header::{Config, Precision};
use crate::kernels::{self, Kernel, Matrix, MatrixMut, Team, sgemm};

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
/// `query_key_value` is `[tokens, 3·hidden_size]`: queries, keys, values, each with its heads side by side. The threads of
/// the team share the heads of a sequence; each has its own of the `scratches`.
pub(super) fn run(
    forward: &Forward<'_>,
    config: &Config,
    sequences: SequencesView<'_>,
    query_key_value: &[f32],
    team: &mut Team,
    scratches: &mut Vec<AttentionScratch>,
    context: &mut [f32],
) {
    let hidden = config.hidden_size;
    let head_size = hidden / config.num_attention_heads;
    if scratches.len() < team.members() {
        scratches.resize_with(team.members(), AttentionScratch::default);
    }
    for range in sequences.ranges() {
        let tokens = range.len();
        let rows = &query_key_value[range.start * 3 * hidden..range.end * 3 * hidden];
        let context = &mut context[range.start * hidden..range.end * hidden];
        let context = MatrixMut::new(context, tokens, hidden, hidden);
        let work = tokens * (3 * hidden + tokens * config.num_attention_heads);
        let count = share::parts(team, work, share::LEAST_VALUES);
        let parts = columns_of(context, head_size, count).zip(&mut *scratches);
        team.share(parts, |((columns, context), scratch)| {
            let mut rest = context;
            for first in columns.step_by(head_size) {
                let part = |index: usize| {
                    Matrix::new(&rows[index * hidden + first..], tokens, head_size, 3 * hidden)
                };
                let parts = (part(0), part(1), part(2));
                let (out, later) = rest.split_columns(head_size);
                rest = later;
                one_head(forward, config, first / head_size, parts, scratch, out);
            }
        });
    }
}

/// One sequence and head: query, key and value `[tokens, head_size]`.
fn one_head(
    forward: &Forward<'_>,
    config: &Config,
    head: usize,
    (query, key, value): (Matrix<'_>, Matrix<'_>, Matrix<'_>),
    scratch: &mut AttentionScratch,
    out: MatrixMut<'_>,
) {
    let kernel = forward.kernel;
    if let Some(bias) = forward.tensors.relative_attention_bias {
        let bias = forward.file.get(bias);
        let distances = bias.len() / config.num_attention_heads;
        let bias = &bias[head * distances..][..distances];
        return biased_attention::run(kernel, (query, key, value), bias, &mut scratch.biased, out);
    }
    match forward.file.header().precision {
        Precision::Int8 => {
            let scale = 1.0 / (query.columns() as f32).sqrt();
            kernel.attention(query, key, value, scale, &mut scratch.int8, out);
        }
        Precision::F16 => in_f32(kernel, query, key, value, &mut scratch.scores, out),
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

//! Scaled dot-product attention, one sequence and head at a time.

use super::biased_attention::{self, BiasedScratch};
use super::{Forward, SequencesView};
use crate::format::header::Precision;
use crate::kernels::{self, Aligned, Kernel, Matrix, MatrixMut, sgemm};
use std::ops::Range;

/// Queries that are scored together in f32: their scores for 512 keys are 128 KiB.
const QUERY_ROWS: usize = 64;

/// Working memory of [`run`].
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    int8: kernels::AttentionScratch,
    biased: BiasedScratch,
    /// `[QUERY_ROWS, keys]`
    scores: Aligned<f32>,
}

/// Writes softmax(Q·Kᵀ/√d)·V (with the model's bias, if it has one) of some queries, and of the heads in some columns, to `context`,
/// `[rows, columns]`.
///
/// Queries, keys and values are `[tokens, columns]`; with `firsts` the first queries are those of the sequences' first tokens.
pub(super) fn run(
    forward: &Forward<'_>,
    sequences: SequencesView<'_>,
    (firsts, rows, columns): (bool, Range<usize>, Range<usize>),
    [query, key, value]: [Matrix<'_>; 3],
    scratch: &mut AttentionScratch,
    context: MatrixMut<'_>,
) {
    let mut later_rows = context;
    for (index, range) in sequences.ranges().enumerate() {
        let of_sequence = if firsts {
            index..index + 1
        } else {
            range.clone()
        };
        let start = rows.start.max(of_sequence.start);
        let queries = start..rows.end.min(of_sequence.end).max(start);
        let first = start - of_sequence.start;
        let (out, later) = later_rows.split_rows(queries.len());
        later_rows = later;
        if queries.is_empty() {
            continue;
        }
        let parts = [
            query.row_range(queries),
            key.row_range(range.clone()),
            value.row_range(range),
        ];
        one_sequence(forward, (first, columns.clone()), parts, scratch, out);
    }
}

/// One sequence: key and value `[tokens, columns]`, query `[queries, columns]`, tokens from `first` on.
fn one_sequence(
    forward: &Forward<'_>,
    (first, columns): (usize, Range<usize>),
    [query, key, value]: [Matrix<'_>; 3],
    scratch: &mut AttentionScratch,
    out: MatrixMut<'_>,
) {
    let kernel = forward.kernel;
    let header = forward.file.header();
    let head_size = header.config.hidden_size / header.config.num_attention_heads;
    let heads = columns.start / head_size..columns.end / head_size;
    let bias = forward.tensors.relative_attention_bias;
    if header.precision == Precision::Int8 && bias.is_none() {
        let scale = 1.0 / (head_size as f32).sqrt();
        return kernel.attention(
            [query, key, value],
            heads.len(),
            scale,
            &mut scratch.int8,
            out,
        );
    }
    let mut rest = out;
    for (index, head) in heads.enumerate() {
        let columns = index * head_size..(index + 1) * head_size;
        let [query, key, value] =
            [query, key, value].map(|rows| rows.column_range(columns.clone()));
        let (out, later) = rest.split_columns(head_size);
        rest = later;
        match bias {
            Some(bias) => {
                let bias = forward.file.get(bias);
                let distances = bias.len() / header.config.num_attention_heads;
                let bias = &bias[head * distances..][..distances];
                let parts = (query, key, value);
                let scratch = &mut scratch.biased;
                biased_attention::run(kernel, parts, (bias, first), scratch, out);
            }
            None => in_f32(kernel, query, key, value, &mut scratch.scores, out),
        }
    }
}

/// The f32 form, for f16 models: the reference that int8 is measured against.
fn in_f32(
    kernel: Kernel,
    query: Matrix<'_>,
    key: Matrix<'_>,
    value: Matrix<'_>,
    scores: &mut Aligned<f32>,
    mut context: MatrixMut<'_>,
) {
    let (tokens, head_size) = (key.rows(), query.columns());
    scores.grow(QUERY_ROWS.min(query.rows()) * tokens);
    for first in (0..query.rows()).step_by(QUERY_ROWS) {
        let rows = QUERY_ROWS.min(query.rows() - first);
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

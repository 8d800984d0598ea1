//! Scaled dot-product attention, one sequence and head at a time.

use super::{Forward, Sequences, resize};
use crate::format::header::{Config, Precision};
use crate::kernels::{self, Int8AttentionScratch, Kernel, Matrix, MatrixMut};

/// Queries that are scored together in f32: their scores for 512 keys are 128 KiB.
const QUERY_ROWS: usize = 64;

/// Working memory of [`run`].
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    int8: Int8AttentionScratch,
    /// `[QUERY_ROWS, keys]`
    scores: Vec<f32>,
}

/// Writes softmax(Q·Kᵀ/√d)·V of every head to `context`, `[tokens, hidden_size]`.
///
/// `query_key_value` is `[tokens, 3·hidden_size]`: queries, keys, values, each with its heads side by side.
pub(super) fn run(
    forward: &Forward<'_>,
    config: &Config,
    sequences: &Sequences,
    query_key_value: &[f32],
    scratch: &mut AttentionScratch,
    context: &mut [f32],
) {
    let hidden = config.hidden_size;
    let head_size = hidden / config.num_attention_heads;
    for range in sequences.ranges() {
        let rows = &query_key_value[range.start * 3 * hidden..range.end * 3 * hidden];
        let context = &mut context[range.start * hidden..range.end * hidden];
        if range.is_empty() {
            continue;
        }
        for head in 0..config.num_attention_heads {
            let at = head * head_size;
            let heads = Heads {
                query: &rows[at..],
                key: &rows[hidden + at..],
                value: &rows[2 * hidden + at..],
                tokens: range.len(),
                head_size,
                stride: 3 * hidden,
            };
            match forward.file.header().precision {
                Precision::Int8 => forward.kernel.attention_int8(
                    heads.query,
                    heads.key,
                    heads.value,
                    heads.stride,
                    [heads.tokens, head_size],
                    &mut scratch.int8,
                    &mut context[at..],
                    hidden,
                ),
                Precision::F16 => in_f32(
                    forward.kernel,
                    &heads,
                    &mut scratch.scores,
                    &mut context[at..],
                    hidden,
                ),
            }
        }
    }
}

/// One head of one sequence: `[tokens, head_size]` matrices whose rows are `stride` apart.
struct Heads<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    tokens: usize,
    head_size: usize,
    stride: usize,
}

/// The f32 form, for f16 models: the reference that int8 is measured against.
fn in_f32(
    kernel: Kernel,
    heads: &Heads<'_>,
    scores: &mut Vec<f32>,
    context: &mut [f32],
    context_stride: usize,
) {
    let &Heads {
        tokens,
        head_size,
        stride,
        ..
    } = heads;
    resize(scores, QUERY_ROWS.min(tokens) * tokens);
    for first in (0..tokens).step_by(QUERY_ROWS) {
        let rows = QUERY_ROWS.min(tokens - first);
        let scores = &mut scores[..rows * tokens];
        kernels::sgemm(
            [rows, head_size, tokens],
            1.0,
            Matrix::new(&heads.query[first * stride..], [stride, 1]),
            Matrix::new(heads.key, [1, stride]),
            0.0,
            MatrixMut::new(scores, [tokens, 1]),
        );
        kernel.softmax_rows(scores, tokens, 1.0 / (head_size as f32).sqrt());
        kernels::sgemm(
            [rows, tokens, head_size],
            1.0,
            Matrix::new(scores, [tokens, 1]),
            Matrix::new(heads.value, [stride, 1]),
            0.0,
            MatrixMut::new(&mut context[first * context_stride..], [context_stride, 1]),
        );
    }
}

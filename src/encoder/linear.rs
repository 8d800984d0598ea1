//! A linear layer on packed rows, in the model's precision, on all threads of a team.

use super::resize;
use super::share::{self, columns_of, ranges};
use super::tensors::LinearWeights;
use crate::kernels::{Epilogue, Kernel, Matrix, MatrixMut, QuantizedRows, Team, sgemm};
use half::f16;

/// Output channels of an f16 layer that are widened to f32 at a time: 64 × 1,536 f32 are 384 KiB, which the
/// second-level cache holds.
const WIDENED_ROWS: usize = 64;

/// Columns of a part of a product: whole tiles of every kernel.
const COLUMNS: usize = 64;

/// Working memory of [`LinearWeights::forward`].
#[derive(Debug, Default)]
pub(super) struct LinearScratch {
    quantized: QuantizedRows,
    /// For each thread, `[WIDENED_ROWS, k]`.
    widened: Vec<Vec<f32>>,
}

impl LinearWeights<'_> {
    /// out = epilogue(x·Wᵀ + b), with `x` `[rows, k]` and `out` `[rows, n]`.
    pub(super) fn forward(
        &self,
        kernel: Kernel,
        x: &[f32],
        epilogue: Epilogue,
        team: &mut Team,
        scratch: &mut LinearScratch,
        out: &mut [f32],
    ) {
        match *self {
            LinearWeights::Int8 {
                packed,
                input_scale,
            } => {
                let (n, k) = (packed.n(), packed.k());
                let rows = x.len() / k;
                let x = Matrix::new(x, rows, k, k);
                let quantized = &mut scratch.quantized;
                quantized.resize(rows, k, packed.group());
                let count = share::parts(team, rows * k, share::LEAST_VALUES);
                let mut rest = Some(quantized.view_mut());
                let parts = ranges(rows, 1, count).map(|rows| {
                    let (now, later) = rest.take()?.split_rows(rows.len());
                    rest = Some(later);
                    Some((x.row_range(rows), now))
                });
                team.share(parts.flatten(), |(x, out)| {
                    kernel.quantize_rows(x, Some(input_scale), out);
                });
                let count = share::parts(team, rows * k * n, share::LEAST_PRODUCTS);
                let out = MatrixMut::new(out, rows, n, n);
                team.share(columns_of(out, COLUMNS, count), |(columns, out)| {
                    let w = packed.columns(columns);
                    kernel.linear(quantized.view(), w, epilogue, out);
                });
            }
            LinearWeights::F16 { n, k, weight, bias } => {
                let rows = x.len() / k;
                let x = Matrix::new(x, rows, k, k);
                let count = share::parts(team, rows * k * n, share::LEAST_PRODUCTS);
                if scratch.widened.len() < count {
                    scratch.widened.resize_with(count, Vec::new);
                }
                let out = MatrixMut::new(out, rows, n, n);
                let parts = columns_of(out, COLUMNS, count).zip(&mut scratch.widened);
                team.share(parts, |((columns, out), widened)| {
                    let weight = &weight[columns.start * k..columns.end * k];
                    widen_and_multiply(kernel, x, weight, &bias[columns], epilogue, widened, out);
                });
            }
        }
    }
}

/// Some outputs of an f16 layer: `weight` is `[columns, k]`, `bias` `[columns]`, `out` `[rows, columns]`.
fn widen_and_multiply(
    kernel: Kernel,
    x: Matrix<'_>,
    weight: &[f16],
    bias: &[f32],
    epilogue: Epilogue,
    widened: &mut Vec<f32>,
    mut out: MatrixMut<'_>,
) {
    let k = x.columns();
    for row in 0..out.rows() {
        let row = out.row(row);
        match epilogue {
            Epilogue::Accumulate => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            Epilogue::Store(_) => row.copy_from_slice(bias),
        }
    }
    resize(widened, WIDENED_ROWS.min(bias.len()) * k);
    let mut rest = out.reborrow();
    for block in weight.chunks(WIDENED_ROWS * k) {
        let columns = block.len() / k;
        let widened = &mut widened[..block.len()];
        kernel.convert_f16(block, widened);
        let (now, later) = rest.split_columns(columns);
        sgemm::add_product_transposed(x, Matrix::new(widened, columns, k, k), now);
        rest = later;
    }
    if let Epilogue::Store(activation) = epilogue {
        for row in 0..out.rows() {
            kernel.activation(out.row(row), activation);
        }
    }
}

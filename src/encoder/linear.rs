//! A linear layer on packed rows, in the model's precision.

use super::profile::{Clock, Stage};
use super::resize;
use super::tensors::LinearWeights;
use crate::kernels::{Epilogue, Kernel, Matrix, MatrixMut, QuantizedRows, sgemm};

/// Output channels of an f16 layer that are widened to f32 at a time: 64 × 1,536 f32 are 384 KiB, which the
/// second-level cache holds.
const WIDENED_ROWS: usize = 64;

/// Working memory of [`LinearWeights::forward`].
#[derive(Debug, Default)]
pub(super) struct LinearScratch {
    quantized: QuantizedRows,
    /// `[WIDENED_ROWS, k]`
    widened: Vec<f32>,
    /// Here rather than beside it in the encoder's memory, because quantization, the innermost stage, ends here.
    pub(super) clock: Clock,
}

impl LinearWeights<'_> {
    /// out = epilogue(x·Wᵀ + b), with `x` `[rows, k]` and `out` `[rows, n]`.
    pub(super) fn forward(
        &self,
        kernel: Kernel,
        x: &[f32],
        epilogue: Epilogue,
        scratch: &mut LinearScratch,
        out: &mut [f32],
    ) {
        match *self {
            LinearWeights::Int8 {
                packed,
                input_scale,
            } => {
                let rows = x.len() / packed.k();
                let x = Matrix::new(x, rows, packed.k(), packed.k());
                let group = packed.group();
                scratch.quantized.resize(rows, packed.k(), group);
                kernel.quantize_rows(x, Some(input_scale), scratch.quantized.view_mut());
                scratch.clock.lap(Stage::Quantization);
                let out = MatrixMut::new(out, rows, packed.n(), packed.n());
                kernel.linear(scratch.quantized.view(), packed, epilogue, out);
            }
            LinearWeights::F16 { n, k, weight, bias } => {
                let rows = x.len() / k;
                let x = Matrix::new(x, rows, k, k);
                fill_rows(epilogue, bias, out);
                resize(&mut scratch.widened, WIDENED_ROWS.min(n) * k);
                let mut rest = MatrixMut::new(out, rows, n, n);
                for block in weight.chunks(WIDENED_ROWS * k) {
                    let columns = block.len() / k;
                    let widened = &mut scratch.widened[..block.len()];
                    kernel.convert_f16(block, widened);
                    let (now, later) = rest.split_columns(columns);
                    sgemm::add_product_transposed(x, Matrix::new(widened, columns, k, k), now);
                    rest = later;
                }
                if let Epilogue::Store(activation) = epilogue {
                    kernel.activation(out, activation);
                }
            }
        }
    }
}

/// Starts every row of `out` at the bias, or adds the bias to what is there for a residual.
fn fill_rows(epilogue: Epilogue, bias: &[f32], out: &mut [f32]) {
    for row in out.chunks_exact_mut(bias.len()) {
        match epilogue {
            Epilogue::Accumulate => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            Epilogue::Store(_) => row.copy_from_slice(bias),
        }
    }
}

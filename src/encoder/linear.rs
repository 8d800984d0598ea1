//! A linear layer on packed rows, in the model's precision.

use super::resize;
use super::tensors::LinearWeights;
use crate::kernels::{self, Epilogue, Kernel, QuantizedRows};

/// Output channels of an f16 layer that are widened to f32 at a time: 64 × 1,536 f32 are 384 KiB, which the
/// second-level cache holds.
const WIDENED_ROWS: usize = 64;

/// Working memory of [`LinearWeights::forward`].
#[derive(Debug, Default)]
pub(super) struct LinearScratch {
    quantized: QuantizedRows,
    /// `[WIDENED_ROWS, k]`
    widened: Vec<f32>,
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
                kernel.quantize_rows(x, input_scale, &mut scratch.quantized);
                kernel.linear(&scratch.quantized, packed, epilogue, out);
            }
            LinearWeights::F16 { n, k, weight, bias } => {
                let rows = x.len() / k;
                fill_rows(epilogue, bias, out);
                resize(&mut scratch.widened, WIDENED_ROWS.min(n) * k);
                for (index, block) in weight.chunks(WIDENED_ROWS * k).enumerate() {
                    let columns = block.len() / k;
                    let widened = &mut scratch.widened[..block.len()];
                    kernel.widen_f16(block, widened);
                    let first = index * WIDENED_ROWS;
                    kernels::sgemm(
                        [rows, k, columns],
                        1.0,
                        kernels::Matrix::new(x, [k, 1]),
                        kernels::Matrix::new(widened, [1, k]),
                        1.0,
                        kernels::MatrixMut::new(&mut out[first..], [n, 1]),
                    );
                }
                if let Epilogue::Activation(activation) = epilogue {
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
            Epilogue::Add => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            Epilogue::None | Epilogue::Activation(_) => row.copy_from_slice(bias),
        }
    }
}


//! A linear layer on packed rows, in the model's precision.

use super::tensors::LinearWeights;
use crate::kernels::{
    Activation, Aligned, Epilogue, Kernel, Matrix, MatrixMut, QuantizedRows, QuantizedView,
    QuantizedViewMut, sgemm,
};
use std::ops::Range;

/// Output channels of an f16 layer that are widened to f32 at a time: 64 × 1,536 f32 are 384 KiB, which the
/// second-level cache holds.
const WIDENED_ROWS: usize = 64;

/// What a linear layer reads: `[rows, k]`, and the same quantized, which an f16 layer does not look at.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) rows: Matrix<'a>,
    pub(super) quantized: QuantizedView<'a>,
}

impl<'a> Input<'a> {
    /// Some rows of the hidden states, `[tokens, width]`, and of what they were quantized to.
    pub(super) fn of(
        hidden: &'a [f32],
        quantized: &'a QuantizedRows,
        rows: Range<usize>,
        width: usize,
    ) -> Self {
        let hidden = &hidden[rows.start * width..rows.end * width];
        Input {
            rows: Matrix::new(hidden, rows.len(), width, width),
            quantized: quantized.view().row_range(rows),
        }
    }

    /// A range of the rows. Where nothing is kept in f32, `rows` has none and is left so.
    pub(super) fn row_range(self, rows: Range<usize>) -> Self {
        let kept = self.rows.rows();
        Input {
            rows: self
                .rows
                .row_range(rows.start.min(kept)..rows.end.min(kept)),
            quantized: self.quantized.row_range(rows),
        }
    }
}

impl LinearWeights<'_> {
    /// Number of inputs.
    pub(super) fn k(&self) -> usize {
        match self {
            LinearWeights::Int8 { packed, .. } => packed.k(),
            LinearWeights::F16 { k, .. } => *k,
        }
    }

    /// Number of outputs.
    pub(super) fn n(&self) -> usize {
        match self {
            LinearWeights::Int8 { packed, .. } => packed.n(),
            LinearWeights::F16 { n, .. } => *n,
        }
    }

    /// Inputs that are quantized together, and outputs that may be cut off without cutting such a group of the next layer.
    pub(super) fn group(&self) -> usize {
        match self {
            LinearWeights::Int8 { packed, .. } => packed.group().min(packed.k()),
            LinearWeights::F16 { .. } => WIDENED_ROWS,
        }
    }

    /// Makes room for `rows` quantized inputs; an f16 layer's are empty.
    pub(super) fn reserve(&self, quantized: &mut QuantizedRows, rows: usize) {
        match self {
            LinearWeights::Int8 { packed, .. } => {
                quantized.resize(rows, packed.k(), packed.group());
            }
            LinearWeights::F16 { .. } => quantized.resize(rows, 0, 64),
        }
    }

    /// Quantizes some columns of the inputs `x`, `[rows, columns]`, if the layer is of int8.
    pub(super) fn quantize(
        &self,
        kernel: Kernel,
        x: Matrix<'_>,
        columns: Range<usize>,
        out: QuantizedViewMut<'_>,
    ) {
        if let LinearWeights::Int8 { input_scale, .. } = self {
            kernel.quantize_rows(x, Some(&input_scale[columns]), out);
        }
    }

    /// LayerNorm of `x`, `[rows, k]`, in place, and [`LinearWeights::quantize`] of the result.
    pub(super) fn norm_and_quantize(
        &self,
        kernel: Kernel,
        x: MatrixMut<'_>,
        (weight, bias, eps): (&[f32], &[f32], f32),
        out: QuantizedViewMut<'_>,
    ) {
        match self {
            LinearWeights::Int8 { input_scale, .. } => {
                kernel.layer_norm_quantize(x, weight, bias, eps, Some(input_scale), out);
            }
            LinearWeights::F16 { .. } => kernel.layer_norm(x, weight, bias, eps),
        }
    }

    /// Some outputs of activation(x·Wᵀ + b), quantized for the layer `next` that reads them, which is of int8 as this one is, or
    /// for layers of f16 as they are in `values`, `[rows, columns]`. `buffer` is working memory.
    ///
    /// # Panics
    /// As [`LinearWeights::forward`].
    pub(super) fn forward_to(
        &self,
        (activation, next): (Activation, &LinearWeights<'_>),
        kernel: Kernel,
        x: Input<'_>,
        columns: Range<usize>,
        buffer: &mut Aligned<f32>,
        (values, quantized): (MatrixMut<'_>, QuantizedViewMut<'_>),
    ) {
        match (self, next) {
            (LinearWeights::Int8 { packed, .. }, LinearWeights::Int8 { input_scale, .. }) => {
                let then = (activation, &input_scale[columns.clone()]);
                let packed = packed.columns(columns);
                kernel.linear_quantize(x.quantized, packed, then, buffer, quantized);
            }
            _ => {
                let epilogue = Epilogue::Store(activation);
                self.forward(kernel, x, columns, epilogue, buffer, values);
            }
        }
    }

    /// x·Wᵀ + b of some ranges of the outputs, each to a matrix of its own, `[rows, columns]`. `widened` is working memory.
    ///
    /// # Panics
    /// As [`LinearWeights::forward`], and if a range of an int8 layer is empty.
    pub(super) fn forward_ranges<const N: usize>(
        &self,
        kernel: Kernel,
        x: Input<'_>,
        widened: &mut Aligned<f32>,
        parts: [(Range<usize>, MatrixMut<'_>); N],
    ) {
        match self {
            LinearWeights::Int8 { packed, .. } => {
                let mut parts = parts.map(|(columns, out)| (packed.columns(columns), out));
                kernel.linear_several(x.quantized, &mut parts);
            }
            LinearWeights::F16 { .. } => {
                let store = Epilogue::Store(Activation::Identity);
                for (columns, out) in parts {
                    self.forward(kernel, x, columns, store, widened, out);
                }
            }
        }
    }

    /// out = epilogue(x·Wᵀ + b) of some outputs, `[rows, columns]`. `widened` is working memory.
    ///
    /// # Panics
    /// If the columns of an int8 layer begin (or end, unless at n) off a multiple of 16.
    pub(super) fn forward(
        &self,
        kernel: Kernel,
        x: Input<'_>,
        columns: Range<usize>,
        epilogue: Epilogue,
        widened: &mut Aligned<f32>,
        mut out: MatrixMut<'_>,
    ) {
        match *self {
            LinearWeights::Int8 { packed, .. } => {
                kernel.linear(x.quantized, packed.columns(columns), epilogue, out);
            }
            LinearWeights::F16 {
                k, weight, bias, ..
            } => {
                fill_rows(epilogue, &bias[columns.clone()], &mut out);
                widened.grow(WIDENED_ROWS.min(columns.len()) * k);
                let weight = &weight[columns.start * k..columns.end * k];
                let mut rest = out.reborrow();
                for block in weight.chunks(WIDENED_ROWS * k) {
                    let columns = block.len() / k;
                    let widened = &mut widened[..block.len()];
                    kernel.convert_f16(block, widened);
                    let (now, later) = rest.split_columns(columns);
                    sgemm::add_product_transposed(x.rows, Matrix::new(widened, columns, k, k), now);
                    rest = later;
                }
                if let Epilogue::Store(activation) = epilogue {
                    for row in 0..out.rows() {
                        kernel.activation(out.row(row), activation);
                    }
                }
            }
        }
    }
}

/// Starts every row of `out` at the bias, or adds the bias to what is there for a residual.
fn fill_rows(epilogue: Epilogue, bias: &[f32], out: &mut MatrixMut<'_>) {
    for row in 0..out.rows() {
        let row = out.row(row);
        match epilogue {
            Epilogue::Accumulate => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            Epilogue::Store(_) => row.copy_from_slice(bias),
        }
    }
}

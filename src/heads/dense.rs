//! A small dense layer on one vector: pooler, classifier, sentence-transformers' `Dense`.

use crate::encoder;
use crate::format::{Element, FormatError, Locator, ModelFile, Tensor};
use crate::kernels::{Activation, Kernel};
use half::f16;

/// y = activation(W·x + b) in f32.
#[derive(Debug)]
pub(crate) struct Dense<T> {
    /// `[out_features, in_features]`
    weight: Tensor<T>,
    bias: Option<Tensor<f32>>,
    out_features: usize,
    activation: Activation,
}

impl<T: Element> Dense<T> {
    /// Finds `{name}.weight` and, where asked for, `{name}.bias`.
    pub(super) fn locate(
        locator: &Locator<'_>,
        name: &str,
        [out_features, in_features]: [usize; 2],
        bias: bool,
        activation: Activation,
    ) -> Result<Dense<T>, FormatError> {
        Ok(Dense {
            weight: locator.tensor(&format!("{name}.weight"), &[out_features, in_features])?,
            bias: match bias {
                true => Some(locator.tensor(&format!("{name}.bias"), &[out_features])?),
                false => None,
            },
            out_features,
            activation,
        })
    }

    fn finish(&self, file: &ModelFile, kernel: Kernel, out: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (value, bias) in out.iter_mut().zip(file.get(bias)) {
                *value += bias;
            }
        }
        kernel.activation(out, self.activation);
    }
}

impl Dense<f16> {
    /// Appends the layer's output for `input` to `out`.
    pub(crate) fn forward(
        &self,
        file: &ModelFile,
        kernel: Kernel,
        input: &[f32],
        out: &mut Vec<f32>,
    ) {
        let start = out.len();
        out.resize(start + self.out_features, 0.0);
        kernel.matrix_vector_f16(file.get(self.weight), input, &mut out[start..]);
        self.finish(file, kernel, &mut out[start..]);
    }
}

impl Dense<f32> {
    /// Appends the layer's output for `input` to `out`.
    pub(crate) fn forward(
        &self,
        file: &ModelFile,
        kernel: Kernel,
        input: &[f32],
        out: &mut Vec<f32>,
    ) {
        let start = out.len();
        out.resize(start + self.out_features, 0.0);
        kernel.matrix_vector_f32(file.get(self.weight), input, &mut out[start..]);
        self.finish(file, kernel, &mut out[start..]);
    }
}

impl Dense<f16> {
    /// The dense layers behind the pooling that the header names, in order.
    pub(crate) fn locate_all(locator: &Locator<'_>) -> Result<Vec<Dense<f16>>, FormatError> {
        let layers = locator.file().header().embedding.dense.iter().enumerate();
        layers
            .map(|(i, dense)| {
                Dense::locate(
                    locator,
                    &format!("dense.{i}"),
                    [dense.out_features, dense.in_features],
                    dense.bias,
                    encoder::activation(dense.activation),
                )
            })
            .collect()
    }
}

//! A masked token's hidden state to one score for each entry of the vocabulary: dense → activation → LayerNorm → decoder.

use super::Dense;
use crate::encoder::{self, EncoderTensors};
use crate::format::header::Activation;
use crate::format::{FormatError, Locator, ModelFile, Tensor};
use crate::kernels::{Kernel, MatrixMut};
use half::f16;

/// The head of masked language modelling.
#[derive(Debug)]
pub(crate) struct LanguageModelHead {
    transform: Dense<f16>,
    /// Weight and bias, `[embedding_width]` each.
    layer_norm: [Tensor<f32>; 2],
    /// `[vocab_size, embedding_width]`; `None` where it is the word embedding.
    decoder: Option<Tensor<f16>>,
    /// `[vocab_size]`
    bias: Tensor<f32>,
}

impl LanguageModelHead {
    /// Finds the head's tensors.
    pub(super) fn locate(
        locator: &Locator<'_>,
        activation: Activation,
        tied: bool,
    ) -> Result<LanguageModelHead, FormatError> {
        let config = &locator.file().header().config;
        let (hidden, vocab_size) = (config.hidden_size, config.vocab_size);
        let width = config.embedding_width();
        let activation = encoder::activation(activation);
        let name = "predictions.transform";
        Ok(LanguageModelHead {
            transform: Dense::locate(locator, name, [width, hidden], true, activation)?,
            layer_norm: [
                locator.tensor("predictions.LayerNorm.weight", &[width])?,
                locator.tensor("predictions.LayerNorm.bias", &[width])?,
            ],
            decoder: match tied {
                true => None,
                false => Some(locator.tensor("predictions.decoder.weight", &[vocab_size, width])?),
            },
            bias: locator.tensor("predictions.bias", &[vocab_size])?,
        })
    }

    /// Writes the logits `[vocab_size]` of one token to `out`; `hidden` is its hidden state, `transformed` is scratch.
    pub(crate) fn forward(
        &self,
        file: &ModelFile,
        tensors: &EncoderTensors,
        kernel: Kernel,
        hidden: &[f32],
        transformed: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) {
        transformed.clear();
        self.transform.forward(file, kernel, hidden, transformed);
        let [weight, bias] = self.layer_norm.map(|tensor| file.get(tensor));
        let width = transformed.len();
        kernel.layer_norm(
            MatrixMut::new(transformed, 1, width, width),
            weight,
            bias,
            file.header().config.layer_norm_eps,
        );
        let bias = file.get(self.bias);
        out.clear();
        out.resize(bias.len(), 0.0);
        match self.decoder {
            Some(decoder) => kernel.matrix_vector_f16(file.get(decoder), transformed, out),
            None => tensors.decode_words(file, kernel, transformed, out),
        }
        for (logit, bias) in out.iter_mut().zip(bias) {
            *logit += bias;
        }
    }
}

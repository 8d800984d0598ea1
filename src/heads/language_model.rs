//! A masked token's hidden state to one score for each entry of the vocabulary: dense → activation → LayerNorm → decoder.

use super::Dense;
use crate::encoder::{self, Forward};
use crate::format::header::Activation;
use crate::format::{FormatError, Locator, Tensor};
use crate::kernels::{MatrixMut, Team};
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

    /// Computes the logits of some tokens whose hidden states, `[hidden_size]` each, these are: `[tokens, vocab_size]`.
    /// `scratch` is working memory; `team` shares the vocabulary.
    pub(crate) fn forward<'s>(
        &self,
        encoder: Forward<'_>,
        states: &[&[f32]],
        scratch: &'s mut LanguageModelScratch,
        team: &mut Team,
    ) -> MatrixMut<'s> {
        let Forward { file, kernel, .. } = encoder;
        let LanguageModelScratch {
            transformed,
            logits,
        } = scratch;
        transformed.clear();
        for state in states {
            self.transform.forward(file, kernel, state, transformed);
        }
        let [weight, bias] = self.layer_norm.map(|tensor| file.get(tensor));
        let (tokens, width) = (states.len(), weight.len());
        let eps = file.header().config.layer_norm_eps;
        let mut rows = MatrixMut::new(transformed, tokens, width, width);
        kernel.layer_norm(rows.reborrow(), weight, bias, eps);
        let bias = file.get(self.bias);
        let words = bias.len();
        logits.resize(tokens * words, 0.0);
        let mut out = MatrixMut::new(logits, tokens, words, words);
        encoder.decode_words(self.decoder, bias, rows.view(), out.reborrow(), team);
        out
    }
}

/// Working memory of a [`LanguageModelHead`].
#[derive(Debug, Default)]
pub(crate) struct LanguageModelScratch {
    /// `[tokens, embedding_width]`
    transformed: Vec<f32>,
    /// `[tokens, vocab_size]`
    logits: Vec<f32>,
}

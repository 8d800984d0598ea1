//! What each token looks at: the softmax weights of one layer, in f32.

use super::Forward;
use super::linear::Input;
use crate::kernels::{Activation, Aligned, Epilogue, Matrix, MatrixMut, QuantizedRows, sgemm};

impl Forward<'_> {
    /// Weights `[heads, tokens, tokens]` of layer `layer` (from 0) for one sequence whose states behind the layer before
    /// (or the embeddings) are `hidden`, `[tokens, hidden_size]`. Row i holds what token i looks at; it adds up to 1.
    ///
    /// The queries and keys are those of the model's precision; the weights are not rounded to integers as they are when an
    /// int8 model runs.
    pub(crate) fn attention_weights(&self, layer: usize, hidden: &[f32]) -> Vec<f32> {
        let config = &self.file.header().config;
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        let (tokens, head_size) = (hidden.len() / width, width / heads);
        let rows = Matrix::new(hidden, tokens, width, width);
        let layer = &self.tensors.layer(layer, config).query_key_value;
        let layer = layer.resolve(self.file);
        let mut quantized = QuantizedRows::new();
        layer.reserve(&mut quantized, tokens);
        layer.quantize(self.kernel, rows, 0..width, quantized.view_mut());
        let x = Input {
            rows,
            quantized: quantized.view(),
        };
        let mut query_key_value = vec![0.0; tokens * 3 * width];
        layer.forward(
            self.kernel,
            x,
            0..3 * width,
            Epilogue::Store(Activation::Identity),
            &mut Aligned::new(),
            MatrixMut::new(&mut query_key_value, tokens, 3 * width, 3 * width),
        );
        let bias = self.tensors.relative_attention_bias;
        let bias = bias.map(|tensor| self.file.get(tensor));
        let mut weights = vec![0.0; heads * tokens * tokens];
        let scale = 1.0 / (head_size as f32).sqrt();
        for (head, scores) in weights.chunks_exact_mut(tokens * tokens).enumerate() {
            let part = |index: usize| {
                let first = index * width + head * head_size;
                Matrix::new(&query_key_value[first..], tokens, head_size, 3 * width)
            };
            let (query, key) = (part(0), part(1));
            let out = MatrixMut::new(scores, tokens, tokens, tokens);
            sgemm::add_product_transposed(query, key, out);
            let Some(bias) = bias else {
                let rows = MatrixMut::new(scores, tokens, tokens, tokens);
                self.kernel.softmax_rows(rows, scale);
                continue;
            };
            let distances = bias.len() / heads;
            let bias = &bias[head * distances..][..distances];
            for (token, scores) in scores.chunks_exact_mut(tokens).enumerate() {
                for (score, bias) in scores.iter_mut().zip(&bias[distances / 2 - token..]) {
                    *score = *score * scale + bias;
                }
            }
            let rows = MatrixMut::new(scores, tokens, tokens, tokens);
            self.kernel.softmax_rows(rows, 1.0);
        }
        weights
    }
}

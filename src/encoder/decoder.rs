//! The word embedding read the other way: from vectors to a score for each word.

use super::Forward;
use super::share::{self, columns_of};
use super::tensors::WordEmbeddings;
use crate::format::Tensor;
use crate::kernels::{Matrix, MatrixMut, Team};
use half::f16;

/// Words that a thread's part is a multiple of.
const WORDS: usize = 16;

impl Forward<'_> {
    /// out = x·Wᵀ + bias, with `x` `[m, embedding_width]`, W `[vocab_size, embedding_width]`, `bias` `[vocab_size]` and `out`
    /// `[m, vocab_size]`. W is `decoder`, or the word embedding where there is none. The team shares the words.
    ///
    /// # Panics
    /// If the shapes are not the model's.
    pub(crate) fn decode_words(
        &self,
        decoder: Option<Tensor<f16>>,
        bias: &[f32],
        x: Matrix<'_>,
        out: MatrixMut<'_>,
        team: &mut Team,
    ) {
        let (width, words) = (x.columns(), out.columns());
        let work = x.rows() * width * words;
        let parts = share::parts(team, work, share::LEAST_PRODUCTS);
        let ranges = share::ranges(words, WORDS, parts);
        let parts = ranges.clone().zip(columns_of(out, ranges));
        let own = decoder.map(WordEmbeddings::F16);
        team.share(parts, |(words, mut out)| {
            let weights = words.start * width..words.end * width;
            let bias = &bias[words.clone()];
            match own.as_ref().unwrap_or(&self.tensors.word_embeddings) {
                WordEmbeddings::Int8 { weight, scale } => {
                    let weight = &self.file.get(*weight)[weights];
                    self.kernel.matrix_product_i8(weight, x, out.reborrow());
                    let scale = &self.file.get(*scale)[words.clone()];
                    for row in 0..out.rows() {
                        let factors = scale.iter().zip(bias);
                        for (score, (scale, bias)) in out.row(row).iter_mut().zip(factors) {
                            *score = *score * scale + bias;
                        }
                    }
                }
                WordEmbeddings::F16(weight) => {
                    let weight = &self.file.get(*weight)[weights];
                    self.kernel.matrix_product_f16(weight, x, out.reborrow());
                    for row in 0..out.rows() {
                        for (score, bias) in out.row(row).iter_mut().zip(bias) {
                            *score += bias;
                        }
                    }
                }
            }
        });
    }
}

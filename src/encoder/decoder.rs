//! The word embedding read the other way: from a vector to a score for each word.

use super::tensors::{EncoderTensors, WordEmbeddings};
use crate::format::ModelFile;
use crate::kernels::Kernel;

impl EncoderTensors {
    /// Writes the product of each word's vector with `x`, `[embedding_width]`, to `out`, `[vocab_size]`.
    ///
    /// # Panics
    /// If the lengths are not the model's.
    pub(crate) fn decode_words(
        &self,
        file: &ModelFile,
        kernel: Kernel,
        x: &[f32],
        out: &mut [f32],
    ) {
        match self.word_embeddings {
            WordEmbeddings::Int8 { weight, scale } => {
                kernel.matrix_vector_i8(file.get(weight), x, out);
                for (score, scale) in out.iter_mut().zip(file.get(scale)) {
                    *score *= scale;
                }
            }
            WordEmbeddings::F16(weight) => kernel.matrix_vector_f16(file.get(weight), x, out),
        }
    }
}

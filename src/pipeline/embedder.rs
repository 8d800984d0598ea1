//! Sentence vectors from texts, over all threads.

use super::batch::Batch;
use super::encoder::EmbeddingOptions;
use super::model::Model;
use super::text_encoder::{Text, TextOptions};
use super::workers::Workers;
use crate::error::Result;

/// How an [`Embedder`] works.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedderOptions {
    /// From text to tokens.
    pub text: TextOptions,
    /// From hidden states to vectors.
    pub embedding: EmbeddingOptions,
    /// Threads; `None` for the physical cores that this process may use.
    pub threads: Option<usize>,
    /// Tokens that one thread computes at a time, about. Bounds the working memory.
    pub batch_tokens: usize,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        EmbedderOptions {
            text: TextOptions::default(),
            embedding: EmbeddingOptions::default(),
            threads: None,
            batch_tokens: super::DEFAULT_BATCH_TOKENS,
        }
    }
}

/// Turns texts into sentence vectors. Can be shared between threads.
///
/// ```
/// # #[cfg(feature = "default-model")] {
/// use bertlet::{Embedder, Model};
///
/// let embedder = Embedder::new(&Model::embedded()?)?;
/// let vectors = embedder.embed(&["A cat sleeps.", "A kitten naps.", "Shares fell."])?;
/// let cosine = |i, j| bertlet::cosine(&vectors[i], &vectors[j]);
/// assert!(cosine(0, 1) > cosine(0, 2));
/// # }
/// # Ok::<(), bertlet::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedder {
    workers: Workers,
    options: EmbeddingOptions,
}

impl Embedder {
    /// An embedder with the model's own pooling, normalization and prompt, on all threads.
    ///
    /// # Errors
    /// As [`Embedder::with_options`].
    pub fn new(model: &Model) -> Result<Embedder> {
        Embedder::with_options(model, EmbedderOptions::default())
    }

    /// An embedder with other options.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the options do not fit the model.
    pub fn with_options(model: &Model, mut options: EmbedderOptions) -> Result<Embedder> {
        options.embedding.width(model)?;
        options.text.prompt = model.prompt(options.text.prompt.as_deref());
        Ok(Embedder {
            workers: Workers::new(model, options.text, options.threads, options.batch_tokens)?,
            options: options.embedding,
        })
    }

    /// One vector for each text, in order.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if a text is too long and the options say that this is an error.
    pub fn embed<'t, T: Into<Text<'t>> + Copy>(&self, texts: &[T]) -> Result<Embeddings> {
        let texts: Vec<Text<'t>> = texts.iter().map(|text| (*text).into()).collect();
        let values = self.workers.run(&texts, |encoder, batch, out| {
            encoder.embed(batch, &self.options, out)
        })?;
        self.wrap(values)
    }

    /// One vector for each record of batches of token ids, in order; each batch is computed by one thread.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if an id, a segment or a length is out of the model's range.
    pub fn embed_batches(&self, batches: &[Batch]) -> Result<Embeddings> {
        let values = self
            .workers
            .run_batches(batches.len(), |worker, index, out| {
                worker.encoder.embed(&batches[index], &self.options, out)
            })?;
        self.wrap(values)
    }

    fn wrap(&self, values: Vec<f32>) -> Result<Embeddings> {
        Ok(Embeddings {
            values,
            dimensions: self.options.width(self.workers.model())?,
        })
    }
}

/// Vectors of one width.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
    dimensions: usize,
}

impl Embeddings {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All values, one vector behind the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The vectors in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }
}

impl std::ops::Index<usize> for Embeddings {
    type Output = [f32];

    fn index(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }
}

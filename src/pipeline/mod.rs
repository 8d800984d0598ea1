//! From text to vectors and scores: the library's main types.

mod batch;
mod classifier;
mod embedder;
mod encoder;
mod model;
mod text_encoder;
mod workers;

pub use batch::Batch;
pub use classifier::{Classification, Classifier, ClassifierOptions};
pub use embedder::{Embedder, EmbedderOptions, Embeddings};
pub use encoder::{EmbeddingOptions, Encoder};
pub use model::Model;
pub use text_encoder::{EncodedText, LongText, Text, TextEncoder, TextOptions};

/// Tokens that one thread computes at a time unless told otherwise: enough for the weights to be read from the cache
/// more often than from memory, and few enough for the activations of a small model to stay in it.
pub const DEFAULT_BATCH_TOKENS: usize = 512;

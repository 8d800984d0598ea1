//! BERT inference for CPUs: one memory-mapped file, quantized matrix products, exact and repeatable results.
#![deny(unsafe_code)]

pub mod cli;
mod encoder;
pub mod error;
pub mod format;
pub mod heads;
pub mod kernels;
mod pipeline;
pub mod tokenizer;
pub mod vector;

pub use encoder::Sequences;
pub use error::{Error, Result};
pub use heads::cosine;
pub use pipeline::{
    Batch, Classification, Classifier, ClassifierOptions, DEFAULT_BATCH_TOKENS, Embedder,
    EmbedderOptions, EmbeddingOptions, Embeddings, EncodedText, Encoder, LongText, Model, Text,
    TextEncoder, TextOptions,
};

/// The README's example runs as a doc test.
#[cfg(all(doctest, feature = "default-model"))]
#[doc = include_str!("../README.md")]
mod readme {}

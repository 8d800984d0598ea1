//! BERT inference for CPUs: one memory-mapped file, quantized matrix products, exact and repeatable results.
#![deny(unsafe_code)]

pub mod cli;
mod encoder;
pub mod error;
pub mod format;
pub mod heads;
mod pipeline;
pub mod tokenizer;
pub mod vector;

pub use bertlet_kernels as kernels;

pub use encoder::{Profile, Sequences, Stage};
pub use error::{Error, Result};
pub use heads::{Aggregation, Function, cosine};
pub use pipeline::{
    Answer, Answerer, AnswererOptions, Attention, AttentionViewer, Batch, Candidates,
    Classification, Classifier, ClassifierOptions, Combine, DEFAULT_BATCH_TOKENS, Embedder,
    EmbedderOptions, EmbeddingOptions, Embeddings, EncodedText, Encoder, EntailmentClassifier,
    EntailmentOptions, Entity, FeatureExtractor, Fill, Filler, FillerOptions, Label, LabelOptions,
    LabelVectors, Layers, Likelihood, LineScorer, Long, LongText, Model, PairScorer, Question,
    RunOptions, States, Tagger, TaggerOptions, Task, Text, TextEncoder, TextOptions, TokenFeature,
};
pub(crate) use pipeline::{TaskLane, entailment};

/// The README's example runs as a doc test.
#[cfg(all(doctest, feature = "default-model"))]
#[doc = include_str!("../README.md")]
mod readme {}

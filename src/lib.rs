//! BERT inference for CPUs: one memory-mapped file, quantized matrix products, exact and repeatable results.
#![deny(unsafe_code)]

pub mod error;
pub mod format;
pub mod kernels;
pub mod tokenizer;

pub use error::{Error, Result};

//! From hidden states to answers: pooling for sentence vectors, task heads for scores.

mod classification;
mod dense;
mod function;
mod pooling;

pub(crate) use classification::ClassificationHead;
pub(crate) use dense::Dense;
pub use function::Function;
pub use pooling::cosine;
pub(crate) use pooling::{normalize, pool};

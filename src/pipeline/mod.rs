//! From text to vectors and scores: the library's main types.

mod answerer;
mod attention;
mod batch;
mod classifier;
mod embedder;
mod encoder;
mod features;
mod filler;
mod layers;
mod line_scorer;
mod model;
mod model_heads;
mod pair_scorer;
mod span_tokens;
mod tagger;
mod task;
mod text_encoder;
mod threads;
mod vocabulary;
mod workers;
mod zero_shot;

pub use answerer::{Answer, Answerer, AnswererOptions, Question};
pub use attention::{Attention, AttentionViewer};
pub use batch::Batch;
pub use classifier::{Classification, Classifier, ClassifierOptions};
pub use embedder::{Embedder, EmbedderOptions, Embeddings};
pub use encoder::{EmbeddingOptions, Encoder, States};
pub use features::{FeatureExtractor, TokenFeature};
pub use filler::{Fill, Filler, FillerOptions};
pub use layers::{Combine, Layers};
pub use line_scorer::{Likelihood, LineScorer};
pub use model::Model;
pub use pair_scorer::{Candidates, PairScorer};
pub use span_tokens::Long;
pub use tagger::{Entity, Tagger, TaggerOptions};
pub(crate) use task::TaskLane;
pub use task::{RunOptions, Task};
pub use text_encoder::{EncodedText, LongText, Text, TextEncoder, TextOptions};
pub(crate) use threads::physical_cores;
pub(crate) use zero_shot::entailment;
pub use zero_shot::{EntailmentClassifier, EntailmentOptions, Label, LabelOptions, LabelVectors};

/// Tokens that one thread computes at a time unless told otherwise: enough for the weights to be read from the cache
/// more often than from memory, and few enough for the activations of a small model to stay in it.
pub const DEFAULT_BATCH_TOKENS: usize = 512;

//! The `.bertlet` file, version 1.
//!
//! One file holds a model whole: shape, tokenizer, labels, weights. It is made to be memory-mapped and used in place.
//! All numbers are little-endian. "MUST" binds writers; a reader refuses a file that breaks the rule, with the
//! [`FormatError`] variant that is named.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | magic `BERTLET\n` ([`FormatError::Magic`]) |
//! | 8..12 | version, u32, now 1 ([`FormatError::Version`]) |
//! | 12..16 | zero, u32 ([`FormatError::Reserved`]) |
//! | 16..24 | header length in bytes, u64, at most [`MAX_HEADER_LENGTH`] ([`FormatError::HeaderLength`]) |
//! | 24..24+n | header: one JSON object in UTF-8 as [`header::Header`] describes; unknown fields are refused ([`FormatError::Header`]) |
//! | … | tensors, in the order in which the header lists them |
//!
//! - Every tensor MUST begin at the first multiple of 64 behind what precedes it ([`FormatError::Offset`]): hence no
//!   overlap and no hole but the padding, which MUST be zero ([`FormatError::Padding`], looked at by [`ModelFile::verify`]).
//! - The file MUST end with the last tensor's last byte ([`FormatError::Length`]).
//! - Names MUST be unique ([`FormatError::DuplicateTensor`]); a shape's product MUST fit the file ([`FormatError::Size`],
//!   [`FormatError::Length`]; the arithmetic is checked).
//! - The configuration MUST be consistent ([`FormatError::Config`]), and the tensors MUST be exactly those that it asks
//!   for ([`FormatError::MissingTensor`], [`FormatError::Shape`], [`FormatError::UnknownTensor`]).
//! - Scales (tensors named `….scale` and `….input_scale`) MUST be finite ([`FormatError::NotFinite`]); they are few, and
//!   a load checks them.
//! - Each tensor's CRC-32 MUST be the header's, and its floating-point values finite ([`FormatError::Checksum`],
//!   [`FormatError::NotFinite`]); a `.column_sum` MUST be that of the weights ([`FormatError::ColumnSum`]).
//!   [`ModelFile::verify`] reads everything and checks, a plain load does not.
//!
//! # Tensors
//! `N16` is the number of output channels / 16, rounded up; `K64` the number of inputs rounded up to 64.
//!
//! | name | int8 model | f16 model |
//! |---|---|---|
//! | `embeddings.word_embeddings.weight` | i8 `[vocab_size, E]` | f16, same shape |
//! | `embeddings.word_embeddings.scale` | f32 `[vocab_size]` | – |
//! | `embeddings.position_table` | f16 `[type_vocab_size, P, E]`: position + segment | same |
//! | `embeddings.LayerNorm.weight`, `.bias` | f32 `[E]` | same |
//! | `embeddings.projection.weight`, `.bias`, if there is an `embedding_size` | f16 `[hidden_size, E]`, f32 | same |
//! | `relative_attention_bias`, if the configuration says so | f32 `[num_attention_heads, 2·max_position_embeddings − 1]`: added to a score by the key's place less the query's; the middle is 0 | same |
//! | *linear*`.weight` | i8 panels `[N16, K64/4, 16, 4]` | f16 `[N, K]` |
//! | *linear*`.scale` | f32 `[G, N16*16]`: what a step of the channel's weights is worth in each of the G = K / `quantization_group` (rounded up) groups of inputs | – |
//! | *linear*`.column_sum` | i32 `[G, N16*16]`: sums of the channel's int8 weights over each group | – |
//! | *linear*`.bias` | f32 `[N16*16]` | f32 `[N]` |
//! | *linear*`.input_scale` | f32 `[K]`: the input is multiplied by it before it is quantized | – |
//! | `layer.{i}.attention.LayerNorm.*`, `layer.{i}.output.LayerNorm.*` | f32 `[hidden_size]` | same |
//! | `pooler.weight`, `pooler.bias` | f16 `[hidden_size, hidden_size]`, f32 | same |
//! | `classifier.weight`, `classifier.bias` | f32 `[labels, hidden_size]`, f32 | same |
//! | `next_sentence.weight`, `.bias` | f32 `[2, hidden_size]`, f32 | same |
//! | `predictions.transform.weight`, `.bias` | f16 `[hidden_size, hidden_size]`, f32 | same |
//! | `predictions.LayerNorm.weight`, `.bias` | f32 `[hidden_size]` | same |
//! | `predictions.bias` | f32 `[vocab_size]` | same |
//! | `predictions.decoder.weight`, unless the head is tied | f16 `[vocab_size, hidden_size]` | same |
//! | `dense.{i}.weight`, `dense.{i}.bias` | f16 `[out_features, in_features]`, f32 | same |
//! | `tokenizer.*` | see [`crate::tokenizer`] | same |
//!
//! E is `embedding_size`, or `hidden_size` where there is none; P is `max_position_embeddings`, and one more if there is a
//! `pad_token_id`. The layers `i` are those that are stored: `num_hidden_groups` of them, or `num_hidden_layers`.
//!
//! Which of the heads' tensors there are follows from [`header::HeadConfig`]. The rows of `classifier` are the labels of a
//! classification of texts or of tokens, start and end in question answering, a single one in multiple choice.
//!
//! The linear layers are `layer.{i}.attention.query_key_value` (queries, keys, values one behind the other),
//! `layer.{i}.attention.output`, `layer.{i}.intermediate` and `layer.{i}.output`.
//! A panel holds 16 output channels: for each group of four inputs, 16 × 4 bytes, the four weights of a channel side by side.

mod column_sums;
pub mod error;
mod file;
pub mod header;
mod map;
mod validate;
mod writer;

pub use error::FormatError;
pub use file::{Element, Locator, ModelFile, Tensor};
pub(crate) use map::stored;
pub use map::{executed_path, exit_on_fault};
pub use writer::{TensorData, write};

/// First eight bytes of a file.
pub const MAGIC: [u8; 8] = *b"BERTLET\n";
/// The version that this library reads and writes.
pub const VERSION: u32 = 1;
/// Every tensor begins at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;
/// Upper bound of the JSON header's length in bytes.
pub const MAX_HEADER_LENGTH: u64 = 16 << 20;
/// Bytes before the JSON header.
pub const PREFIX_LENGTH: usize = 24;

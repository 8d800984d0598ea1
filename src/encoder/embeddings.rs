//! Word + position + segment embeddings, straight from the map.

use super::tensors::WordEmbeddings;
use super::{Forward, Sequences};

/// Writes the sum of each token's embeddings to `hidden`, `[tokens, hidden_size]`.
///
/// # Panics
/// If an id, a segment or a length is out of the model's range.
pub(super) fn gather(forward: &Forward<'_>, sequences: &Sequences, hidden: &mut [f32]) {
    let Forward {
        file,
        tensors,
        kernel,
    } = forward;
    let config = &file.header().config;
    let width = config.hidden_size;
    let positions = file.get(tensors.position_table);
    for range in sequences.ranges() {
        for (position, token) in range.enumerate() {
            let id = sequences.ids()[token] as usize;
            let segment = usize::from(sequences.type_ids()[token]);
            assert!(position < config.max_position_embeddings);
            let table_row = segment * config.max_position_embeddings + position;
            let position_row = &positions[table_row * width..][..width];
            let out = &mut hidden[token * width..][..width];
            match tensors.word_embeddings {
                WordEmbeddings::Int8 { weight, scale } => kernel.embed_i8(
                    &file.get(weight)[id * width..][..width],
                    file.get(scale)[id],
                    position_row,
                    out,
                ),
                WordEmbeddings::F16(weight) => {
                    kernel.embed_f16(&file.get(weight)[id * width..][..width], position_row, out);
                }
            }
        }
    }
}

//! Word + position + segment embeddings, straight from the map, their LayerNorm, and the way to the encoder's width.

use super::tensors::WordEmbeddings;
use super::{Forward, SequencesView};
use crate::kernels::{Aligned, Team};

/// Writes each token's embedding, normalized and in the encoder's width, to `hidden`, `[tokens, hidden_size]`.
/// `scratch` holds the embeddings of a model that has them in another width.
///
/// # Panics
/// If an id, a segment or a length is out of the model's range.
pub(super) fn embed(
    forward: &Forward<'_>,
    sequences: SequencesView<'_>,
    team: &mut Team,
    scratch: &mut Aligned<f32>,
    hidden: &mut [f32],
) {
    let Forward {
        file,
        tensors,
        kernel,
    } = forward;
    let Some(projection) = &tensors.projection else {
        gather(forward, sequences, hidden);
        return forward.layer_norm(&tensors.embeddings_layer_norm, team, hidden);
    };
    let config = &file.header().config;
    let width = config.embedding_width();
    let length = sequences.tokens() * width;
    scratch.grow(length);
    let embeddings = &mut scratch[..length];
    gather(forward, sequences, embeddings);
    forward.layer_norm(&tensors.embeddings_layer_norm, team, embeddings);
    let (weight, bias) = (file.get(projection.weight), file.get(projection.bias));
    let rows = hidden.chunks_exact_mut(config.hidden_size);
    for (embedding, row) in embeddings.chunks_exact(width).zip(rows) {
        kernel.matrix_vector_f16(weight, embedding, row);
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}

/// Writes the sum of each token's embeddings to `out`, `[tokens, embedding_width]`.
fn gather(forward: &Forward<'_>, sequences: SequencesView<'_>, out: &mut [f32]) {
    let Forward {
        file,
        tensors,
        kernel,
    } = forward;
    let config = &file.header().config;
    let width = config.embedding_width();
    let table = file.get(tensors.position_table);
    let mut tokens = out.chunks_exact_mut(width);
    for range in sequences.ranges() {
        assert!(range.len() <= config.max_position_embeddings);
        let ids = &sequences.ids[range.clone()];
        let segments = &sequences.type_ids[range];
        let positions = config.position_rows_of(ids);
        for (((&id, &segment), position), out) in
            ids.iter().zip(segments).zip(positions).zip(&mut tokens)
        {
            let id = id as usize;
            let table_row = usize::from(segment) * config.position_rows() + position;
            let position_row = &table[table_row * width..][..width];
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

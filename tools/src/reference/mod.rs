//! The encoder in plain f32: the yardstick of `--report`, and the road that calibration text takes through a model.

pub mod matrix;
mod operations;
pub mod parallel;
mod pooling;

use crate::weights::{LayerNorm, LayerWeights, Linear, Weights};
use anyhow::{Result, ensure};
pub use operations::linear;
use operations::{activate, add, attention, layer_norm};
pub use pooling::{logits, sentence_vector};

/// The four matrix products of an encoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearKind {
    /// Hidden state to queries, keys and values.
    QueryKeyValue,
    /// Concatenated heads to the attention's residual.
    AttentionOutput,
    /// Into the feed-forward.
    Intermediate,
    /// Out of the feed-forward.
    Output,
}

impl LayerWeights {
    /// The product of that kind.
    pub fn linear(&self, kind: LinearKind) -> &Linear {
        match kind {
            LinearKind::QueryKeyValue => &self.query_key_value,
            LinearKind::AttentionOutput => &self.attention_output,
            LinearKind::Intermediate => &self.intermediate,
            LinearKind::Output => &self.output,
        }
    }
}

/// Token sequences end to end, without padding.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// `[tokens]`.
    ids: Vec<u32>,
    /// `[tokens]`: segment of each token.
    type_ids: Vec<u32>,
    /// Number of tokens of each sequence.
    lengths: Vec<usize>,
}

impl Batch {
    /// Appends a sequence.
    ///
    /// # Errors
    /// If it is empty, or if `type_ids` has another length than `ids`.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32]) -> Result<()> {
        ensure!(!ids.is_empty(), "a sequence needs at least one token");
        ensure!(
            ids.len() == type_ids.len(),
            "{} token ids, but {} segment ids",
            ids.len(),
            type_ids.len()
        );
        self.ids.extend_from_slice(ids);
        self.type_ids.extend_from_slice(type_ids);
        self.lengths.push(ids.len());
        Ok(())
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of tokens of each sequence, in the order of [`push`](Self::push).
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Refuses what the tables of the model do not cover.
    fn check(&self, weights: &Weights) -> Result<()> {
        let config = &weights.config;
        for (index, &length) in self.lengths.iter().enumerate() {
            ensure!(
                length <= config.max_position_embeddings,
                "sequence {index} has {length} tokens, the model takes {}",
                config.max_position_embeddings
            );
        }
        if let Some(id) = self
            .ids
            .iter()
            .find(|&&id| id as usize >= config.vocab_size)
        {
            anyhow::bail!("token id {id} in a vocabulary of {}", config.vocab_size);
        }
        if let Some(id) = self
            .type_ids
            .iter()
            .find(|&&id| id as usize >= config.type_vocab_size)
        {
            anyhow::bail!(
                "segment id {id} in a model with {} segments",
                config.type_vocab_size
            );
        }
        Ok(())
    }
}

/// What is computed in place of, or observed at, an encoder's matrix products.
pub trait Linears {
    /// Output `[tokens, out_features]` for `input` `[tokens, in_features]`.
    ///
    /// # Errors
    /// Whatever the implementation cannot do; it ends the forward pass.
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>>;

    /// Sees the state `[tokens, hidden_size]` after the embeddings (0) and after each layer (from 1).
    fn hidden_state(&mut self, _index: usize, _state: &[f32]) {}
}

/// The products as the checkpoint has them.
#[derive(Debug, Clone, Copy)]
pub struct Exact<'a>(pub &'a Weights);

impl Linears for Exact<'_> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        let stored = self.0.config.stored_layer(layer);
        Ok(linear(input, self.0.layers[stored].linear(kind)))
    }
}

/// The products as the checkpoint has them, with a look at each hidden state: `observe(index, state)`.
pub struct Observed<'a, F>(pub &'a Weights, pub F);

impl<F: FnMut(usize, &[f32])> Linears for Observed<'_, F> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        Exact(self.0).apply(layer, kind, input)
    }

    fn hidden_state(&mut self, index: usize, state: &[f32]) {
        (self.1)(index, state);
    }
}

/// The last hidden state `[tokens, hidden_size]`, with `linears` as the matrix products and all else in f32.
///
/// # Errors
/// If the batch does not fit the model, or what `linears` reports.
///
/// # Panics
/// If a tensor's length contradicts `weights.config`.
pub fn forward(weights: &Weights, batch: &Batch, linears: &mut impl Linears) -> Result<Vec<f32>> {
    batch.check(weights)?;
    let config = &weights.config;
    let norm =
        |values: &mut [f32], affine: &LayerNorm| layer_norm(values, affine, config.layer_norm_eps);
    let mut state = embed(weights, batch);
    norm(&mut state, &weights.embeddings_layer_norm);
    if let Some(projection) = &weights.embeddings_projection {
        state = linear(&state, projection);
    }
    linears.hidden_state(0, &state);
    for index in 0..config.num_hidden_layers {
        let layer = &weights.layers[config.stored_layer(index)];
        let query_key_value = linears.apply(index, LinearKind::QueryKeyValue, &state)?;
        let heads = attention(
            &query_key_value,
            &batch.lengths,
            (config.num_attention_heads, config.hidden_size),
            weights.relative_attention_bias.as_deref(),
        );
        let mut attended = linears.apply(index, LinearKind::AttentionOutput, &heads)?;
        add(&mut attended, &state);
        norm(&mut attended, &layer.attention_layer_norm);

        let mut inner = linears.apply(index, LinearKind::Intermediate, &attended)?;
        activate(&mut inner, config.hidden_act);
        state = linears.apply(index, LinearKind::Output, &inner)?;
        add(&mut state, &attended);
        norm(&mut state, &layer.output_layer_norm);
        linears.hidden_state(index + 1, &state);
    }
    Ok(state)
}

/// Word vector plus position and segment vector of each token, `[tokens, embedding_width]`, before the LayerNorm.
fn embed(weights: &Weights, batch: &Batch) -> Vec<f32> {
    let config = &weights.config;
    let width = config.embedding_width();
    let mut state = Vec::with_capacity(batch.tokens() * width);
    let mut start = 0;
    for &length in &batch.lengths {
        let ids = &batch.ids[start..start + length];
        let type_ids = &batch.type_ids[start..start + length];
        let positions = config.position_rows_of(ids);
        for ((&id, &type_id), position) in ids.iter().zip(type_ids).zip(positions) {
            let word = &weights.word_embeddings[id as usize * width..][..width];
            let row = type_id as usize * config.position_rows() + position;
            let place = &weights.position_table[row * width..][..width];
            state.extend(word.iter().zip(place).map(|(word, place)| word + place));
        }
        start += length;
    }
    state
}

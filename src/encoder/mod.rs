//! The bidirectional encoder: packed tokens to hidden states. Knows neither text nor output.
//!
//! A layer works on blocks of neighbouring sequences, and attention on one sequence at a time; no step of an int8 model
//! mixes rows of different sequences, so that a sequence's result does not depend on its neighbours.

mod attention;
mod attention_weights;
mod biased_attention;
mod decoder;
mod embeddings;
mod linear;
mod profile;
mod sequences;
mod tensors;

pub(crate) use profile::Clock;
pub use profile::{Profile, Stage};
pub use sequences::Sequences;
pub(crate) use sequences::SequencesView;
pub(crate) use tensors::EncoderTensors;

use crate::format::header::Config;
use crate::format::{self, ModelFile};
use crate::kernels::{Activation, Epilogue, Kernel, MatrixMut};
use attention::AttentionScratch;
use linear::LinearScratch;
use std::ops::Range;
use tensors::{LayerNormTensors, LayerTensors};

/// Tokens that pass through a whole feed-forward together: their inner states, the widest of all, then stay in the
/// second-level cache (64 × 1,536 f32 are 384 KiB).
const FEED_FORWARD_ROWS: usize = 64;

/// Tokens of neighbouring sequences that pass through attention together, unless one sequence alone has more: their
/// queries, keys and values then stay in the second-level cache (72 × 1,152 f32 are 324 KiB), and so do the layer's
/// weights while block after block passes.
const ATTENTION_ROWS: usize = 72;

/// Working memory of a forward pass; grows to the largest batch and is then reused.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `[tokens, embedding_size]`, where that is not the encoder's width.
    embeddings: Vec<f32>,
    /// `[tokens, hidden_size]`
    hidden: Vec<f32>,
    /// `[tokens of a block, 3·hidden_size]`
    query_key_value: Vec<f32>,
    /// `[tokens of a block, hidden_size]`
    context: Vec<f32>,
    /// `[FEED_FORWARD_ROWS, intermediate_size]`
    inner: Vec<f32>,
    linear: LinearScratch,
    attention: AttentionScratch,
}

impl Scratch {
    /// The stopwatch of the passes that use this memory.
    pub(crate) fn clock(&mut self) -> &mut Clock {
        &mut self.linear.clock
    }
}

/// One model's encoder, ready to run: everything but the working memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward<'a> {
    pub(crate) file: &'a ModelFile,
    pub(crate) tensors: &'a EncoderTensors,
    pub(crate) kernel: Kernel,
}

impl Forward<'_> {
    /// Runs the encoder and returns the last hidden states, `[tokens, hidden_size]`.
    ///
    /// `observe` sees the hidden states behind the embeddings (index 0) and behind each layer (from 1).
    /// Ids and positions must be in the model's range; see [`Forward::check`].
    pub(crate) fn run<'s>(
        &self,
        sequences: SequencesView<'_>,
        scratch: &'s mut Scratch,
        mut observe: impl FnMut(usize, &[f32]),
    ) -> &'s [f32] {
        scratch.clock().begin();
        let config = &self.file.header().config;
        let (tokens, hidden_size) = (sequences.tokens(), config.hidden_size);
        resize(&mut scratch.hidden, tokens * hidden_size);
        let blocks = sequences.blocks(ATTENTION_ROWS);
        let block_rows = blocks.map(|block| block.tokens()).max().unwrap_or(0);
        resize(&mut scratch.query_key_value, block_rows * 3 * hidden_size);
        resize(&mut scratch.context, block_rows * hidden_size);
        let inner_rows = tokens.min(FEED_FORWARD_ROWS);
        resize(&mut scratch.inner, inner_rows * config.intermediate_size);

        embeddings::embed(
            self,
            sequences,
            &mut scratch.embeddings,
            &mut scratch.hidden[..tokens * hidden_size],
        );
        scratch.clock().lap(Stage::Embeddings);
        observe(0, &scratch.hidden[..tokens * hidden_size]);
        for (index, layer) in self.tensors.layers(config).enumerate() {
            let mut first = 0;
            for block in sequences.blocks(ATTENTION_ROWS) {
                let rows = first..first + block.tokens();
                first = rows.end;
                self.attention(layer, block, rows.clone(), config, scratch);
                self.feed_forward(layer, rows, config, scratch);
            }
            observe(index + 1, &scratch.hidden[..tokens * hidden_size]);
        }
        &scratch.hidden[..tokens * hidden_size]
    }

    /// hidden = LayerNorm(hidden + output(attention(hidden)))
    fn attention(
        &self,
        layer: &LayerTensors,
        sequences: SequencesView<'_>,
        rows: Range<usize>,
        config: &Config,
        scratch: &mut Scratch,
    ) {
        let (tokens, hidden_size) = (rows.len(), config.hidden_size);
        let hidden = &mut scratch.hidden[rows.start * hidden_size..rows.end * hidden_size];
        layer.query_key_value.resolve(self.file).forward(
            self.kernel,
            hidden,
            Epilogue::Store(Activation::Identity),
            &mut scratch.linear,
            &mut scratch.query_key_value[..tokens * 3 * hidden_size],
        );
        scratch.linear.clock.lap(Stage::QueryKeyValue);
        attention::run(
            self,
            config,
            sequences,
            &scratch.query_key_value[..tokens * 3 * hidden_size],
            &mut scratch.attention,
            &mut scratch.context[..tokens * hidden_size],
        );
        scratch.linear.clock.lap(Stage::Attention);
        layer.attention_output.resolve(self.file).forward(
            self.kernel,
            &scratch.context[..tokens * hidden_size],
            Epilogue::Accumulate,
            &mut scratch.linear,
            hidden,
        );
        scratch.linear.clock.lap(Stage::AttentionOutput);
        self.layer_norm(&layer.attention_layer_norm, hidden);
        scratch.linear.clock.lap(Stage::LayerNorm);
    }

    /// hidden = LayerNorm(hidden + output(activation(intermediate(hidden))))
    fn feed_forward(
        &self,
        layer: &LayerTensors,
        rows: Range<usize>,
        config: &Config,
        scratch: &mut Scratch,
    ) {
        let intermediate = layer.intermediate.resolve(self.file);
        let output = layer.output.resolve(self.file);
        let width = config.hidden_size;
        let hidden = &mut scratch.hidden[rows.start * width..rows.end * width];
        let activation = activation(config.hidden_act);
        // Of equal height rather than full ones and a low rest.
        let height = rows.len().div_ceil(rows.len().div_ceil(FEED_FORWARD_ROWS));
        for block in hidden.chunks_mut(height * width) {
            let rows = block.len() / width;
            let inner = &mut scratch.inner[..rows * config.intermediate_size];
            let epilogue = Epilogue::Store(activation);
            intermediate.forward(self.kernel, block, epilogue, &mut scratch.linear, inner);
            scratch.linear.clock.lap(Stage::Intermediate);
            output.forward(
                self.kernel,
                inner,
                Epilogue::Accumulate,
                &mut scratch.linear,
                block,
            );
            scratch.linear.clock.lap(Stage::Output);
            self.layer_norm(&layer.output_layer_norm, block);
            scratch.linear.clock.lap(Stage::LayerNorm);
        }
    }

    fn layer_norm(&self, tensors: &LayerNormTensors, rows: &mut [f32]) {
        let weights = tensors.resolve(self.file);
        let eps = self.file.header().config.layer_norm_eps;
        let width = weights.weight.len();
        let rows = MatrixMut::new(rows, rows.len() / width, width, width);
        self.kernel
            .layer_norm(rows, weights.weight, weights.bias, eps);
    }
}

/// The kernels' name of a configured activation.
pub(crate) fn activation(activation: format::header::Activation) -> Activation {
    use format::header::Activation as Configured;
    match activation {
        Configured::Gelu => Activation::Gelu,
        Configured::GeluTanh => Activation::GeluTanh,
        Configured::Relu => Activation::Relu,
        Configured::Silu => Activation::Silu,
        Configured::Tanh => Activation::Tanh,
        Configured::Sigmoid => Activation::Sigmoid,
        Configured::Identity => Activation::Identity,
    }
}

/// Makes room for `length` values without touching those that are there.
fn resize(values: &mut Vec<f32>, length: usize) {
    if values.len() < length {
        values.resize(length, 0.0);
    }
}

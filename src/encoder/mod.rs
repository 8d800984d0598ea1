//! The bidirectional encoder: packed tokens to hidden states. Knows neither text nor output.
//!
//! A layer works on blocks of neighbouring sequences, and attention on one sequence at a time; no step of an int8 model
//! mixes rows of different sequences, so that a sequence's result does not depend on its neighbours.

mod attend;
mod attention;
mod attention_weights;
mod biased_attention;
mod decoder;
mod embeddings;
mod layer;
mod linear;
mod profile;
mod sequences;
mod share;
mod tensors;

pub(crate) use profile::Clock;
pub use profile::{Profile, Stage};
pub use sequences::Sequences;
pub(crate) use sequences::SequencesView;
pub(crate) use tensors::EncoderTensors;

use crate::format::header::Precision;
use crate::format::{self, ModelFile};
use crate::kernels::{Activation, Aligned, Kernel, Matrix, QuantizedRows, Team};
use layer::{FEED_FORWARD_ROWS, MemberScratch};
use std::ops::Range;

/// Tokens of neighbouring sequences that pass through attention together on each thread, unless one sequence alone has
/// more: their queries, keys and values then stay in the second-level cache beside the weights.
const ATTENTION_ROWS: usize = 144;

/// Working memory of a forward pass, which grows to the largest batch and is then reused, and the threads that share it.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// `[tokens, embedding_size]`, where that is not the encoder's width.
    embeddings: Aligned<f32>,
    /// `[tokens, hidden_size]`
    hidden: Aligned<f32>,
    /// What the next linear layer reads, quantized: `[tokens, hidden_size]`.
    input: QuantizedRows,
    /// `[tokens of a block, hidden_size]`
    context: Aligned<f32>,
    /// `[FEED_FORWARD_ROWS · threads, intermediate_size]`, for f16 models.
    inner: Aligned<f32>,
    /// The same quantized, for int8 models.
    inner_input: QuantizedRows,
    /// First tokens of a block's sequences, and the same quantized.
    first: Aligned<f32>,
    first_input: QuantizedRows,
    /// One for each thread.
    members: Vec<MemberScratch>,
    team: Team,
}

impl Scratch {
    /// Sets how many threads share each pass (at most [`MAX_MEMBERS`](crate::kernels::MAX_MEMBERS)).
    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.team.resize(threads);
    }

    /// The threads that share each pass.
    pub(crate) fn team(&mut self) -> &mut Team {
        &mut self.team
    }

    /// The stopwatch of the passes that use this memory: that of the calling thread.
    pub(crate) fn clock(&mut self) -> &mut Clock {
        if self.members.is_empty() {
            self.members.push(MemberScratch::default());
        }
        &mut self.members[0].clock
    }
}

/// Which of the last hidden states somebody will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those of all tokens.
    All,
    /// Those of each sequence's first token. The last layer then computes the other tokens' keys and values only.
    First,
}

impl Wanted {
    /// Rows of the states that belong to sequence `index`, of all `tokens`.
    pub(crate) fn rows(self, index: usize, tokens: Range<usize>) -> Range<usize> {
        match self {
            Wanted::All => tokens,
            Wanted::First => index..index + 1,
        }
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
    /// Runs the encoder and returns the last hidden states that are wanted, `[tokens or sequences, hidden_size]`.
    ///
    /// `observe` sees the hidden states behind the embeddings (index 0) and behind each layer (from 1), where all are wanted.
    /// Ids and positions must be in the model's range.
    pub(crate) fn run<'s>(
        &self,
        sequences: SequencesView<'_>,
        wanted: Wanted,
        scratch: &'s mut Scratch,
        mut observe: impl FnMut(usize, &[f32]),
    ) -> &'s [f32] {
        scratch.clock().begin();
        let config = &self.file.header().config;
        let (tokens, width) = (sequences.tokens(), config.hidden_size);
        // Each thread of a team has but its part of a block in its cache.
        let threads = scratch.team.members();
        let block_tokens = ATTENTION_ROWS * threads;
        let blocks = sequences.blocks(block_tokens);
        let block_rows = blocks.map(|block| block.tokens()).max().unwrap_or(0);
        scratch.hidden.grow(tokens * width);
        scratch.context.grow(block_rows * width);
        if self.keeps_inner() {
            let inner_rows = tokens.min(FEED_FORWARD_ROWS * threads);
            scratch.inner.grow(inner_rows * config.intermediate_size);
        }
        if scratch.members.len() < threads {
            let members = &mut scratch.members;
            members.resize_with(threads, MemberScratch::default);
        }

        embeddings::embed(
            self,
            sequences,
            &mut scratch.team,
            &mut scratch.embeddings,
            &mut scratch.hidden[..tokens * width],
        );
        scratch.clock().lap(Stage::Embeddings);
        if wanted == Wanted::All {
            observe(0, &scratch.hidden[..tokens * width]);
        }
        for index in 0..config.num_hidden_layers {
            let layer = self.tensors.layer(index, config);
            if index == 0 {
                let first = layer.query_key_value.resolve(self.file);
                first.reserve(&mut scratch.input, tokens);
                let rows = Matrix::new(&scratch.hidden, tokens, width, width);
                self.quantize(&first, rows, &mut scratch.team, scratch.input.view_mut());
                scratch.clock().lap(Stage::Quantization);
            }
            let next = (index + 1 < config.num_hidden_layers)
                .then(|| &self.tensors.layer(index + 1, config).query_key_value);
            let firsts = next.is_none() && wanted == Wanted::First;
            // One half of the layer after the other, so that the weights of each stay in the second-level cache.
            let (mut token, mut sequence) = (0, 0);
            for block in sequences.blocks(block_tokens) {
                let rows = token..token + block.tokens();
                let numbers = sequence..sequence + block.len();
                (token, sequence) = (rows.end, numbers.end);
                match firsts {
                    true => self.attention_of_firsts(layer, block, rows, numbers, scratch),
                    false => self.attention(layer, block, rows, scratch),
                }
            }
            let rows = if firsts { sequence } else { tokens };
            self.feed_forward(layer, next, 0..rows, scratch);
            if wanted == Wanted::All {
                observe(index + 1, &scratch.hidden[..tokens * width]);
            }
        }
        if wanted == Wanted::All {
            return &scratch.hidden[..tokens * width];
        }
        &scratch.hidden[..sequences.len() * width]
    }
}

impl Forward<'_> {
    /// Whether the inner states of a feed-forward are kept in f32.
    fn keeps_inner(&self) -> bool {
        self.file.header().precision == Precision::F16
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

//! One layer on a block of sequences, shared by the threads of a team.
//!
//! Products are shared by outputs and rows, what mixes a row's values by rows. The outputs of the first half of a feed-forward are
//! quantized by the thread that computed them.

use super::attend::Queries;
use super::attention::AttentionScratch;
use super::linear::Input;
use super::profile::{Clock, Stage};
use super::share::{self, COLUMNS, Grid, ranges, rows_of};
use super::tensors::{LayerNormTensors, LayerTensors, LinearTensors, LinearWeights};
use super::{Forward, Scratch, SequencesView, activation};
use crate::kernels::{Aligned, Epilogue, Matrix, MatrixMut, QuantizedViewMut, Team};
use std::ops::Range;

/// Tokens that pass through a whole feed-forward together on each thread: their inner states, the widest of all, then
/// stay in the second-level cache (64 × 1,536 are 384 KiB in f32, 96 KiB in bytes).
pub(super) const FEED_FORWARD_ROWS: usize = 64;

/// Rows at whose multiples blocks of a feed-forward end: two tile registers.
const BLOCK_UNIT: usize = 32;

/// Working memory of one thread.
#[derive(Debug, Default)]
pub(super) struct MemberScratch {
    /// Weights of an f16 layer in single precision, or values of an int8 layer before they are quantized.
    pub(super) values: Aligned<f32>,
    /// `[tokens of a block, 3·columns of some heads]`, or of the first thread `[first tokens and tokens of a block, 3·hidden_size]`.
    pub(super) query_key_value: Aligned<f32>,
    pub(super) attention: AttentionScratch,
    /// Only that of the calling thread may run, which takes the first part of each operation and waits for the others.
    pub(super) clock: Clock,
}

impl Forward<'_> {
    /// hidden = LayerNorm(hidden + output(attention(hidden))) for the `rows` of some sequences, whose quantized inputs are
    /// there, and behind it those of the feed-forward.
    pub(super) fn attention(
        &self,
        layer: &LayerTensors,
        sequences: SequencesView<'_>,
        rows: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let width = self.file.header().config.hidden_size;
        let x = Input::of(&scratch.hidden, &scratch.input, rows.clone(), width);
        let context = &mut scratch.context[..rows.len() * width];
        let on = (&mut scratch.team, &mut scratch.members[..]);
        let weights = layer.query_key_value.resolve(self.file);
        self.attend(&weights, sequences, Queries::All, x, on, context);
        self.attention_output(layer, rows, scratch);
    }

    /// The same for the first token of each sequence, whose number goes from `firsts.start` on: those are the rows that
    /// the results replace. They must not lie behind `rows`.
    pub(super) fn attention_of_firsts(
        &self,
        layer: &LayerTensors,
        sequences: SequencesView<'_>,
        rows: Range<usize>,
        firsts: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let width = self.file.header().config.hidden_size;
        let count = firsts.len();
        let weights = layer.query_key_value.resolve(self.file);
        scratch.first.grow(count * width);
        let gathered = scratch.first[..count * width].chunks_exact_mut(width);
        for (range, to) in sequences.ranges().zip(gathered) {
            let row = rows.start + range.start;
            to.copy_from_slice(&scratch.hidden[row * width..(row + 1) * width]);
        }
        let gathered = Matrix::new(&scratch.first, count, width, width);
        weights.reserve(&mut scratch.first_input, count);
        let quantized = scratch.first_input.view_mut();
        weights.quantize(self.kernel, gathered, 0..width, quantized);
        let queries = Queries::First(Input {
            rows: gathered,
            quantized: scratch.first_input.view(),
        });
        let x = Input::of(&scratch.hidden, &scratch.input, rows, width);
        let context = &mut scratch.context[..count * width];
        let on = (&mut scratch.team, &mut scratch.members[..]);
        self.attend(&weights, sequences, queries, x, on, context);
        scratch.hidden[firsts.start * width..firsts.end * width]
            .copy_from_slice(&scratch.first[..count * width]);
        self.attention_output(layer, firsts, scratch);
    }

    /// hidden = LayerNorm(hidden + output(context)) for some rows; `context` begins with the first of them.
    fn attention_output(&self, layer: &LayerTensors, rows: Range<usize>, scratch: &mut Scratch) {
        let width = self.file.header().config.hidden_size;
        let Scratch {
            hidden,
            input,
            context,
            members,
            team,
            ..
        } = scratch;
        let hidden = &mut hidden[rows.start * width..rows.end * width];
        let output = layer.attention_output.resolve(self.file);
        let context = Matrix::new(context, rows.len(), width, width);
        self.quantize(&output, context, team, input.rows_mut(rows.clone()));
        members[0].clock.lap(Stage::Quantization);
        let x = Input {
            rows: context,
            quantized: input.view().row_range(rows.clone()),
        };
        self.accumulate(&output, x, (team, members), hidden);
        members[0].clock.lap(Stage::AttentionOutput);
        self.norm(
            &layer.attention_layer_norm,
            Some(&layer.intermediate),
            team,
            hidden,
            input.rows_mut(rows),
        );
        members[0].clock.lap(Stage::LayerNorm);
    }

    /// hidden = LayerNorm(hidden + output(activation(intermediate(hidden)))) for some rows, whose quantized inputs are
    /// there, and behind it those of `next`.
    pub(super) fn feed_forward(
        &self,
        layer: &LayerTensors,
        next: Option<&LinearTensors>,
        rows: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let config = &self.file.header().config;
        let width = config.hidden_size;
        let intermediate = layer.intermediate.resolve(self.file);
        let output = layer.output.resolve(self.file);
        let activation = activation(config.hidden_act);
        let Scratch {
            hidden,
            input,
            inner,
            inner_input,
            members,
            team,
            ..
        } = scratch;
        let (n, group) = (intermediate.n(), output.group());
        // Of similar height rather than full ones and a low rest.
        let blocks = rows.len().div_ceil(FEED_FORWARD_ROWS * team.members());
        for block in ranges(rows.len(), BLOCK_UNIT, blocks) {
            let tokens = block.len();
            let block = rows.start + block.start..rows.start + block.end;
            let hidden = &mut hidden[block.start * width..block.end * width];
            let x = Input {
                rows: Matrix::new(hidden, tokens, width, width),
                quantized: input.view().row_range(block.clone()),
            };
            output.reserve(inner_input, tokens);
            // Layers of int8 have nothing in f32 between them.
            let kept = if self.keeps_inner() { tokens } else { 0 };
            let inner = &mut inner[..kept * n];
            let count = share::product_parts(team, tokens, width * n);
            let grid = Grid::new(tokens, (n, group), count);
            let outputs = (MatrixMut::new(inner, kept, n, n), inner_input.view_mut());
            let parts = grid.parts_of(outputs).zip(&mut *members);
            team.share(parts, |((rows, columns, outputs), member)| {
                intermediate.forward_to(
                    (activation, &output),
                    self.kernel,
                    x.row_range(rows),
                    columns,
                    &mut member.values,
                    outputs,
                );
                member.clock.lap(Stage::Intermediate);
            });
            let x = Input {
                rows: Matrix::new(inner, kept, n, n),
                quantized: inner_input.view(),
            };
            self.accumulate(&output, x, (team, members), hidden);
            members[0].clock.lap(Stage::Output);
            let quantized = input.rows_mut(block);
            self.norm(&layer.output_layer_norm, next, team, hidden, quantized);
            members[0].clock.lap(Stage::LayerNorm);
        }
    }

    /// hidden = hidden + layer(x)
    fn accumulate(
        &self,
        layer: &LinearWeights<'_>,
        x: Input<'_>,
        on: (&mut Team, &mut [MemberScratch]),
        hidden: &mut [f32],
    ) {
        let out = MatrixMut::new(hidden, x.quantized.rows(), layer.n(), layer.n());
        self.product(layer, x, (0, Epilogue::Accumulate), on, out);
    }

    /// out = epilogue(layer(x)) of the outputs from `first` on, `[rows, columns]`.
    pub(super) fn product(
        &self,
        layer: &LinearWeights<'_>,
        x: Input<'_>,
        (first, epilogue): (usize, Epilogue),
        (team, members): (&mut Team, &mut [MemberScratch]),
        out: MatrixMut<'_>,
    ) {
        let (rows, n) = (out.rows(), out.columns());
        let count = share::product_parts(team, rows, layer.k() * n);
        let parts = Grid::new(rows, (n, COLUMNS), count).parts_of(out);
        team.share(parts.zip(members), |((rows, columns, out), member)| {
            let columns = first + columns.start..first + columns.end;
            let (x, values) = (x.row_range(rows), &mut member.values);
            layer.forward(self.kernel, x, columns, epilogue, values, out);
        });
    }

    /// LayerNorm of rows in place, and their quantization for the layer that reads them next.
    fn norm(
        &self,
        tensors: &LayerNormTensors,
        next: Option<&LinearTensors>,
        team: &mut Team,
        rows: &mut [f32],
        quantized: QuantizedViewMut<'_>,
    ) {
        let Some(next) = next else {
            return self.layer_norm(tensors, team, rows);
        };
        let next = next.resolve(self.file);
        let weights = tensors.resolve(self.file);
        let eps = self.file.header().config.layer_norm_eps;
        let norm = (weights.weight, weights.bias, eps);
        let (tokens, width) = (quantized.rows(), norm.0.len());
        let count = share::parts(team, rows.len(), share::LEAST_VALUES);
        let heights = ranges(tokens, 1, count);
        let rows = MatrixMut::new(rows, tokens, width, width);
        let parts = rows_of(rows, heights.clone()).zip(rows_of(quantized, heights));
        team.share(parts, |(rows, quantized)| {
            next.norm_and_quantize(self.kernel, rows, norm, quantized);
        });
    }

    /// LayerNorm of rows in place.
    pub(super) fn layer_norm(&self, tensors: &LayerNormTensors, team: &mut Team, rows: &mut [f32]) {
        let weights = tensors.resolve(self.file);
        let eps = self.file.header().config.layer_norm_eps;
        let width = weights.weight.len();
        let tokens = rows.len() / width;
        let count = share::parts(team, rows.len(), share::LEAST_VALUES);
        let rows = MatrixMut::new(rows, tokens, width, width);
        team.share(rows_of(rows, ranges(tokens, 1, count)), |rows| {
            let kernel = self.kernel;
            kernel.layer_norm(rows, weights.weight, weights.bias, eps);
        });
    }

    /// Quantizes rows for the layer that reads them next.
    pub(super) fn quantize(
        &self,
        next: &LinearWeights<'_>,
        rows: Matrix<'_>,
        team: &mut Team,
        out: QuantizedViewMut<'_>,
    ) {
        let (tokens, width) = (rows.rows(), rows.columns());
        let count = share::parts(team, tokens * width, share::LEAST_VALUES);
        let heights = ranges(tokens, 1, count);
        let parts = heights.clone().zip(rows_of(out, heights));
        team.share(parts, |(range, out)| {
            next.quantize(self.kernel, rows.row_range(range), 0..width, out);
        });
    }
}

//! Layers that share their weights (ALBERT): each stored matrix is quantized once, for what reaches it in all the layers
//! that it serves.

use super::{KINDS, QuantizedEncoder, column_means, encoder_of, quantize_linear};
use crate::reference::{Batch, Exact, LinearKind, Linears, forward, linear};
use crate::weights::Weights;
use anyhow::Result;

/// In the order of computation.
const ORDER: [LinearKind; KINDS] = [
    LinearKind::QueryKeyValue,
    LinearKind::AttentionOutput,
    LinearKind::Intermediate,
    LinearKind::Output,
];

/// [`super::quantize_encoder`] for a model with shared layers. The calibration text passes once for each kind of product, in
/// f32, and of each layer's inputs as many rows are kept as keep the sum at one layer's.
pub(super) fn quantize_encoder(
    weights: &Weights,
    calibration: &Batch,
    mut progress: impl FnMut(usize, usize),
) -> Result<QuantizedEncoder> {
    let stored = weights.layers.len();
    let total = stored * KINDS;
    let mut done = Vec::with_capacity(total);
    progress(0, total);
    for kind in ORDER {
        let mut inputs = Inputs {
            weights,
            kind,
            rows: vec![Vec::new(); stored],
        };
        forward(weights, calibration, &mut inputs)?;
        for (layer, input) in weights.layers.iter().zip(&inputs.rows) {
            let exact = layer.linear(kind);
            let mean = column_means(&linear(input, exact), exact.out_features);
            let (packed, _) = quantize_linear(exact, kind, input, &mean)
                .map_err(|error| error.context(format!("shared layer, {kind:?}")))?;
            done.push(packed);
            progress(done.len(), total);
        }
    }
    // From kind by kind to layer by layer.
    let mut kinds: Vec<_> = (0..KINDS)
        .map(|_| done.drain(..stored).collect::<Vec<_>>())
        .collect();
    kinds.iter_mut().for_each(|kind| kind.reverse());
    let by_layer = (0..stored).flat_map(|_| {
        let next: Vec<_> = kinds.iter_mut().filter_map(Vec::pop).collect();
        next
    });
    Ok(encoder_of(weights, by_layer.collect()))
}

/// Collects what reaches the products of one kind.
struct Inputs<'a> {
    weights: &'a Weights,
    kind: LinearKind,
    /// `[tokens, in_features]` for each stored layer.
    rows: Vec<Vec<f32>>,
}

impl Linears for Inputs<'_> {
    fn apply(&mut self, layer: usize, kind: LinearKind, input: &[f32]) -> Result<Vec<f32>> {
        let output = Exact(self.weights).apply(layer, kind, input)?;
        if kind == self.kind {
            let config = &self.weights.config;
            let stored = config.stored_layer(layer);
            let sharing = config.num_hidden_layers / config.stored_layers();
            let width = self.weights.layers[stored].linear(kind).in_features;
            // Another token of each layer, so that all tokens are seen.
            let rows = input
                .chunks_exact(width)
                .skip(layer % sharing)
                .step_by(sharing);
            self.rows[stored].extend(rows.flatten());
        }
        Ok(output)
    }
}

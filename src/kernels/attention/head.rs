//! Working memory and sizes of one head of a long sequence.

use super::parts::{KEY_DEPTH, KEYS, PANELS};
use crate::lanes::LANES;
use crate::memory::{Aligned, grow};
use crate::product::Product;
use crate::quantized::Block;

/// Working memory of one head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// `[keys, depth]`, `depth` blocks for a head.
    pub(super) keys: Vec<Block>,
    /// Channels of the keys, padded to whole vectors: what a key is multiplied by.
    pub(super) key_inverse: Aligned<f32>,
    /// What a query is multiplied by.
    pub(super) query_factor: Aligned<f32>,
    /// `[channels, 16]`: a panel's queries before they are packed.
    pub(super) transposed: Aligned<[f32; LANES]>,
    /// Queries as panels: `[PANELS, depth·16]` groups.
    pub(super) queries: Vec<Block>,
    /// `[keys/KEYS, channels, KEYS]` in blocks.
    pub(super) values: Vec<Block>,
    /// Least value of each channel.
    pub(super) lows: Aligned<f32>,
    /// Step between a channel's bytes.
    pub(super) value_steps: Aligned<f32>,
    pub(super) panels: [Panel; PANELS],
    /// Sums of weighted values: `[PANELS, channels, 16]`.
    pub(super) sums: Aligned<[f32; LANES]>,
    /// Of this part and the next: products of keys and queries, `[2, KEYS, 16]`.
    pub(super) scores: Aligned<[i32; LANES]>,
    /// Of this part and the one before: high bytes of the weights, then low bytes, `[2, 2, KEYS/4]` groups.
    pub(super) weights: Vec<Block>,
    /// The same: what a panel's sums are multiplied by.
    pub(super) shrink: [[f32; LANES]; 2],
    /// Products of channels with weights' high bytes, and with low bytes: tile by tile.
    pub(super) products: Aligned<[i32; LANES]>,
}

/// Of sixteen queries.
#[derive(Debug, Default)]
pub(super) struct Panel {
    /// What a unit of their scores is worth in the exponent of 2.
    pub(super) steps: [f32; LANES],
    /// What their weights so far count from, in the exponent of 2.
    pub(super) reference: [f32; LANES],
    /// The sum of their weights so far.
    pub(super) sum: [f32; LANES],
}

/// Sizes that follow from the sequence and the head.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) keys: usize,
    pub(super) head_size: usize,
    /// The head's size in whole vectors.
    pub(super) channels: usize,
    /// Blocks of a head.
    pub(super) depth: usize,
}

impl Shape {
    #[inline(always)]
    pub(super) fn of(keys: usize, head_size: usize) -> Self {
        Shape {
            keys,
            head_size,
            channels: head_size.div_ceil(LANES) * LANES,
            depth: head_size.div_ceil(64),
        }
    }
}

impl Head {
    #[inline(always)]
    pub(super) fn reserve<P: Product>(&mut self, shape: Shape) {
        let empty = Block([0; 64]);
        // Whole tiles: what lies beyond the keys and channels is multiplied and not looked at.
        let tiles = shape.keys.next_multiple_of(P::TILE_ROWS);
        let key_blocks = shape.keys.div_ceil(KEYS);
        let channels = key_blocks * shape.channels + shape.channels.next_multiple_of(P::TILE_ROWS);
        grow(&mut self.keys, tiles * shape.depth, empty);
        self.key_inverse.grow(shape.channels);
        self.query_factor.grow(shape.channels);
        grow(&mut self.queries, PANELS * shape.depth * LANES, empty);
        // Kernels ask for room for whole tiles.
        self.scores.grow(3 * KEYS);
        grow(&mut self.weights, 2 * 2 * KEY_DEPTH * LANES, empty);
        grow(&mut self.values, channels * KEY_DEPTH, empty);
        self.lows.grow(shape.channels);
        self.value_steps.grow(shape.channels);
        self.products
            .grow(2 * shape.head_size.next_multiple_of(P::tall_rows(2)));
        self.transposed.grow(shape.channels);
        self.sums.grow(PANELS * shape.channels);
    }
}

//! The integer products of a layer by themselves, for benchmarks: their share of what the CPU's product instruction could
//! do says how well a kernel feeds it.

use super::plan::Plan;
use super::{PackedLinear, Product, Room, tiles};
use crate::quantized::QuantizedView;
use std::hint::black_box;

/// The products of [`linear`](super::linear), tile by tile, and in its order where all tiles are of full height; the sums are dropped.
#[inline(always)]
pub(crate) fn products<P: Product>(product: P, a: QuantizedView<'_>, w: PackedLinear<'_>) {
    if a.rows() == 0 || w.n == 0 {
        return;
    }
    let mut state = P::State::default();
    if P::TILE_ROWS > 1 && tiles::products(product, &mut state, &a, &w) {
        return;
    }
    let mut room = Room::<P>::new();
    let (accumulators, _) = room.split();
    let mut plan = Plan::of(&a, &w);
    while let Some(step) = plan.next::<P>() {
        let tile = plan.tile(&a, &w, step);
        product.multiply(&mut state, tile, accumulators);
        black_box(&mut *accumulators);
    }
}

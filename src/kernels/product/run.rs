//! When a product's tiles are multiplied, and when they are dequantized.

use super::dequantize::{Group, Sums};
use super::plan::{Plan, Step};
use super::{
    Accumulators, BLOCK_TILES, Finish, LANES, MAX_PANELS, MAX_TILE, Meanwhile, Nothing, Output,
    PackedLinear, Product, Tile,
};
use crate::lanes::Lanes;
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;

#[inline(always)]
pub(super) fn run<P: Product, E: Finish>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    finish: E,
    out: MatrixMut<'_>,
) {
    if a.rows() == 0 || w.n == 0 {
        return;
    }
    const { assert!(P::NR <= MAX_PANELS && P::MR * P::NR * LANES <= MAX_TILE) };
    if P::TILES && E::IS_LONG {
        in_turns(product, a, w, finish, out);
    } else {
        one_behind(product, a, w, finish, out);
    }
}

/// Each step is multiplied while the one before it is dequantized, so that neither waits for the other's results.
#[inline(always)]
fn one_behind<P: Product, E: Finish>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    finish: E,
    out: MatrixMut<'_>,
) {
    let mut output = Output::of(out);
    let mut accumulators = Accumulators([[0; MAX_TILE]; 2]);
    let mut state = P::State::default();
    let mut plan = Plan::of(a, w);
    let mut before: Option<Step> = None;
    let [one, other] = &mut accumulators.0;
    let (mut fill, mut full) = (one, other);
    loop {
        let now = plan.next::<P>();
        let tile = now.map(|step| plan.tile(a, w, step));
        let product = Multiply {
            product,
            state: &mut state,
            tile,
            accumulators: fill,
        };
        match before {
            None => product.with(Nothing),
            Some(step) => {
                let sums = plan.sums::<P>(product.product.lanes(), a, &w, step, full, &mut output);
                dequantize(product, sums, finish);
            }
        }
        if now.is_none() {
            return;
        }
        before = now;
        std::mem::swap(&mut fill, &mut full);
    }
}

/// All rows of a block are multiplied, and then all of them dequantized: while tile instructions are in the CPU's window,
/// it starts only one operation on 512 bits a cycle instead of two, which counts where there are many.
#[inline(always)]
fn in_turns<P: Product, E: Finish>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    finish: E,
    out: MatrixMut<'_>,
) {
    let mut output = Output::of(out);
    let mut accumulators = Accumulators([[0; MAX_TILE]; BLOCK_TILES]);
    let mut state = P::State::default();
    let mut plan = Plan::of(a, w);
    let mut next = plan.next::<P>();
    while let Some(first) = next {
        let mut steps = [first; BLOCK_TILES];
        let mut count = 0;
        while let Some(step) = next
            && (step.block, step.panel, step.group) == (first.block, first.panel, first.group)
        {
            let tile = Some(plan.tile(a, w, step));
            let accumulators = &mut accumulators.0[count];
            Multiply {
                product,
                state: &mut state,
                tile,
                accumulators,
            }
            .with(Nothing);
            steps[count] = step;
            count += 1;
            next = plan.next::<P>();
        }
        for (step, accumulators) in steps[..count].iter().zip(&mut accumulators.0) {
            let sums = plan.sums::<P>(product.lanes(), a, &w, *step, accumulators, &mut output);
            let nothing = Multiply {
                product,
                state: &mut state,
                tile: None,
                accumulators: &mut [],
            };
            dequantize(nothing, sums, finish);
        }
    }
}

/// The product of a step, if there is one.
struct Multiply<'a, P: Product> {
    product: P,
    state: &'a mut P::State,
    tile: Option<Tile<'a>>,
    accumulators: &'a mut [i32],
}

impl<P: Product> Multiply<'_, P> {
    #[inline(always)]
    fn with(self, mut meanwhile: impl Meanwhile) {
        if let Some(tile) = self.tile {
            self.product
                .multiply(self.state, tile, self.accumulators, &mut meanwhile);
        }
        meanwhile.end();
    }
}

/// Dequantizes a step while another one is multiplied.
#[inline(always)]
fn dequantize<P: Product, L: Lanes, E: Finish>(
    product: Multiply<'_, P>,
    sums: Sums<'_, '_, L>,
    finish: E,
) {
    let step = sums.step;
    let is_last = step.group + 1 == sums.groups;
    let is_whole = step.panels == 4 && (step.panel + 4) * LANES <= sums.w.n;
    match (step.group == 0, is_last) {
        (true, true) if is_whole => product.with(Group::<_, _, 4, true, true>::of(sums, finish, 0)),
        (true, false) if is_whole => {
            product.with(Group::<_, _, 4, true, false>::of(sums, finish, 0))
        }
        (false, true) if is_whole => {
            product.with(Group::<_, _, 4, false, true>::of(sums, finish, 0))
        }
        (false, false) if is_whole => {
            product.with(Group::<_, _, 4, false, false>::of(sums, finish, 0))
        }
        _ => {
            product.with(Nothing);
            panels(sums, finish);
        }
    }
}

/// Dequantizes a step panel by panel.
#[inline(always)]
fn panels<L: Lanes, E: Finish>(sums: Sums<'_, '_, L>, finish: E) {
    let step = sums.step;
    let is_last = step.group + 1 == sums.groups;
    let Sums { partial, out, .. } = sums;
    for panel in 0..step.panels {
        let sums = Sums {
            partial: &mut *partial,
            out: &mut *out,
            ..sums
        };
        match (step.group == 0, is_last) {
            (true, true) => Group::<_, _, 1, true, true>::of(sums, finish, panel).end(),
            (true, false) => Group::<_, _, 1, true, false>::of(sums, finish, panel).end(),
            (false, true) => Group::<_, _, 1, false, true>::of(sums, finish, panel).end(),
            (false, false) => Group::<_, _, 1, false, false>::of(sums, finish, panel).end(),
        }
    }
}

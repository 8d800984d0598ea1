//! When a product's tiles are multiplied, and when they are dequantized.

use super::dequantize::{Parts, Rows, narrow};
use super::plan::{Plan, Step};
use super::{
    Accumulators, BLOCK_ROWS, GROUPS_TOGETHER, LANES, MAX_PANELS, Meanwhile, Nothing, PackedLinear,
    Partial, Product,
};
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;
use std::mem::MaybeUninit;

/// out = a·wᵀ + bias, added to what is there with `add`. With tiles, each step is multiplied while the one before it is
/// dequantized, so that neither waits for the other's results.
#[inline(always)]
pub(super) fn run<P: Product>(
    product: P,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    add: bool,
    mut out: MatrixMut<'_>,
) {
    if a.rows() == 0 || w.n == 0 {
        return;
    }
    const { assert!(P::NR <= MAX_PANELS && P::MR <= BLOCK_ROWS) };
    let mut accumulators = [Accumulators::default(), Accumulators::default()];
    let mut state = P::State::default();
    let mut plan = Plan::of(a, w);
    let mut block = MaybeUninit::uninit();
    let partial: &mut [Partial] = match plan.groups > GROUPS_TOGETHER {
        true => block.write([Partial::default(); BLOCK_ROWS]),
        false => &mut [],
    };
    let mut before: Option<Step> = None;
    let [one, other] = &mut accumulators;
    let (mut fill, mut full) = (one, other);
    loop {
        let now = plan.next::<P>();
        let multiply = Multiply {
            product,
            state: &mut state,
            plan: &plan,
            a,
            w,
            step: now,
            accumulators: fill,
        };
        // Without tiles there is nothing meanwhile: one copy of the product serves all forms of what follows it.
        let multiply = match P::TILE_ROWS {
            1 => multiply.at_once(),
            _ => multiply,
        };
        match before {
            None => multiply.with(Nothing),
            Some(step) => {
                let parts = Parts {
                    a,
                    w: &w,
                    step,
                    groups: plan.groups,
                    accumulators: full,
                    stride: P::stride(step.panels),
                    partial: &mut *partial,
                    out: &mut out,
                };
                dequantize(multiply, parts, add);
            }
        }
        if now.is_none() {
            return;
        }
        before = now;
        std::mem::swap(&mut fill, &mut full);
    }
}

/// The product of a step, if there is one.
struct Multiply<'a, P: Product> {
    product: P,
    state: &'a mut P::State,
    plan: &'a Plan,
    a: QuantizedView<'a>,
    w: PackedLinear<'a>,
    step: Option<Step>,
    accumulators: &'a mut Accumulators,
}

impl<P: Product> Multiply<'_, P> {
    /// Multiplies now, and leaves nothing to multiply.
    #[inline(always)]
    fn at_once(mut self) -> Self {
        self.multiply(&mut Nothing);
        self.step = None;
        self
    }

    #[inline(always)]
    fn with(mut self, mut meanwhile: impl Meanwhile) {
        if P::TILE_ROWS > 1 {
            self.multiply(&mut meanwhile);
        }
        meanwhile.end();
    }

    #[inline(always)]
    fn multiply(&mut self, meanwhile: &mut impl Meanwhile) {
        let Some(step) = self.step else {
            return;
        };
        let mut index = 0;
        while index < step.groups {
            let tile = self.plan.tile(self.a, self.w, step, index);
            let accumulators = &mut self.accumulators.0[index];
            self.product
                .multiply(self.state, tile, accumulators, meanwhile);
            index += 1;
        }
    }
}

/// Dequantizes a step while another one is multiplied.
#[inline(always)]
fn dequantize<P: Product>(multiply: Multiply<'_, P>, parts: Parts<'_, '_>, add: bool) {
    const { assert!(GROUPS_TOGETHER == 2) };
    let lanes = multiply.product.lanes();
    let step = parts.step;
    let add = add && parts.is_last();
    let is_whole = (step.panel + step.panels) * LANES <= parts.w.n;
    match (step.panels, step.groups) {
        (4, 2) if is_whole => multiply.with(Rows::<_, 4, 2>::of(lanes, parts, add)),
        (4, 1) if is_whole => multiply.with(Rows::<_, 4, 1>::of(lanes, parts, add)),
        (2, 2) if is_whole => multiply.with(Rows::<_, 2, 2>::of(lanes, parts, add)),
        (2, 1) if is_whole => multiply.with(Rows::<_, 2, 1>::of(lanes, parts, add)),
        _ => {
            multiply.with(Nothing);
            narrow(lanes, parts, add);
        }
    }
}

//! When a product's tiles are multiplied, and when they are dequantized.

use super::dequantize::{Parts, Rows, narrow};
use super::jobs::Jobs;
use super::plan::{Plan, Step};
use super::{
    Accumulators, GROUPS_TOGETHER, LANES, MAX_BLOCK_ROWS, MAX_PANELS, Meanwhile, Nothing,
    PackedLinear, Partial, Product,
};
use crate::quantized::QuantizedView;
use std::mem::MaybeUninit;

/// What a step needs of its product.
#[derive(Clone, Copy)]
struct Operands<'a> {
    a: QuantizedView<'a>,
    w: PackedLinear<'a>,
    plan: Plan,
}

impl<'a> Operands<'a> {
    #[inline(always)]
    fn next(jobs: &mut dyn Jobs<'a>) -> Option<Self> {
        let (a, w) = jobs.next()?;
        assert!(a.rows() > 0 && w.n > 0);
        let plan = Plan::of(a, w);
        Some(Operands { a, w, plan })
    }
}

/// out = a·wᵀ + bias of each product, or with `add` out + that, tile by tile. With tile registers, each step is multiplied while
/// the one before it is dequantized, so that neither waits for the other's results.
#[inline(always)]
pub(crate) fn linear<'a, P: Product>(product: P, jobs: &mut dyn Jobs<'a>, add: bool) {
    const { assert!(P::NR <= MAX_PANELS && P::MR <= P::BLOCK_ROWS && P::BLOCK_ROWS <= MAX_BLOCK_ROWS) };
    let Some(mut now) = Operands::next(jobs) else {
        return;
    };
    let mut accumulators = [Accumulators::default(), Accumulators::default()];
    let mut state = P::State::default();
    let mut block = MaybeUninit::uninit();
    let mut partial: &mut [Partial] = &mut [];
    if now.plan.groups > GROUPS_TOGETHER {
        partial = block.write([Partial::default(); MAX_BLOCK_ROWS]);
    }
    // Those of the step before: they change with the product.
    let mut full_operands = now;
    let mut before: Option<Step> = None;
    let [one, other] = &mut accumulators;
    let (mut fill, mut full) = (one, other);
    loop {
        let mut step = now.plan.next::<P>();
        if step.is_none()
            && let Some(next) = Operands::next(jobs)
        {
            now = next;
            step = now.plan.next::<P>();
        }
        let multiply = Multiply {
            product,
            state: &mut state,
            operands: &now,
            step,
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
                    a: full_operands.a,
                    w: &full_operands.w,
                    step,
                    groups: full_operands.plan.groups,
                    accumulators: full,
                    stride: P::stride(step.panels),
                    partial: &mut *partial,
                    out: &mut jobs.out(),
                };
                dequantize(multiply, parts, add);
                if step.ends_product {
                    jobs.end();
                }
            }
        }
        if step.is_none() {
            return;
        }
        if before.is_none_or(|before| before.ends_product) {
            full_operands = now;
        }
        before = step;
        std::mem::swap(&mut fill, &mut full);
    }
}

/// The product of a step, if there is one.
struct Multiply<'a, P: Product> {
    product: P,
    state: &'a mut P::State,
    operands: &'a Operands<'a>,
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
            let Operands { a, w, plan } = *self.operands;
            let tile = plan.tile(a, w, step, index);
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
    let add = add && parts.has_last_group();
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

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

/// What lasts from one product to the next.
pub(super) struct Workspace<P: Product> {
    accumulators: [Accumulators; 2],
    state: P::State,
}

impl<P: Product> Default for Workspace<P> {
    #[inline(always)]
    fn default() -> Self {
        Workspace {
            accumulators: [Accumulators::default(), Accumulators::default()],
            state: P::State::default(),
        }
    }
}

/// out = a·wᵀ + bias, added to what is there with `add`. Each step is multiplied while the one before it is dequantized, so
/// that neither waits for the other's results.
#[inline(always)]
pub(super) fn run<P: Product>(
    product: P,
    Workspace {
        accumulators,
        state,
    }: &mut Workspace<P>,
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    add: bool,
    mut out: MatrixMut<'_>,
) {
    if a.rows() == 0 || w.n == 0 {
        return;
    }
    const { assert!(P::NR <= MAX_PANELS && P::MR <= BLOCK_ROWS) };
    let mut plan = Plan::of(a, w);
    let mut block = MaybeUninit::uninit();
    let partial: &mut [Partial] = match plan.groups > GROUPS_TOGETHER {
        true => block.write([Partial::default(); BLOCK_ROWS]),
        false => &mut [],
    };
    let mut before: Option<Step> = None;
    let [one, other] = accumulators;
    let (mut fill, mut full) = (one, other);
    loop {
        let now = plan.next::<P>();
        let multiply = Multiply {
            product,
            state: &mut *state,
            plan: &plan,
            a,
            w,
            step: now,
            accumulators: fill,
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
    #[inline(always)]
    fn with(self, mut meanwhile: impl Meanwhile) {
        if let Some(step) = self.step {
            let mut index = 0;
            while index < step.groups {
                let tile = self.plan.tile(self.a, self.w, step, index);
                let accumulators = &mut self.accumulators.0[index];
                self.product
                    .multiply(self.state, tile, accumulators, &mut meanwhile);
                index += 1;
            }
        }
        meanwhile.end();
    }
}

/// Dequantizes a step while another one is multiplied.
#[inline(always)]
fn dequantize<P: Product>(multiply: Multiply<'_, P>, parts: Parts<'_, '_>, add: bool) {
    const { assert!(GROUPS_TOGETHER == 2) };
    let lanes = multiply.product.lanes();
    let step = parts.step;
    let add = add && step.group + step.groups == parts.groups;
    let is_whole = (step.panel + step.panels) * LANES <= parts.w.n;
    macro_rules! with {
        ($n:literal, $g:literal) => {
            match add {
                true => multiply.with(Rows::<_, $n, $g, true>::of(lanes, parts)),
                false => multiply.with(Rows::<_, $n, $g, false>::of(lanes, parts)),
            }
        };
    }
    match (step.panels, step.groups) {
        (4, 2) if is_whole => with!(4, 2),
        (4, 1) if is_whole => with!(4, 1),
        (2, 2) if is_whole => with!(2, 2),
        (2, 1) if is_whole => with!(2, 1),
        _ => {
            multiply.with(Nothing);
            narrow(lanes, parts, add);
        }
    }
}

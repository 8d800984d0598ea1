//! Weights of keys as whole numbers of fifteen bits, from integer scores.
//!
//! A weight is round(23000·2ᵗ) with t = step·score − reference ≤ ½, where the reference is a whole number near the largest
//! step·score: then 2ᵗ needs no subtraction before it, and sums that count from different references differ by a power of two.
//! At most it is 32,583, which leaves room for 128: with that added, the low byte is 128 more than a signed byte, and the high
//! byte is one.

use super::head::Head;
use super::parts::{KEY_DEPTH, KEYS, Part};
use crate::lanes::{LANES, Lanes};
use crate::math;
use std::ops::Range;

/// Added to t: its whole part, and 127, are then the lowest bits, as an exponent has them.
const ROUND: f32 = 12_582_912.0 + 127.0;

/// Added to a weight: it is then the lowest bits, with 128 more.
const WHOLE: f32 = 8_388_608.0 + 128.0;

/// 23000·2ᶠ for f in −½…½, within 1.8e-3 of itself; a score is less certain than that, by the steps of its bytes.
const POWER: [f32; 3] = [23010.191, 16179.304, 5483.8657];

/// Largest magnitude of step·score: references, and what is added to them, are then exact.
pub(super) const MAX_EXPONENT: f32 = 2_097_152.0;

/// What the weights of some keys have in common.
#[derive(Clone, Copy)]
struct Weights<L: Lanes> {
    step: L::F,
    /// [`ROUND`] less the reference.
    round: L::F,
    /// Scores below this have no weight.
    least: L::F,
}

impl<L: Lanes> Weights<L> {
    /// The whole number nearest to step·highest.
    #[inline(always)]
    fn reference(lanes: L, step: L::F, highest: L::F) -> L::F {
        let round = lanes.splat(ROUND);
        lanes.sub(lanes.fma(highest, step, round), round)
    }

    /// For a reference of the highest score or a higher one.
    #[inline(always)]
    fn new(lanes: L, step: L::F, reference: L::F) -> Self {
        // 2⁻³⁰·23000 rounds to zero.
        let least = lanes.sub(reference, lanes.splat(30.0));
        Weights {
            step,
            round: lanes.sub(lanes.splat(ROUND), reference),
            least: lanes.div(least, step),
        }
    }

    /// Bits whose lowest sixteen are 128 more than the weights of these scores; see [`Weights::sum`].
    #[inline(always)]
    fn apply<const N: usize>(&self, lanes: L, mut score: [L::F; N]) -> [L::I; N] {
        let Weights { step, round, least } = *self;
        let mut whole = [lanes.zero(); N];
        let mut power = [lanes.splat(POWER[2]); N];
        for score in &mut score {
            // A step of zero makes this infinite or NaN: then the score stays.
            *score = lanes.max(least, *score);
        }
        for i in 0..N {
            whole[i] = lanes.fma(score[i], step, round);
        }
        for i in 0..N {
            let fraction = lanes.fma(score[i], step, lanes.sub(round, whole[i]));
            power[i] = lanes.fma(power[i], fraction, lanes.splat(POWER[1]));
            power[i] = lanes.fma(power[i], fraction, lanes.splat(POWER[0]));
        }
        let mut weight = [lanes.splat_int(0); N];
        for i in 0..N {
            let scale = lanes.exponent(lanes.bits(whole[i]));
            weight[i] = lanes.bits(lanes.fma(power[i], scale, lanes.splat(WHOLE)));
        }
        weight
    }

    /// The sum of `count` weights from the wrapping sum of their bits.
    #[inline(always)]
    fn sum(lanes: L, bits: L::I, count: usize) -> L::F {
        let extra = (WHOLE.to_bits() as i32).wrapping_mul(count as i32);
        lanes.to_float(lanes.sub_int(bits, lanes.splat_int(extra)))
    }
}

/// What the weights of a part's keys count from: the largest score so far.
#[inline(always)]
pub(super) fn refer<L: Lanes>(lanes: L, part: Part, head: &mut Head) {
    let panel = &mut head.panels[part.panel];
    let mut highest = lanes.splat_int(i32::MIN);
    for score in &head.scores[part.side * KEYS..][..part.keys] {
        highest = lanes.max_int(highest, lanes.load_int(score));
    }
    let step = lanes.load(&panel.steps);
    let mut reference = Weights::reference(lanes, step, lanes.to_float(highest));
    if part.block > 0 {
        let before = lanes.load(&panel.reference);
        reference = lanes.max(before, reference);
        let shrink = math::exp2(lanes, lanes.sub(before, reference));
        lanes.store(lanes.mul(lanes.load(&panel.sum), shrink), &mut panel.sum);
        lanes.store(shrink, &mut head.shrink[part.side]);
    } else {
        // A step that is not a number makes the sum one.
        lanes.store(lanes.mul(step, lanes.zero()), &mut panel.sum);
    }
    lanes.store(reference, &mut panel.reference);
}

/// Weights of some keys of a part.
#[inline(always)]
pub(super) fn weigh<L: Lanes>(lanes: L, part: Part, keys: Range<usize>, head: &mut Head) {
    let (from, to) = (keys.start, keys.end.min(part.keys));
    if from >= to {
        return;
    }
    let scores = &head.scores[part.side * KEYS..][from..to];
    let panel = &mut head.panels[part.panel];
    let weights = Weights::new(
        lanes,
        lanes.load(&panel.steps),
        lanes.load(&panel.reference),
    );
    let groups = &mut head.weights[part.side * 2 * KEY_DEPTH * LANES..][..2 * KEY_DEPTH * LANES];
    let (high, low) = groups.split_at_mut(KEY_DEPTH * LANES);
    let (high, low) = (&mut high[from / 4..], &mut low[from / 4..]);
    let (quads, rest) = scores.as_chunks::<4>();
    let mut sum = lanes.splat_int(0);
    for ((high, low), scores) in high.iter_mut().zip(&mut *low).zip(quads) {
        let quad = weights.apply(lanes, load(lanes, scores));
        let pairs = [
            lanes.add_int(quad[0], quad[1]),
            lanes.add_int(quad[2], quad[3]),
        ];
        sum = lanes.add_int(sum, lanes.add_int(pairs[0], pairs[1]));
        lanes.store_quad_halves(quad, &mut low.0, &mut high.0);
    }
    if !rest.is_empty() {
        let mut quad = [lanes.splat_int(0); 4];
        for (quad, score) in quad.iter_mut().zip(rest) {
            [*quad] = weights.apply(lanes, load(lanes, &[*score]));
            sum = lanes.add_int(sum, *quad);
        }
        let (high, low) = (&mut high[quads.len()].0, &mut low[quads.len()].0);
        lanes.store_quad_halves(quad, low, high);
    }
    let sum = Weights::sum(lanes, sum, to - from);
    lanes.store(lanes.add(lanes.load(&panel.sum), sum), &mut panel.sum);
}

/// Scores as numbers.
#[inline(always)]
fn load<L: Lanes, const N: usize>(lanes: L, scores: &[[i32; LANES]; N]) -> [L::F; N] {
    let mut x = [lanes.zero(); N];
    for (x, score) in x.iter_mut().zip(scores) {
        *x = lanes.to_float(lanes.load_int(score));
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::Generic;

    /// Weights of sixteen scores that count from `reference`.
    fn weights(step: f32, reference: f32, scores: [f32; LANES]) -> [i32; LANES] {
        let weights = Weights::new(Generic, [step; LANES], [reference; LANES]);
        let [bits] = weights.apply(Generic, [scores]);
        let (mut low, mut high) = ([0; 4 * LANES], [0; 4 * LANES]);
        Generic.store_quad_halves([bits; 4], &mut low, &mut high);
        let from_bits = bits.map(|bits| (bits & 0xffff) - 128);
        for (index, weight) in from_bits.iter().enumerate() {
            let (low, high) = (low[4 * index] as i8, high[4 * index] as i8);
            assert_eq!(i32::from(high) * 256 + i32::from(low), *weight);
            let sum = Weights::sum(Generic, [bits[index].wrapping_mul(3); LANES], 3);
            assert_eq!(sum[0], 3.0 * *weight as f32);
        }
        from_bits
    }

    #[test]
    fn weights_are_within_their_error() {
        let step = 1.0 / 65536.0;
        let scores = -40 * 65536..=32768 - 15;
        let mut worst: f64 = 0.0;
        for first in scores.step_by(if cfg!(miri) { 160_000 } else { LANES }) {
            let scores: [f32; LANES] = std::array::from_fn(|lane| (first + lane as i32) as f32);
            for (weight, score) in weights(step, 0.0, scores).into_iter().zip(scores) {
                let exact = 23000.0 * (f64::from(score) * f64::from(step)).exp2();
                // Half a unit is the rounding's.
                let error = (f64::from(weight) - exact).abs() - 0.5;
                worst = worst.max(error / exact);
                assert!((0..=32_583).contains(&weight), "{score}: {weight}");
            }
        }
        println!("weights: {worst:e}");
        assert!(worst <= 1.8e-3, "{worst:e}");
    }

    #[test]
    fn the_highest_score_has_a_weight_near_the_largest_wherever_it_is() {
        let most = MAX_EXPONENT / (255.0 * 127.0 * 64.0);
        for step in [0.0, 1e-30, 1e-3, 0.37, most] {
            for highest in [-2_072_640.0, -77_777.0, 0.0, 1.0, 123_457.0, 2_072_640.0f32] {
                let reference = Weights::reference(Generic, [step; LANES], [highest; LANES]);
                let scores = std::array::from_fn(|lane| highest - lane.pow(5) as f32);
                let found = weights(step, reference[0], scores);
                assert!(
                    (16_200..=32_583).contains(&found[0]),
                    "{step}, {highest}: {found:?}"
                );
                assert!(
                    found.is_sorted_by(|a, b| a >= b),
                    "{step}, {highest}: {found:?}"
                );
                assert!(found[15] >= 0);
                if step == 0.0 {
                    continue;
                }
                // From a higher reference they are halved for each unit.
                let lower = weights(step, reference[0] + 3.0, scores);
                assert!((lower[0] * 8 - found[0]).abs() <= 4);
                let none = weights(step, reference[0] + 50.0, scores);
                assert_eq!(none, [0; LANES], "{step}");
            }
        }
    }
}

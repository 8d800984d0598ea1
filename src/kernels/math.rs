//! Elementary functions by our own polynomials, the same bits on every CPU.
//!
//! The coefficients come from weighted least squares on Chebyshev points, reweighted until the error is level
//! (Lawson's algorithm), in double precision, then rounded to `f32`. Errors stand beside each function; they are the largest over
//! all f32 of their range (`tests/functions.rs`, with BERTLET_EXHAUSTIVE set).

use super::lanes::Lanes;

/// A function of one number, told apart exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x itself.
    Identity,
    /// x·Φ(x), by the error function.
    Gelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x·σ(x).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// σ(x) = 1/(1 + e⁻ˣ).
    Sigmoid,
}

/// A function over lanes.
pub(crate) trait Function: Copy {
    fn apply<L: Lanes>(self, lanes: L, x: L::F) -> L::F;

    /// Of several vectors, one operation after another for all of them: a long chain of operations on one vector fills
    /// the CPU's scheduler with what must wait.
    #[inline(always)]
    fn apply_all<L: Lanes, const N: usize>(self, lanes: L, mut x: [L::F; N]) -> [L::F; N] {
        for x in &mut x {
            *x = self.apply(lanes, *x);
        }
        x
    }
}

macro_rules! functions {
    ($($name:ident => $function:ident;)*) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Function for $name {
            #[inline(always)]
            fn apply<L: Lanes>(self, lanes: L, x: L::F) -> L::F {
                $function(lanes, x)
            }
        }
    )*};
}

/// Functions of the form that [`gated`] computes.
macro_rules! gated_functions {
    ($($name:ident => $bound:literal, $half:literal, $coefficients:ident;)*) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Function for $name {
            #[inline(always)]
            fn apply<L: Lanes>(self, lanes: L, x: L::F) -> L::F {
                let [y] = self.apply_all(lanes, [x]);
                y
            }

            #[inline(always)]
            fn apply_all<L: Lanes, const N: usize>(self, lanes: L, x: [L::F; N]) -> [L::F; N] {
                gated(lanes, x, $bound, $half, &$coefficients)
            }
        }
    )*};
}

gated_functions!(
    Gelu => 5.08, 12.903199, GELU;
    GeluToBytes => 3.74, 6.9938, GELU_TO_BYTES;
    GeluTanh => 4.9, 12.005, GELU_TANH;
);

functions!(
    Relu => relu;
    Silu => silu;
    Tanh => tanh;
    Sigmoid => sigmoid;
);

/// c₀ + c₁·x + c₂·x² + …
#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(lanes: L, x: L::F, coefficients: &[f32; N]) -> L::F {
    let mut sum = lanes.splat(coefficients[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = lanes.fma(sum, x, lanes.splat(coefficients[i]));
    }
    sum
}

/// x·(½ + c·P(c² − half)) with c = x clamped to ±bound: P stands for (Φ(c) − ½)/c, which is even, and beyond the bound Φ
/// is 0 or 1 within the error. No division and no exponential.
#[inline(always)]
fn gated<L: Lanes, const N: usize, const P: usize>(
    lanes: L,
    x: [L::F; N],
    bound: f32,
    half: f32,
    p: &[f32; P],
) -> [L::F; N] {
    let mut clamped = x;
    let mut square = x;
    let mut gate = [lanes.splat(p[P - 1]); N];
    for i in 0..N {
        clamped[i] = lanes.clamp(x[i], bound);
    }
    for i in 0..N {
        square[i] = lanes.fma(clamped[i], clamped[i], lanes.splat(-half));
    }
    for coefficient in p[..P - 1].iter().rev() {
        let coefficient = lanes.splat(*coefficient);
        for i in 0..N {
            gate[i] = lanes.fma(gate[i], square[i], coefficient);
        }
    }
    for i in 0..N {
        gate[i] = lanes.fma(clamped[i], gate[i], lanes.splat(0.5));
    }
    for i in 0..N {
        gate[i] = lanes.mul(x[i], gate[i]);
    }
    gate
}

/// x·Φ(x). Error at most 3.4e-7·max(1, |x|), far below zero too, where the result is about −2e-8·|x| rather than 0.
const GELU: [f32; 13] = [
    0.13914856,
    -0.005367578,
    0.00030590635,
    -1.8748104e-05,
    1.1429365e-06,
    -6.660428e-08,
    3.7228052e-09,
    -2.0144704e-10,
    9.059016e-12,
    -2.973803e-13,
    1.6009275e-14,
    -1.1843327e-15,
    3.4312276e-17,
];

/// x·Φ(x) where the result becomes one of 256 steps between the least and the largest of its group, whose rounding is
/// coarser by far. Error at most 4.8e-5·max(1, |x|), and 3.6e-4·x² near zero, for two thirds of the operations.
const GELU_TO_BYTES: [f32; 7] = [
    0.18752854,
    -0.012559322,
    0.0011250916,
    -9.509719e-05,
    8.005439e-06,
    -7.221772e-07,
    3.7747363e-08,
];

/// The tanh form of GELU. Error at most 2.5e-7·max(1, |x|).
const GELU_TANH: [f32; 13] = [
    0.14424859,
    -0.0059724753,
    0.00036341907,
    -2.3494364e-05,
    1.4866068e-06,
    -8.9119894e-08,
    5.0502194e-09,
    -2.6216984e-10,
    1.1698175e-11,
    -5.664689e-13,
    3.915391e-14,
    -2.0438551e-15,
    4.3670163e-17,
];

/// max(x, 0); NaN stays.
#[inline(always)]
pub(crate) fn relu<L: Lanes>(lanes: L, x: L::F) -> L::F {
    lanes.max(lanes.zero(), x)
}

const EXP2: [f32; 7] = [
    1.0,
    std::f32::consts::LN_2,
    0.24022646,
    0.055503286,
    0.009618489,
    0.0013399931,
    0.00015345812,
];

/// log₂e as the sum of two numbers.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LOG2_E_REST: f32 = 1.925963e-08;

/// eˣ within 1e-7 of itself for x in −87…88; below, 0; above, that of 88 (1.65e38), so that no intermediate leaves the normal numbers.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(lanes: L, x: L::F) -> L::F {
    let clamped = lanes.min(lanes.splat(88.0), lanes.max(lanes.splat(-87.0), x));
    let whole = lanes.round(lanes.mul(clamped, lanes.splat(LOG2_E)));
    let negative = lanes.sub(lanes.zero(), lanes.to_float(whole));
    let fraction = lanes.fma(clamped, lanes.splat(LOG2_E), negative);
    let fraction = lanes.fma(clamped, lanes.splat(LOG2_E_REST), fraction);
    let power = lanes.scale_by_power(polynomial(lanes, fraction, &EXP2), whole);
    lanes.select(lanes.less(x, lanes.splat(-87.0)), lanes.zero(), power)
}

/// One degree less than [`EXP2`], and still exact at 0.
const EXP2_OF_WEIGHTS: [f32; 6] = [
    1.0,
    std::f32::consts::LN_2,
    0.24022283,
    0.055505585,
    0.009669691,
    0.0013300605,
];

/// 2ᵗ for t ≤ 0, within 1.8e-7 of itself and exact for whole t; below −126, that of −126. NaN stays.
#[inline(always)]
pub(crate) fn exp2<L: Lanes>(lanes: L, t: L::F) -> L::F {
    let t = lanes.max(lanes.splat(-126.0), t);
    let power = polynomial(lanes, lanes.fraction(t), &EXP2_OF_WEIGHTS);
    lanes.scale_by_nearest_power(power, t)
}

/// 1/(1 + e⁻ˣ), within 9e-8.
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(lanes: L, x: L::F) -> L::F {
    let one = lanes.splat(1.0);
    lanes.div(one, lanes.add(one, exp(lanes, lanes.sub(lanes.zero(), x))))
}

/// x·σ(x). Error at most 1.3e-7·max(1, |x|).
#[inline(always)]
pub(crate) fn silu<L: Lanes>(lanes: L, x: L::F) -> L::F {
    let one = lanes.splat(1.0);
    lanes.div(x, lanes.add(one, exp(lanes, lanes.sub(lanes.zero(), x))))
}

const TANH: [f32; 6] = [
    1.0,
    -0.33333263,
    0.13331185,
    -0.05372523,
    0.020603152,
    -0.005672426,
];

/// An odd polynomial up to |x| = 0.625, and 1 − 2/(e²ˣ + 1) beyond. Error at most 1.8e-7.
#[inline(always)]
pub(crate) fn tanh<L: Lanes>(lanes: L, x: L::F) -> L::F {
    let square = lanes.mul(x, x);
    let small = lanes.mul(x, polynomial(lanes, square, &TANH));
    let one = lanes.splat(1.0);
    let power = exp(lanes, lanes.add(x, x));
    let large = lanes.sub(one, lanes.div(lanes.splat(2.0), lanes.add(power, one)));
    lanes.select(lanes.less(lanes.abs(x), lanes.splat(0.625)), small, large)
}

//! Elementary functions: the same bits from every kernel, and within the errors that their documentation states.

use super::*;
use crate::math::{Function, GeluToBytes};

pub(super) const ALL: [Activation; 7] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
    Activation::Sigmoid,
];

/// From one number to the next that is looked at: one if all are asked for.
fn step(usual: usize, miri: usize) -> usize {
    if std::env::var_os("BERTLET_EXHAUSTIVE").is_some() {
        1
    } else if cfg!(miri) {
        miri
    } else {
        usual
    }
}

/// Every 9973rd of all 2³² bit patterns (a prime, so that all low bits occur), or all of them if asked; in Miri every
/// 29,999,999th.
fn patterns() -> impl Iterator<Item = Vec<f32>> {
    let step = step(9973, 29_999_999);
    let mut all = (0..=u32::MAX).step_by(step).map(f32::from_bits);
    std::iter::from_fn(move || {
        let chunk: Vec<f32> = all.by_ref().take(1 << 16).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[test]
fn every_kernel_gives_the_same_bits() {
    for chunk in patterns() {
        for activation in ALL {
            let mut expected = chunk.clone();
            generic().activation(&mut expected, activation);
            for kernel in Kernel::available() {
                let mut found = chunk.clone();
                kernel.activation(&mut found, activation);
                if bits(&found) != bits(&expected) {
                    let i = (0..chunk.len())
                        .find(|&i| bits(&found[i..=i]) != bits(&expected[i..=i]))
                        .expect("one differs");
                    panic!(
                        "{kernel:?}, {activation:?}({}): {} for {}",
                        chunk[i], found[i], expected[i]
                    );
                }
            }
        }
    }
}

/// erf by its series, or by the continued fraction of its complement: double precision, independent of the product code.
fn upper_tail(x: f64) -> f64 {
    // Q(x) = 1 − Φ(x) for x ≥ 0.
    if x > 40.0 {
        return 0.0;
    }
    let t = x / std::f64::consts::SQRT_2;
    if t < 2.5 {
        let (mut term, mut sum, mut n) = (t, t, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -t * t / n;
            sum += term / (2.0 * n + 1.0);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = 0.0;
        for n in (1..=120).rev() {
            fraction = f64::from(n) / 2.0 / (t + fraction);
        }
        (-t * t).exp() / (t + fraction) / std::f64::consts::PI.sqrt() / 2.0
    }
}

fn exact(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => {
            x * if x < 0.0 {
                upper_tail(-x)
            } else {
                1.0 - upper_tail(x)
            }
        }
        Activation::GeluTanh => {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

#[test]
fn errors_are_as_documented() {
    // Largest error, divided by max(1, |x|): what BERTLET_EXHAUSTIVE finds, rounded up.
    let bounds = [
        (Activation::Identity, 0.0),
        (Activation::Gelu, 3.4e-7),
        (Activation::GeluTanh, 2.5e-7),
        (Activation::Relu, 0.0),
        (Activation::Silu, 1.3e-7),
        (Activation::Tanh, 1.8e-7),
        (Activation::Sigmoid, 9.0e-8),
    ];
    for (activation, bound) in bounds {
        let mut worst = (0.0, 0.0);
        let mut check = |x: &[f32]| {
            let mut y = x.to_vec();
            Kernel::detect().activation(&mut y, activation);
            for (&x, &y) in x.iter().zip(&y) {
                let error = (f64::from(y) - exact(activation, x.into())).abs()
                    / f64::from(x).abs().max(1.0);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
        };
        for chunk in patterns() {
            let chunk: Vec<f32> = chunk.into_iter().filter(|x| x.abs() < 1e30).collect();
            check(&chunk);
        }
        // Most bit patterns are far from where the functions bend.
        let step = if cfg!(miri) { 5000 } else { 1 };
        let dense = (-400_000..=400_000).step_by(step);
        let dense: Vec<f32> = dense.map(|i| i as f32 * 2.6e-5).collect();
        check(&dense);
        println!("{activation:?}: {:e} at {}", worst.0, worst.1);
        assert!(
            worst.0 <= bound,
            "{activation:?}: {:e} at {}",
            worst.0,
            worst.1
        );
    }
}

#[test]
fn the_gelu_that_becomes_bytes_is_within_its_errors() {
    let lanes = crate::generic::Generic;
    let all = |x| GeluToBytes.apply(lanes, x);
    let error = |x: f64, y: f64| (y - exact(Activation::Gelu, x)).abs();
    let worst = worst_around_zero((-1e30, 1e30), all, |x, y| error(x, y) / x.abs().max(1.0));
    println!("GELU to bytes: {worst:e}");
    assert!(worst <= 4.8e-5, "{worst:e}");
    // Small activations have small steps.
    let near = worst_around_zero((-0.5, 0.5), all, |x, y| {
        (error(x, y) - 1e-7 * x.abs()) / (x * x).max(1e-30)
    });
    println!("GELU to bytes, of x² near zero: {near:e}");
    assert!(near <= 3.6e-4, "{near:e}");
    let gelu = |x: f32| all([x; 16])[0];
    assert_eq!((gelu(0.0), gelu(f32::INFINITY)), (0.0, f32::INFINITY));
    assert!(gelu(f32::NAN).is_nan());
}

#[test]
fn the_two_forms_of_gelu_are_told_apart() {
    let (mut erf, mut tanh) = ([-2.0f32, 2.0], [-2.0f32, 2.0]);
    Kernel::detect().activation(&mut erf, Activation::Gelu);
    Kernel::detect().activation(&mut tanh, Activation::GeluTanh);
    assert!(
        erf.iter().zip(&tanh).all(|(a, b)| (a - b).abs() > 5e-5),
        "{erf:?} {tanh:?}"
    );
}

/// The largest of `error`(x, function(x)) over the f32 from `first` to `last`, which have one sign: every 997th of them, or all
/// if asked.
fn worst(
    (first, last): (f32, f32),
    function: impl Fn([f32; 16]) -> [f32; 16],
    error: impl Fn(f64, f64) -> f64,
) -> f64 {
    let step = step(997, 9_999_991);
    let (first, last) = (first.to_bits(), last.to_bits());
    let (low, high) = (first.min(last), first.max(last));
    let mut worst = 0.0f64;
    for first in (low..=high).step_by(16 * step) {
        // Those behind the last one repeat it.
        let x: [f32; 16] =
            std::array::from_fn(|i| f32::from_bits(high.min(first + (i * step) as u32)));
        for (x, y) in x.into_iter().zip(function(x)) {
            worst = worst.max(error(f64::from(x), f64::from(y)));
        }
    }
    worst
}

/// All numbers of a range on both sides of zero.
fn worst_around_zero(
    (low, high): (f32, f32),
    function: impl Fn([f32; 16]) -> [f32; 16],
    error: impl Fn(f64, f64) -> f64,
) -> f64 {
    worst((-0.0, low), &function, &error).max(worst((0.0, high), &function, &error))
}

#[test]
fn the_exponential_is_within_its_error() {
    let lanes = crate::generic::Generic;
    let all = |x| crate::math::exp(lanes, x);
    let worst = worst_around_zero((-87.0, 88.0), all, |x, y| (y / x.exp() - 1.0).abs());
    println!("exp: {worst:e}");
    assert!(worst <= 1.0e-7, "{worst:e}");
    let exp = |x: f32| all([x; 16])[0];
    assert_eq!(
        (exp(0.0), exp(-0.0), exp(f32::NEG_INFINITY), exp(-1e9)),
        (1.0, 1.0, 0.0, 0.0)
    );
    assert!(exp(f32::INFINITY).is_finite() && exp(f32::NAN).is_nan());
}

#[test]
fn powers_of_two_are_within_their_error() {
    let lanes = crate::generic::Generic;
    let all = |t| crate::math::exp2(lanes, t);
    let error = worst((-0.0, -126.0), all, |t, y| (y / t.exp2() - 1.0).abs());
    println!("exp2: {error:e}");
    assert!(error <= 1.8e-7, "{error:e}");
    let power = |t: f32| all([t; 16])[0];
    assert_eq!((power(0.0), power(-0.0)), (1.0, 1.0));
    let least = f32::MIN_POSITIVE;
    assert_eq!(
        (power(-126.0), power(-1e9), power(f32::NEG_INFINITY)),
        (least, least, least)
    );
    assert!(power(f32::NAN).is_nan());
}

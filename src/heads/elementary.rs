//! Logarithm and exponential in f64 by correctly rounded operations alone, so that they give the same bits everywhere.

use std::f64::consts::{LN_2, SQRT_2};

/// Natural logarithm of a positive normal number, within a few units of the last place.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 1023 << 52);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2·artanh((m − 1)/(m + 1)), |argument| < 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for odd in (1..=23).rev().step_by(2) {
        sum = sum * square + 1.0 / f64::from(odd);
    }
    f64::from(exponent) * LN_2 + 2.0 * s * sum
}

/// e to the power of a number between -700 and 700; beyond that, of the nearest of these.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let power = (x / LN_2).round_ties_even();
    let rest = x - power * LN_2;
    let mut sum = 1.0;
    for term in (1..=17).rev() {
        sum = sum * rest / f64::from(term) + 1.0;
    }
    sum * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_functions_of_the_standard_library() {
        for x in [
            1e-300, 1e-7, 0.1, 0.5, 0.999, 1.0, 1.41, 1.42, 2.0, 3.0, 1e10,
        ] {
            let difference = (ln(x) - f64::ln(x)).abs();
            assert!(
                difference <= 4e-16 * f64::ln(x).abs().max(1.0),
                "ln {x}: {difference:e}"
            );
        }
        for x in [-699.0, -20.5, -1.0, -1e-9, 0.0, 0.3, 1.0, 17.7, 650.0] {
            let error = (exp(x) / f64::exp(x) - 1.0).abs();
            assert!(error < 2e-13, "exp {x}: {error:e}");
        }
    }
}

//! What the generic kernel is made of where the compiler finds no vector instructions for plain Rust, by those of every x86-64 CPU.

use crate::lanes::LANES;
use std::arch::x86_64::*;

pub(crate) type Sums = __m128i;

/// Sums of four columns and products of two inputs side by side.
#[inline(always)]
pub(crate) fn add_products(sums: Sums, u: [i16; 2], w: [i16; 8]) -> Sums {
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        let u = _mm_set1_epi32(bytemuck::cast(u));
        _mm_add_epi32(sums, _mm_madd_epi16(u, bytemuck::cast(w)))
    }
}

/// The even bytes and the odd ones.
#[inline(always)]
pub(crate) fn widen(w: [i8; 16]) -> [[i16; 8]; 2] {
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        let w = bytemuck::cast(w);
        let even = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(w));
        [even, _mm_srai_epi16::<8>(w)].map(bytemuck::cast)
    }
}

/// a·b + c, rounded once.
///
/// The product of two `f32` is exact in `f64`. Their sum is rounded there, and again to `f32`: as good as once, unless the first result
/// lies halfway between two `f32`, or near zero, where these have fewer bits.
#[inline(always)]
pub(crate) fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
    let quarters = |x: [f32; LANES]| -> [__m128; 4] { bytemuck::cast(x) };
    let [a4, b4, c4] = [a, b, c].map(quarters);
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        let mut doubtful = _mm_setzero_pd();
        let mut y = [_mm_setzero_ps(); 4];
        for (i, y) in y.iter_mut().enumerate() {
            let low = sum(a4[i], b4[i], c4[i], &mut doubtful);
            let upper = |x| _mm_movehl_ps(x, x);
            let high = sum(upper(a4[i]), upper(b4[i]), upper(c4[i]), &mut doubtful);
            *y = _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
        }
        if _mm_movemask_epi8(_mm_castpd_si128(doubtful)) != 0 {
            return std::array::from_fn(|i| fma_by_parts(a[i], b[i], c[i]));
        }
        bytemuck::cast(y)
    }
}

/// a·b + c of the lower two, and bits where that is not to be rounded again.
#[inline(always)]
fn sum(a: __m128, b: __m128, c: __m128, doubtful: &mut __m128d) -> __m128d {
    // SAFETY: SSE2 is a part of x86-64.
    unsafe {
        let product = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b));
        let sum = _mm_add_pd(product, _mm_cvtps_pd(c));
        // The 29 bits that `f32` does not have, in the lower half of each.
        let dropped = _mm_and_si128(_mm_castpd_si128(sum), _mm_set1_epi64x(0x1fff_ffff));
        let is_halfway = _mm_cmpeq_epi32(dropped, _mm_set1_epi64x((1 << 32) + 0x1000_0000));
        let magnitude = _mm_andnot_pd(_mm_set1_pd(-0.0), sum);
        let is_small = _mm_and_pd(
            _mm_cmple_pd(magnitude, _mm_set1_pd(f32::MIN_POSITIVE as f64)),
            _mm_cmpneq_pd(sum, _mm_setzero_pd()),
        );
        *doubtful = _mm_or_pd(*doubtful, _mm_or_pd(_mm_castsi128_pd(is_halfway), is_small));
        sum
    }
}

/// a·b + c, rounded once: the rounding error of the sum in `f64` is known too (Knuth's two-sum), and where there is one, the sum's last bit
/// is made odd, so that the second rounding sees it (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
#[cold]
fn fma_by_parts(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let back = sum - product;
    let error = (product - (sum - back)) + (c - back);
    // An error that is not a number says that the sum is infinite, or not a number either.
    let is_inexact = error != 0.0 && !error.is_nan();
    let bits = sum.to_bits();
    let odd = match is_inexact && bits.is_multiple_of(2) {
        // Away from zero where the error has the sum's sign.
        true if (error > 0.0) == (sum > 0.0) => bits + 1,
        true => bits - 1,
        false => bits,
    };
    f64::from_bits(odd) as f32
}

/// Ties to even.
#[inline(always)]
pub(crate) fn round(a: [f32; LANES]) -> [i32; LANES] {
    let quarters: [__m128; 4] = bytemuck::cast(a);
    // SAFETY: SSE2 is a part of x86-64.
    bytemuck::cast(quarters.map(|a| unsafe { _mm_cvtps_epi32(a) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all kinds, from a generator of George Marsaglia's.
    fn numbers(state: &mut u32) -> [f32; 3] {
        let mut next = || {
            *state ^= *state << 13;
            *state ^= *state >> 17;
            *state ^= *state << 5;
            *state
        };
        let kind = next() % 6;
        let mut number = |kind| match kind {
            // Any bits at all.
            0 => f32::from_bits(next()),
            // Few bits, so that sums lie halfway.
            1 => (next() % 4096) as f32 * 2.0_f32.powi(next() as i32 % 24),
            // Near the least numbers.
            2 => f32::from_bits((next() % (3 << 23)) | (next() << 31)),
            _ => f32::from_bits((next() % (8 << 23) + (123 << 23)) | (next() << 31)),
        };
        let [mut a, mut b, mut c] = [number(kind), number(kind), number(kind)];
        // Half of the last bit of c, and less: a product of 1 + d and 1 − d.
        let d = f32::EPSILON * (a.to_bits() % 256) as f32;
        let m = b.to_bits() % (1 << 23);
        let sign = c.signum();
        if kind == 4 {
            let half = 2.0_f32.powi(-12);
            [a, b, c] = [
                half * (1.0 + d),
                half * (1.0 - d),
                sign * f32::from_bits(m + (127 << 23)),
            ];
        }
        if kind == 5 {
            // Where numbers have fewer bits.
            let half = 2.0_f32.powi(-75);
            [a, b, c] = [half * (1.0 + d), half * (1.0 - d), sign * f32::from_bits(m)];
        }
        [a, b, c]
    }

    #[test]
    fn bytes_are_widened_and_multiplied_as_in_plain_rust() {
        use crate::plain;
        let mut state = 521_288_629;
        for _ in 0..100 {
            let [bits, more, c] = numbers(&mut state).map(f32::to_bits);
            let w = std::array::from_fn(|i| ((bits >> i) ^ (more << (i % 7))) as i8);
            assert_eq!(widen(w), plain::widen(w));
            let u = [(c % 256) as i16, (c >> 8) as i16 % 256];
            for w in widen(w) {
                let sums = [c as i32 >> 8, 1, -2, 3];
                let found: [i32; 4] = bytemuck::cast(add_products(bytemuck::cast(sums), u, w));
                assert_eq!(found, plain::add_products(sums, u, w));
            }
            let a = std::array::from_fn(|i| (bits as i32 >> 10) as f32 / (1 << i) as f32);
            assert_eq!(round(a), plain::round(a));
            assert_eq!(fma(a, a, a), plain::fma(a, a, a));
        }
    }

    #[test]
    fn products_and_sums_are_rounded_once() {
        let mut state = 2_463_534_242;
        let mut by_parts = 0;
        for _ in 0..if cfg!(miri) { 200 } else { 400_000 } {
            let all: [[f32; 3]; LANES] = std::array::from_fn(|_| numbers(&mut state));
            let [a, b, c] = [0, 1, 2].map(|i| all.map(|numbers| numbers[i]));
            let found = fma(a, b, c);
            for (numbers, found) in all.into_iter().zip(found) {
                let [a, b, c] = numbers;
                let expected = a.mul_add(b, c);
                let same =
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{numbers:?}: {found:?} instead of {expected:?}");
                let alone = fma_by_parts(a, b, c);
                let same =
                    alone.to_bits() == expected.to_bits() || alone.is_nan() && expected.is_nan();
                assert!(
                    same,
                    "{numbers:?} by parts: {alone:?} instead of {expected:?}"
                );
                let twice = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
                by_parts += u32::from(twice.to_bits() != expected.to_bits() && !expected.is_nan());
            }
        }
        // The test sees what it is for.
        assert!(
            by_parts > 0,
            "no sum was rounded otherwise by two roundings"
        );
        println!("{by_parts} sums would have been rounded otherwise by two roundings");
    }
}

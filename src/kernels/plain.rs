//! What the generic kernel is made of, in plain Rust.

use super::lanes::LANES;

pub(crate) type Sums = [i32; 4];

/// Sums of four columns and products of two inputs side by side.
#[inline(always)]
pub(crate) fn add_products(sums: Sums, u: [i16; 2], w: [i16; 8]) -> Sums {
    let [a, b] = u.map(i32::from);
    std::array::from_fn(|i| sums[i] + a * i32::from(w[2 * i]) + b * i32::from(w[2 * i + 1]))
}

/// The even bytes and the odd ones.
#[inline(always)]
pub(crate) fn widen(w: [i8; 16]) -> [[i16; 8]; 2] {
    [0, 1].map(|odd| std::array::from_fn(|i| i16::from(w[2 * i + odd])))
}

#[inline(always)]
pub(crate) fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
}

#[inline(always)]
pub(crate) fn round(a: [f32; LANES]) -> [i32; LANES] {
    a.map(|a| a.round_ties_even() as i32)
}

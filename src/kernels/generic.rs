//! Plain Rust for any CPU: the fallback, and the oracle that every other kernel must equal bit for bit.

use super::lanes::{LANES, Lanes};
use super::product::{Product, Tile};
use half::f16;

/// Needs nothing of the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Generic;

impl Generic {
    /// # Safety
    /// None needed; unsafe as its namesakes of other instruction sets are.
    pub(crate) unsafe fn assume() -> Self {
        Generic
    }
}

pub(crate) fn supported() -> bool {
    true
}

#[inline(always)]
fn map(a: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(never)]
fn tree(mut x: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            x[i] = f(x[i], x[i + half]);
        }
    }
    x[0]
}

// Sixteen calls of the C library, or as long: once in the program, not once in every place. The same holds for what is not
// inlined further down.

#[inline(never)]
fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
}

#[inline(never)]
fn round(a: [f32; LANES]) -> [i32; LANES] {
    std::array::from_fn(|i| a[i].round_ties_even() as i32)
}

#[inline(never)]
fn widen(a: &[f16; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| a[i].to_f32())
}

fn lower(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn higher(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Lanes for Generic {
    // An operation is sixteen, which wait for nothing but themselves.
    const SIDE_BY_SIDE: bool = false;

    type F = [f32; LANES];
    type I = [i32; LANES];
    type M = [bool; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        fma(a, b, c)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, lower)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, higher)
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        map(a, f32::abs)
    }
    #[inline(never)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        std::array::from_fn(|i| a[i] < b[i])
    }
    #[inline(never)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if mask[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::I {
        round(a)
    }
    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        std::array::from_fn(|i| a[i] as f32)
    }
    #[inline(always)]
    fn load_int(self, from: &[i32; LANES]) -> Self::I {
        *from
    }
    #[inline(always)]
    fn scale_by_power(self, x: Self::F, n: Self::I) -> Self::F {
        std::array::from_fn(|i| {
            f32::from_bits((x[i].to_bits() as i32).wrapping_add(n[i] << 23) as u32)
        })
    }
    #[inline(always)]
    fn bits(self, x: Self::F) -> Self::I {
        x.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn exponent(self, n: Self::I) -> Self::F {
        n.map(|n| f32::from_bits((n << 23) as u32))
    }
    #[inline(never)]
    fn store_bytes(self, x: Self::I, to: &mut [u8; LANES]) {
        *to = std::array::from_fn(|i| x[i].clamp(0, 255) as u8);
    }
    #[inline(never)]
    fn store_quad_halves(
        self,
        x: [Self::I; 4],
        low: &mut [u8; 4 * LANES],
        high: &mut [u8; 4 * LANES],
    ) {
        *low = std::array::from_fn(|i| x[i % 4][i / 4] as u8 ^ 0x80);
        *high = std::array::from_fn(|i| (x[i % 4][i / 4] >> 8) as u8);
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(never)]
    fn max_int(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i].max(b[i]))
    }
    #[inline(never)]
    fn store_quads(self, x: [Self::I; 4], to: &mut [u8; 4 * LANES]) {
        *to = std::array::from_fn(|i| x[i % 4][i / 4] as u8);
    }
    #[inline(never)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F {
        std::array::from_fn(|i| f32::from(from[i]))
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        widen(from)
    }
    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        tree(x, |a, b| a + b)
    }
    #[inline(always)]
    fn minimum(self, x: Self::F) -> f32 {
        tree(x, lower)
    }
    #[inline(always)]
    fn maximum(self, x: Self::F) -> f32 {
        tree(x, higher)
    }
}

impl Product for Generic {
    type Lanes = Self;
    type State = ();
    const MR: usize = 4;
    const NR: usize = 1;

    #[inline(always)]
    fn lanes(self) -> Self {
        self
    }

    #[inline(always)]
    fn multiply(self, _: &mut (), tile: Tile<'_>, accumulators: &mut [i32]) {
        for panel in 0..tile.panels {
            let weights = tile.panel(panel);
            for row in 0..tile.rows {
                let mut sums = [0i32; LANES];
                let u = tile.row(row).as_chunks::<4>().0;
                for (u, w) in u.iter().zip(weights.as_chunks::<64>().0) {
                    for (channel, sum) in sums.iter_mut().enumerate() {
                        for i in 0..4 {
                            *sum += i32::from(u[i]) * i32::from(w[4 * channel + i]);
                        }
                    }
                }
                let at = (panel * Self::MR + row) * LANES;
                accumulators[at..at + LANES].copy_from_slice(&sums);
            }
        }
    }
}

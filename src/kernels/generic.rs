//! For any CPU: the fallback, and the oracle that every other kernel must equal bit for bit. Plain Rust, but for four functions that
//! x86-64 has its own of.

use super::lanes::{LANES, Lanes};
#[cfg(not(target_arch = "x86_64"))]
use super::plain as instructions;
use super::product::{Product, Tile, TilePartials};
#[cfg(target_arch = "x86_64")]
use super::x86_64::sse2 as instructions;
use half::f16;
use instructions::Sums;

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

// Long, or sixteen calls of the C library: once in the program, not once in every place. The same holds for what is not
// inlined further down.

#[inline(never)]
fn fma(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
    instructions::fma(a, b, c)
}

#[inline(never)]
fn round(a: [f32; LANES]) -> [i32; LANES] {
    instructions::round(a)
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

/// Rows and panels of a tile: what is widened once for the other.
const MR: usize = 32;
const NR: usize = 4;
/// Inputs that are widened at once: 16 KiB of a tile's rows, 8 of a panel.
const KC: usize = 256;
/// Rows that are multiplied at a time: their sums fit into sixteen registers of four.
const ROWS: usize = 2;

/// A tile's rows and a panel in sixteen bits, two inputs side by side: of each four the even ones, then the odd ones.
pub(crate) struct Widened {
    rows: [[[i16; 2]; KC / 2]; MR],
    panel: [[[i16; 8]; 4]; KC / 2],
}

impl Default for Widened {
    fn default() -> Self {
        Widened {
            rows: [[[0; 2]; KC / 2]; MR],
            panel: [[[0; 8]; 4]; KC / 2],
        }
    }
}

fn widen_row(u: &[u8], to: &mut [[i16; 2]]) {
    for ([a, b, c, d], to) in u.as_chunks().0.iter().zip(to.as_chunks_mut().0) {
        *to = [[*a, *c], [*b, *d]].map(|pair| pair.map(i16::from));
    }
}

/// From `[inputs/4, 16, 4]`.
fn widen_panel(weights: &[i8], to: &mut [[[i16; 8]; 4]]) {
    for (weights, to) in weights.as_chunks::<64>().0.iter().zip(to.as_chunks_mut().0) {
        let [even, odd] = to;
        for (i, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
            [even[i], odd[i]] = instructions::widen(*weights);
        }
    }
}

/// Σ u·w of `R` rows and sixteen columns, set or added to `to`.
#[inline(always)]
fn multiply_rows<const R: usize>(
    rows: [&[[i16; 2]]; R],
    panel: &[[[i16; 8]; 4]],
    to: &mut [[i32; LANES]; R],
    add: bool,
) {
    let mut sums: [[Sums; 4]; R] = bytemuck::Zeroable::zeroed();
    for (pair, panel) in panel.iter().enumerate() {
        for (row, sums) in rows.iter().zip(&mut sums) {
            for (sums, w) in sums.iter_mut().zip(panel) {
                *sums = instructions::add_products(*sums, row[pair], *w);
            }
        }
    }
    for (sums, to) in sums.into_iter().zip(to) {
        let sums: [i32; LANES] = bytemuck::cast(sums);
        for (sum, to) in sums.into_iter().zip(to) {
            *to = if add { *to + sum } else { sum };
        }
    }
}

impl Product for Generic {
    type Lanes = Self;
    type State = Widened;
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Self {
        self
    }

    #[inline(never)]
    fn multiply(self, widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
        tile.check(accumulators, MR);
        let Widened {
            rows,
            panel: widened,
        } = widened;
        for first in (0..tile.depth * LANES).step_by(KC) {
            let inputs = KC.min(tile.depth * LANES - first);
            for (row, to) in rows.iter_mut().enumerate().take(tile.rows) {
                widen_row(&tile.row(row)[first..][..inputs], to);
            }
            for panel in 0..tile.panels {
                widen_panel(
                    &tile.panel(panel)[first * LANES..][..inputs * LANES],
                    widened,
                );
                let (widened, add) = (&widened[..inputs / 2], first > 0);
                let sums = &mut accumulators.as_chunks_mut().0[panel * MR..][..tile.rows];
                let (two, one) = rows[..tile.rows].as_chunks::<ROWS>();
                let (sums_of_two, sums_of_one) = sums.as_chunks_mut::<ROWS>();
                for (rows, to) in two.iter().zip(sums_of_two) {
                    let rows = rows.each_ref().map(|row| &row[..inputs / 2]);
                    multiply_rows(rows, widened, to, add);
                }
                for (row, to) in one.iter().zip(sums_of_one) {
                    let rows = [&row[..inputs / 2]];
                    multiply_rows(rows, widened, std::array::from_mut(to), add);
                }
            }
        }
    }
}

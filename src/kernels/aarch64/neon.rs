//! Integer products on plain ARMv8.0, two 8-bit products in a 16-bit lane before it is added to a 32-bit one.
//!
//! Two products of signed bytes can leave 16 bits: −128·−128 twice. So the first is (u − 128)·w and the second is taken
//! off as (127 − u)·w: their difference is within ±32,640 for all bytes and weights. What that lacks of Σ u·w,
//! 128·Σw over the first and 127·Σw over the second halves, comes back as the sums' first value.

use super::lanes::NeonLanes;
use super::{KC, MR, NR, blocks};
use crate::kernels::lanes::LANES;
use crate::kernels::product::{Product, Tile};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof of NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Neon(())
    }
}

pub(crate) fn supported() -> bool {
    super::lanes::supported()
}

/// 4 rows × half a panel: 16 accumulators of two partial sums for each of two columns, 4 weights, 8 broadcasts and the
/// products in 32 registers.
const HEIGHT: usize = 4;

/// Rows of a tile, four bytes less 128, then four of which it is 127 less: for each block `[depth·8, rows]`.
pub(crate) struct Packed([[[i8; 4]; 2]; MR * KC * 8 + AHEAD]);

impl Default for Packed {
    #[inline(always)]
    fn default() -> Self {
        Packed([[[0; 4]; 2]; MR * KC * 8 + AHEAD])
    }
}

impl Product for Neon {
    type Lanes = NeonLanes;
    type State = Packed;
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> NeonLanes {
        // SAFETY: `self` proves as much.
        unsafe { NeonLanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(&mut packed.0, tile, accumulators) }
    }
}

#[target_feature(enable = "neon")]
fn multiply(packed: &mut [[[i8; 4]; 2]], tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        for (row, rows) in blocks(tile.rows, HEIGHT) {
            let packed = &mut packed[row * depth * 8..][..rows * depth * 8];
            for i in 0..rows {
                let u = &tile.row(row + i)[first * 64..][..depth * 64];
                let to = packed[i..].iter_mut().step_by(rows);
                for (u, to) in u.as_chunks().0.iter().zip(to) {
                    let u = u64::from_le_bytes(*u) ^ 0x7f7f_7f7f_8080_8080;
                    *to = bytemuck::cast(u.to_le_bytes());
                }
            }
        }
        for panel in 0..tile.panels {
            let weights = &tile.panel(panel)[first * 1024..][..depth * 1024];
            let weights: &[Weights] = bytemuck::cast_slice(weights);
            let seed = sums(weights);
            for (row, rows) in blocks(tile.rows, HEIGHT) {
                let a = &packed[row * depth * 8..][..rows * depth * 8 + AHEAD];
                let to = &mut accumulators[(panel * MR + row) * LANES..][..rows * LANES];
                match rows {
                    1 => block::<1>(a, weights, &seed, to, first == 0),
                    2 => block::<2>(a, weights, &seed, to, first == 0),
                    3 => block::<3>(a, weights, &seed, to, first == 0),
                    4 => block::<4>(a, weights, &seed, to, first == 0),
                    rows => unreachable!("a block of {rows} rows"),
                }
            }
        }
    }
}

/// Weights of eight bytes of k: first and second four, fours of columns, four bytes of each column.
type Weights = [[[i8; 16]; 4]; 2];

/// 128·Σw over the first and 127·Σw over the second fours of k, for each column.
#[inline]
#[target_feature(enable = "neon")]
fn sums(weights: &[Weights]) -> [int32x4_t; 4] {
    // Pairs of neighbours, of which `KC`·8 fit in 16 bits.
    const { assert!(KC * 8 * 256 <= i16::MAX as usize) }
    let mut sums = [[vdupq_n_s16(0); 4]; 2];
    for weights in weights {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = vpadalq_s8(*sum, load(weights));
            }
        }
    }
    let mut seed = [vdupq_n_s32(0); 4];
    for (seed, (&first, &second)) in seed.iter_mut().zip(sums[0].iter().zip(&sums[1])) {
        let (first, second) = (vpaddlq_s16(first), vpaddlq_s16(second));
        *seed = vsubq_s32(vshlq_n_s32::<7>(vaddq_s32(first, second)), second);
    }
    seed
}

/// `seed` + Σ over `weights`, set or added to `accumulators`, `[R, 16]`. Rows in `a` as far as [`AHEAD`] behind those
/// that it needs may be read.
#[inline]
#[target_feature(enable = "neon")]
fn block<const R: usize>(
    a: &[[[i8; 4]; 2]],
    weights: &[Weights],
    seed: &[int32x4_t; 4],
    accumulators: &mut [i32],
    set: bool,
) {
    assert!(a.len() >= weights.len() * R + AHEAD);
    for half in 0..2 {
        let mut sums = [[vdupq_n_s32(0); 4]; R];
        // SAFETY: the assertion is what it asks for.
        unsafe { half_panel(a.as_ptr().cast(), weights, half, &mut sums) }
        for (sums, to) in sums.iter().zip(accumulators.as_chunks_mut::<LANES>().0) {
            let to = &mut to.as_chunks_mut::<4>().0[half * 2..];
            let pairs = sums.as_chunks::<2>().0.iter().zip(&seed[half * 2..]);
            for (([even, odd], seed), to) in pairs.zip(to) {
                let sum = vaddq_s32(vpaddq_s32(*even, *odd), *seed);
                // SAFETY: the pointers are those of a whole array.
                unsafe {
                    let before = if set {
                        vdupq_n_s32(0)
                    } else {
                        vld1q_s32(to.as_ptr())
                    };
                    vst1q_s32(to.as_mut_ptr(), vaddq_s32(before, sum));
                }
            }
        }
    }
}

/// Rows that are loaded before they are needed.
const AHEAD: usize = 2;

/// Adds the products of eight columns, in two partial sums each.
///
/// Plain ARMv8.0 often means a processor that takes instructions in their order, one of NEON beside one other. So the
/// order is fixed here (see [`instruction`]): eight products before the first of them is needed, and the next loads
/// between the additions.
///
/// # Safety
/// `a` points to `R` times as many elements as there are weights, and [`AHEAD`] more.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn half_panel<const R: usize>(
    mut a: *const [i8; 4],
    weights: &[Weights],
    half: usize,
    sums: &mut [[int32x4_t; 4]; R],
) {
    let Some(last) = weights.last() else {
        return;
    };
    let columns = |weights: &Weights| weights.as_flattened()[half * 2..].as_ptr();
    // The first four of k for columns 0–3 and 4–7, then the second four.
    let mut w = [vdupq_n_s8(0); 4];
    // The first and second four bytes of up to two rows.
    let mut u = [vdupq_n_s8(0); 4];
    // SAFETY: `a` passes what the caller promises; weights are `[2, 4]` elements from which `half` leaves six.
    unsafe {
        for (w, at) in w.iter_mut().zip(PARTS) {
            *w = load_next(columns(&weights[0]).add(at));
        }
        for u in &mut u[..2 * R.min(2)] {
            *u = broadcast_next(&mut a);
        }
        for i in 1..weights.len() + 1 {
            let next_columns = columns(weights.get(i).unwrap_or(last));
            for first in (0..R).step_by(2) {
                let rows = 2.min(R - first);
                let is_last = first + 2 >= R;
                let next_rows = 2.min(if is_last { R } else { R - first - 2 });
                let mut products = [vdupq_n_s16(0); 8];
                for n in 0..4 * rows {
                    let (u, w) = (u[n / 4 * 2], w[n % 4 / 2]);
                    products[n] = match n % 2 {
                        0 => multiply_low(u, w),
                        _ => multiply_high(u, w),
                    };
                }
                for n in 0..4 * rows {
                    let (u, w) = (u[n / 4 * 2 + 1], w[n % 4 / 2 + 2]);
                    products[n] = match n % 2 {
                        0 => subtract_low(products[n], u, w),
                        _ => subtract_high(products[n], u, w),
                    };
                }
                for n in 0..8 {
                    if n < 4 * rows {
                        let sum = &mut sums[first + n / 4][n % 4];
                        *sum = add_pairs(*sum, products[n]);
                    }
                    if n < 2 * next_rows {
                        u[n] = broadcast_next(&mut a);
                    }
                    if is_last && n >= 4 {
                        w[n - 4] = load_next(next_columns.add(PARTS[n - 4]));
                    }
                }
            }
        }
    }
}

/// Where four weights of half a panel lie.
const PARTS: [usize; 4] = [0, 1, 4, 5];

/// A function of one instruction. As `asm!` that is not `pure`, instructions stay in the order in which they are written,
/// and the compiler does not turn them into others.
macro_rules! instruction {
    // A new value of two others.
    ($name:ident($u:ident, $w:ident) = $text:literal) => {
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name($u: int8x16_t, $w: int8x16_t) -> int16x8_t {
            let products;
            // SAFETY: the instruction reads and writes its registers only.
            unsafe {
                asm!($text, out(vreg) products, in(vreg) $u, in(vreg) $w, options(nomem, nostack, preserves_flags));
            }
            products
        }
    };
    // A value and what is added to it or taken off.
    ($name:ident($sum:ident: $type:ty $(, $operand:ident: $operand_type:ty)+) = $text:literal) => {
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name(mut $sum: $type $(, $operand: $operand_type)+) -> $type {
            // SAFETY: the instruction reads and writes its registers only.
            unsafe {
                asm!($text, inout(vreg) $sum, $(in(vreg) $operand,)+ options(nomem, nostack, preserves_flags));
            }
            $sum
        }
    };
}

instruction!(multiply_low(u, w) = "smull {0:v}.8h, {1:v}.8b, {2:v}.8b");
instruction!(multiply_high(u, w) = "smull2 {0:v}.8h, {1:v}.16b, {2:v}.16b");
instruction!(subtract_low(products: int16x8_t, u: int8x16_t, w: int8x16_t) = "smlsl {0:v}.8h, {1:v}.8b, {2:v}.8b");
instruction!(subtract_high(products: int16x8_t, u: int8x16_t, w: int8x16_t) = "smlsl2 {0:v}.8h, {1:v}.16b, {2:v}.16b");
instruction!(add_pairs(sum: int32x4_t, products: int16x8_t) = "sadalp {0:v}.4s, {1:v}.8h");

/// Four bytes, four times; `from` goes on to the next four.
///
/// # Safety
/// `from` points to an element.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn broadcast_next(from: &mut *const [i8; 4]) -> int8x16_t {
    let bytes;
    // SAFETY: the instruction reads the element alone.
    unsafe {
        asm!("ld1r {{{0:v}.4s}}, [{1}], #4", out(vreg) bytes, inout(reg) *from, options(readonly, nostack, preserves_flags));
    }
    bytes
}

/// # Safety
/// `from` points to an element.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_next(from: *const [i8; 16]) -> int8x16_t {
    let weights;
    // SAFETY: the instruction reads the element alone.
    unsafe {
        asm!("ldr {0:q}, [{1}]", out(vreg) weights, in(reg) from, options(readonly, nostack, preserves_flags));
    }
    weights
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the pointer is that of the whole array.
    unsafe { vld1q_s8(from.as_ptr()) }
}

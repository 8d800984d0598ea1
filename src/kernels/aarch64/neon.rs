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
pub(crate) struct Packed([[[i8; 4]; 2]; MR * KC * 8]);

impl Default for Packed {
    #[inline(always)]
    fn default() -> Self {
        Packed([[[0; 4]; 2]; MR * KC * 8])
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
                let a = &packed[row * depth * 8..][..rows * depth * 8];
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

/// `seed` + Σ over `weights`, set or added to `accumulators`, `[R, 16]`.
#[inline]
#[target_feature(enable = "neon")]
fn block<const R: usize>(
    a: &[[[i8; 4]; 2]],
    weights: &[Weights],
    seed: &[int32x4_t; 4],
    accumulators: &mut [i32],
    set: bool,
) {
    for half in 0..2 {
        let mut sums = [[vdupq_n_s32(0); 4]; R];
        for (a, [first, second]) in a.as_chunks::<R>().0.iter().zip(weights) {
            let first = [load(&first[half * 2]), load(&first[half * 2 + 1])];
            let second = [load(&second[half * 2]), load(&second[half * 2 + 1])];
            for (sums, [u, rest]) in sums.iter_mut().zip(a) {
                let (u, rest) = (broadcast(u), broadcast(rest));
                for i in 0..2 {
                    let products = vmull_s8(vget_low_s8(first[i]), vget_low_s8(u));
                    let products = vmlsl_s8(products, vget_low_s8(second[i]), vget_low_s8(rest));
                    sums[2 * i] = vpadalq_s16(sums[2 * i], products);
                    let products = vmull_high_s8(first[i], u);
                    let products = vmlsl_high_s8(products, second[i], rest);
                    sums[2 * i + 1] = vpadalq_s16(sums[2 * i + 1], products);
                }
            }
        }
        for (sums, to) in sums.iter().zip(accumulators.as_chunks_mut::<LANES>().0) {
            let to = &mut to.as_chunks_mut::<4>().0[half * 2..];
            for ((sums, seed), to) in sums
                .as_chunks::<2>()
                .0
                .iter()
                .zip(&seed[half * 2..])
                .zip(to)
            {
                let sum = vaddq_s32(vpaddq_s32(sums[0], sums[1]), *seed);
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

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the pointer is that of the whole array.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// Four bytes, four times.
#[inline]
#[target_feature(enable = "neon")]
fn broadcast(from: &[i8; 4]) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(from.map(|u| u as u8))))
}

//! Integer products by `sdot`: four bytes of a row against four of each of four columns.
//!
//! `sdot` wants both sides signed, so a row is packed less 128, and 128·Σw comes back as the sums' first value.

use super::lanes::NeonLanes;
use super::packed_rows::PackedRows;
use super::{KC, MR, NR, blocks};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof of NEON and its dot products.
#[derive(Clone, Copy)]
pub(crate) struct Dotprod(());

impl Dotprod {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Dotprod(())
    }
}

pub(crate) fn supported() -> bool {
    super::lanes::supported() && std::arch::is_aarch64_feature_detected!("dotprod")
}

/// 6 rows × 1 panel: 24 accumulators, 6 times 16 bytes of a row and 2 weights in 32 registers.
const HEIGHT: usize = 6;

/// Rows less 128: of those that are multiplied at a time `[depth, rows, 16]`.
#[derive(Default)]
pub(crate) struct Packed(PackedRows);

impl Product for Dotprod {
    type Lanes = NeonLanes;
    type State = Packed;
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> NeonLanes {
        // SAFETY: `self` proves more.
        unsafe { NeonLanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(&mut packed.0, tile, accumulators) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn multiply(packed: &mut PackedRows, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        let (packed, is_packed) = packed.of(tile, tile.rows, (first, depth));
        if !is_packed {
            pack(tile, first, packed);
        }
        let packed: &[[i8; 16]] = bytemuck::cast_slice(packed);
        for panel in 0..tile.panels {
            let weights = &tile.panel(panel)[first * 256..][..depth * 256];
            let weights: &[Weights] = bytemuck::cast_slice(weights);
            // A layer's come from the file: here they took as long as two rows.
            let seed = match tile.column_sum {
                None => sums(weights),
                Some(sums) if first == 0 => seed(&sums.as_chunks().0[panel]),
                Some(_) => [vdupq_n_s32(0); 4],
            };
            for (row, rows) in blocks(tile.rows, HEIGHT) {
                let a = &packed[row * depth..][..rows * depth];
                let to = &mut accumulators[(panel * MR + row) * LANES..][..rows * LANES];
                match rows {
                    1 => block::<1>(a, weights, &seed, to, first == 0),
                    2 => block::<2>(a, weights, &seed, to, first == 0),
                    3 => block::<3>(a, weights, &seed, to, first == 0),
                    4 => block::<4>(a, weights, &seed, to, first == 0),
                    5 => block::<5>(a, weights, &seed, to, first == 0),
                    6 => block::<6>(a, weights, &seed, to, first == 0),
                    rows => unreachable!("a block of {rows} rows"),
                }
            }
        }
    }
}

/// The tile's rows less 128, from one input on.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn pack(tile: Tile<'_>, first: usize, packed: &mut [[u8; 16]]) {
    let depth = packed.len() / tile.rows;
    for (row, rows) in blocks(tile.rows, HEIGHT) {
        let packed = &mut packed[row * depth..][..rows * depth];
        for i in 0..rows {
            let u = &tile.row(row + i)[first * 16..];
            let to = packed[i..].iter_mut().step_by(rows);
            for (u, to) in u.as_chunks::<16>().0.iter().zip(to) {
                // SAFETY: the pointers are those of whole arrays. (Byte by byte, as the compiler had it, this was a third of the kernel's
                // instructions.)
                unsafe {
                    let u = veorq_u8(vld1q_u8(u.as_ptr()), vdupq_n_u8(0x80));
                    vst1q_u8(to.as_mut_ptr(), u);
                }
            }
        }
    }
}

/// Weights of sixteen bytes of k, `[4, 4, 16]`: fours of k, fours of columns, four bytes of each column.
type Weights = [[[i8; 16]; 4]; 4];

/// 128·Σw of each column.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sums(weights: &[Weights]) -> [int32x4_t; 4] {
    let ones = vdupq_n_s8(1);
    let mut sums = [vdupq_n_s32(0); 4];
    for weights in weights {
        for weights in weights {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = dot::<0>(*sum, load(weights), ones);
            }
        }
    }
    sums.map(|sum| vshlq_n_s32::<7>(sum))
}

/// 128·Σw of each column.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn seed(sums: &[i32; LANES]) -> [int32x4_t; 4] {
    let mut seed = [vdupq_n_s32(0); 4];
    for (seed, sums) in seed.iter_mut().zip(sums.as_chunks::<4>().0) {
        // SAFETY: the pointer is that of the whole array.
        *seed = vshlq_n_s32::<7>(unsafe { vld1q_s32(sums.as_ptr()) });
    }
    seed
}

/// `seed` + Σ over `weights`, set or added to `accumulators`, `[R, 16]`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn block<const R: usize>(
    a: &[[i8; 16]],
    weights: &[Weights],
    seed: &[int32x4_t; 4],
    accumulators: &mut [i32],
    set: bool,
) {
    let mut sums = [*seed; R];
    for (a, weights) in a.as_chunks::<R>().0.iter().zip(weights) {
        let mut rows = [vdupq_n_s8(0); R];
        for (row, a) in rows.iter_mut().zip(a) {
            *row = load(a);
        }
        four::<R, 0>(&mut sums, &weights[0], &rows);
        four::<R, 1>(&mut sums, &weights[1], &rows);
        four::<R, 2>(&mut sums, &weights[2], &rows);
        four::<R, 3>(&mut sums, &weights[3], &rows);
    }
    // Of a length that the compiler knows: by way of memory otherwise.
    let accumulators: &mut [[i32; LANES]; R] = accumulators
        .as_chunks_mut()
        .0
        .first_chunk_mut()
        .expect("those of the rows");
    for (sums, to) in sums.iter().zip(accumulators) {
        for (sum, to) in sums.iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: the pointers are those of a whole array.
            unsafe {
                let before = if set {
                    vdupq_n_s32(0)
                } else {
                    vld1q_s32(to.as_ptr())
                };
                vst1q_s32(to.as_mut_ptr(), vaddq_s32(before, *sum));
            }
        }
    }
}

/// Four of k for all columns, with the four bytes `QUAD` of each row.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn four<const R: usize, const QUAD: i32>(
    sums: &mut [[int32x4_t; 4]; R],
    weights: &[[i8; 16]; 4],
    rows: &[int8x16_t; R],
) {
    for (column, weights) in weights.iter().enumerate() {
        let weights = load(weights);
        for (sums, row) in sums.iter_mut().zip(rows) {
            sums[column] = dot::<QUAD>(sums[column], weights, *row);
        }
    }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn load(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the pointer is that of the whole array.
    unsafe { vld1q_s8(from.as_ptr()) }
}

/// sum + the products of four columns with the four bytes `QUAD` of a row. The intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const QUAD: i32>(mut sum: int32x4_t, weights: int8x16_t, row: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes its registers only, and the CPU has it.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {row:v}.4b[{quad}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            row = in(vreg) row,
            quad = const QUAD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

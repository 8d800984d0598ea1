//! Integer products by `usmmla`: eight bytes of two rows against eight of two columns.

use super::lanes::NeonLanes;
use super::packed_rows::PackedRows;
use super::{KC, NR, blocks};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof of NEON and its matrix products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct I8mm(());

impl I8mm {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        I8mm(())
    }
}

pub(crate) fn supported() -> bool {
    super::lanes::supported() && std::arch::is_aarch64_feature_detected!("i8mm")
}

/// Rows of a block: what a panel is brought into its order for. CPUs with these instructions have 64 KiB of first-level cache, half of it for
/// rows of 512 inputs.
const MR: usize = 64;

/// 6 pairs of rows × 4 pairs of columns: 24 accumulators, 4 weights and 4 of the rows in 32 registers.
const HEIGHT: usize = 6;

/// Most blocks that take a panel's weights as they lie in the file: each puts pairs together by eight instructions where once for all,
/// stored and loaded again, it is 29.
const INTERLEAVED: usize = 3;

/// Eight bytes of each of two rows or columns.
type Pair<T> = [T; 16];

/// Rows and one panel of weights as the instruction takes them.
pub(crate) struct Packed {
    /// Of those that are multiplied at a time `[depth·2, pairs]`.
    rows: PackedRows,
    weights: [Eights; KC * 2],
}

/// Eight of k as they lie in the file: the first and the second four, fours of columns, four bytes of each column.
type Fours = [[i8; 16]; 8];

/// Eight of k for both halves of a panel: four pairs of columns each.
type Eights = [[Pair<i8>; 4]; 2];

impl Default for Packed {
    #[inline(always)]
    fn default() -> Self {
        Packed {
            rows: PackedRows::default(),
            weights: [[[[0; 16]; 4]; 2]; KC * 2],
        }
    }
}

impl Product for I8mm {
    type Lanes = NeonLanes;
    type State = Packed;
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;
    const BLOCK_ROWS: usize = MR;
    /// As many as a panel is brought into its order for.
    const FUSED_ROWS: usize = MR;

    #[inline(always)]
    fn lanes(self) -> NeonLanes {
        // SAFETY: `self` proves more.
        unsafe { NeonLanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(packed, tile, accumulators) }
    }
}

#[target_feature(enable = "neon,i8mm")]
fn multiply(packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    let pairs = tile.rows.div_ceil(2);
    let has_many = pairs > INTERLEAVED * HEIGHT;
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        let (rows, is_packed) = packed.rows.of(tile, 2 * pairs, (first, depth));
        if !is_packed {
            pack(tile, first, rows);
        }
        for panel in 0..tile.panels {
            let fours = &tile.panel(panel)[first * 256..][..depth * 256];
            let fours: &[Fours] = bytemuck::cast_slice(fours);
            let eights = &mut packed.weights[..depth * 2];
            if has_many {
                interleave(fours, eights);
            }
            for (pair, height) in blocks(pairs, HEIGHT) {
                let rows = &rows[pair * depth * 2..][..height * depth * 2];
                let count = (2 * height).min(tile.rows - 2 * pair);
                let to = &mut accumulators[(panel * MR + 2 * pair) * LANES..][..count * LANES];
                for half in 0..2 {
                    let to = Destination {
                        rows: to.as_chunks_mut().0,
                        half,
                        set: first == 0,
                    };
                    match has_many {
                        true => block_of(height, rows, eights, to),
                        false => block_of(height, rows, fours, to),
                    }
                }
            }
        }
    }
}

/// The tile's rows from one input on, two and two.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn pack(tile: Tile<'_>, first: usize, packed: &mut [Pair<u8>]) {
    let pairs = tile.rows.div_ceil(2);
    let depth = packed.len() / pairs;
    for (pair, height) in blocks(pairs, HEIGHT) {
        let packed = &mut packed[pair * depth..][..height * depth];
        for i in 0..height {
            let row = 2 * (pair + i);
            let upper = &tile.row(row)[first * 16..];
            // The product of an odd row's neighbour is not stored.
            let lower = &tile.row((row + 1).min(tile.rows - 1))[first * 16..];
            let halves = upper.as_chunks().0.iter().zip(lower.as_chunks().0);
            let to = packed[i..].iter_mut().step_by(height);
            for ((upper, lower), to) in halves.zip(to) {
                *to = bytemuck::cast::<[[u8; 8]; 2], _>([*upper, *lower]);
            }
        }
    }
}

/// What a product takes of a panel for eight of k.
trait Columns {
    /// Four pairs of columns, of the left or the right half.
    ///
    /// # Safety
    /// The CPU has NEON.
    unsafe fn load(&self, half: usize) -> [int8x16_t; 4];
}

impl Columns for Fours {
    #[inline(always)]
    unsafe fn load(&self, half: usize) -> [int8x16_t; 4] {
        let (first, second) = self.split_at(4);
        // SAFETY: the caller's promise; the pointers are those of whole arrays.
        unsafe {
            let a = vreinterpretq_s32_s8(vld1q_s8(first[2 * half].as_ptr()));
            let b = vreinterpretq_s32_s8(vld1q_s8(second[2 * half].as_ptr()));
            let c = vreinterpretq_s32_s8(vld1q_s8(first[2 * half + 1].as_ptr()));
            let d = vreinterpretq_s32_s8(vld1q_s8(second[2 * half + 1].as_ptr()));
            [
                vreinterpretq_s8_s32(vzip1q_s32(a, b)),
                vreinterpretq_s8_s32(vzip2q_s32(a, b)),
                vreinterpretq_s8_s32(vzip1q_s32(c, d)),
                vreinterpretq_s8_s32(vzip2q_s32(c, d)),
            ]
        }
    }
}

impl Columns for Eights {
    #[inline(always)]
    unsafe fn load(&self, half: usize) -> [int8x16_t; 4] {
        let [a, b, c, d] = &self[half];
        // SAFETY: the caller's promise; the pointers are those of whole arrays.
        unsafe {
            [
                vld1q_s8(a.as_ptr()),
                vld1q_s8(b.as_ptr()),
                vld1q_s8(c.as_ptr()),
                vld1q_s8(d.as_ptr()),
            ]
        }
    }
}

/// From fours of k to eights.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn interleave(fours: &[Fours], eights: &mut [Eights]) {
    for (fours, eights) in fours.iter().zip(eights) {
        for (half, to) in eights.iter_mut().enumerate() {
            // SAFETY: the CPU has what this function is compiled for.
            let pairs = unsafe { fours.load(half) };
            for (pair, to) in pairs.into_iter().zip(to) {
                // SAFETY: the pointer is that of the whole array.
                unsafe { vst1q_s8(to.as_mut_ptr(), pair) };
            }
        }
    }
}

/// Where the sums of a block and half a panel go.
struct Destination<'a> {
    /// Two for each pair, or one less if the last has no neighbour.
    rows: &'a mut [[i32; LANES]],
    half: usize,
    /// Set rather than added.
    set: bool,
}

/// Σ over `weights` for `height` pairs of rows.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn block_of<W: Columns>(height: usize, rows: &[Pair<u8>], weights: &[W], to: Destination<'_>) {
    match height {
        1 => block::<1, W>(rows, weights, to),
        2 => block::<2, W>(rows, weights, to),
        3 => block::<3, W>(rows, weights, to),
        4 => block::<4, W>(rows, weights, to),
        5 => block::<5, W>(rows, weights, to),
        6 => block::<6, W>(rows, weights, to),
        pairs => unreachable!("a block of {pairs} pairs"),
    }
}

#[inline]
#[target_feature(enable = "neon,i8mm")]
fn block<const P: usize, W: Columns>(rows: &[Pair<u8>], weights: &[W], to: Destination<'_>) {
    let mut sums = [[vdupq_n_s32(0); 4]; P];
    for (rows, weights) in rows.as_chunks::<P>().0.iter().zip(weights) {
        // SAFETY: the CPU has what this function is compiled for.
        let columns = unsafe { weights.load(to.half) };
        for (sums, rows) in sums.iter_mut().zip(rows) {
            // SAFETY: the pointer is that of the whole array.
            let rows = unsafe { vld1q_u8(rows.as_ptr()) };
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = product(*sum, rows, columns);
            }
        }
    }
    for (sums, rows) in sums.iter().zip(to.rows.chunks_mut(2)) {
        for (i, row) in rows.iter_mut().enumerate() {
            let row = &mut row.as_chunks_mut::<4>().0[to.half * 2..];
            for (sums, to_four) in sums.as_chunks::<2>().0.iter().zip(row) {
                let [a, b] = sums.map(|sum| vreinterpretq_s64_s32(sum));
                let sum = vreinterpretq_s32_s64(if i == 0 {
                    vzip1q_s64(a, b)
                } else {
                    vzip2q_s64(a, b)
                });
                // SAFETY: the pointers are those of a whole array.
                unsafe {
                    let before = if to.set {
                        vdupq_n_s32(0)
                    } else {
                        vld1q_s32(to_four.as_ptr())
                    };
                    vst1q_s32(to_four.as_mut_ptr(), vaddq_s32(before, sum));
                }
            }
        }
    }
}

/// sum + rows·columns, two by two. The intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn product(mut sum: int32x4_t, rows: uint8x16_t, columns: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes its registers only, and the CPU has it.
    unsafe {
        asm!(
            "usmmla {sum:v}.4s, {rows:v}.16b, {columns:v}.16b",
            sum = inout(vreg) sum,
            rows = in(vreg) rows,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

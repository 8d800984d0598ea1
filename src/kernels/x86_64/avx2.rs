//! Integer products on AVX2: bytes widened to 16 bits and `vpmaddwd`, which cannot overflow or saturate here (the usual
//! `vpmaddubsw` saturates).

use super::avx2_lanes::{self, Avx2Lanes};
use crate::lanes::LANES;
use crate::product::{Product, Tile};
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx2(())
    }
}

pub(crate) fn supported() -> bool {
    avx2_lanes::supported()
}

/// 6 rows × half a panel: 12 accumulators of two partial sums for each of four columns, 2 weights, a broadcast and a
/// product in 16 registers.
const MR: usize = 6;
/// Panels that share one widening of the rows.
const NR: usize = 4;
/// Depth in blocks of 64 that is widened at once: 6 rows of 512 are 6 KiB of 16-bit values, beside a panel's 8 KiB.
const KC: usize = 8;

impl Product for Avx2 {
    type Lanes = Avx2Lanes;
    type State = ();
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx2Lanes {
        // SAFETY: `self` proves as much.
        unsafe { Avx2Lanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, _: &mut (), tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(tile, accumulators) }
    }
}

/// Rows of a tile in 16 bits, `[KC·16, MR, 4]`.
type Wide = [[[i16; 4]; MR]; KC * 16];

#[target_feature(enable = "avx2")]
fn multiply(tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    let mut wide: Wide = [[[0; 4]; MR]; KC * 16];
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        for row in 0..tile.rows {
            let blocks = &tile.rows_of_blocks[row * tile.row_stride + first..][..depth];
            for (block, wide) in blocks.iter().zip(wide.as_chunks_mut::<16>().0) {
                for (u, wide) in block.0.as_chunks::<4>().0.iter().zip(wide) {
                    wide[row] = u.map(i16::from);
                }
            }
        }
        for panel in 0..tile.panels {
            let weights = &tile.panel(panel)[first * 1024..][..depth * 1024];
            let sums = &mut accumulators[panel * MR * LANES..][..MR * LANES];
            match tile.rows {
                1 => rows::<1>(&wide, weights, sums, first == 0),
                2 => rows::<2>(&wide, weights, sums, first == 0),
                3 => rows::<3>(&wide, weights, sums, first == 0),
                4 => rows::<4>(&wide, weights, sums, first == 0),
                5 => rows::<5>(&wide, weights, sums, first == 0),
                6 => rows::<6>(&wide, weights, sums, first == 0),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }
}

/// Σ over `weights`, `[depth·16, 16, 4]`, set or added to `accumulators`, `[MR, 16]`.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const R: usize>(wide: &Wide, weights: &[i8], accumulators: &mut [i32], set: bool) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (weights, wide) in weights.as_chunks::<64>().0.iter().zip(wide) {
            let weights: &[i8; 32] = weights[half * 32..].first_chunk().expect("half of 64");
            // SAFETY: 16 bytes each of 32.
            let weights = unsafe {
                [
                    _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.as_ptr().cast())),
                    _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.as_ptr().add(16).cast())),
                ]
            };
            for (sums, wide) in sums.iter_mut().zip(wide) {
                // SAFETY: four 16-bit values are eight bytes.
                let u = _mm256_set1_epi64x(unsafe { wide.as_ptr().cast::<i64>().read_unaligned() });
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(u, weights));
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            // Columns 0 1 4 5 2 3 6 7 after the addition of neighbours, which works within 128-bit halves.
            let columns =
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(sums[0], sums[1]));
            let to: &mut [i32] = &mut accumulators[row * LANES + half * 8..][..8];
            // SAFETY: eight accumulators.
            unsafe {
                let to: *mut __m256i = to.as_mut_ptr().cast();
                let before = if set {
                    _mm256_setzero_si256()
                } else {
                    _mm256_loadu_si256(to)
                };
                _mm256_storeu_si256(to, _mm256_add_epi32(before, columns));
            }
        }
    }
}

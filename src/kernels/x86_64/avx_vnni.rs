//! Integer products by `vpdpbusd` on 256-bit registers, for CPUs without AVX-512.

use super::avx2_lanes::{self, Avx2Lanes};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials};
use std::arch::x86_64::*;

/// Proof of AVX2 with AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni(());

impl AvxVnni {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        AvxVnni(())
    }
}

pub(crate) fn supported() -> bool {
    avx2_lanes::supported() && is_x86_feature_detected!("avxvnni")
}

/// 6 rows × 1 panel: 12 accumulators, 2 weights and a broadcast in 16 registers.
const MR: usize = 6;
/// Panels whose results are finished together, multiplied one at a time.
const NR: usize = 4;

impl Product for AvxVnni {
    type Lanes = Avx2Lanes;
    type State = ();
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx2Lanes {
        // SAFETY: `self` proves more.
        unsafe { Avx2Lanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, _: &mut (), tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(tile, accumulators) }
    }
}

#[target_feature(enable = "avx2,avxvnni")]
fn multiply(tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for panel in 0..tile.panels {
        let weights = tile.panel(panel);
        let accumulators = &mut accumulators[panel * MR * LANES..];
        // SAFETY: `check` passed.
        unsafe {
            match tile.rows {
                1 => rows::<1>(tile, weights, accumulators),
                2 => rows::<2>(tile, weights, accumulators),
                3 => rows::<3>(tile, weights, accumulators),
                4 => rows::<4>(tile, weights, accumulators),
                5 => rows::<5>(tile, weights, accumulators),
                6 => rows::<6>(tile, weights, accumulators),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }
}

/// # Safety
/// The tile has `R` rows and passed its check; `weights` is one of its panels.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn rows<const R: usize>(tile: Tile<'_>, weights: &[i8], accumulators: &mut [i32]) {
    let a: *const i32 = tile.rows_of_blocks.as_ptr().cast();
    let w = weights.as_ptr();
    let row = tile.row_stride * 16;
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for k in 0..tile.depth * 4 {
        // SAFETY: 64 bytes of a panel that has `depth` times 256.
        let weights = unsafe {
            [
                _mm256_loadu_si256(w.add(k * 64).cast()),
                _mm256_loadu_si256(w.add(k * 64 + 32).cast()),
            ]
        };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row r has 4·depth groups of four bytes.
            let u = _mm256_set1_epi32(unsafe { *a.add(r * row + k) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, u, weights);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: `check` saw MR·16 accumulators.
        unsafe {
            let to = accumulators.as_mut_ptr().add(r * LANES);
            _mm256_storeu_si256(to.cast(), sums[0]);
            _mm256_storeu_si256(to.add(8).cast(), sums[1]);
        }
    }
}

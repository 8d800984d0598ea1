//! Integer products by `vpdpbusd` on 512-bit registers: one panel row of 64 weights against four bytes of a row.

use super::avx512::{self, Avx512};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials};
use std::arch::x86_64::*;

/// Proof of AVX-512 with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni(());

impl Avx512Vnni {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx512Vnni(())
    }
}

pub(crate) fn supported() -> bool {
    avx512::supported() && is_x86_feature_detected!("avx512vnni")
}

/// 12 rows × 2 panels: 24 accumulators, 2 weights and a broadcast in 32 registers.
const MR: usize = 12;
/// Panels whose results are finished together, a pair multiplied at a time.
const NR: usize = 4;

impl Product for Avx512Vnni {
    type Lanes = Avx512;
    type State = ();
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx512 {
        // SAFETY: `self` proves more.
        unsafe { Avx512::assume() }
    }

    #[inline(always)]
    fn multiply(self, _: &mut (), tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply::<MR>(tile, accumulators) }
    }
}

/// The product of a tile of at most `MR` rows and any number of panels, into accumulators with `STRIDE` rows a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn multiply<const STRIDE: usize>(tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, STRIDE);
    for first in (0..tile.panels).step_by(2) {
        let pair = Tile {
            weights: &tile.weights[first * tile.panel_stride..],
            panels: 2.min(tile.panels - first),
            column_sum: None,
            ..tile
        };
        let accumulators = &mut accumulators[first * STRIDE * LANES..];
        macro_rules! heights {
            ($($rows:literal)*) => {
                match (pair.panels, pair.rows) {
                    // SAFETY: `check` passed.
                    $((2, $rows) => unsafe { rows::<$rows, 2, STRIDE>(pair, accumulators) },)*
                    // SAFETY: `check` passed.
                    $((1, $rows) => unsafe { rows::<$rows, 1, STRIDE>(pair, accumulators) },)*
                    shape => unreachable!("no tile of {shape:?} panels and rows"),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12)
    }
}

/// # Safety
/// The tile has `R` rows and `P` panels and passed its check.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn rows<const R: usize, const P: usize, const STRIDE: usize>(
    tile: Tile<'_>,
    accumulators: &mut [i32],
) {
    let a: *const i32 = tile.rows_of_blocks.as_ptr().cast();
    let w = tile.weights.as_ptr();
    let row = tile.row_stride * 16;
    let panel = tile.panel_stride;
    let mut sums = [[_mm512_setzero_si512(); P]; R];
    for k in 0..tile.depth * 4 {
        let mut weights = [_mm512_setzero_si512(); P];
        for (p, weights) in weights.iter_mut().enumerate() {
            // SAFETY: 64 bytes of panel p, which has `depth` times 256.
            *weights = unsafe { _mm512_loadu_si512(w.add(p * panel + k * 64).cast()) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row r has 4·depth groups of four bytes.
            let u = _mm512_set1_epi32(unsafe { *a.add(r * row + k) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, u, weights);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (p, sum) in sums.iter().enumerate() {
            // SAFETY: `check` saw STRIDE·16 accumulators for each panel.
            unsafe {
                _mm512_storeu_si512(
                    accumulators
                        .as_mut_ptr()
                        .add((p * STRIDE + r) * LANES)
                        .cast(),
                    *sum,
                )
            };
        }
    }
}

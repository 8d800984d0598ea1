//! Integer products on AVX2: bytes widened to 16 bits and `vpmaddwd`, which cannot overflow or saturate here (the usual
//! `vpmaddubsw` saturates).
//!
//! Rows are widened once for some panels, a panel once for all the rows of a block; of many rows, an eighth of the products is saved
//! (`avx2_strassen.rs`).

use super::avx2_lanes::{self, Avx2Lanes};
use super::avx2_strassen::{self, Sums};
use super::avx2_widen::{
    Bytes, CHUNK, Depth, Halves, KC, MR, NO_PANEL, PAIRS, Panel, PanelChunk, Row, Rows, widen_panel,
};
use crate::lanes::LANES;
use crate::product::{Product, Tile, level};
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

/// Panels that share one widening of the rows.
const NR: usize = 4;
/// Rows that are multiplied at a time: 12 accumulators, 2 weights, a broadcast and a product in 16 registers.
const ROWS: usize = 6;
impl Product for Avx2 {
    type Lanes = Avx2Lanes;
    type State = Widened;
    const MR: usize = MR;
    const NR: usize = NR;
    const BLOCK_ROWS: usize = MR;
    /// 384 outputs: rows are widened and added up once for so many.
    const TILES: usize = 6;
    /// For each of these a group's panels are widened once: with 32, GELU and all before it took a twentieth longer.
    const FUSED_ROWS: usize = 64;

    #[inline(always)]
    fn lanes(self) -> Avx2Lanes {
        // SAFETY: `self` proves as much.
        unsafe { Avx2Lanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(widened, tile, accumulators) }
    }

    #[inline(always)]
    fn halves(self, widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { halves(widened, tile, accumulators) }
    }
}

/// A tile's rows and two panels' weights in 16 bits.
pub(crate) struct Widened {
    rows: Rows,
    panels: [Panel; 2],
    sums: Sums,
}

impl Default for Widened {
    #[inline(always)]
    fn default() -> Self {
        Widened {
            rows: Rows::default(),
            panels: [NO_PANEL; 2],
            sums: Sums::default(),
        }
    }
}

#[target_feature(enable = "avx2")]
fn multiply(widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth * LANES).step_by(KC * CHUNK) {
        let depth = Depth::of(tile, first);
        if widened.rows.widen(tile, depth) {
            widened.sums.forget();
        }
        let is_all = depth.chunks * CHUNK >= tile.depth * LANES;
        let mut panel = 0;
        while panel < tile.panels {
            let in_pairs =
                is_all && panel + 1 < tile.panels && avx2_strassen::is_worth(tile, depth);
            let count = if in_pairs { 2 } else { 1 };
            let panels = &mut widened.panels[..count];
            for (index, to) in panels.iter_mut().enumerate() {
                let weights = Bytes(tile.whole_panel(panel + index));
                // SAFETY: the depth's chunks are those of the panel's blocks.
                unsafe { widen_panel(weights, depth, to) };
            }
            let sums = &mut accumulators[panel * MR * LANES..][..count * MR * LANES];
            let behind = first + depth.chunks * CHUNK;
            panel += count;
            // In the order of a product: the next panel, the first one's next inputs, or the panel behind the tile.
            let next = match panel == tile.panels {
                false => panel * tile.panel_stride + first * LANES,
                true if behind < tile.depth * LANES => behind * LANES,
                true => tile.panels * tile.panel_stride,
            };
            let next = tile.weights.as_ptr().wrapping_add(next);
            let rows = &widened.rows.halves;
            // SAFETY: rows and panels are written for the depth.
            unsafe {
                if in_pairs {
                    let next = [next, next.wrapping_add(tile.panel_stride)];
                    let sums_of = &mut widened.sums;
                    avx2_strassen::pair(
                        rows,
                        &widened.panels,
                        sums_of,
                        tile.rows,
                        depth,
                        sums,
                        next,
                    );
                } else {
                    let panel = widened.panels[0][..depth.chunks].split_at(depth.half);
                    let from = (first > 0).then_some(0);
                    let bytes = depth.half * CHUNK * LANES;
                    products(
                        (&rows[0][..tile.rows], panel.0),
                        sums,
                        from,
                        0,
                        (next, bytes),
                    );
                    if !panel.1.is_empty() {
                        let next = (next.wrapping_add(bytes), bytes);
                        products((&rows[1][..tile.rows], panel.1), sums, Some(0), 0, next);
                    }
                }
            }
        }
    }
}

/// A product of values in eight bits and weights in sixteen is one of 16-bit numbers here: half of the products of bytes.
#[target_feature(enable = "avx2")]
fn halves(widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    // 128 products of 255 and 15 bits: 30 bits.
    const { assert!(KC / 2 * CHUNK >= 128) };
    assert!(tile.panels == 2 && tile.depth * LANES <= 128);
    let depth = Depth::of(tile, 0);
    if widened.rows.widen(tile, depth) {
        widened.sums.forget();
    }
    let weights = Halves {
        high: Bytes(tile.whole_panel(0)),
        low: Bytes(tile.whole_panel(1)),
    };
    let panel = &mut widened.panels[0];
    // SAFETY: the depth's chunks are those of the panels' blocks.
    unsafe { widen_panel(weights, depth, panel) };
    let (high, low) = accumulators.split_at_mut(MR * LANES);
    high[..tile.rows * LANES].fill(0);
    let factors = (&widened.rows.halves[0][..tile.rows], &panel[..depth.chunks]);
    // SAFETY: both are written for the depth.
    unsafe { products(factors, low, None, 0, (std::ptr::null(), 0)) };
}

/// The products of rows with some chunks of a panel. Added to what `accumulators`, `[rows, 16]`, has from index
/// `from` on, if there is one, they are what it has from `to` on. Meanwhile so many bytes of weights come to the first-level cache from
/// `next` on, wherever that is: from the third-level cache they would be waited for, a tenth of the time.
///
/// # Safety
/// The chunks are written.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn products(
    (rows, panel): (&[Row], &[PanelChunk]),
    accumulators: &mut [i32],
    from: Option<usize>,
    to: usize,
    (mut next, bytes): (*const i8, usize),
) {
    // Of equal height, rather than a low rest.
    let height = level(rows.len(), ROWS);
    let lines = (bytes / 64).div_ceil(rows.len().div_ceil(height));
    for (index, rows) in rows.chunks(height).enumerate() {
        for _ in 0..lines {
            _mm_prefetch::<_MM_HINT_T0>(next);
            next = next.wrapping_add(64);
        }
        let at = index * height * LANES;
        let sums = accumulators[to + at..][..rows.len() * LANES].as_mut_ptr();
        let before = match from {
            Some(from) => accumulators[from + at..][..rows.len() * LANES].as_ptr(),
            None => ZEROS.as_ptr(),
        };
        let some_rows = match rows.len() {
            1 => some_rows::<1>,
            2 => some_rows::<2>,
            3 => some_rows::<3>,
            4 => some_rows::<4>,
            5 => some_rows::<5>,
            6 => some_rows::<6>,
            rows => unreachable!("{rows} rows at a time"),
        };
        // SAFETY: the caller's promise; both have sixteen sums for each of the rows.
        unsafe { some_rows(rows, panel, before.cast(), sums.cast()) }
    }
}

/// What products are added to that are added to nothing.
static ZEROS: [i32; ROWS * LANES] = [0; ROWS * LANES];

/// # Safety
/// The chunks of the panel, and those of `R` rows, are written; there are `R` sums before and behind, which may be the same.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn some_rows<const R: usize>(
    rows: &[Row],
    panel: &[PanelChunk],
    before: *const __m256i,
    to: *mut __m256i,
) {
    assert!(rows.len() == R && panel.len() <= KC / 2);
    let u: *const i32 = rows.as_ptr().cast();
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    let pairs = panel.as_flattened().as_flattened();
    for (pair, weights) in pairs.iter().enumerate() {
        // SAFETY: the caller's promise.
        let weights = unsafe { weights.map(|weights| weights.assume_init()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise; a row has so many pairs.
            let u = _mm256_set1_epi32(unsafe { *u.add(row * KC * PAIRS + pair) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(u, weights));
            }
        }
    }
    // Through pointers, `R` of them: in slices, registers go by way of the stack, which took a twentieth of the time.
    for (row, sums) in sums.iter().enumerate() {
        for (half, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let before = _mm256_loadu_si256(before.add(2 * row + half));
                _mm256_storeu_si256(to.add(2 * row + half), _mm256_add_epi32(before, *sum));
            }
        }
    }
}

//! Integer products on AVX2: bytes widened to 16 bits and `vpmaddwd`, which cannot overflow or saturate here (the usual
//! `vpmaddubsw` saturates).
//!
//! Widening takes no shuffle: the even and the odd bytes of words are cut out of them by shifts, so that an accumulator is a
//! column's sum. Rows are widened once for some panels, a panel once for all the rows of a block.

use super::avx2_lanes::{self, Avx2Lanes};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials, level};
use crate::quantized::bytes;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

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

/// Rows of a block: what a panel is widened for.
const MR: usize = 128;
/// Panels that share one widening of the rows.
const NR: usize = 4;
/// Rows that are multiplied at a time: 12 accumulators, 2 weights, a broadcast and a product in 16 registers.
const ROWS: usize = 6;
/// Inputs in the widening: the even ones and the odd ones are a register of a row each.
const CHUNK: usize = 32;
/// Chunks that are widened at once. A panel's, of 384 inputs, are 12 KiB in the first-level cache.
const KC: usize = 12;
/// Pairs of 16-bit inputs in a register.
const PAIRS: usize = 8;

impl Product for Avx2 {
    type Lanes = Avx2Lanes;
    type State = Widened;
    /// 384 outputs: rows are widened once for so many.
    type Partials = [TilePartials; 6];
    const MR: usize = MR;
    const NR: usize = NR;
    const BLOCK_ROWS: usize = MR;
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

/// A register, in memory that is written before it is read.
type Register = MaybeUninit<__m256i>;

/// A tile's rows and a panel's weights in 16 bits. For each chunk of 32 inputs the even ones in pairs (0 and 2, 4 and 6, …), then
/// the odd ones.
pub(crate) struct Widened {
    rows: [Row; MR],
    written: Option<Written>,
    panel: Panel,
}

/// `[KC, 2]` registers of eight pairs.
type Row = [[Register; 2]; KC];

/// `[KC, 2, 8, 2]` registers of a pair for each of eight columns.
type Panel = [[[[Register; 2]; PAIRS]; 2]; KC];

impl Default for Widened {
    #[inline(always)]
    fn default() -> Self {
        Widened {
            rows: [[[MaybeUninit::uninit(); 2]; KC]; MR],
            written: None,
            panel: [[[[MaybeUninit::uninit(); 2]; PAIRS]; 2]; KC],
        }
    }
}

/// Which rows and inputs of a block are widened.
#[derive(Clone, Copy, PartialEq)]
struct Written {
    row: usize,
    rows: usize,
    /// Sixteens before the inputs.
    before: usize,
    chunks: usize,
}

/// Chunks from one input on, a multiple of 64. A chunk that is but half of the depth is multiplied whole: there the rows are zero, or
/// the weights are.
#[derive(Clone, Copy)]
struct Depth {
    first: usize,
    chunks: usize,
}

impl Depth {
    fn of(tile: Tile<'_>, first: usize) -> Self {
        Depth {
            first,
            chunks: KC.min((tile.depth * LANES - first).div_ceil(CHUNK)),
        }
    }
}

/// The rows of a tile, unless they are still there.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_rows(tile: Tile<'_>, depth: Depth, widened: &mut Widened) {
    let written = Some(Written {
        row: tile.packing.row,
        rows: tile.rows,
        before: tile.packing.before + depth.first / LANES,
        chunks: depth.chunks,
    });
    if tile.packing.is_done && widened.written == written {
        return;
    }
    widened.written = None;
    for (row, to) in widened.rows.iter_mut().enumerate().take(tile.rows) {
        let row = bytes(&tile.rows_of_blocks[row * tile.row_stride..][..tile.blocks()]);
        let chunks = row[depth.first..].as_chunks::<CHUNK>().0;
        for (u, [even, odd]) in chunks.iter().zip(to).take(depth.chunks) {
            // SAFETY: the pointer is that of 32 bytes.
            let u = unsafe { _mm256_loadu_si256(u.as_ptr().cast()) };
            even.write(_mm256_and_si256(u, _mm256_set1_epi16(0xff)));
            odd.write(_mm256_srli_epi16::<8>(u));
        }
    }
    widened.written = written;
}

/// Weights of a panel, `[depth·4, 16, 4]`.
trait Weights {
    /// The even and the odd ones of 32, from `at` on, in 16 bits.
    ///
    /// # Safety
    /// The CPU has AVX2, and there are so many.
    unsafe fn load(&self, at: usize) -> [__m256i; 2];
}

/// 32 bytes of weights.
///
/// # Safety
/// The CPU has AVX2, and there are so many from `at` on.
#[inline(always)]
unsafe fn load(weights: &[i8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= weights.len());
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(weights.as_ptr().add(at).cast()) }
}

struct Bytes<'a>(&'a [i8]);

impl Weights for Bytes<'_> {
    #[inline(always)]
    unsafe fn load(&self, at: usize) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let w = load(self.0, at);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            [even, _mm256_srai_epi16::<8>(w)]
        }
    }
}

/// 256·high + low.
struct Halves<'a> {
    high: Bytes<'a>,
    low: Bytes<'a>,
}

impl Weights for Halves<'_> {
    #[inline(always)]
    unsafe fn load(&self, at: usize) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let high = load(self.high.0, at);
            let [even, odd] = self.low.load(at);
            let high_odd = _mm256_andnot_si256(_mm256_set1_epi16(0xff), high);
            [
                _mm256_add_epi16(even, _mm256_slli_epi16::<8>(high)),
                _mm256_add_epi16(odd, high_odd),
            ]
        }
    }
}

/// The weights of a panel.
///
/// # Safety
/// It has those of the depth.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widen_panel(weights: impl Weights, depth: Depth, panel: &mut Panel) {
    for (chunk, [even, odd]) in panel.iter_mut().enumerate().take(depth.chunks) {
        let at = (depth.first + chunk * CHUNK) * LANES;
        let halves = even
            .as_flattened_mut()
            .iter_mut()
            .zip(odd.as_flattened_mut());
        for (half, (even, odd)) in halves.enumerate() {
            // SAFETY: the caller's promise.
            let [e, o] = unsafe { weights.load(at + half * 32) };
            even.write(e);
            odd.write(o);
        }
    }
}

#[target_feature(enable = "avx2")]
fn multiply(widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth * LANES).step_by(KC * CHUNK) {
        let depth = Depth::of(tile, first);
        widen_rows(tile, depth, widened);
        for panel in 0..tile.panels {
            // SAFETY: the depth's chunks are those of the panel's blocks.
            unsafe { widen_panel(Bytes(tile.whole_panel(panel)), depth, &mut widened.panel) };
            let sums = &mut accumulators[panel * MR * LANES..][..MR * LANES];
            let is_last = panel + 1 == tile.panels;
            let behind = first + depth.chunks * CHUNK;
            // In the order of a product: the next panel, the first one's next inputs, or the panel behind the tile.
            let next = match is_last {
                false => (panel + 1) * tile.panel_stride + first * LANES,
                true if behind < tile.depth * LANES => behind * LANES,
                true => tile.panels * tile.panel_stride,
            };
            let next = tile.weights.as_ptr().wrapping_add(next);
            // SAFETY: both are written for the depth.
            unsafe { rows(widened, tile.rows, depth, sums, (first > 0, Some(next))) };
        }
    }
}

/// A product of values in eight bits and weights in sixteen is one of 16-bit numbers here: half of the products of bytes.
#[target_feature(enable = "avx2")]
fn halves(widened: &mut Widened, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    // 128 products of 255 and 15 bits: 30 bits.
    const { assert!(KC * CHUNK >= 128) };
    assert!(tile.panels == 2 && tile.depth * LANES <= 128);
    let depth = Depth::of(tile, 0);
    widen_rows(tile, depth, widened);
    let weights = Halves {
        high: Bytes(tile.whole_panel(0)),
        low: Bytes(tile.whole_panel(1)),
    };
    // SAFETY: the depth's chunks are those of the panels' blocks.
    unsafe { widen_panel(weights, depth, &mut widened.panel) };
    let (high, low) = accumulators.split_at_mut(MR * LANES);
    high[..tile.rows * LANES].fill(0);
    let low = &mut low[..MR * LANES];
    // SAFETY: both are written for the depth.
    unsafe { rows(widened, tile.rows, depth, low, (false, None)) };
}

/// Σ of the rows' products with the panel, set or added to `accumulators`, `[MR, 16]`. Meanwhile as many weights as the panel has come to
/// the first-level cache from `next` on, wherever that is: from the third-level cache they would be waited for, a tenth of the time.
///
/// # Safety
/// So many rows and the panel are written for the depth.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn rows(
    widened: &Widened,
    count: usize,
    depth: Depth,
    accumulators: &mut [i32],
    (add, mut next): (bool, Option<*const i8>),
) {
    // Of equal height, rather than a low rest.
    let height = level(count, ROWS);
    let lines = (depth.chunks * CHUNK * LANES / 64).div_ceil(count.div_ceil(height));
    let sums = accumulators.chunks_mut(height * LANES);
    for (rows, sums) in widened.rows[..count].chunks(height).zip(sums) {
        if let Some(next) = &mut next {
            for _ in 0..lines {
                _mm_prefetch::<_MM_HINT_T0>(*next);
                *next = next.wrapping_add(64);
            }
        }
        let some_rows = match rows.len() {
            1 => some_rows::<1>,
            2 => some_rows::<2>,
            3 => some_rows::<3>,
            4 => some_rows::<4>,
            5 => some_rows::<5>,
            6 => some_rows::<6>,
            rows => unreachable!("{rows} rows at a time"),
        };
        // SAFETY: the caller's promise.
        unsafe { some_rows(rows, &widened.panel, depth.chunks, sums, add) }
    }
}

/// # Safety
/// The first `chunks` of the panel and of `R` rows are written.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn some_rows<const R: usize>(
    rows: &[Row],
    panel: &Panel,
    chunks: usize,
    accumulators: &mut [i32],
    add: bool,
) {
    assert!(rows.len() == R && chunks <= KC);
    let u: *const i32 = rows.as_ptr().cast();
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    let pairs = panel.as_flattened().as_flattened();
    for (pair, weights) in pairs.iter().take(chunks * 2 * PAIRS).enumerate() {
        // SAFETY: the caller's promise.
        let weights = unsafe { weights.map(|weights| weights.assume_init()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise; a row has so many pairs.
            let u = _mm256_set1_epi32(unsafe { *u.add(row * KC * 2 * PAIRS + pair) });
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(u, weights));
            }
        }
    }
    // Of a length that the compiler knows: registers go by way of the stack otherwise, which took a twentieth of the time.
    let accumulators: &mut [[i32; LANES]; R] = accumulators
        .as_chunks_mut()
        .0
        .first_chunk_mut()
        .expect("those of the rows");
    let kept = _mm256_set1_epi32(-i32::from(add));
    for (sums, to) in sums.iter().zip(accumulators) {
        for (half, sum) in sums.iter().enumerate() {
            let to: *mut __m256i = to[half * 8..].as_mut_ptr().cast();
            // SAFETY: eight accumulators.
            unsafe {
                let before = _mm256_and_si256(_mm256_loadu_si256(to), kept);
                _mm256_storeu_si256(to, _mm256_add_epi32(before, *sum));
            }
        }
    }
}

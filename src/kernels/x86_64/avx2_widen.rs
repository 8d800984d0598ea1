//! Bytes in 16 bits, as AVX2 multiplies them.
//!
//! It takes no shuffle: the even and the odd bytes of words are cut out of them by shifts, so that an accumulator is a column's sum.

use crate::lanes::LANES;
use crate::product::Tile;
use crate::quantized::bytes;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Rows of a block: what a panel is widened for.
pub(super) const MR: usize = 128;
/// Inputs in the widening: the even ones and the odd ones are a register of a row each.
pub(super) const CHUNK: usize = 32;
/// Chunks that are widened at once. A panel's, of 384 inputs, are 12 KiB in the first-level cache.
pub(super) const KC: usize = 12;
const HALF: usize = KC / 2;
/// Pairs of 16-bit inputs in a register.
pub(super) const PAIRS: usize = 8;

/// A register, in memory that is written before it is read.
pub(super) type Register = MaybeUninit<__m256i>;

/// Half of a row, `[HALF, 2]` registers of eight pairs: for each chunk the even inputs in pairs (0 and 2, 4 and 6, …), then the odd ones.
pub(super) type Row = [[Register; 2]; HALF];

/// `[KC, 2, 8, 2]` registers of a pair for each of eight columns.
pub(super) type Panel = [PanelChunk; KC];
pub(super) type PanelChunk = [[[Register; 2]; PAIRS]; 2];

pub(super) const NO_ROW: Row = [[MaybeUninit::uninit(); 2]; HALF];
pub(super) const NO_PANEL: Panel = [[[[MaybeUninit::uninit(); 2]; PAIRS]; 2]; KC];

/// A tile's rows in 16 bits.
pub(super) struct Rows {
    /// The first half of the inputs, and the second. Each is multiplied by itself, and lies by itself: rows that follow each other are
    /// fetched before they are needed.
    pub(super) halves: [[Row; MR]; 2],
    written: Option<Written>,
}

impl Default for Rows {
    #[inline(always)]
    fn default() -> Self {
        Rows {
            halves: [[NO_ROW; MR]; 2],
            written: None,
        }
    }
}

/// Which rows and inputs of a block are written.
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
pub(super) struct Depth {
    pub(super) first: usize,
    pub(super) chunks: usize,
    /// Chunks of the first half; all, where there are few.
    pub(super) half: usize,
}

impl Depth {
    pub(super) fn of(tile: Tile<'_>, first: usize) -> Self {
        let chunks = KC.min((tile.depth * LANES - first).div_ceil(CHUNK));
        Depth {
            first,
            chunks,
            half: match chunks {
                0..=HALF => chunks,
                _ => chunks.div_ceil(2),
            },
        }
    }
}

impl Rows {
    /// Those of a tile and, where their number is odd, one of zeros; false if they were still there.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn widen(&mut self, tile: Tile<'_>, depth: Depth) -> bool {
        let written = Some(Written {
            row: tile.packing.row,
            rows: tile.rows,
            before: tile.packing.before + depth.first / LANES,
            chunks: depth.chunks,
        });
        if tile.packing.is_done && self.written == written {
            return false;
        }
        self.written = None;
        let [first, second] = &mut self.halves;
        let halves = first.iter_mut().zip(&mut *second);
        for (row, (first, second)) in halves.enumerate().take(tile.rows) {
            let row = bytes(&tile.rows_of_blocks[row * tile.row_stride..][..tile.blocks()]);
            let chunks = row[depth.first..].as_chunks::<CHUNK>().0;
            let to = first[..depth.half].iter_mut().chain(second);
            for (u, [even, odd]) in chunks.iter().zip(to).take(depth.chunks) {
                // SAFETY: the pointer is that of 32 bytes.
                let u = unsafe { _mm256_loadu_si256(u.as_ptr().cast()) };
                even.write(_mm256_and_si256(u, _mm256_set1_epi16(0xff)));
                odd.write(_mm256_srli_epi16::<8>(u));
            }
        }
        if !tile.rows.is_multiple_of(2) {
            let zeros = [[MaybeUninit::new(_mm256_setzero_si256()); 2]; HALF];
            (first[tile.rows], second[tile.rows]) = (zeros, zeros);
        }
        self.written = written;
        true
    }
}

/// Weights of a panel, `[depth·4, 16, 4]`.
pub(super) trait Weights {
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

pub(super) struct Bytes<'a>(pub(super) &'a [i8]);

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
pub(super) struct Halves<'a> {
    pub(super) high: Bytes<'a>,
    pub(super) low: Bytes<'a>,
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
pub(super) unsafe fn widen_panel(weights: impl Weights, depth: Depth, panel: &mut Panel) {
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

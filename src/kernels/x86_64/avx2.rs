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
/// Depth in sixteens that is widened at once: 6 rows of 512 are 6 KiB of 16-bit values, beside a panel's 8 KiB.
const KC: usize = 32;

impl Product for Avx2 {
    type Lanes = Avx2Lanes;
    type State = Packed;
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> Avx2Lanes {
        // SAFETY: `self` proves as much.
        unsafe { Avx2Lanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(packed, tile, accumulators) }
    }

    #[inline(always)]
    fn halves(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { halves(packed, tile, accumulators) }
    }
}

/// Rows of a tile in 16 bits, `[KC·4, MR, 4]`.
type Wide = [[[i16; 4]; MR]; KC * 4];

/// Rows of the tile at hand. Between tiles it is not cleared, which would take as long as filling it. Each four begin on eight bytes.
#[repr(C, align(64))]
pub(crate) struct Packed(Wide);

impl Default for Packed {
    #[inline(always)]
    fn default() -> Self {
        Packed([[[0; 4]; MR]; KC * 4])
    }
}

/// The bytes of each row from `first` on, for so many sixteens.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(tile: Tile<'_>, first: usize, depth: usize, wide: &mut Packed) {
    for row in 0..tile.rows {
        let sixteens = tile.row(row)[first * 16..][..depth * 16]
            .as_chunks::<16>()
            .0;
        for (u, wide) in sixteens.iter().zip(wide.0.as_chunks_mut::<4>().0) {
            // SAFETY: the pointer is that of sixteen bytes.
            let u = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(u.as_ptr().cast()) });
            let (low, high) = (_mm256_castsi256_si128(u), _mm256_extracti128_si256::<1>(u));
            // SAFETY: each pointer is that of four values of 16 bits, half of a register, on eight bytes (`Packed`).
            unsafe {
                _mm_storel_epi64(wide[0][row].as_mut_ptr().cast(), low);
                _mm_storeh_pd(wide[1][row].as_mut_ptr().cast(), _mm_castsi128_pd(low));
                _mm_storel_epi64(wide[2][row].as_mut_ptr().cast(), high);
                _mm_storeh_pd(wide[3][row].as_mut_ptr().cast(), _mm_castsi128_pd(high));
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn multiply(packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        widen(tile, first, depth, packed);
        for panel in 0..tile.panels {
            let weights = Bytes(&tile.panel(panel)[first * 256..][..depth * 256]);
            let sums = &mut accumulators[panel * MR * LANES..][..MR * LANES];
            some_rows(tile.rows, &packed.0, weights, sums, first == 0);
        }
    }
}

/// A product of values in eight bits and weights in sixteen is one of 16-bit numbers here: half of the products of bytes.
#[target_feature(enable = "avx2")]
fn halves(packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    // 128 products of 255 and 15 bits: 30 bits.
    const { assert!(KC >= 8) };
    assert!(tile.panels == 2 && tile.depth <= 8);
    widen(tile, 0, tile.depth, packed);
    let (high, low) = accumulators.split_at_mut(MR * LANES);
    high.fill(0);
    let weights = Halves {
        high: tile.panel(0),
        low: tile.panel(1),
    };
    some_rows(tile.rows, &packed.0, weights, &mut low[..MR * LANES], true);
}

/// Weights of a panel, `[depth·4, 16, 4]`.
trait Weights: Copy {
    /// Fours along k.
    fn fours(self) -> usize;
    /// Sixteen of them, from `at` on, in 16 bits.
    ///
    /// # Safety
    /// The CPU has AVX2, and there are so many.
    unsafe fn load(self, at: usize) -> __m256i;
}

/// Sixteen bytes in 16 bits each.
///
/// # Safety
/// The CPU has AVX2, and there are so many.
#[inline(always)]
unsafe fn sixteen(bytes: &[i8], at: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().add(at).cast())) }
}

#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [i8]);

impl Weights for Bytes<'_> {
    #[inline(always)]
    fn fours(self) -> usize {
        self.0.len() / 64
    }

    #[inline(always)]
    unsafe fn load(self, at: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { sixteen(self.0, at) }
    }
}

/// 256·high + low.
#[derive(Clone, Copy)]
struct Halves<'a> {
    high: &'a [i8],
    low: &'a [i8],
}

impl Weights for Halves<'_> {
    #[inline(always)]
    fn fours(self) -> usize {
        self.high.len().min(self.low.len()) / 64
    }

    #[inline(always)]
    unsafe fn load(self, at: usize) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let high = _mm256_slli_epi16::<8>(sixteen(self.high, at));
            _mm256_add_epi16(high, sixteen(self.low, at))
        }
    }
}

/// [`rows`] of so many.
#[inline]
#[target_feature(enable = "avx2")]
fn some_rows(
    count: usize,
    wide: &Wide,
    weights: impl Weights,
    accumulators: &mut [i32],
    set: bool,
) {
    match count {
        1 => rows::<1>(wide, weights, accumulators, set),
        2 => rows::<2>(wide, weights, accumulators, set),
        3 => rows::<3>(wide, weights, accumulators, set),
        4 => rows::<4>(wide, weights, accumulators, set),
        5 => rows::<5>(wide, weights, accumulators, set),
        6 => rows::<6>(wide, weights, accumulators, set),
        rows => unreachable!("a tile of {rows} rows"),
    }
}

/// Σ over `weights`, set or added to `accumulators`, `[MR, 16]`.
#[inline]
#[target_feature(enable = "avx2")]
fn rows<const R: usize>(wide: &Wide, weights: impl Weights, accumulators: &mut [i32], set: bool) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (four, wide) in wide.iter().enumerate().take(weights.fours()) {
            let at = four * 64 + half * 32;
            // SAFETY: sixteen each of the 64 weights of a four.
            let weights = unsafe { [weights.load(at), weights.load(at + 16)] };
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

//! Seven products instead of eight.
//!
//! Strassen's products of halves (1969) in Winograd's form, with fifteen sums: of a tile's rows, of its inputs and of two panels. In whole
//! numbers it is exact. AVX2 has no product that accumulates and multiplies 16-bit numbers as fast as bytes, which leaves room for the
//! sums; the panel's and the rows' are of ten bits, and taken once for all the products that share them.

use super::avx2::products;
use super::avx2_widen::{Depth, MR, NO_PANEL, NO_ROW, PAIRS, Panel, Register, Row};
use crate::lanes::LANES;
use crate::product::Tile;
use std::arch::x86_64::*;

/// Fewest rows for which a panel's sums cost less than they save.
const LEAST_ROWS: usize = 48;
/// Fewest chunks.
const LEAST_CHUNKS: usize = 8;

/// Whether a tile's pairs of panels should be multiplied so.
#[inline(always)]
pub(super) fn is_worth(tile: Tile<'_>, depth: Depth) -> bool {
    tile.rows >= LEAST_ROWS && depth.chunks >= LEAST_CHUNKS && depth.chunks.is_multiple_of(2)
}

/// Sums of the rows' halves, as long as the rows are there, and of two panels' halves. With the rows' upper and lower half as A₁ and A₂, the
/// panels as B·₁ and B·₂, and the inputs' halves as A·₁ and A·₂, B₁· and B₂·:
///
/// S₁ = A₂₁ + A₂₂, S₂ = S₁ − A₁₁, S₃ = A₁₁ − A₂₁, S₄ = A₁₂ − S₂,
/// T₁ = B₁₂ − B₁₁, T₂ = B₂₂ − T₁, T₃ = B₂₂ − B₁₂, T₄ = B₂₁ − T₂.
pub(super) struct Sums {
    /// S₁ to S₄.
    rows: [[Row; MR / 2]; 4],
    are_rows_written: bool,
    /// T₁ and behind it T₂, T₃ and behind it T₄.
    panels: [Panel; 2],
}

impl Default for Sums {
    #[inline(always)]
    fn default() -> Self {
        Sums {
            rows: [[NO_ROW; MR / 2]; 4],
            are_rows_written: false,
            panels: [NO_PANEL; 2],
        }
    }
}

impl Sums {
    /// The rows are no longer those that were added up.
    pub(super) fn forget(&mut self) {
        self.are_rows_written = false;
    }
}

/// # Safety
/// The first registers are written.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn differences(
    [x11, x12, x21, x22]: [&[Register]; 4],
    [one, two, three, four]: [&mut [Register]; 4],
    combine: impl Fn([__m256i; 4]) -> [__m256i; 4],
) {
    let from = x11.iter().zip(x12).zip(x21.iter().zip(x22));
    let to = one.iter_mut().zip(two).zip(three.iter_mut().zip(four));
    for (((x11, x12), (x21, x22)), ((one, two), (three, four))) in from.zip(to) {
        // SAFETY: the caller's promise.
        let x = unsafe { [x11, x12, x21, x22].map(|x| x.assume_init()) };
        let sums = combine(x);
        one.write(sums[0]);
        two.write(sums[1]);
        three.write(sums[2]);
        four.write(sums[3]);
    }
}

/// S₁ to S₄ of rows in halves of so many, with so many chunks in a half.
///
/// # Safety
/// They are written.
#[target_feature(enable = "avx2")]
unsafe fn add_rows(
    [first, second]: &[[Row; MR]; 2],
    height: usize,
    half: usize,
    sums: &mut [[Row; MR / 2]; 4],
) {
    for row in 0..height {
        let rows = [
            &first[row],
            &second[row],
            &first[height + row],
            &second[height + row],
        ];
        let rows = rows.map(|row| row[..half].as_flattened());
        let sums = sums.each_mut().map(|sums| sums[row].as_flattened_mut());
        // SAFETY: the caller's promise.
        unsafe {
            differences(rows, sums, |[a11, a12, a21, a22]| {
                let s1 = _mm256_add_epi16(a21, a22);
                let s2 = _mm256_sub_epi16(s1, a11);
                [
                    s1,
                    s2,
                    _mm256_sub_epi16(a11, a21),
                    _mm256_sub_epi16(a12, s2),
                ]
            })
        }
    }
}

/// T₁ to T₄ of panels with so many chunks in a half.
///
/// # Safety
/// They are written.
#[target_feature(enable = "avx2")]
unsafe fn subtract_panels([one, two]: &[Panel; 2], half: usize, sums: &mut [Panel; 2]) {
    let half = half * 4 * PAIRS;
    let [first, second] = sums;
    let (b11, b21) = one
        .as_flattened()
        .as_flattened()
        .as_flattened()
        .split_at(half);
    let (b12, b22) = two
        .as_flattened()
        .as_flattened()
        .as_flattened()
        .split_at(half);
    let (t1, t2) = first
        .as_flattened_mut()
        .as_flattened_mut()
        .as_flattened_mut()
        .split_at_mut(half);
    let (t3, t4) = second
        .as_flattened_mut()
        .as_flattened_mut()
        .as_flattened_mut()
        .split_at_mut(half);
    // SAFETY: the caller's promise.
    unsafe {
        differences(
            [b11, b12, &b21[..half], &b22[..half]],
            [t1, t2, t3, t4],
            |[b11, b12, b21, b22]| {
                let t1 = _mm256_sub_epi16(b12, b11);
                let t2 = _mm256_sub_epi16(b22, t1);
                [
                    t1,
                    t2,
                    _mm256_sub_epi16(b22, b12),
                    _mm256_sub_epi16(b21, t2),
                ]
            },
        )
    }
}

/// The products of `count` rows with two panels: `accumulators`, `[2, MR, 16]`. From each of `next` on, as many weights as a panel has come
/// to the first-level cache.
///
/// # Safety
/// So many rows, one more if their number is odd, and both panels have so many chunks, an even number, written.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pair(
    rows: &[[Row; MR]; 2],
    panels: &[Panel; 2],
    sums: &mut Sums,
    count: usize,
    depth: Depth,
    accumulators: &mut [i32],
    next: [*const i8; 2],
) {
    let Depth { chunks, half, .. } = depth;
    let height = count.div_ceil(2);
    assert!(2 * half == chunks && 2 * height <= MR && accumulators.len() == 2 * MR * LANES);
    // SAFETY: the caller's promise.
    unsafe {
        if !sums.are_rows_written {
            add_rows(rows, height, half, &mut sums.rows);
            sums.are_rows_written = true;
        }
        subtract_panels(panels, half, &mut sums.panels);
    }
    let [a11, a12] = rows.each_ref().map(|rows| &rows[..height]);
    let a22 = &rows[1][height..2 * height];
    let [s1, s2, s3, s4] = sums.rows.each_ref().map(|rows| &rows[..height]);
    let [b1, b2] = panels
        .each_ref()
        .map(|panel| panel[..chunks].split_at(half));
    let [t12, t34] = sums
        .panels
        .each_ref()
        .map(|panel| panel[..chunks].split_at(half));
    let [c11, c12, c21, c22] = [0, MR, height, MR + height].map(|row| row * LANES);
    // Six of the products bring a third of a panel.
    let bytes = (chunks * super::avx2_widen::CHUNK * LANES).div_ceil(3);
    let next = |part: usize| (next[part / 3].wrapping_add(part % 3 * bytes), bytes);
    // SAFETY: the caller's promise; the sums are written.
    unsafe {
        // P₁ = A₁₁·B₁₁
        products((a11, b1.0), accumulators, None, c11, next(0));
        // U₂ = P₁ + S₂·T₂
        products((s2, t12.1), accumulators, Some(c11), c22, next(1));
        // U₄ = U₂ + S₁·T₁
        products((s1, t12.0), accumulators, Some(c22), c12, next(2));
        // C₁₁ = P₁ + A₁₂·B₂₁
        products((a12, b1.1), accumulators, Some(c11), c11, next(3));
        // U₃ = U₂ + S₃·T₃
        products((s3, t34.0), accumulators, Some(c22), c21, next(4));
    }
    // C₂₂ = U₃ + S₁·T₁ = U₃ + U₄ − U₂
    for index in 0..height * LANES {
        let sum = accumulators[c21 + index].wrapping_add(accumulators[c12 + index]);
        accumulators[c22 + index] = sum.wrapping_sub(accumulators[c22 + index]);
    }
    // SAFETY: as above.
    unsafe {
        // C₁₂ = U₄ + S₄·B₂₂
        products((s4, b2.1), accumulators, Some(c12), c12, next(5));
        // C₂₁ = U₃ + A₂₂·T₄
        products((a22, t34.1), accumulators, Some(c21), c21, (next(0).0, 0));
    }
}

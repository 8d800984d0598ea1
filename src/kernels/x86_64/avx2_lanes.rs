//! [`Lanes`] as two 256-bit registers.

use crate::lanes::{LANES, Lanes};
use half::f16;
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Lanes(());

impl Avx2Lanes {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx2Lanes(())
    }
}

/// Whether [`Avx2Lanes::assume`] may be called.
pub(crate) fn supported() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

type Pair = [__m256; 2];

/// Methods that do the same to both halves.
macro_rules! halves {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: [$type; 2]),*) -> [$result; 2] {
            // Not a closure: it would be compiled without the features of the function around it.
            [
                {
                    $(let $argument = $argument[0];)*
                    // SAFETY: `self` proves that the CPU has the instruction.
                    unsafe { $body }
                },
                {
                    $(let $argument = $argument[1];)*
                    // SAFETY: `self` proves that the CPU has the instruction.
                    unsafe { $body }
                },
            ]
        }
    )*};
}

/// The tree of a reduction: halves, quarters, eighths, then the last two.
macro_rules! trees {
    ($($name:ident = $wide:ident $narrow:ident $single:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, x: Pair) -> f32 {
            // SAFETY: `self` proves that the CPU has the instructions.
            unsafe {
                let x = $wide(x[0], x[1]);
                let x = $narrow(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                let x = $narrow(x, _mm_movehl_ps(x, x));
                _mm_cvtss_f32($single(x, _mm_movehdup_ps(x)))
            }
        }
    )*};
}

impl Lanes for Avx2Lanes {
    type F = Pair;
    type I = [__m256i; 2];
    type M = Pair;

    halves! {
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        fn max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        fn abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        fn less(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        fn select(mask: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, mask);
        fn round(a: __m256) -> __m256i = _mm256_cvtps_epi32(a);
        fn to_float(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        fn add_int(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        fn sub_int(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        fn max_int(a: __m256i, b: __m256i) -> __m256i = _mm256_max_epi32(a, b);
        fn bits(x: __m256) -> __m256i = _mm256_castps_si256(x);
        fn exponent(n: __m256i) -> __m256 = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n));
        fn scale_by_power(x: __m256, n: __m256i) -> __m256 =
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32::<23>(n)));
    }

    trees! {
        sum = _mm256_add_ps _mm_add_ps _mm_add_ss;
        minimum = _mm256_min_ps _mm_min_ps _mm_min_ss;
        maximum = _mm256_max_ps _mm_max_ps _mm_max_ss;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Pair {
        // SAFETY: `self` proves that the CPU has the instruction; both halves lie in the array.
        unsafe {
            [
                _mm256_loadu_ps(from.as_ptr()),
                _mm256_loadu_ps(from.as_ptr().add(8)),
            ]
        }
    }

    #[inline(always)]
    fn store(self, x: Pair, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves that the CPU has the instruction; both halves lie in the array.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), x[1]);
        }
    }

    #[inline(always)]
    fn load_int(self, from: &[i32; LANES]) -> [__m256i; 2] {
        // SAFETY: `self` proves that the CPU has the instruction; both halves lie in the array.
        unsafe {
            [
                _mm256_loadu_si256(from.as_ptr().cast()),
                _mm256_loadu_si256(from.as_ptr().add(8).cast()),
            ]
        }
    }

    #[inline(always)]
    fn store_bytes(self, x: [__m256i; 2], to: &mut [u8; LANES]) {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            // Packing works within 128-bit halves; the permutation puts the four quarters in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(x[0], x[1]));
            let bytes = _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn store_four_bytes(self, x: [[__m256i; 2]; 4], to: &mut [u8; 4 * LANES]) {
        for (x, to) in x
            .as_chunks::<2>()
            .0
            .iter()
            .zip(to.as_chunks_mut::<{ 2 * LANES }>().0)
        {
            // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
            unsafe {
                // Packing works within 128-bit halves: four bytes of each register there, which then change places.
                let words = [
                    _mm256_packs_epi32(x[0][0], x[0][1]),
                    _mm256_packs_epi32(x[1][0], x[1][1]),
                ];
                let bytes = _mm256_packus_epi16(words[0], words[1]);
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                let bytes = _mm256_permutevar8x32_epi32(bytes, order);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes);
            }
        }
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> [__m256i; 2] {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }

    #[inline(always)]
    fn transpose(self, x: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
        let mut out = [[0.0; LANES]; LANES];
        for corner in 0..4 {
            let (row, column) = (corner / 2 * 8, corner % 2 * 8);
            // SAFETY: `self` proves that the CPU has the instructions; the pointers leave eight columns.
            unsafe {
                // Fours of rows within each 128 bits, then the 128-bit halves change places.
                let mut fours = [[_mm256_setzero_ps(); 4]; 2];
                for (fours, x) in fours.iter_mut().zip(x[row..row + 8].as_chunks::<4>().0) {
                    let mut rows = [_mm256_setzero_ps(); 4];
                    for (row, x) in rows.iter_mut().zip(x) {
                        *row = _mm256_loadu_ps(x.as_ptr().add(column));
                    }
                    let [a, b, c, d] = rows;
                    let ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
                    let cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
                    fours[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                    fours[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
                    let ab = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
                    let cd = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
                    fours[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
                    fours[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd));
                }
                for (i, (&a, &b)) in fours[0].iter().zip(&fours[1]).enumerate() {
                    let to = out[column + i].as_mut_ptr().add(row);
                    _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(a, b));
                    let to = out[column + 4 + i].as_mut_ptr().add(row);
                    _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x31>(a, b));
                }
            }
        }
        out
    }

    #[inline(always)]
    fn store_quad_halves(
        self,
        x: [[__m256i; 2]; 4],
        low: &mut [u8; 4 * LANES],
        high: &mut [u8; 4 * LANES],
    ) {
        let (low, high) = (low.as_chunks_mut::<32>().0, high.as_chunks_mut::<32>().0);
        for (half, (low, high)) in low.iter_mut().zip(high).enumerate() {
            // SAFETY: `self` proves that the CPU has the instructions; the pointers are those of whole arrays.
            unsafe {
                let third = _mm256_slli_epi32::<16>(x[2][half]);
                let fourth = _mm256_slli_epi32::<16>(x[3][half]);
                let even = _mm256_blend_epi16::<0xaa>(x[0][half], third);
                let odd = _mm256_blend_epi16::<0xaa>(x[1][half], fourth);
                let bytes = _mm256_set1_epi16(255);
                let sign = _mm256_set1_epi8(-128);
                let lows =
                    _mm256_or_si256(_mm256_and_si256(even, bytes), _mm256_slli_epi16::<8>(odd));
                let highs = _mm256_or_si256(
                    _mm256_srli_epi16::<8>(even),
                    _mm256_andnot_si256(bytes, odd),
                );
                _mm256_storeu_si256(low.as_mut_ptr().cast(), _mm256_xor_si256(lows, sign));
                _mm256_storeu_si256(high.as_mut_ptr().cast(), highs);
            }
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [[__m256i; 2]; 4], to: &mut [u8; 4 * LANES]) {
        for (half, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
            unsafe {
                let byte = _mm256_set1_epi32(255);
                let low = _mm256_or_si256(
                    _mm256_and_si256(x[0][half], byte),
                    _mm256_slli_epi32::<8>(_mm256_and_si256(x[1][half], byte)),
                );
                let high = _mm256_or_si256(
                    _mm256_and_si256(x[2][half], byte),
                    _mm256_slli_epi32::<8>(_mm256_and_si256(x[3][half], byte)),
                );
                let all = _mm256_or_si256(low, _mm256_slli_epi32::<16>(high));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), all);
            }
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Pair {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))),
            ]
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Pair {
        // SAFETY: `self` proves that the CPU has the instructions; both halves lie in the array.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().add(8).cast())),
            ]
        }
    }
}

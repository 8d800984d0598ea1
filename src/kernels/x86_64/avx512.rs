//! [`Lanes`] as one 512-bit register.

use crate::lanes::{LANES, Lanes};
use half::f16;
use std::arch::x86_64::*;

/// Proof of AVX-512 F, BW, VL and DQ.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx512(())
    }
}

/// Whether [`Avx512::assume`] may be called.
pub(crate) fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Methods that are one instruction each.
macro_rules! instructions {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) -> $result {
            // SAFETY: `self` proves that the CPU has the instruction; pointers come from references to whole arrays.
            unsafe { $body }
        }
    )*};
}

impl Lanes for Avx512 {
    const KEYS: usize = 8;
    const PANELS: usize = 2;
    const QUERIES: usize = 8;

    type F = __m512;
    type I = __m512i;
    type M = __mmask16;

    instructions! {
        fn splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        fn load(from: &[f32; LANES]) -> __m512 = _mm512_loadu_ps(from.as_ptr());
        fn store(x: __m512, to: &mut [f32; LANES]) -> () = _mm512_storeu_ps(to.as_mut_ptr(), x);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        fn max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        // The one of less magnitude, with the sign of the first.
        fn clamp(x: __m512, bound: f32) -> __m512 = _mm512_range_ps::<0b00_10>(x, _mm512_set1_ps(bound));
        fn less(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        fn select(mask: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(mask, b, a);
        fn round(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        fn to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        fn load_int(from: &[i32; LANES]) -> __m512i = _mm512_loadu_si512(from.as_ptr().cast());
        fn splat_int(x: i32) -> __m512i = _mm512_set1_epi32(x);
        fn add_int(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn sub_int(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        fn max_int(a: __m512i, b: __m512i) -> __m512i = _mm512_max_epi32(a, b);
        fn scale_by_power(x: __m512, n: __m512i) -> __m512 =
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32::<23>(n)));
        fn fraction(t: __m512) -> __m512 = _mm512_reduce_ps::<_MM_FROUND_TO_NEAREST_INT>(t);
        fn scale_by_nearest_power(x: __m512, t: __m512) -> __m512 =
            _mm512_scalef_ps(x, _mm512_sub_ps(t, _mm512_reduce_ps::<_MM_FROUND_TO_NEAREST_INT>(t)));
        fn bits(x: __m512) -> __m512i = _mm512_castps_si512(x);
        fn exponent(n: __m512i) -> __m512 = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n));
        fn store_bytes(x: __m512i, to: &mut [u8; LANES]) -> () =
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(_mm512_max_epi32(x, _mm512_setzero_si512())));
        fn load_i8(from: &[i8; LANES]) -> __m512 =
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast())));
        fn load_f16(from: &[f16; LANES]) -> __m512 = _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast()));
    }

    #[inline(always)]
    fn store_four_bytes(self, x: [__m512i; 4], to: &mut [u8; 4 * LANES]) {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            // Packing works within each 128 bits: four bytes of each vector there, which then change places.
            let words = [
                _mm512_packs_epi32(x[0], x[1]),
                _mm512_packs_epi32(x[2], x[3]),
            ];
            let bytes = _mm512_packus_epi16(words[0], words[1]);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn store_quad_halves(
        self,
        x: [__m512i; 4],
        low: &mut [u8; 4 * LANES],
        high: &mut [u8; 4 * LANES],
    ) {
        // SAFETY: `self` proves that the CPU has the instructions; the pointers are those of whole arrays.
        unsafe {
            let bytes = _mm512_set1_epi16(255);
            let words = _mm512_set1_epi32(0xffff);
            let sign = _mm512_set1_epi8(-128);
            // 0xca: the first operand chooses between the second and the third.
            let third = _mm512_slli_epi32::<16>(x[2]);
            let fourth = _mm512_slli_epi32::<16>(x[3]);
            let even = _mm512_ternarylogic_epi32::<0xca>(words, x[0], third);
            let odd = _mm512_ternarylogic_epi32::<0xca>(words, x[1], fourth);
            let lows = _mm512_ternarylogic_epi32::<0xca>(bytes, even, _mm512_slli_epi32::<8>(odd));
            let highs = _mm512_ternarylogic_epi32::<0xca>(bytes, _mm512_srli_epi32::<8>(even), odd);
            _mm512_storeu_si512(low.as_mut_ptr().cast(), _mm512_xor_si512(lows, sign));
            _mm512_storeu_si512(high.as_mut_ptr().cast(), highs);
        }
    }

    #[inline(always)]
    fn transpose(self, x: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe {
            // Pairs of rows, then fours: 4 × 4 within each 128 bits. Then the 128-bit parts change places.
            let mut fours = [[_mm512_setzero_ps(); 4]; 4];
            for (fours, x) in fours.iter_mut().zip(x.as_chunks::<4>().0) {
                let [a, b, c, d] = [
                    self.load(&x[0]),
                    self.load(&x[1]),
                    self.load(&x[2]),
                    self.load(&x[3]),
                ];
                let ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                fours[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                fours[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
                let ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                fours[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                fours[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            }
            const EVEN: i32 = 0b10_00_10_00;
            const ODD: i32 = 0b11_01_11_01;
            let mut out = [[0.0; LANES]; LANES];
            for i in 0..4 {
                let [a, b, c, d] = [fours[0][i], fours[1][i], fours[2][i], fours[3][i]];
                let (first, later) = (
                    _mm512_shuffle_f32x4::<EVEN>(a, b),
                    _mm512_shuffle_f32x4::<EVEN>(c, d),
                );
                self.store(_mm512_shuffle_f32x4::<EVEN>(first, later), &mut out[i]);
                self.store(_mm512_shuffle_f32x4::<ODD>(first, later), &mut out[8 + i]);
                let (first, later) = (
                    _mm512_shuffle_f32x4::<ODD>(a, b),
                    _mm512_shuffle_f32x4::<ODD>(c, d),
                );
                self.store(_mm512_shuffle_f32x4::<EVEN>(first, later), &mut out[4 + i]);
                self.store(_mm512_shuffle_f32x4::<ODD>(first, later), &mut out[12 + i]);
            }
            out
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [__m512i; 4], to: &mut [u8; 4 * LANES]) {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            let byte = _mm512_set1_epi32(255);
            let low = _mm512_or_si512(
                _mm512_and_si512(x[0], byte),
                _mm512_slli_epi32::<8>(_mm512_and_si512(x[1], byte)),
            );
            let high = _mm512_or_si512(
                _mm512_and_si512(x[2], byte),
                _mm512_slli_epi32::<8>(_mm512_and_si512(x[3], byte)),
            );
            let all = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), all);
        }
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn is_zero(self, x: __m512) -> bool {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, _mm512_setzero_ps()) == u16::MAX }
    }

    #[inline(always)]
    fn minimum(self, x: __m512) -> f32 {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe {
            let x = _mm256_min_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_min_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn maximum(self, x: __m512) -> f32 {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe {
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> __m512 {
        let mask = ((1u32 << from.len().min(LANES)) - 1) as __mmask16;
        // SAFETY: `self` proves that the CPU has the instruction; masked lanes are not read.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, from.as_ptr()) }
    }

    #[inline(always)]
    fn store_partial(self, x: __m512, to: &mut [f32]) {
        let mask = ((1u32 << to.len().min(LANES)) - 1) as __mmask16;
        // SAFETY: `self` proves that the CPU has the instruction; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, x) }
    }
}

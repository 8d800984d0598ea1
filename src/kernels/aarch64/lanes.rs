//! [`Lanes`] as four 128-bit registers.

use crate::lanes::{LANES, Lanes};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof of NEON.
#[derive(Clone, Copy)]
pub(crate) struct NeonLanes(());

impl NeonLanes {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        NeonLanes(())
    }
}

/// Whether [`NeonLanes::assume`] may be called.
pub(crate) fn supported() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

type Floats = [float32x4_t; 4];
type Integers = [int32x4_t; 4];

/// Methods that do the same to all four quarters.
macro_rules! quarters {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: [$type; 4]),*) -> [$result; 4] {
            quarters!(@all $body; $($argument)*)
        }
    )*};
    (@all $body:expr; $($argument:ident)*) => {
        [
            quarters!(@one 0 $body; $($argument)*),
            quarters!(@one 1 $body; $($argument)*),
            quarters!(@one 2 $body; $($argument)*),
            quarters!(@one 3 $body; $($argument)*),
        ]
    };
    (@one $index:literal $body:expr; $($argument:ident)*) => {{
        $(let $argument = $argument[$index];)*
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { $body }
    }};
}

/// `if a < b { a } else { b }`; `fmin` treats NaN and the sign of zero otherwise.
#[inline]
#[target_feature(enable = "neon")]
fn lower(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(a, b), a, b)
}

/// `if a > b { a } else { b }`.
#[inline]
#[target_feature(enable = "neon")]
fn higher(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}

/// The tree of a reduction: halves, quarters, then within a register.
macro_rules! trees {
    ($($name:ident = $function:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, x: Floats) -> f32 {
            // SAFETY: `self` proves that the CPU has the instructions.
            unsafe {
                let x = $function($function(x[0], x[2]), $function(x[1], x[3]));
                let x = $function(x, vextq_f32::<2>(x, x));
                vgetq_lane_f32::<0>($function(x, vextq_f32::<1>(x, x)))
            }
        }
    )*};
}

/// Four half precision numbers, the upper or the lower four of a register, to single precision.
macro_rules! convert_halves {
    ($instruction:literal, $from:ident) => {{
        let to: float32x4_t;
        // The intrinsic is younger than the oldest compiler that the crate supports.
        asm!($instruction, out(vreg) to, in(vreg) $from, options(pure, nomem, nostack, preserves_flags));
        to
    }};
}

impl Lanes for NeonLanes {
    type F = Floats;
    type I = Integers;
    type M = [uint32x4_t; 4];

    quarters! {
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b);
        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
        fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b);
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t = lower(a, b);
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t = higher(a, b);
        fn abs(a: float32x4_t) -> float32x4_t = vabsq_f32(a);
        fn less(a: float32x4_t, b: float32x4_t) -> uint32x4_t = vcltq_f32(a, b);
        fn round(a: float32x4_t) -> int32x4_t = vcvtnq_s32_f32(a);
        fn to_float(a: int32x4_t) -> float32x4_t = vcvtq_f32_s32(a);
        fn add_int(a: int32x4_t, b: int32x4_t) -> int32x4_t = vaddq_s32(a, b);
        fn sub_int(a: int32x4_t, b: int32x4_t) -> int32x4_t = vsubq_s32(a, b);
        fn max_int(a: int32x4_t, b: int32x4_t) -> int32x4_t = vmaxq_s32(a, b);
        fn bits(x: float32x4_t) -> int32x4_t = vreinterpretq_s32_f32(x);
        fn exponent(n: int32x4_t) -> float32x4_t = vreinterpretq_f32_s32(vshlq_n_s32::<23>(n));
        fn scale_by_power(x: float32x4_t, n: int32x4_t) -> float32x4_t =
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32::<23>(n)));
    }

    trees! {
        sum = vaddq_f32;
        minimum = lower;
        maximum = higher;
    }

    #[inline(always)]
    fn select(self, mask: [uint32x4_t; 4], a: Floats, b: Floats) -> Floats {
        quarters!(@all vbslq_f32(mask, a, b); mask a b)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Floats {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn splat_int(self, x: i32) -> Integers {
        // SAFETY: `self` proves that the CPU has the instruction.
        unsafe { [vdupq_n_s32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Floats {
        let from = from.as_ptr();
        // SAFETY: `self` proves that the CPU has the instruction; all quarters lie in the array.
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }

    #[inline(always)]
    fn store(self, x: Floats, to: &mut [f32; LANES]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: `self` proves that the CPU has the instruction; the pointer is that of a whole array.
            unsafe { vst1q_f32(to.as_mut_ptr(), x) }
        }
    }

    #[inline(always)]
    fn load_int(self, from: &[i32; LANES]) -> Integers {
        let from = from.as_ptr();
        // SAFETY: `self` proves that the CPU has the instruction; all quarters lie in the array.
        unsafe {
            [
                vld1q_s32(from),
                vld1q_s32(from.add(4)),
                vld1q_s32(from.add(8)),
                vld1q_s32(from.add(12)),
            ]
        }
    }

    #[inline(always)]
    fn store_bytes(self, x: Integers, to: &mut [u8; LANES]) {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            let low = vqmovn_high_s32(vqmovn_s32(x[0]), x[1]);
            let high = vqmovn_high_s32(vqmovn_s32(x[2]), x[3]);
            vst1q_u8(to.as_mut_ptr(), vqmovun_high_s16(vqmovun_s16(low), high));
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [Integers; 4], to: &mut [u8; 4 * LANES]) {
        let [a, b, c, d] = x;
        for (quarter, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
            unsafe {
                // Each shift keeps the bytes below the ones that it inserts.
                let x = vsliq_n_s32::<8>(a[quarter], b[quarter]);
                let x = vsliq_n_s32::<16>(x, c[quarter]);
                let x = vsliq_n_s32::<24>(x, d[quarter]);
                vst1q_u8(to.as_mut_ptr(), vreinterpretq_u8_s32(x));
            }
        }
    }

    #[inline(always)]
    fn store_quad_halves(
        self,
        x: [Integers; 4],
        low: &mut [u8; 4 * LANES],
        high: &mut [u8; 4 * LANES],
    ) {
        let [a, b, c, d] = x;
        let (low, high) = (low.as_chunks_mut::<16>().0, high.as_chunks_mut::<16>().0);
        for (quarter, (low, high)) in low.iter_mut().zip(high).enumerate() {
            // SAFETY: `self` proves that the CPU has the instructions; the pointers are those of whole arrays.
            unsafe {
                let even = vreinterpretq_u8_s32(vsliq_n_s32::<16>(a[quarter], c[quarter]));
                let odd = vreinterpretq_u8_s32(vsliq_n_s32::<16>(b[quarter], d[quarter]));
                let sign = vdupq_n_u8(0x80);
                vst1q_u8(low.as_mut_ptr(), veorq_u8(vtrn1q_u8(even, odd), sign));
                vst1q_u8(high.as_mut_ptr(), vtrn2q_u8(even, odd));
            }
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Floats {
        // SAFETY: `self` proves that the CPU has the instructions; the pointer is that of the whole array.
        unsafe {
            let bytes = vld1q_s8(from.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            self.to_float([
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ])
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Floats {
        // SAFETY: `self` proves that the CPU has the instructions; both halves lie in the array.
        unsafe {
            let low = vld1q_u16(from.as_ptr().cast());
            let high = vld1q_u16(from.as_ptr().add(8).cast());
            [
                convert_halves!("fcvtl {0:v}.4s, {1:v}.4h", low),
                convert_halves!("fcvtl2 {0:v}.4s, {1:v}.8h", low),
                convert_halves!("fcvtl {0:v}.4s, {1:v}.4h", high),
                convert_halves!("fcvtl2 {0:v}.4s, {1:v}.8h", high),
            ]
        }
    }

    #[inline(always)]
    fn transpose(self, x: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
        let mut out = [[0.0; LANES]; LANES];
        for (corner, x) in x.as_chunks::<4>().0.iter().enumerate() {
            for column in (0..LANES).step_by(4) {
                // SAFETY: `self` proves that the CPU has the instructions; the pointers leave four columns.
                unsafe {
                    let [a, b, c, d] =
                        [&x[0], &x[1], &x[2], &x[3]].map(|row| vld1q_f32(row.as_ptr().add(column)));
                    // Twos, then their halves change places.
                    let even = |a, b| vreinterpretq_f64_f32(vtrn1q_f32(a, b));
                    let odd = |a, b| vreinterpretq_f64_f32(vtrn2q_f32(a, b));
                    let columns = [
                        vtrn1q_f64(even(a, b), even(c, d)),
                        vtrn1q_f64(odd(a, b), odd(c, d)),
                        vtrn2q_f64(even(a, b), even(c, d)),
                        vtrn2q_f64(odd(a, b), odd(c, d)),
                    ];
                    for (i, values) in columns.into_iter().enumerate() {
                        let to = out[column + i].as_mut_ptr().add(4 * corner);
                        vst1q_f32(to, vreinterpretq_f32_f64(values));
                    }
                }
            }
        }
        out
    }
}

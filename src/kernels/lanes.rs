//! Sixteen lanes of `f32`: the one vector width in which all arithmetic is written.
//!
//! Every instruction set implements [`Lanes`] with its own registers (one of 512 bits, two of 256, four of 128, an
//! array). An operation is either exact or correctly rounded, and a reduction is one fixed tree over the sixteen
//! lanes, so whatever is written over this trait gives the same bits everywhere.

use half::f16;

/// Number of lanes, whatever the registers' width.
pub(crate) const LANES: usize = 16;

/// Sixteen `f32` (or `i32`) at once. A value of the implementing type proves that the CPU has the instructions.
pub(crate) trait Lanes: Copy {
    /// Whether several rows side by side are faster than one after the other: they are where one row's operations wait for
    /// each other.
    const SIDE_BY_SIDE: bool = true;

    /// What attention computes at a time: products of so many keys with so many times sixteen queries, and averages of so many
    /// queries. As many as the registers hold, so that sums need not wait for each other.
    const KEYS: usize = 4;
    const PANELS: usize = 1;
    const QUERIES: usize = 2;

    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen `i32`.
    type I: Copy;
    /// Sixteen truth values.
    type M: Copy;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, from: &[f32; LANES]) -> Self::F;
    fn store(self, x: Self::F, to: &mut [f32; LANES]);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a·b + c, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`: `b` if either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`: `b` if either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// Clears the sign bit.
    fn abs(self, a: Self::F) -> Self::F;
    /// a < b; false if either is NaN.
    fn less(self, a: Self::F, b: Self::F) -> Self::M;
    /// `if mask { a } else { b }`.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// Nearest integer, ties to even. Beyond ±2³¹ and for NaN instruction sets differ, and no caller may look at the result.
    fn round(self, a: Self::F) -> Self::I;
    /// Correctly rounded.
    fn to_float(self, a: Self::I) -> Self::F;
    fn load_int(self, from: &[i32; LANES]) -> Self::I;
    fn splat_int(self, x: i32) -> Self::I;
    /// Wraps.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Wraps.
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I;
    fn max_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// x·2ⁿ by adding to the exponent bits: x and the result must be normal numbers.
    fn scale_by_power(self, x: Self::F, n: Self::I) -> Self::F;
    /// t less the nearest integer, exactly, for t within ±2³¹.
    #[inline(always)]
    fn fraction(self, t: Self::F) -> Self::F {
        self.sub(t, self.to_float(self.round(t)))
    }
    /// x·2ⁿ with the integer n that is nearest to t: x and the result must be normal numbers.
    #[inline(always)]
    fn scale_by_nearest_power(self, x: Self::F, t: Self::F) -> Self::F {
        self.scale_by_power(x, self.round(t))
    }
    /// The bits of a number.
    fn bits(self, x: Self::F) -> Self::I;
    /// 2ⁿ⁻¹²⁷ for the n in a lane's lowest nine bits, from 1 to 254.
    fn exponent(self, n: Self::I) -> Self::F;
    /// `if x < −bound { −bound } else if x > bound { bound } else { x }`; NaN may become ±bound or stay.
    #[inline(always)]
    fn clamp(self, x: Self::F, bound: f32) -> Self::F {
        self.min(self.splat(bound), self.max(self.splat(-bound), x))
    }
    /// Lanes as bytes, saturated to 0…255.
    fn store_bytes(self, x: Self::I, to: &mut [u8; LANES]);

    /// The same for four vectors, one behind the other: registers hold them all, and narrowing them together takes half of the
    /// operations or less.
    #[inline(always)]
    fn store_four_bytes(self, x: [Self::I; 4], to: &mut [u8; 4 * LANES]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<LANES>().0) {
            self.store_bytes(x, to);
        }
    }

    /// The low bytes of four vectors, lane by lane: four bytes of lane 0, four of lane 1, ….
    fn store_quads(self, x: [Self::I; 4], to: &mut [u8; 4 * LANES]);

    /// The lowest two bytes of each lane in the order of [`Lanes::store_quads`], the low ones less 128.
    fn store_quad_halves(
        self,
        x: [Self::I; 4],
        low: &mut [u8; 4 * LANES],
        high: &mut [u8; 4 * LANES],
    );

    fn load_i8(self, from: &[i8; LANES]) -> Self::F;
    fn load_f16(self, from: &[f16; LANES]) -> Self::F;

    /// Lane j with j+8, then j+4, j+2, j+1.
    fn sum(self, x: Self::F) -> f32;
    /// Whether all lanes are ±0.
    #[inline(always)]
    fn is_zero(self, x: Self::F) -> bool {
        self.sum(self.abs(x)) == 0.0
    }
    /// Minimum by the tree of [`Lanes::sum`].
    fn minimum(self, x: Self::F) -> f32;
    /// Maximum by the tree of [`Lanes::sum`].
    fn maximum(self, x: Self::F) -> f32;

    /// Fewer than sixteen values; `fill` in the remaining lanes.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F {
        let mut all = [fill; LANES];
        all[..from.len()].copy_from_slice(from);
        self.load(&all)
    }

    /// The first `to.len()` (fewer than sixteen) lanes.
    #[inline(always)]
    fn store_partial(self, x: Self::F, to: &mut [f32]) {
        let mut all = [0.0; LANES];
        self.store(x, &mut all);
        let n = to.len();
        to.copy_from_slice(&all[..n]);
    }

    /// Row i, column j to row j, column i.
    #[inline(always)]
    fn transpose(self, x: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| x[j][i]))
    }

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
}

//! Integer products on plain ARMv8.0, two 8-bit products in a 16-bit lane before it is added to a 32-bit one.
//!
//! Two products of signed bytes can leave 16 bits: −128·−128 twice. So the first is (u − 128)·w and the second is taken
//! off as (127 − u)·w: their difference is within ±32,640 for all bytes and weights. What that lacks of Σ u·w,
//! 128·Σw over the first and 127·Σw over the second halves, comes back as the sums' first value.

use super::lanes::NeonLanes;
use super::packed_rows::PackedRows;
use super::{KC, MR, NR, blocks};
use crate::lanes::LANES;
use crate::product::{Product, Tile, TilePartials};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof of NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// [`supported`] says so.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Neon(())
    }
}

pub(crate) fn supported() -> bool {
    super::lanes::supported()
}

/// 4 rows × half a panel: 16 accumulators of two partial sums for each of two columns, 4 weights, 8 broadcasts and the
/// products in 32 registers.
const HEIGHT: usize = 4;

/// Rows, four bytes less 128, then four of which it is 127 less: of those that are multiplied at a time `[depth·2, rows]`.
#[derive(Default)]
pub(crate) struct Packed(PackedRows);

impl Product for Neon {
    type Lanes = NeonLanes;
    type State = Packed;
    type Partials = [TilePartials; 1];
    const MR: usize = MR;
    const NR: usize = NR;

    #[inline(always)]
    fn lanes(self) -> NeonLanes {
        // SAFETY: `self` proves as much.
        unsafe { NeonLanes::assume() }
    }

    #[inline(always)]
    fn multiply(self, packed: &mut Packed, tile: Tile<'_>, accumulators: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the instructions.
        unsafe { multiply(&mut packed.0, tile, accumulators) }
    }
}

#[target_feature(enable = "neon")]
fn multiply(packed: &mut PackedRows, tile: Tile<'_>, accumulators: &mut [i32]) {
    tile.check(accumulators, MR);
    for first in (0..tile.depth).step_by(KC) {
        let depth = KC.min(tile.depth - first);
        let (packed, is_packed) = packed.of(tile, tile.rows, (first, depth));
        let packed: &mut [[[i8; 4]; 2]] = bytemuck::cast_slice_mut(packed);
        if !is_packed {
            pack(tile, first, packed);
        }
        for panel in 0..tile.panels {
            let weights = &tile.panel(panel)[first * 256..][..depth * 256];
            let weights: &[Weights] = bytemuck::cast_slice(weights);
            let seed = sums(weights);
            for (row, rows) in blocks(tile.rows, HEIGHT) {
                let a = &packed[row * depth * 2..][..rows * depth * 2];
                let to = &mut accumulators[(panel * MR + row) * LANES..][..rows * LANES];
                block(a, weights, &seed, to, first == 0);
            }
        }
    }
}

/// The tile's rows from one input on.
#[inline]
#[target_feature(enable = "neon")]
fn pack(tile: Tile<'_>, first: usize, packed: &mut [[[i8; 4]; 2]]) {
    let depth = packed.len() / tile.rows;
    for (row, rows) in blocks(tile.rows, HEIGHT) {
        let packed = &mut packed[row * depth..][..rows * depth];
        for i in 0..rows {
            let u = &tile.row(row + i)[first * 16..];
            let to = packed[i..].iter_mut().step_by(rows);
            for (u, to) in u.as_chunks().0.iter().zip(to) {
                let u = u64::from_le_bytes(*u) ^ 0x7f7f_7f7f_8080_8080;
                *to = bytemuck::cast(u.to_le_bytes());
            }
        }
    }
}

/// Weights of eight bytes of k: first and second four, fours of columns, four bytes of each column.
type Weights = [[[i8; 16]; 4]; 2];

/// 128·Σw over the first and 127·Σw over the second fours of k, for each column.
#[inline]
#[target_feature(enable = "neon")]
fn sums(weights: &[Weights]) -> [int32x4_t; 4] {
    // Pairs of neighbours, of which `KC`·2 fit in 16 bits.
    const { assert!(KC * 2 * 256 <= i16::MAX as usize) }
    let mut sums = [[vdupq_n_s16(0); 4]; 2];
    for weights in weights {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = vpadalq_s8(*sum, load(weights));
            }
        }
    }
    let mut seed = [vdupq_n_s32(0); 4];
    for (seed, (&first, &second)) in seed.iter_mut().zip(sums[0].iter().zip(&sums[1])) {
        let (first, second) = (vpaddlq_s16(first), vpaddlq_s16(second));
        *seed = vsubq_s32(vshlq_n_s32::<7>(vaddq_s32(first, second)), second);
    }
    seed
}

/// `seed` + Σ over `weights`, set or added to `accumulators`, `[rows, 16]`.
#[inline]
#[target_feature(enable = "neon")]
fn block(
    a: &[[[i8; 4]; 2]],
    weights: &[Weights],
    seed: &[int32x4_t; 4],
    accumulators: &mut [i32],
    set: bool,
) {
    let accumulators = accumulators.as_chunks_mut::<LANES>().0;
    assert!(a.len() >= weights.len() * accumulators.len() && !weights.is_empty());
    for half in 0..2 {
        let mut sums = [[vdupq_n_s32(0); 4]; HEIGHT];
        // SAFETY: the assertion is what it asks for; `half` leaves six of a weight's eight parts.
        unsafe {
            let weights = (
                weights.as_flattened().as_flattened().as_ptr().add(half * 2),
                weights.len(),
            );
            half_panel(accumulators.len(), a.as_ptr(), weights, &mut sums);
        }
        for (sums, to) in sums.iter().zip(&mut *accumulators) {
            let to = &mut to.as_chunks_mut::<4>().0[half * 2..];
            let pairs = sums.as_chunks::<2>().0.iter().zip(&seed[half * 2..]);
            for (([even, odd], seed), to) in pairs.zip(to) {
                let sum = vaddq_s32(vpaddq_s32(*even, *odd), *seed);
                // SAFETY: the pointers are those of a whole array.
                unsafe {
                    let before = if set {
                        vdupq_n_s32(0)
                    } else {
                        vld1q_s32(to.as_ptr())
                    };
                    vst1q_s32(to.as_mut_ptr(), vaddq_s32(before, sum));
                }
            }
        }
    }
}

// The loop is assembly because plain ARMv8.0 often means a processor that takes instructions in their order, one of NEON
// beside one other: what counts is that eight products are under way before the first of them is needed, and that the
// next loads stand between the additions. Registers: sums v0–v15 (four a row), products v16–v23, weights v24 and v25 (first
// four of k), v26 and v27 (second four), rows v28 to v31 (first and second four bytes of one row, then of another).

/// Row `$u` times the first four of k: four times eight products.
macro_rules! first {
    ($u:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "smull v",
            $a,
            ".8h, v",
            $u,
            ".8b, v24.8b\n",
            "smull2 v",
            $b,
            ".8h, v",
            $u,
            ".16b, v24.16b\n",
            "smull v",
            $c,
            ".8h, v",
            $u,
            ".8b, v25.8b\n",
            "smull2 v",
            $d,
            ".8h, v",
            $u,
            ".16b, v25.16b\n",
        )
    };
}

/// Less row `$u` times the second four of k.
macro_rules! second {
    ($u:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "smlsl v",
            $a,
            ".8h, v",
            $u,
            ".8b, v26.8b\n",
            "smlsl2 v",
            $b,
            ".8h, v",
            $u,
            ".16b, v26.16b\n",
            "smlsl v",
            $c,
            ".8h, v",
            $u,
            ".8b, v27.8b\n",
            "smlsl2 v",
            $d,
            ".8h, v",
            $u,
            ".16b, v27.16b\n",
        )
    };
}

/// Pairs of products to the sums, with up to three loads between them.
macro_rules! add {
    ($($sum:literal $product:literal),*; $($load:literal)*) => {
        add!(@next [$($sum $product),*] [$($load)*] "")
    };
    (@next [$sum:literal $product:literal, $sum2:literal $product2:literal $(, $s:literal $p:literal)*]
        [$load:literal $($loads:literal)*] $text:expr) => {
        add!(@next [$($s $p),*] [$($loads)*] concat!(
            $text, "sadalp v", $sum, ".4s, v", $product, ".8h\n", $load, "\n",
            "sadalp v", $sum2, ".4s, v", $product2, ".8h\n",
        ))
    };
    (@next [$($sum:literal $product:literal),*] [$($load:literal)*] $text:expr) => {
        concat!($text, $("sadalp v", $sum, ".4s, v", $product, ".8h\n",)* $($load, "\n",)*)
    };
}

/// Two rows.
macro_rules! pair {
    ($a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal; $($load:literal)*) => {
        concat!(
            first!(28: 16 17 18 19), first!(30: 20 21 22 23),
            second!(29: 16 17 18 19), second!(31: 20 21 22 23),
            add!($a 16, $b 17, $c 18, $d 19, $e 20, $f 21, $g 22, $h 23; $($load)*),
        )
    };
}

/// One row.
macro_rules! single {
    ($a:literal $b:literal $c:literal $d:literal; $($load:literal)*) => {
        concat!(
            first!(28: 16 17 18 19), second!(29: 16 17 18 19),
            add!($a 16, $b 17, $c 18, $d 19; $($load)*),
        )
    };
}

/// A loop over all but the last weights, which loads what comes next, and then the last. `{a}` is where the next first
/// rows lie, `{more}` those behind them, `{low}` and `{high}` the next weights.
macro_rules! multiply {
    ($a:ident, $weights:ident, $sums:ident, rows $rows:literal, load $load:literal, loop $loop:expr, last $last:expr;
        $($register:tt $row:literal $column:literal)*) => {
        asm!(
            $load,
            "ld1 {{v24.16b, v25.16b}}, [{low}]",
            "ld1 {{v26.16b, v27.16b}}, [{high}]",
            "add {a}, {a}, {stride}",
            "add {low}, {low}, #128",
            "add {high}, {high}, #128",
            "cbz {left}, 3f",
            "2:",
            $loop,
            "subs {left}, {left}, #1",
            "add {a}, {a}, {stride}",
            "add {more}, {more}, {stride}",
            "add {low}, {low}, #128",
            "add {high}, {high}, #128",
            "b.ne 2b",
            "3:",
            $last,
            a = inout(reg) $a => _,
            more = inout(reg) $a.add(2) => _,
            low = inout(reg) $weights.0 => _,
            high = inout(reg) $weights.0.add(4) => _,
            left = inout(reg) $weights.1 - 1 => _,
            stride = const 8 * $rows,
            $(inout($register) $sums[$row][$column],)*
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack)
        )
    };
}

/// Adds the products of eight columns, in two partial sums each.
///
/// # Safety
/// `weights` are the first of the half panel and the number of [`Weights`], at least 1; `a` points to `rows` (at most
/// [`HEIGHT`]) elements for each of them.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn half_panel(
    rows: usize,
    a: *const [[i8; 4]; 2],
    weights: (*const [i8; 16], usize),
    sums: &mut [[int32x4_t; 4]; HEIGHT],
) {
    // SAFETY: nothing beyond the last weights and their rows is read.
    unsafe {
        match rows {
            1 => multiply!(
                a, weights, sums, rows 1,
                load "ld2r {{v28.4s, v29.4s}}, [{a}]",
                loop single!(0 1 2 3;
                    "ld2r {{v28.4s, v29.4s}}, [{a}]"
                    "ld1 {{v24.16b, v25.16b}}, [{low}]"
                    "ld1 {{v26.16b, v27.16b}}, [{high}]"),
                last single!(0 1 2 3;);
                "v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3
            ),
            2 => multiply!(
                a, weights, sums, rows 2,
                load "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]",
                loop pair!(0 1 2 3 4 5 6 7;
                    "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]"
                    "ld1 {{v24.16b, v25.16b}}, [{low}]"
                    "ld1 {{v26.16b, v27.16b}}, [{high}]"),
                last pair!(0 1 2 3 4 5 6 7;);
                "v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3
            ),
            3 => multiply!(
                a, weights, sums, rows 3,
                load "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]",
                loop concat!(
                    pair!(0 1 2 3 4 5 6 7; "ld2r {{v28.4s, v29.4s}}, [{more}]"),
                    single!(8 9 10 11;
                        "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]"
                        "ld1 {{v24.16b, v25.16b}}, [{low}]"
                        "ld1 {{v26.16b, v27.16b}}, [{high}]"),
                ),
                last concat!(
                    pair!(0 1 2 3 4 5 6 7; "ld2r {{v28.4s, v29.4s}}, [{more}]"),
                    single!(8 9 10 11;),
                );
                "v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3
                "v8" 2 0 "v9" 2 1 "v10" 2 2 "v11" 2 3
            ),
            4 => multiply!(
                a, weights, sums, rows 4,
                load "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]",
                loop concat!(
                    pair!(0 1 2 3 4 5 6 7; "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{more}]"),
                    pair!(8 9 10 11 12 13 14 15;
                        "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{a}]"
                        "ld1 {{v24.16b, v25.16b}}, [{low}]"
                        "ld1 {{v26.16b, v27.16b}}, [{high}]"),
                ),
                last concat!(
                    pair!(0 1 2 3 4 5 6 7; "ld4r {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{more}]"),
                    pair!(8 9 10 11 12 13 14 15;),
                );
                "v0" 0 0 "v1" 0 1 "v2" 0 2 "v3" 0 3 "v4" 1 0 "v5" 1 1 "v6" 1 2 "v7" 1 3
                "v8" 2 0 "v9" 2 1 "v10" 2 2 "v11" 2 3 "v12" 3 0 "v13" 3 1 "v14" 3 2 "v15" 3 3
            ),
            rows => unreachable!("a block of {rows} rows"),
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the pointer is that of the whole array.
    unsafe { vld1q_s8(from.as_ptr()) }
}

//! A whole step of a product in one piece of machine code: the products of two groups of a tile, and between them the
//! dequantization of the step before.
//!
//! Tiles are multiplied by a unit of their own, so that vectors cost nothing while they find room beside it. Compiled
//! loops leave none: what they spend on addresses and branches takes a third of the time again.

use super::avx512::Avx512;
use crate::lanes::LANES;
use crate::product::{MAX_TILE, Rows, Tile};
use crate::quantized::RowRange;
use std::arch::asm;
use std::arch::x86_64::__m512;
use std::mem::offset_of;

/// Blocks of 64 along k in each group.
pub(super) const DEPTH: usize = 3;

/// What the code reads where it has no register left.
#[repr(C, align(64))]
struct Context {
    /// For each group and panel: scale, and scale·column_sum.
    channels: [[[__m512; 2]; 2]; 2],
    /// Bytes from row to row.
    range_stride: usize,
    from_stride: usize,
    to_stride: usize,
    /// The last row's sums.
    last: *const [i32; LANES],
}

/// The products of both panels with both tiles of rows, `$block` of both groups, each followed by rows of the step before.
macro_rules! block {
    ($block:literal, [$one:expr, $two:expr, $three:expr, $four:expr]) => {
        concat!(
            "tileloadd tmm4, [{a} + {a_stride} + 64 * ",
            $block,
            "]\n",
            "tileloaddt1 tmm6, [{b} + {line} + 1024 * ",
            $block,
            "]\n",
            "tdpbusd tmm0, tmm4, tmm6\n",
            $one,
            "tileloadd tmm5, [{more_a} + {a_stride} + 64 * ",
            $block,
            "]\n",
            "tdpbusd tmm1, tmm5, tmm6\n",
            $two,
            "tileloaddt1 tmm7, [{more_b} + {line} + 1024 * ",
            $block,
            "]\n",
            "tdpbusd tmm2, tmm4, tmm7\n",
            $three,
            "tdpbusd tmm3, tmm5, tmm7\n",
            $four,
        )
    };
}

/// A row of the step before, as [`Rows`] has it; `$add` is what happens before it is stored.
macro_rules! row {
    ($($add:literal),*) => {
        concat!(
            "vmovups zmm0, [{from}]\n",
            "vmovups zmm1, [{from} + 64]\n",
            "vfmadd231ps zmm0, zmm17, dword ptr [{ranges} + 4]{{1to16}}\n",
            "vfmadd231ps zmm1, zmm19, dword ptr [{ranges} + 4]{{1to16}}\n",
            "vmulps zmm2, zmm16, dword ptr [{ranges}]{{1to16}}\n",
            "vmulps zmm3, zmm18, dword ptr [{ranges}]{{1to16}}\n",
            "vcvtdq2ps zmm4, [{sums}]\n",
            "vcvtdq2ps zmm5, [{sums} + 2048]\n",
            "vfmadd231ps zmm0, zmm2, zmm4\n",
            "vfmadd231ps zmm1, zmm3, zmm5\n",
            "vfmadd231ps zmm0, zmm21, dword ptr [{ranges} + 12]{{1to16}}\n",
            "vfmadd231ps zmm1, zmm23, dword ptr [{ranges} + 12]{{1to16}}\n",
            "vmulps zmm2, zmm20, dword ptr [{ranges} + 8]{{1to16}}\n",
            "vmulps zmm3, zmm22, dword ptr [{ranges} + 8]{{1to16}}\n",
            "vcvtdq2ps zmm4, [{sums} + 4096]\n",
            "vcvtdq2ps zmm5, [{sums} + 6144]\n",
            "vfmadd231ps zmm0, zmm2, zmm4\n",
            "vfmadd231ps zmm1, zmm3, zmm5\n",
            $($add,)*
            "vmovups [{to}], zmm0\n",
            "vmovups [{to} + 64], zmm1\n",
            "add {ranges}, [{context} + {range_stride}]\n",
            "add {from}, [{context} + {from_stride}]\n",
            "add {to}, [{context} + {to_stride}]\n",
            "add {sums}, 64\n",
        )
    };
}

/// A row, if there is one.
macro_rules! one {
    ($($add:literal),*) => {
        concat!("cmp {sums}, [{context} + {last}]\n", "ja 2f\n", row!($($add),*), "2:\n")
    };
}

/// Two rows, if there are two.
macro_rules! two {
    ($($add:literal),*) => {
        concat!("cmp {sums}, [{context} + {last}]\n", "jae 2f\n", row!($($add),*), row!($($add),*), "2:\n")
    };
}

/// Three blocks of a group, and its sums. Thirty-two rows are four for each three products.
macro_rules! group {
    ($first:literal, $second:literal, $third:literal, $store:literal $(, $add:literal)*) => {
        concat!(
            "tilezero tmm0\n", "tilezero tmm1\n", "tilezero tmm2\n", "tilezero tmm3\n",
            block!($first, [two!($($add),*), one!($($add),*), one!($($add),*), two!($($add),*)]),
            block!($second, [one!($($add),*), one!($($add),*), two!($($add),*), one!($($add),*)]),
            block!($third, [one!($($add),*), two!($($add),*), one!($($add),*), one!($($add),*)]),
            "tilestored [{store} + {line} + ", $store, "], tmm0\n",
            "tilestored [{more_store} + {line} + ", $store, "], tmm1\n",
            "tilestored [{store} + {line} + ", $store, " + 2048], tmm2\n",
            "tilestored [{more_store} + {line} + ", $store, " + 2048], tmm3\n",
        )
    };
}

macro_rules! step {
    ($context:ident, $rows:ident, $pointers:ident, $done:ident $(, $add:literal)*) => {
        asm!(
            "vmovaps zmm16, [{context}]",
            "vmovaps zmm17, [{context} + 64]",
            "vmovaps zmm18, [{context} + 128]",
            "vmovaps zmm19, [{context} + 192]",
            "vmovaps zmm20, [{context} + 256]",
            "vmovaps zmm21, [{context} + 320]",
            "vmovaps zmm22, [{context} + 384]",
            "vmovaps zmm23, [{context} + 448]",
            group!("0", "1", "2", "0" $(, $add)*),
            group!("3", "4", "5", "4096" $(, $add)*),
            a = in(reg) $pointers.rows[0],
            more_a = in(reg) $pointers.rows[1],
            a_stride = in(reg) $pointers.row_stride,
            b = in(reg) $pointers.panels[0],
            more_b = in(reg) $pointers.panels[1],
            line = in(reg) 64usize,
            store = in(reg) $pointers.store[0],
            more_store = in(reg) $pointers.store[1],
            ranges = inout(reg) $rows.ranges => _,
            from = inout(reg) $rows.from => _,
            to = inout(reg) $rows.to => _,
            sums = inout(reg) $rows.accumulators[0] => $done,
            context = in(reg) &$context,
            range_stride = const offset_of!(Context, range_stride),
            from_stride = const offset_of!(Context, from_stride),
            to_stride = const offset_of!(Context, to_stride),
            last = const offset_of!(Context, last),
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            options(nostack),
        )
    };
}

/// Where a step's products come from and go to.
struct Pointers {
    rows: [*const u8; 2],
    panels: [*const i8; 2],
    /// Bytes from row to row.
    row_stride: usize,
    store: [*mut i32; 2],
}

/// The sums of both groups of `tile`, whose depth is that of both, and meanwhile as many rows of `before` as find room.
///
/// # Safety
/// The tile registers are shaped for sixteen rows. The tile has more than sixteen rows, not more than 32, two panels and twice
/// [`DEPTH`] blocks, and passed its check.
#[inline(always)]
pub(super) unsafe fn step(
    tile: Tile<'_>,
    accumulators: &mut [[i32; MAX_TILE]; 2],
    before: &mut Rows<'_, Avx512, 2, 2>,
) {
    // Displacements of the code.
    const { assert!(MAX_TILE * 4 == 4096 && super::amx::MR * LANES * 4 == 2048) };
    assert!(before.stride == super::amx::MR);
    let second = tile.rows - super::amx::TILE;
    let store = accumulators.as_mut_ptr().cast::<i32>();
    let pointers = Pointers {
        rows: [0, second].map(|row| tile.row(row).as_ptr()),
        panels: [0, 1].map(|panel| tile.panel(panel).as_ptr()),
        row_stride: tile.row_stride * 64,
        store: [store, store.wrapping_add(second * LANES)],
    };
    let sums = before.accumulators[0];
    let left = before.rows - before.row;
    let context = Context {
        channels: before
            .channels
            .map(|panels| panels.map(|panel| [panel.scale, panel.sum])),
        range_stride: before.range_stride * size_of::<RowRange>(),
        from_stride: before.from_stride * size_of::<[f32; LANES]>(),
        to_stride: before.to_stride * size_of::<f32>(),
        last: sums.wrapping_add(left).wrapping_sub(1),
    };
    let done: *const [i32; LANES];
    // SAFETY: loads stay in the tile's rows and panels, stores in the accumulators, `MR` rows for each of two panels and groups;
    // there are as many rows of `before` as it says.
    unsafe {
        match before.add {
            false => step!(context, before, pointers, done),
            true => step!(
                context,
                before,
                pointers,
                done,
                "vaddps zmm0, zmm0, [{to}]\n",
                "vaddps zmm1, zmm1, [{to} + 64]\n"
            ),
        }
    }
    before.skip((done as usize - sums as usize) / size_of::<[i32; LANES]>());
}

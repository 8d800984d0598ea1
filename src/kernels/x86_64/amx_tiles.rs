//! The instructions of AMX products. Four accumulating tiles, 0 to 3, add up the products of one step.
//!
//! No closures: the compiler would call them, and spill all vectors to do so.

use super::amx::{NR, TILE};
use crate::lanes::LANES;
use crate::product::{FULL_DEPTH, FullTile, Meanwhile, Tile};
use crate::quantized::Block;
use std::arch::asm;

/// How rows and panels share the accumulators.
pub(super) trait Operands {
    fn of(tile: Tile<'_>) -> Self;

    /// Half of the products of one block along k, the first of which loads what the second needs too.
    ///
    /// # Safety
    /// The tile registers are shaped for its rows, the tile passed its check and has the block.
    unsafe fn first(&self, block: usize);
    /// # Safety
    /// As for [`Operands::first`], which was the last to load tiles.
    unsafe fn second(&self, block: usize);
}

/// Two tiles of rows with up to two panels: accumulators 0 and 1 are those of the first panel. What the tile lacks repeats its
/// last rows and its last panel.
pub(super) struct Square {
    rows: [*const Block; 2],
    panels: [*const i8; 2],
    stride: usize,
}

impl Square {
    #[inline(always)]
    pub(super) fn full(tile: FullTile) -> Self {
        Square {
            rows: [
                tile.rows_of_blocks,
                tile.rows_of_blocks
                    .wrapping_byte_add(TILE * tile.row_stride),
            ],
            panels: [tile.weights, tile.weights.wrapping_add(tile.panel_stride)],
            stride: tile.row_stride,
        }
    }
}

impl Operands for Square {
    #[inline(always)]
    fn of(tile: Tile<'_>) -> Self {
        Square {
            rows: [sixteen_rows(tile, 0), sixteen_rows(tile, 1)],
            panels: [panel(tile, 0), panel(tile, 1)],
            stride: tile.row_stride * 64,
        }
    }

    #[inline(always)]
    unsafe fn first(&self, block: usize) {
        // SAFETY: loads stay in the tile's rows and panels, which have the block.
        unsafe {
            asm!(
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloaddt1 tmm6, [{b} + {line}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{more} + {stride}]",
                "tdpbusd tmm1, tmm5, tmm6",
                rows = in(reg) self.rows[0].add(block),
                more = in(reg) self.rows[1].add(block),
                stride = in(reg) self.stride,
                b = in(reg) self.panels[0].add(block * 64 * LANES),
                line = in(reg) 64usize,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn second(&self, block: usize) {
        // SAFETY: loads stay in the tile's panels, which have the block.
        unsafe {
            asm!(
                "tileloaddt1 tmm7, [{b} + {line}]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tdpbusd tmm3, tmm5, tmm7",
                b = in(reg) self.panels[1].add(block * 64 * LANES),
                line = in(reg) 64usize,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// One tile of rows with up to four panels. A panel that the tile lacks repeats its last one.
pub(super) struct Wide {
    rows: *const Block,
    panels: [*const i8; 4],
    stride: usize,
}

impl Wide {
    #[inline(always)]
    pub(super) fn full(tile: FullTile) -> Self {
        let (first, stride) = (tile.weights, tile.panel_stride);
        Wide {
            rows: tile.rows_of_blocks,
            panels: [
                first,
                first.wrapping_add(stride),
                first.wrapping_add(2 * stride),
                first.wrapping_add(3 * stride),
            ],
            stride: tile.row_stride,
        }
    }
}

impl Operands for Wide {
    #[inline(always)]
    fn of(tile: Tile<'_>) -> Self {
        Wide {
            rows: tile.rows_of_blocks.as_ptr(),
            panels: [
                panel(tile, 0),
                panel(tile, 1),
                panel(tile, 2),
                panel(tile, 3),
            ],
            stride: tile.row_stride * 64,
        }
    }

    #[inline(always)]
    unsafe fn first(&self, block: usize) {
        let weights = block * 64 * LANES;
        // SAFETY: loads stay in the tile's rows and panels, which have the block.
        unsafe {
            asm!(
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloaddt1 tmm5, [{b} + {line}]",
                "tdpbusd tmm0, tmm4, tmm5",
                "tileloaddt1 tmm6, [{more} + {line}]",
                "tdpbusd tmm1, tmm4, tmm6",
                rows = in(reg) self.rows.add(block),
                stride = in(reg) self.stride,
                b = in(reg) self.panels[0].add(weights),
                more = in(reg) self.panels[1].add(weights),
                line = in(reg) 64usize,
                options(nostack, readonly, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn second(&self, block: usize) {
        let weights = block * 64 * LANES;
        // SAFETY: loads stay in the tile's panels, which have the block.
        unsafe {
            asm!(
                "tileloaddt1 tmm7, [{b} + {line}]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tileloaddt1 tmm5, [{more} + {line}]",
                "tdpbusd tmm3, tmm4, tmm5",
                b = in(reg) self.panels[2].add(weights),
                more = in(reg) self.panels[3].add(weights),
                line = in(reg) 64usize,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// All products of a tile.
///
/// # Safety
/// The tile registers are shaped for the tile's rows, and the tile passed its check.
#[inline(always)]
pub(super) unsafe fn products<O: Operands>(tile: Tile<'_>) {
    let operands = O::of(tile);
    // SAFETY: the caller's promise; the tile has so many blocks.
    unsafe {
        zero();
        for block in 0..tile.blocks() {
            operands.first(block);
            operands.second(block);
        }
    }
}

/// All products of a tile with `DEPTH` blocks, with parts of something else between them: without a loop, so that where each row of
/// that lies is known when this is compiled.
///
/// # Safety
/// The tile registers are shaped for the tile's rows, and it has so many blocks.
#[inline(always)]
pub(super) unsafe fn full_products<const DEPTH: usize>(
    operands: impl Operands,
    meanwhile: &mut impl Meanwhile,
) {
    const { assert!(DEPTH <= FULL_DEPTH && FULL_DEPTH == 6) };
    macro_rules! blocks {
        ($($block:literal)*) => {$(
            if $block < DEPTH {
                operands.first($block);
                meanwhile.part(2 * $block, 2 * DEPTH);
                operands.second($block);
                meanwhile.part(2 * $block + 1, 2 * DEPTH);
            }
        )*};
    }
    // SAFETY: the caller's promise.
    unsafe {
        zero();
        blocks!(0 1 2 3 4 5);
    }
}

/// # Safety
/// The tile registers are shaped.
#[inline(always)]
unsafe fn zero() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// Where the results of [`Square`] begin, in rows of sixteen, with `stride` of them from panel to panel.
#[inline(always)]
pub(super) fn square_places(rows: usize, stride: usize) -> [usize; 4] {
    let second = if rows > TILE { TILE } else { 0 };
    [0, second, stride, stride + second]
}

/// Stores the accumulating tiles where `places` says, in rows of sixteen.
///
/// # Safety
/// The tile registers are shaped.
#[inline(always)]
pub(super) unsafe fn store(accumulators: &mut [i32], places: [usize; 4]) {
    for place in places {
        assert!(accumulators.len() >= (place + TILE) * LANES);
    }
    let to = accumulators.as_mut_ptr();
    // SAFETY: each store fills at most 16 × 16 from its place on.
    unsafe {
        asm!(
            "tilestored [{a} + {line}], tmm0",
            "tilestored [{b} + {line}], tmm1",
            "tilestored [{c} + {line}], tmm2",
            "tilestored [{d} + {line}], tmm3",
            a = in(reg) to.add(places[0] * LANES),
            b = in(reg) to.add(places[1] * LANES),
            c = in(reg) to.add(places[2] * LANES),
            d = in(reg) to.add(places[3] * LANES),
            line = in(reg) 64usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Where panel `index` begins; the last one stands for those behind it.
#[inline(always)]
fn panel(tile: Tile<'_>, index: usize) -> *const i8 {
    tile.panel(index.min(tile.panels - 1)).as_ptr()
}

/// Where tile `index` of sixteen rows, or of those left, begins; the last one stands for those behind it.
#[inline(always)]
fn sixteen_rows(tile: Tile<'_>, index: usize) -> *const Block {
    let first = TILE * index.min((tile.rows - 1) / TILE);
    tile.rows_of_blocks[first * tile.row_stride..].as_ptr()
}

/// Products of up to four tiles of rows with one panel. Rows that the tile lacks repeat its last ones.
///
/// # Safety
/// The tile registers are shaped for sixteen rows, and the tile passed its check with a multiple of them.
#[inline(always)]
pub(super) unsafe fn tall_products(tile: Tile<'_>) {
    // SAFETY: loads stay in the tile's rows and its panel, `blocks()` each.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{b} + {line}]",
            "tileloadd tmm5, [{a0} + {stride}]",
            "tdpbusd tmm0, tmm5, tmm4",
            "tileloadd tmm6, [{a1} + {stride}]",
            "tdpbusd tmm1, tmm6, tmm4",
            "tileloadd tmm7, [{a2} + {stride}]",
            "tdpbusd tmm2, tmm7, tmm4",
            "tileloadd tmm5, [{a3} + {stride}]",
            "tdpbusd tmm3, tmm5, tmm4",
            "add {b}, 1024",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {a2}, 64",
            "add {a3}, 64",
            "dec {depth}",
            "jnz 2b",
            b = inout(reg) tile.panel(0).as_ptr() => _,
            a0 = inout(reg) sixteen_rows(tile, 0) => _,
            a1 = inout(reg) sixteen_rows(tile, 1) => _,
            a2 = inout(reg) sixteen_rows(tile, 2) => _,
            a3 = inout(reg) sixteen_rows(tile, 3) => _,
            depth = inout(reg) tile.blocks() => _,
            stride = in(reg) tile.row_stride * 64,
            line = in(reg) 64usize,
            options(nostack, readonly),
        );
    }
}

/// Where the results of [`Wide`] begin, with `stride` rows of sixteen from panel to panel.
#[inline(always)]
pub(super) fn wide_places(panels: usize, stride: usize) -> [usize; NR] {
    let last = panels - 1;
    [
        0,
        1.min(last) * stride,
        2.min(last) * stride,
        3.min(last) * stride,
    ]
}

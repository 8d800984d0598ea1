//! The order of a product.

use super::packed::groups;
use super::{EVEN_TILES, LANES, PackedLinear, Packing, Product, Tile, tiles_by_group};
use crate::quantized::QuantizedView;

/// At most `most` at a time of `count`, which is not zero, and about equally many each time.
#[inline(always)]
pub(crate) fn level(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

/// Rows of each tile of a block but the last, `most` at most: about equally many rather than full tiles and a low rest, unless that saves
/// nothing; and of high tiles an even number, as [`Packing`] has it.
#[inline(always)]
pub(crate) fn height<P: Product>(block_rows: usize, most: usize) -> usize {
    match (P::TILE_ROWS, most) {
        (1, ..EVEN_TILES) => level(block_rows, most),
        (1, _) => level(block_rows, most).next_multiple_of(2),
        _ => most,
    }
}

/// How a product is cut into tiles: blocks of rows, for each the panels of as many tiles as go by group, for each their groups, for each
/// the tiles, and for each the rows'.
pub(super) struct Plan {
    /// Blocks of 64 along k.
    pub(super) depth: usize,
    pub(super) groups: usize,
    /// Blocks of a group.
    pub(super) group_depth: usize,
    rows: usize,
    /// Panels of the layer.
    panels: usize,
    /// Where the next step begins.
    block: usize,
    /// The first panel of its tiles.
    first_panel: usize,
    tile: usize,
    group: usize,
    row: usize,
}

/// One tile.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// First row of the block.
    pub(super) block: usize,
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) panel: usize,
    pub(super) panels: usize,
    pub(super) group: usize,
    /// Which of the tiles that are multiplied group by group.
    pub(super) tile: usize,
    /// Rows of the block.
    block_rows: usize,
}

impl Plan {
    #[inline(always)]
    pub(super) fn of(a: &QuantizedView<'_>, w: &PackedLinear<'_>) -> Self {
        let depth = w.k.div_ceil(64);
        Plan {
            depth,
            groups: groups(w.k, w.group),
            group_depth: depth.min(w.group / 64),
            rows: a.rows(),
            panels: w.n.div_ceil(LANES),
            block: 0,
            first_panel: 0,
            tile: 0,
            group: 0,
            row: 0,
        }
    }

    #[inline(always)]
    pub(super) fn next<P: Product>(&mut self) -> Option<Step> {
        if self.block >= self.rows {
            return None;
        }
        let left = self.rows - self.block;
        // Blocks of equal height too, in whole tiles where a block has more than one.
        let equal = level(left, P::BLOCK_ROWS);
        let block_rows = match (P::TILE_ROWS, P::MR == P::BLOCK_ROWS) {
            (1, true) => equal,
            (1, false) => equal.next_multiple_of(P::MR).min(P::BLOCK_ROWS).min(left),
            _ => left.min(P::BLOCK_ROWS),
        };
        let end = self.block + block_rows;
        let height = height::<P>(block_rows, P::MR);
        let panel = self.first_panel + self.tile * P::panels(block_rows);
        let step = Step {
            block: self.block,
            row: self.row,
            rows: height.min(end - self.row),
            panel,
            panels: P::panels(block_rows).min(self.panels - panel),
            group: self.group,
            tile: self.tile,
            block_rows,
        };
        self.row += step.rows;
        if self.row < end {
            return Some(step);
        }
        self.row = self.block;
        self.tile += 1;
        let next_panel = panel + step.panels;
        if self.tile < tiles_by_group::<P>() && next_panel < self.panels {
            return Some(step);
        }
        self.tile = 0;
        self.group += 1;
        if self.group < self.groups {
            return Some(step);
        }
        self.group = 0;
        self.first_panel = next_panel;
        if next_panel >= self.panels {
            self.first_panel = 0;
            self.block = end;
            self.row = end;
        }
        Some(step)
    }

    /// The tile of a step.
    #[inline(always)]
    pub(super) fn tile<'a>(
        &self,
        a: &QuantizedView<'a>,
        w: &PackedLinear<'a>,
        step: Step,
    ) -> Tile<'a> {
        let panel_stride = self.depth * 64 * LANES;
        let first_block = step.group * self.group_depth;
        let columns = step.group * w.group_stride + step.panel * LANES;
        Tile {
            column_sum: Some(&w.column_sum[columns..][..step.panels * LANES]),
            rows_of_blocks: &a.blocks[step.row * self.depth + first_block..],
            weights: &w.panels[step.panel * panel_stride + first_block * 64 * LANES..],
            rows: step.rows,
            panels: step.panels,
            depth: 64 / LANES * self.group_depth.min(self.depth - first_block),
            packing: Packing {
                row: step.row - step.block,
                rows: step.block_rows,
                before: 64 / LANES * first_block,
                whole: 64 / LANES * self.depth,
                is_done: step.panel > 0,
            },
            row_stride: self.depth,
            panel_stride,
        }
    }
}

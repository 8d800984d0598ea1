//! The order of a product.

use super::dequantize::Sums;
use super::packed::groups;
use super::{BLOCK_ROWS, LANES, Output, PackedLinear, Product, Tile};
use crate::quantized::QuantizedView;

/// How a product is cut into tiles: blocks of rows, for each the tiles' panels, for each their groups, for each the
/// rows' tiles.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Blocks of 64 along k.
    depth: usize,
    pub(super) groups: usize,
    /// Blocks of a group.
    group_depth: usize,
    rows: usize,
    /// Panels of the layer.
    panels: usize,
    /// Where the next step begins.
    block: usize,
    panel: usize,
    group: usize,
    row: usize,
}

/// One group of one tile.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// First row of the block.
    pub(super) block: usize,
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) panel: usize,
    pub(super) panels: usize,
    pub(super) group: usize,
}

impl Plan {
    #[inline(always)]
    pub(super) fn of(a: QuantizedView<'_>, w: PackedLinear<'_>) -> Self {
        let depth = w.k.div_ceil(64);
        Plan {
            depth,
            groups: groups(w.k, w.group),
            group_depth: depth.min(w.group / 64),
            rows: a.rows(),
            panels: w.n.div_ceil(LANES),
            block: 0,
            panel: 0,
            group: 0,
            row: 0,
        }
    }

    #[inline(always)]
    pub(super) fn next<P: Product>(&mut self) -> Option<Step> {
        if self.block >= self.rows {
            return None;
        }
        let end = self.rows.min(self.block + BLOCK_ROWS);
        let block_rows = end - self.block;
        // Tiles of equal height rather than full ones and a low rest.
        let height = block_rows.div_ceil(block_rows.div_ceil(P::MR));
        let step = Step {
            block: self.block,
            row: self.row,
            rows: height.min(end - self.row),
            panel: self.panel,
            panels: P::NR.min(self.panels - self.panel),
            group: self.group,
        };
        self.row += step.rows;
        if self.row >= end {
            self.row = self.block;
            self.group += 1;
            if self.group == self.groups {
                self.group = 0;
                self.panel += step.panels;
                if self.panel >= self.panels {
                    self.panel = 0;
                    self.block = end;
                    self.row = end;
                }
            }
        }
        Some(step)
    }

    #[inline(always)]
    pub(super) fn tile<'a>(
        &self,
        a: QuantizedView<'a>,
        w: PackedLinear<'a>,
        step: Step,
    ) -> Tile<'a> {
        let panel_stride = self.depth * 64 * LANES;
        let first_block = step.group * self.group_depth;
        Tile {
            rows_of_blocks: &a.blocks[step.row * self.depth + first_block..],
            weights: &w.panels[step.panel * panel_stride + first_block * 64 * LANES..],
            rows: step.rows,
            panels: step.panels,
            depth: self.group_depth.min(self.depth - first_block),
            row_stride: self.depth,
            panel_stride,
        }
    }

    /// What there is to know of the sums of a step.
    #[inline(always)]
    pub(super) fn sums<'a, 'o, P: Product>(
        &self,
        lanes: P::Lanes,
        a: QuantizedView<'a>,
        w: &'a PackedLinear<'a>,
        step: Step,
        accumulators: &'a [i32],
        output: &'a mut Output<'o>,
    ) -> Sums<'a, 'o, P::Lanes> {
        Sums {
            lanes,
            w,
            step,
            groups: self.groups,
            ranges: &a.ranges[step.row * self.groups..][..step.rows * self.groups],
            accumulators: accumulators.as_chunks::<LANES>().0,
            stride: P::MR,
            partial: &mut output.partial.0[step.row - step.block..][..step.rows],
            out: &mut output.out,
        }
    }
}

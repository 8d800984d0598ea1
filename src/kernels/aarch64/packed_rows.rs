//! Rows of a block, packed once for all of its panels.

use crate::product::Tile;
use std::mem::MaybeUninit;

/// 96 KiB, in the second-level cache: 64 rows of 1,536 inputs.
const CAPACITY: usize = 64 * 96;

/// Sixteen inputs of a row, or eight of each of two.
pub(super) type Packed = [u8; 16];

/// Rows in a kernel's order. Those of a block that is too large are packed again for each tile.
pub(super) struct PackedRows {
    memory: [MaybeUninit<Packed>; CAPACITY],
    /// How many are written.
    written: usize,
}

impl Default for PackedRows {
    #[inline(always)]
    fn default() -> Self {
        PackedRows {
            memory: [MaybeUninit::uninit(); CAPACITY],
            written: 0,
        }
    }
}

impl PackedRows {
    /// Room for `rows` rows of the tile, or one more, and `depth` sixteens of their inputs from `first` on; and whether they are there.
    pub(super) fn of(
        &mut self,
        tile: Tile<'_>,
        rows: usize,
        (first, depth): (usize, usize),
    ) -> (&mut [Packed], bool) {
        let packing = tile.packing;
        let block_rows = packing.rows.next_multiple_of(2);
        debug_assert!(packing.row.is_multiple_of(2) && packing.row + rows <= block_rows);
        let is_kept = block_rows * packing.whole <= CAPACITY;
        let begin = match is_kept {
            true => (packing.before + first) * block_rows + packing.row * depth,
            false => 0,
        };
        let end = begin + rows * depth;
        let is_done = is_kept && packing.is_done && end <= self.written;
        if end > self.written {
            for new in &mut self.memory[self.written..end] {
                new.write([0; 16]);
            }
            self.written = end;
        }
        let packed: *mut [MaybeUninit<Packed>] = &mut self.memory[begin..end];
        // SAFETY: the first `written` are, and the pointer is of this function's borrow.
        (unsafe { &mut *(packed as *mut [Packed]) }, is_done)
    }
}

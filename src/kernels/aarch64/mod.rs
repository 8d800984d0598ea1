//! Kernels for 64-bit ARM.

pub(crate) mod dotprod;
pub(crate) mod i8mm;
mod lanes;
pub(crate) mod neon;
mod packed_rows;

/// Rows of a full tile of `neon` and `dotprod`: what is computed once for a panel serves all of them. Eight blocks of four rows, and
/// as many channels as a head has.
const MR: usize = 32;
/// Panels of a full tile: what is computed once for the rows serves all of them.
const NR: usize = 4;
/// Depth in sixteens that is packed at once: 32 rows of 512 bytes are 16 KiB, beside a panel's 8 KiB.
const KC: usize = 32;

/// Blocks of at most `height` rows, as equal as they can be: `(first row, rows)`.
#[inline(always)]
fn blocks(rows: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(height);
    let (low, longer) = (rows / count, rows % count);
    (0..count).map(move |i| (i * low + i.min(longer), low + usize::from(i < longer)))
}

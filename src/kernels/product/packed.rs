//! The weights of a linear layer.

use super::LANES;
use std::fmt;
use std::ops::Range;

/// The weights of a linear layer as they lie in the file; `n` outputs from `k` inputs.
#[derive(Debug, Clone, Copy)]
pub struct PackedLinear<'a> {
    /// `[ceil(n/16), 16·ceil(k/64), 16, 4]`, zero where k or n is padded.
    pub(super) panels: &'a [i8],
    /// `[groups, ceil(n/16)·16]`, groups `group_stride` apart: what a step of a column's weights in the group is worth.
    pub(super) scale: &'a [f32],
    /// `[groups, ceil(n/16)·16]`, groups `group_stride` apart: Σ over the group's part of k of a column's weights.
    pub(super) column_sum: &'a [i32],
    pub(super) group_stride: usize,
    /// `[ceil(n/16)·16]`
    pub(super) bias: &'a [f32],
    pub(super) n: usize,
    pub(super) k: usize,
    /// Inputs that share a range in every row, and a scale in every column.
    pub(super) group: usize,
}

/// A slice of a [`PackedLinear`] has the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeError {
    /// Which slice.
    pub part: &'static str,
    /// Its length.
    pub found: usize,
    /// The length that n and k ask for.
    pub expected: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has {} elements where the shape asks for {}",
            self.part, self.found, self.expected
        )
    }
}

impl std::error::Error for ShapeError {}

/// Longest rows whose sums of products, at most 255·127·k, fit in an `i32`.
pub const MAX_K: usize = 65536;

impl<'a> PackedLinear<'a> {
    /// Puts the parts together. All weights must be in −127…127 (a −128 gives a result that is exact all the same), and the column sums
    /// those of the weights: with others, results are others, and not the same with each kernel.
    ///
    /// # Errors
    /// If a slice does not have the length that `n`, `k` and `group` ask for, `k` is more than [`MAX_K`], or `group` is not
    /// a multiple of 64.
    pub fn new(
        panels: &'a [i8],
        scale: &'a [f32],
        column_sum: &'a [i32],
        bias: &'a [f32],
        [n, k]: [usize; 2],
        group: usize,
    ) -> Result<Self, ShapeError> {
        let check = |part, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(ShapeError {
                    part,
                    found,
                    expected,
                })
            }
        };
        if k > MAX_K {
            return Err(ShapeError {
                part: "a row",
                found: k,
                expected: MAX_K,
            });
        }
        let padded = n.div_ceil(LANES) * LANES;
        check(
            "weight",
            panels.len(),
            padded.saturating_mul(k.div_ceil(64) * 64),
        )?;
        check("group", group.max(64) % 64, 0)?;
        let grouped = padded.saturating_mul(groups(k, group));
        check("scale", scale.len(), grouped)?;
        check("column_sum", column_sum.len(), grouped)?;
        check("bias", bias.len(), padded)?;
        Ok(PackedLinear {
            panels,
            scale,
            column_sum,
            group_stride: padded,
            bias,
            n,
            k,
            group,
        })
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of inputs that share a range in a row, and a scale in a column.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The layer that computes only these outputs.
    ///
    /// # Panics
    /// If the range leaves the layer, or begins (or ends, unless at n) off a multiple of 16.
    pub fn columns(&self, columns: Range<usize>) -> PackedLinear<'a> {
        assert!(columns.start <= columns.end && columns.end <= self.n);
        let aligned = |column: usize| column.is_multiple_of(LANES) || column == self.n;
        assert!(aligned(columns.start) && aligned(columns.end));
        let padded = columns.start.div_ceil(LANES) * LANES..columns.end.div_ceil(LANES) * LANES;
        let k = self.k.div_ceil(64) * 64;
        PackedLinear {
            panels: &self.panels[padded.start * k..padded.end * k],
            scale: &self.scale[padded.start..],
            column_sum: &self.column_sum[padded.start..],
            bias: &self.bias[padded],
            n: columns.len(),
            ..*self
        }
    }
}

/// Number of ranges in a row of `k` values of which `group` neighbours share one.
pub(crate) fn groups(k: usize, group: usize) -> usize {
    k.div_ceil(group.max(1)).max(1)
}

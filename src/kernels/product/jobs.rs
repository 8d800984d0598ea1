//! Products one after the other, without a pause between them.

use super::PackedLinear;
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;
use std::ops::Range;

/// The products of a run. The first step of each is multiplied while the last one of that before it is dequantized.
pub(crate) trait Jobs<'a> {
    /// Rows and weights of the next product, which must not be empty.
    fn next(&mut self) -> Option<(QuantizedView<'a>, PackedLinear<'a>)>;
    /// Where the results of the first product go that has not ended.
    fn out(&mut self) -> MatrixMut<'_>;
    /// That product has ended.
    fn end(&mut self);
}

/// Products of the same rows with some ranges of a layer's outputs.
pub(crate) struct ColumnRanges<'a, 'p, 'o> {
    a: QuantizedView<'a>,
    w: PackedLinear<'a>,
    parts: &'p mut [(Range<usize>, MatrixMut<'o>)],
    begun: usize,
    ended: usize,
}

impl<'a, 'p, 'o> ColumnRanges<'a, 'p, 'o> {
    pub(crate) fn new(
        a: QuantizedView<'a>,
        w: PackedLinear<'a>,
        parts: &'p mut [(Range<usize>, MatrixMut<'o>)],
    ) -> Self {
        ColumnRanges {
            a,
            w,
            parts,
            begun: 0,
            ended: 0,
        }
    }
}

impl<'a> Jobs<'a> for ColumnRanges<'a, '_, '_> {
    fn next(&mut self) -> Option<(QuantizedView<'a>, PackedLinear<'a>)> {
        let (columns, _) = self.parts.get(self.begun)?;
        self.begun += 1;
        Some((self.a, self.w.columns(columns.clone())))
    }

    fn out(&mut self) -> MatrixMut<'_> {
        self.parts[self.ended].1.reborrow()
    }

    fn end(&mut self) {
        self.ended += 1;
    }
}

//! Products one after the other, without a pause between them.

use super::PackedLinear;
use crate::matrix::MatrixMut;
use crate::quantized::QuantizedView;

/// The products of a run, all with the same number and groups of inputs. The first step of each may be multiplied while
/// the last one of that before it is dequantized: [`Jobs::next`] may be asked for a product before the one before it ends.
///
/// A trait object, for the product is compiled once for each kernel: a second copy made the program larger by a tenth.
pub(crate) trait Jobs<'a> {
    /// Rows and weights of the next product, which must not be empty.
    fn next(&mut self) -> Option<(QuantizedView<'a>, PackedLinear<'a>)>;
    /// Where the results of the first product go that has not ended.
    fn out(&mut self) -> MatrixMut<'_>;
    /// That product has ended.
    fn end(&mut self);
}

/// Products of the same rows with several layers.
pub(crate) struct Layers<'a, 'w, 'p, 'o> {
    a: QuantizedView<'a>,
    parts: &'p mut [(PackedLinear<'w>, MatrixMut<'o>)],
    begun: usize,
    ended: usize,
}

impl<'a, 'w, 'p, 'o> Layers<'a, 'w, 'p, 'o> {
    pub(crate) fn new(
        a: QuantizedView<'a>,
        parts: &'p mut [(PackedLinear<'w>, MatrixMut<'o>)],
    ) -> Self {
        Layers {
            a,
            parts,
            begun: 0,
            ended: 0,
        }
    }
}

impl<'a, 'w: 'a> Jobs<'a> for Layers<'a, 'w, '_, '_> {
    fn next(&mut self) -> Option<(QuantizedView<'a>, PackedLinear<'a>)> {
        let (w, _) = self.parts.get(self.begun)?;
        self.begun += 1;
        Some((self.a, *w))
    }

    fn out(&mut self) -> MatrixMut<'_> {
        self.parts[self.ended].1.reborrow()
    }

    fn end(&mut self) {
        self.ended += 1;
    }
}

//! A product, an activation, and the quantization of the result for the product behind it.

use super::PackedLinear;
use crate::lanes::Lanes;
use crate::math::{self, Activation, Function};
use crate::matrix::MatrixMut;
use crate::memory::Aligned;
use crate::quantize::{TOGETHER, activate_quantize_some, quantize_some};
use crate::quantized::{QuantizedView, QuantizedViewMut};
use crate::rows;

/// Most rows whose results lie in f32 at a time.
const ROWS: usize = 32;

/// Results in f32 at a time, unless one group has more: 24 KiB, half of a first-level cache.
const VALUES: usize = 6144;

/// A kernel's [`linear`](super::linear), compiled.
pub(crate) type Linear = unsafe fn(QuantizedView<'_>, PackedLinear<'_>, bool, MatrixMut<'_>);

/// out = quantized(input_scale·activation(a·wᵀ + bias)), group by group of `out`, some rows at a time; GELU is
/// [`math::GeluToBytes`]. `values` is working memory. The product is called, for a second copy of it would make the program
/// larger by a tenth.
///
/// # Safety
/// The CPU can run `linear`.
#[inline(always)]
pub(crate) unsafe fn linear_quantize<L: Lanes>(
    (lanes, linear): (L, Linear),
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    (activation, input_scale): (Activation, &[f32]),
    values: &mut Aligned<f32>,
    out: QuantizedViewMut<'_>,
) {
    let n = w.n();
    if n == 0 || a.rows() == 0 {
        return;
    }
    let group = out.group().min(n);
    let height = ROWS.min(a.rows());
    // Few rows have several groups at a time, for the last step of a product is dequantized alone.
    let width = n.min((VALUES / height / group).max(1) * group);
    values.grow(height * width);
    let mut rest = out;
    for first in (0..a.rows()).step_by(height) {
        let rows = first..a.rows().min(first + height);
        let (mut now, later) = rest.split_rows(rows.len());
        rest = later;
        for first in (0..n).step_by(width) {
            let columns = first..n.min(first + width);
            let values = &mut values[..rows.len() * columns.len()];
            let mut y = MatrixMut::new(values, rows.len(), columns.len(), columns.len());
            let (a, w) = (a.row_range(rows.clone()), w.columns(columns.clone()));
            // SAFETY: the caller's promise.
            unsafe { linear(a, w, false, y.reborrow()) };
            for first in columns.clone().step_by(group) {
                let group = first..columns.end.min(first + group);
                let (part, later) = y.split_columns(group.len());
                y = later;
                let scale = &input_scale[group.clone()];
                let to = now.reborrow().column_range(group);
                match activation {
                    Activation::Gelu => activated(lanes, math::GeluToBytes, part, scale, to),
                    _ => other(lanes, activation, part, scale, to),
                }
            }
        }
    }
}

/// Rows of one group, whose function is applied while their extremes are sought.
#[inline(always)]
fn activated<L: Lanes>(
    lanes: L,
    function: impl Function,
    mut y: MatrixMut<'_>,
    scale: &[f32],
    mut out: QuantizedViewMut<'_>,
) {
    let mut row = 0;
    while L::SIDE_BY_SIDE && row + TOGETHER <= y.rows() {
        let rows = y.some_rows::<TOGETHER>(row);
        activate_quantize_some(lanes, function, rows, scale, &mut out, row);
        row += TOGETHER;
    }
    for row in row..y.rows() {
        activate_quantize_some(lanes, function, y.some_rows::<1>(row), scale, &mut out, row);
    }
}

/// The same for functions that few models have, one thing after the other.
#[inline(always)]
fn other<L: Lanes>(
    lanes: L,
    activation: Activation,
    mut y: MatrixMut<'_>,
    scale: &[f32],
    mut out: QuantizedViewMut<'_>,
) {
    for row in 0..y.rows() {
        rows::activation(lanes, y.row(row), activation);
        quantize_some(lanes, [&*y.row(row)], Some(scale), &mut out, row);
    }
}

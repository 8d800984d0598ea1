//! A product, an activation, and the quantization of the result for the product behind it.

use super::jobs::Jobs;
use super::{Linear, PackedLinear};
use crate::lanes::Lanes;
use crate::math::{self, Activation, Function};
use crate::matrix::MatrixMut;
use crate::memory::Aligned;
use crate::quantize::{TOGETHER, activate_quantize_some, quantize_some};
use crate::quantized::{QuantizedView, QuantizedViewMut};
use crate::rows;
use std::ops::Range;

/// A kernel's [`activate_quantize`], compiled.
pub(crate) type ActivateQuantize =
    unsafe fn(MatrixMut<'_>, (Activation, &[f32]), QuantizedViewMut<'_>);

/// out = quantized(input_scale·activation(a·wᵀ + bias)), group by group of `out`, at most `rows` rows at a time; GELU is
/// [`math::GeluToBytes`]. `values` is working memory.
///
/// # Safety
/// The CPU can run both functions, which are one kernel's, as `rows` is.
pub(crate) unsafe fn linear_quantize(
    (linear, then, rows): (Linear, ActivateQuantize, usize),
    a: QuantizedView<'_>,
    w: PackedLinear<'_>,
    (activation, input_scale): (Activation, &[f32]),
    values: &mut Aligned<f32>,
    out: QuantizedViewMut<'_>,
) {
    if w.n() == 0 || a.rows() == 0 {
        return;
    }
    let width = out.group().min(w.n());
    values.grow(rows.min(a.rows()) * width);
    let mut groups = OutputGroups {
        a,
        w,
        then,
        activation,
        input_scale,
        values,
        out,
        rows,
        width,
        begun: (0, 0),
        ended: (0, 0),
    };
    // SAFETY: the caller's promise.
    unsafe { linear(&mut groups, false) }
}

/// Each group of `out`, some rows at a time.
struct OutputGroups<'a, 'o> {
    a: QuantizedView<'a>,
    w: PackedLinear<'a>,
    then: ActivateQuantize,
    activation: Activation,
    input_scale: &'o [f32],
    values: &'o mut [f32],
    out: QuantizedViewMut<'o>,
    rows: usize,
    width: usize,
    /// First row and column of the next product, and of the first one that has not ended.
    begun: (usize, usize),
    ended: (usize, usize),
}

impl OutputGroups<'_, '_> {
    /// The rows and columns of the product that begins there, and where the next one does: the rows of a group, then the next
    /// group, whose weights are read once from memory.
    fn part(&self, (row, column): (usize, usize)) -> ([Range<usize>; 2], (usize, usize)) {
        let rows = row..self.a.rows().min(row + self.rows);
        let columns = column..self.w.n().min(column + self.width);
        let next = match rows.end == self.a.rows() {
            true => (0, columns.end),
            false => (rows.end, column),
        };
        ([rows, columns], next)
    }
}

impl<'a> Jobs<'a> for OutputGroups<'a, '_> {
    fn next(&mut self) -> Option<(QuantizedView<'a>, PackedLinear<'a>)> {
        if self.begun.1 == self.w.n() {
            return None;
        }
        let ([rows, columns], next) = self.part(self.begun);
        self.begun = next;
        Some((self.a.row_range(rows), self.w.columns(columns)))
    }

    fn out(&mut self) -> MatrixMut<'_> {
        let ([rows, columns], _) = self.part(self.ended);
        MatrixMut::new(self.values, rows.len(), columns.len(), columns.len())
    }

    fn end(&mut self) {
        let ([rows, columns], next) = self.part(self.ended);
        self.ended = next;
        let (height, width) = (rows.len(), columns.len());
        let values = MatrixMut::new(self.values, height, width, width);
        let then = (self.activation, &self.input_scale[columns.clone()]);
        let later = self.out.reborrow().split_rows(rows.start).1;
        let out = later.split_rows(height).0.column_range(columns);
        // SAFETY: the caller of `linear_quantize` promised it.
        unsafe { (self.then)(values, then, out) }
    }
}

/// out = quantized(input_scale·activation(y)) of rows of one group; `y` is overwritten.
#[inline(always)]
pub(crate) fn activate_quantize<L: Lanes>(
    lanes: L,
    y: MatrixMut<'_>,
    (activation, scale): (Activation, &[f32]),
    out: QuantizedViewMut<'_>,
) {
    match activation {
        Activation::Gelu => activated(lanes, math::GeluToBytes, y, scale, out),
        _ => other(lanes, activation, y, scale, out),
    }
}

/// Rows whose function is applied while their extremes are sought.
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

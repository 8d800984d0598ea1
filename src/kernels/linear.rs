//! Linear layers, by any kernel.

use super::product::{self, ColumnRanges, Epilogue, PackedLinear};
use super::{Activation, Aligned, Kernel, MatrixMut, QuantizedView, QuantizedViewMut};
use std::ops::Range;

impl Kernel {
    /// A linear layer: y = a·wᵀ + bias, `[rows, n]`, into `out` as `epilogue` says. Group by group along k, with the row's range
    /// (low, scale_x) and the column's scale_w and column_sum in the group and the exact acc = Σ u·w over it,
    /// y = fma(acc, scale_x·scale_w, fma(low, scale_w·column_sum, y)), where y begins as the bias.
    ///
    /// Rows and columns may be computed apart ([`QuantizedView::row_range`], [`PackedLinear::columns`]); the result is
    /// the same.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn linear(
        &self,
        a: QuantizedView<'_>,
        w: PackedLinear<'_>,
        epilogue: Epilogue,
        mut out: MatrixMut<'_>,
    ) {
        assert_eq!(a.k(), w.k(), "linear: inputs of a and w");
        assert_eq!(a.group(), w.group(), "linear: groups of a and w");
        assert_eq!(
            (out.rows(), out.columns()),
            (a.rows(), w.n()),
            "linear: shape of out"
        );
        if a.rows() == 0 || w.n() == 0 {
            return;
        }
        let (add, activation) = epilogue.split();
        let mut part = [(0..w.n(), out.reborrow())];
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.linear)(&mut ColumnRanges::new(a, w, &mut part), add) }
        if activation != Activation::Identity {
            for row in 0..out.rows() {
                self.activation(out.row(row), activation);
            }
        }
    }

    /// [`Kernel::linear`] of some ranges of the outputs, each to a matrix of its own.
    ///
    /// # Panics
    /// If the shapes differ, or a range is empty or begins (or ends, unless at n) off a multiple of sixteen.
    pub fn linear_ranges(
        &self,
        a: QuantizedView<'_>,
        w: PackedLinear<'_>,
        parts: &mut [(Range<usize>, MatrixMut<'_>)],
    ) {
        assert_eq!(a.k(), w.k(), "linear_ranges: inputs of a and w");
        assert_eq!(a.group(), w.group(), "linear_ranges: groups of a and w");
        for (columns, out) in &*parts {
            assert_eq!(
                (out.rows(), out.columns()),
                (a.rows(), columns.len()),
                "linear_ranges: shape of a part"
            );
            assert!(!columns.is_empty(), "linear_ranges: an empty range");
        }
        if a.rows() == 0 {
            return;
        }
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.linear)(&mut ColumnRanges::new(a, w, parts), false) }
    }

    /// [`Kernel::linear`] with an activation, and [`Kernel::quantize_rows`] of the result with `input_scale`, `[n]`, while it is in
    /// the cache. [`Activation::Gelu`] is as fine as bytes need it: within 4.8e-5·max(1, |x|). `values` is working memory.
    ///
    /// # Panics
    /// If the shapes differ, or `out` has groups that are not whole panels of sixteen.
    pub fn linear_quantize(
        &self,
        a: QuantizedView<'_>,
        w: PackedLinear<'_>,
        (activation, input_scale): (Activation, &[f32]),
        values: &mut Aligned<f32>,
        out: QuantizedViewMut<'_>,
    ) {
        assert_eq!(a.k(), w.k(), "linear_quantize: inputs of a and w");
        assert_eq!(a.group(), w.group(), "linear_quantize: groups of a and w");
        assert_eq!(
            (out.rows(), out.k()),
            (a.rows(), w.n()),
            "linear_quantize: shape of out"
        );
        assert_eq!(
            input_scale.len(),
            w.n(),
            "linear_quantize: length of input_scale"
        );
        let functions = (self.0.linear, self.0.activate_quantize);
        let then = (activation, input_scale);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { product::linear_quantize(functions, a, w, then, values, out) }
    }

    /// The integer products of [`Kernel::linear`] alone; their sums are dropped. For benchmarks.
    ///
    /// # Panics
    /// If the shapes differ.
    #[doc(hidden)]
    pub fn products(&self, a: QuantizedView<'_>, w: PackedLinear<'_>) {
        assert_eq!(a.k(), w.k(), "products: inputs of a and w");
        assert_eq!(a.group(), w.group(), "products: groups of a and w");
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.products)(a, w) }
    }
}

//! Linear layers, by any kernel.

use super::product::{self, Epilogue, Layers, PackedLinear};
use super::{Activation, Aligned, Kernel, MatrixMut, QuantizedView, QuantizedViewMut};

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
        check("linear", a, w, [out.rows(), out.columns()]);
        if a.rows() == 0 || w.n() == 0 {
            return;
        }
        let (add, activation) = epilogue.split();
        let mut part = [(w, out.reborrow())];
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.linear)(&mut Layers::new(a, &mut part), add) }
        if activation != Activation::Identity {
            for row in 0..out.rows() {
                self.activation(out.row(row), activation);
            }
        }
    }

    /// [`Kernel::linear`] of the same rows by several layers, or parts of one, each to a matrix of its own: faster than one after
    /// the other, for nothing waits at the end of each.
    ///
    /// # Panics
    /// If the shapes differ, or a layer has no outputs.
    pub fn linear_several(
        &self,
        a: QuantizedView<'_>,
        parts: &mut [(PackedLinear<'_>, MatrixMut<'_>)],
    ) {
        for (w, out) in &*parts {
            check("linear_several", a, *w, [out.rows(), out.columns()]);
            assert!(w.n() > 0, "linear_several: a layer without outputs");
        }
        if a.rows() == 0 {
            return;
        }
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.linear)(&mut Layers::new(a, parts), false) }
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
        check("linear_quantize", a, w, [out.rows(), out.k()]);
        assert_eq!(
            input_scale.len(),
            w.n(),
            "linear_quantize: length of input_scale"
        );
        let kernel = (self.0.linear, self.0.activate_quantize, self.0.fused_rows);
        let then = (activation, input_scale);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { product::linear_quantize(kernel, a, w, then, values, out) }
    }

    /// The integer products of [`Kernel::linear`] alone; their sums are dropped. For benchmarks.
    ///
    /// # Panics
    /// If the shapes differ.
    #[doc(hidden)]
    pub fn products(&self, a: QuantizedView<'_>, w: PackedLinear<'_>) {
        check("products", a, w, [a.rows(), w.n()]);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.products)(a, w) }
    }
}

/// # Panics
/// In the name of `function`, if a·wᵀ has not the `shape` of its output.
fn check(function: &str, a: QuantizedView<'_>, w: PackedLinear<'_>, shape: [usize; 2]) {
    assert_eq!(a.k(), w.k(), "{function}: inputs of a and w");
    assert_eq!(a.group(), w.group(), "{function}: groups of a and w");
    assert_eq!(shape, [a.rows(), w.n()], "{function}: shape of out");
}

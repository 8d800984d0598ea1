//! Matrix and vector arithmetic for every CPU, with one result. Knows matrices and never BERT.
//!
//! A [`Kernel`] is one implementation, chosen once; holding it proves that the CPU can run it. All kernels give the same
//! bits: integer products are exact, floating point uses correctly rounded operations in an order that does not depend
//! on the vector width. The plain one (`generic`) is fallback and oracle.

// SIMD intrinsics, raw matrix views and calls through proven function pointers need it; each use says why it is sound.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod attention;
mod generic;
mod lanes;
mod layer_norm;
mod linear;
mod math;
mod matrix;
mod memory;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain;
mod product;
mod quantize;
mod quantized;
mod rows;
pub mod sgemm;
mod table;
mod team;
#[cfg(test)]
mod tests;
mod threads;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use attention::AttentionScratch;
pub use math::Activation;
pub use matrix::{Matrix, MatrixMut};
pub use memory::{Aligned, OutOfMemory};
pub use product::{Epilogue, MAX_K, PackedLinear, ShapeError};
pub use quantized::{QuantizedRows, QuantizedView, QuantizedViewMut, RowRange, WHOLE_ROW};
pub use team::{MAX_MEMBERS, Team};
pub use threads::thread_builder;

use half::f16;
use std::fmt;
use table::Table;

/// The environment variable that forces a kernel by name.
pub const KERNEL_VARIABLE: &str = "BERTLET_KERNEL";

/// A kernel was asked for by name and this CPU, or this build, does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedKernel {
    /// The name as it was given.
    pub name: String,
    /// The kernels that this CPU can run, best first.
    pub available: Vec<&'static str>,
}

impl fmt::Display for UnsupportedKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kernel '{}' cannot run here; this CPU has: {}",
            self.name,
            self.available.join(", ")
        )
    }
}

impl std::error::Error for UnsupportedKernel {}

/// An implementation that this CPU can run.
#[derive(Clone, Copy)]
pub struct Kernel(&'static Table);

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.0.name)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Kernel {}

impl Kernel {
    /// The fastest kernel that this CPU can run.
    pub fn detect() -> Kernel {
        Self::available()
            .next()
            .expect("the generic kernel runs everywhere")
    }

    /// All kernels that this CPU can run, fastest first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        table::ALL
            .iter()
            // Miri interprets Rust: it knows no other kernel, and not the questions to the CPU either.
            .filter(|table| !cfg!(miri) || table.name == "generic")
            .filter(|table| (table.supported)())
            .map(Kernel)
    }

    /// The names of all kernels in this build, whether this CPU can run them or not, fastest first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        table::ALL.iter().map(|table| table.name)
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// If there is none, or this CPU cannot run it.
    pub fn by_name(name: &str) -> Result<Kernel, UnsupportedKernel> {
        Self::available()
            .find(|kernel| kernel.name() == name)
            .ok_or_else(|| UnsupportedKernel {
                name: name.to_owned(),
                available: Self::available().map(|kernel| kernel.name()).collect(),
            })
    }

    /// The kernel named by [`KERNEL_VARIABLE`], or the fastest if the variable is unset or empty.
    ///
    /// # Errors
    /// If this CPU does not have the named kernel.
    pub fn from_environment() -> Result<Kernel, UnsupportedKernel> {
        match std::env::var_os(KERNEL_VARIABLE) {
            Some(name) if !name.is_empty() => Self::by_name(&name.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    /// Its name, as [`Kernel::by_name`] takes it.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Quantizes each row of `x`, `[rows, k]`, to bytes between its own minimum and maximum, after multiplying it by
    /// `input_scale`, `[k]`.
    ///
    /// With x' = x·input_scale: low = min x', scale = (max x' − low)/255, and with inverse = 255/(max x' − low)
    /// u = round(fma(x', inverse, −low·inverse)), ties to even, within 0…255. A row of one value gives u = 0 and scale = 0. A row that
    /// is not finite gives a range of NaN.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn quantize_rows(
        &self,
        x: Matrix<'_>,
        input_scale: Option<&[f32]>,
        out: QuantizedViewMut<'_>,
    ) {
        assert_eq!(
            (x.rows(), x.columns()),
            (out.rows(), out.k()),
            "quantize_rows: shapes of x and out"
        );
        assert!(
            input_scale.is_none_or(|scale| scale.len() == x.columns()),
            "quantize_rows: length of input_scale"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.quantize_rows)(x, input_scale, out) }
    }

    /// Normalizes each row of `x`, `[rows, n]`, in place: (x − mean)/√(variance + eps)·weight + bias.
    ///
    /// # Panics
    /// If `weight` or `bias` is not `[n]`.
    pub fn layer_norm(&self, x: MatrixMut<'_>, weight: &[f32], bias: &[f32], eps: f32) {
        assert_eq!(
            (weight.len(), bias.len()),
            (x.columns(), x.columns()),
            "layer_norm: lengths of weight and bias"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.layer_norm)(x, weight, bias, eps) }
    }

    /// [`Kernel::layer_norm`] in place and [`Kernel::quantize_rows`] of the result, row by row.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn layer_norm_quantize(
        &self,
        x: MatrixMut<'_>,
        weight: &[f32],
        bias: &[f32],
        eps: f32,
        input_scale: Option<&[f32]>,
        out: QuantizedViewMut<'_>,
    ) {
        assert_eq!(
            (weight.len(), bias.len()),
            (x.columns(), x.columns()),
            "layer_norm: lengths of weight and bias"
        );
        assert_eq!(
            (x.rows(), x.columns()),
            (out.rows(), out.k()),
            "layer_norm_quantize: shapes of x and out"
        );
        assert!(
            input_scale.is_none_or(|scale| scale.len() == x.columns()),
            "layer_norm_quantize: length of input_scale"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.layer_norm_quantize)(x, (weight, bias, eps), input_scale, out) }
    }

    /// Applies a function to each element.
    pub fn activation(&self, x: &mut [f32], activation: Activation) {
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.activation)(x, activation) }
    }

    /// Attention of one sequence, a short one in f32 and a long one in 8-bit integers: softmax(scale·query·keyᵀ)·value of
    /// each of `heads` heads into `out`, `[queries, heads·head_size]`, with query `[queries, heads·head_size]`, key and value
    /// `[keys, heads·head_size]`, and a scale that is not negative. The queries may be any of the sequence's; each result depends on
    /// its own query and on all keys and values of its head.
    ///
    /// # Panics
    /// If the shapes differ, the columns are not those of so many heads.
    pub fn attention(
        &self,
        [query, key, value]: [Matrix<'_>; 3],
        heads: usize,
        scale: f32,
        scratch: &mut AttentionScratch,
        out: MatrixMut<'_>,
    ) {
        let columns = query.columns();
        assert_eq!(
            (key.columns(), value.columns()),
            (columns, columns),
            "attention: columns"
        );
        assert!(
            heads > 0 && columns.is_multiple_of(heads),
            "attention: {columns} columns are not {heads} heads"
        );
        assert_eq!(key.rows(), value.rows(), "attention: keys and values");
        assert_eq!(
            (out.rows(), out.columns()),
            (query.rows(), columns),
            "attention: shape of out"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.attention)([query, key, value], heads, scale, scratch, out) }
    }

    /// Each row of `x` becomes exp(scale·(x − max)), divided by the row's sum.
    pub fn softmax_rows(&self, x: MatrixMut<'_>, scale: f32) {
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.softmax_rows)(x, scale) }
    }

    /// out = word·scale + position, all `[hidden]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn embed_i8(&self, word: &[i8], scale: f32, position: &[f16], out: &mut [f32]) {
        assert_eq!(
            (word.len(), position.len()),
            (out.len(), out.len()),
            "embed_i8: lengths"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.embed_i8)(word, scale, position, out) }
    }

    /// out = word + position, all `[hidden]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn embed_f16(&self, word: &[f16], position: &[f16], out: &mut [f32]) {
        assert_eq!(
            (word.len(), position.len()),
            (out.len(), out.len()),
            "embed_f16: lengths"
        );
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.embed_f16)(word, position, out) }
    }

    /// Half to single precision, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn convert_f16(&self, x: &[f16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "convert_f16: lengths");
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.convert_f16)(x, out) }
    }

    /// out = x·weightᵀ, with `weight` `[n, k]` in bytes, `x` `[m, k]` and `out` `[m, n]`; the products are of f32. A row of
    /// `out` does not depend on the others.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn matrix_product_i8(&self, weight: &[i8], x: Matrix<'_>, out: MatrixMut<'_>) {
        check_product("matrix_product_i8", weight.len(), x, &out);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.matrix_product_i8)(weight, x, out) }
    }

    /// out = x·weightᵀ, with `weight` `[n, k]` in half precision, `x` `[m, k]` and `out` `[m, n]`. A row of `out` does not
    /// depend on the others.
    ///
    /// # Panics
    /// If the shapes do not fit each other.
    pub fn matrix_product_f16(&self, weight: &[f16], x: Matrix<'_>, out: MatrixMut<'_>) {
        check_product("matrix_product_f16", weight.len(), x, &out);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.matrix_product_f16)(weight, x, out) }
    }

    /// out = weight·x, with `weight` `[n, k]` in half precision, `x` `[k]` and `out` `[n]`.
    ///
    /// # Panics
    /// If the lengths do not fit each other.
    pub fn matrix_vector_f16(&self, weight: &[f16], x: &[f32], out: &mut [f32]) {
        let (x, out) = one_row(x, out);
        check_product("matrix_vector_f16", weight.len(), x, &out);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.matrix_product_f16)(weight, x, out) }
    }

    /// out = weight·x, with `weight` `[n, k]`, `x` `[k]` and `out` `[n]`.
    ///
    /// # Panics
    /// If the lengths do not fit each other.
    pub fn matrix_vector_f32(&self, weight: &[f32], x: &[f32], out: &mut [f32]) {
        let (x, out) = one_row(x, out);
        check_product("matrix_vector_f32", weight.len(), x, &out);
        // SAFETY: holding the kernel proves that the CPU runs it.
        unsafe { (self.0.matrix_product_f32)(weight, x, out) }
    }
}

/// Vectors as matrices.
fn one_row<'a>(x: &'a [f32], out: &'a mut [f32]) -> (Matrix<'a>, MatrixMut<'a>) {
    let (k, n) = (x.len(), out.len());
    (Matrix::new(x, 1, k, k), MatrixMut::new(out, 1, n, n))
}

fn check_product(name: &str, weights: usize, x: Matrix<'_>, out: &MatrixMut<'_>) {
    assert_eq!(
        (weights, x.rows()),
        (x.columns() * out.columns(), out.rows()),
        "{name}: shapes"
    );
}

//! One table of functions for each kernel: everything over [`Lanes`](super::lanes::Lanes), compiled for its instructions.

use super::attention::{self, AttentionScratch};
use super::math::Activation;
use super::matrix::{Matrix, MatrixMut};
use super::product::{self, Jobs, PackedLinear, Product};
use super::quantized::{QuantizedView, QuantizedViewMut};
use super::{layer_norm, quantize, rows, vector};
use half::f16;

/// Weight, bias and epsilon of a LayerNorm.
type Norm<'a> = (&'a [f32], &'a [f32], f32);

/// What a kernel can do. Every function needs the CPU that `supported` tests for.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) supported: fn() -> bool,
    pub(crate) quantize_rows: unsafe fn(Matrix<'_>, Option<&[f32]>, QuantizedViewMut<'_>),
    pub(crate) linear: product::Linear,
    pub(crate) activate_quantize: product::ActivateQuantize,
    pub(crate) fused_rows: usize,
    pub(crate) products: unsafe fn(QuantizedView<'_>, PackedLinear<'_>),
    pub(crate) layer_norm: unsafe fn(MatrixMut<'_>, &[f32], &[f32], f32),
    pub(crate) layer_norm_quantize:
        unsafe fn(MatrixMut<'_>, Norm<'_>, Option<&[f32]>, QuantizedViewMut<'_>),
    pub(crate) activation: unsafe fn(&mut [f32], Activation),
    pub(crate) attention:
        unsafe fn([Matrix<'_>; 3], usize, f32, &mut AttentionScratch, MatrixMut<'_>),
    pub(crate) softmax_rows: unsafe fn(MatrixMut<'_>, f32),
    pub(crate) embed_i8: unsafe fn(&[i8], f32, &[f16], &mut [f32]),
    pub(crate) embed_f16: unsafe fn(&[f16], &[f16], &mut [f32]),
    pub(crate) convert_f16: unsafe fn(&[f16], &mut [f32]),
    pub(crate) matrix_product_f16: unsafe fn(&[f16], Matrix<'_>, MatrixMut<'_>),
    pub(crate) matrix_product_i8: unsafe fn(&[i8], Matrix<'_>, MatrixMut<'_>),
    pub(crate) matrix_product_f32: unsafe fn(&[f32], Matrix<'_>, MatrixMut<'_>),
}

/// `table!(NAME, PROOF, SUPPORTED, features FEATURES, LANES)`: a kernel's functions, each compiled with these features: those that
/// multiply bytes with the first, the others with the second, so that kernels with the same lanes have them in common.
macro_rules! table {
    ($name:literal, $proof:path, $supported:path $(, features $features:literal, $lanes:literal)?) => {{
        table!(@functions $proof $(, $features)?;
            linear(jobs: &mut dyn Jobs<'_>, add: bool) = |p| product::linear(p, jobs, add);
            products(a: QuantizedView<'_>, w: PackedLinear<'_>) = |p| product::products(p, a, w);
            attention(qkv: [Matrix<'_>; 3], heads: usize, scale: f32, scratch: &mut AttentionScratch, out: MatrixMut<'_>)
                = |p| attention::attention(p, qkv, heads, scale, scratch, out);
        );
        table!(@functions $proof $(, $lanes)?;
            quantize_rows(x: Matrix<'_>, scale: Option<&[f32]>, out: QuantizedViewMut<'_>)
                = |p| quantize::quantize_rows(p.lanes(), x, scale, out);
            activate_quantize(y: MatrixMut<'_>, then: (Activation, &[f32]), out: QuantizedViewMut<'_>)
                = |p| product::activate_quantize(p.lanes(), y, then, out);
            layer_norm(x: MatrixMut<'_>, weight: &[f32], bias: &[f32], eps: f32)
                = |p| layer_norm::layer_norm(p.lanes(), x, weight, bias, eps);
            layer_norm_quantize(x: MatrixMut<'_>, norm: Norm<'_>, scale: Option<&[f32]>, out: QuantizedViewMut<'_>)
                = |p| layer_norm::layer_norm_quantize(p.lanes(), x, norm, scale, out);
            activation(x: &mut [f32], function: Activation) = |p| rows::activation(p.lanes(), x, function);
            softmax_rows(x: MatrixMut<'_>, scale: f32) = |p| rows::softmax_rows(p.lanes(), x, scale);
            embed_i8(word: &[i8], scale: f32, position: &[f16], out: &mut [f32])
                = |p| rows::embed_i8(p.lanes(), word, scale, position, out);
            embed_f16(word: &[f16], position: &[f16], out: &mut [f32])
                = |p| rows::embed_f16(p.lanes(), word, position, out);
            convert_f16(x: &[f16], out: &mut [f32]) = |p| rows::convert_f16(p.lanes(), x, out);
            matrix_product_i8(weight: &[i8], x: Matrix<'_>, out: MatrixMut<'_>)
                = |p| vector::matrix_product(p.lanes(), weight, x, out);
            matrix_product_f16(weight: &[f16], x: Matrix<'_>, out: MatrixMut<'_>)
                = |p| vector::matrix_product(p.lanes(), weight, x, out);
            matrix_product_f32(weight: &[f32], x: Matrix<'_>, out: MatrixMut<'_>)
                = |p| vector::matrix_product(p.lanes(), weight, x, out);
        );
        Table {
            name: $name, supported: $supported, fused_rows: product::fused_rows($proof),
            quantize_rows, linear, activate_quantize, products, layer_norm, layer_norm_quantize, activation, attention, softmax_rows, embed_i8, embed_f16, convert_f16,
            matrix_product_i8, matrix_product_f16, matrix_product_f32,
        }
    }};
    (@functions $proof:path; $($name:ident($($argument:ident: $type:ty),*) = |$p:ident| $body:expr;)*) => {$(
        unsafe fn $name($($argument: $type),*) {
            // SAFETY: the caller checked `supported`.
            let $p = unsafe { $proof() };
            $body
        }
    )*};
    (@functions $proof:path, $features:literal; $($name:ident($($argument:ident: $type:ty),*) = |$p:ident| $body:expr;)*) => {$(
        #[target_feature(enable = $features)]
        unsafe fn $name($($argument: $type),*) {
            // SAFETY: the caller checked `supported`.
            let $p = unsafe { $proof() };
            $body
        }
    )*};
}

/// Every kernel of this build, fastest first.
pub(crate) static ALL: &[Table] = &[
    #[cfg(target_arch = "x86_64")]
    table!(
        "amx",
        super::x86_64::amx::Amx::assume,
        super::x86_64::amx::supported,
        features "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,f16c",
        "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c"
    ),
    #[cfg(target_arch = "x86_64")]
    table!(
        "avx512-vnni",
        super::x86_64::avx512_vnni::Avx512Vnni::assume,
        super::x86_64::avx512_vnni::supported,
        features "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,f16c",
        "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c"
    ),
    #[cfg(target_arch = "x86_64")]
    table!(
        "avx-vnni",
        super::x86_64::avx_vnni::AvxVnni::assume,
        super::x86_64::avx_vnni::supported,
        features "avx2,fma,f16c,avxvnni",
        "avx2,fma,f16c"
    ),
    #[cfg(target_arch = "x86_64")]
    table!(
        "avx2",
        super::x86_64::avx2::Avx2::assume,
        super::x86_64::avx2::supported,
        features "avx2,fma,f16c",
        "avx2,fma,f16c"
    ),
    #[cfg(target_arch = "aarch64")]
    table!(
        "i8mm",
        super::aarch64::i8mm::I8mm::assume,
        super::aarch64::i8mm::supported,
        features "neon,i8mm",
        "neon"
    ),
    #[cfg(target_arch = "aarch64")]
    table!(
        "dotprod",
        super::aarch64::dotprod::Dotprod::assume,
        super::aarch64::dotprod::supported,
        features "neon,dotprod",
        "neon"
    ),
    #[cfg(target_arch = "aarch64")]
    table!(
        "neon",
        super::aarch64::neon::Neon::assume,
        super::aarch64::neon::supported,
        features "neon",
        "neon"
    ),
    table!(
        "generic",
        super::generic::Generic::assume,
        super::generic::supported
    ),
];

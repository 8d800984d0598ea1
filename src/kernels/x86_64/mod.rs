//! Kernels for x86-64.

pub(crate) mod avx512;
pub(crate) mod avx512_vnni;

//! Kernels for x86-64.

pub(crate) mod amx;
mod amx_tiles;
pub(crate) mod avx2;
pub(crate) mod avx2_lanes;
pub(crate) mod avx512;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
pub(crate) mod sse2;

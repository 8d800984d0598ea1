//! Kernels for x86-64.

pub(crate) mod amx;
mod amx_tiles;
pub(crate) mod avx2;
pub(crate) mod avx2_lanes;
mod avx2_strassen;
mod avx2_widen;
pub(crate) mod avx512;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
pub(crate) mod sse2;

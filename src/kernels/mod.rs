//! Matrix and vector arithmetic for every CPU, with one result. Knows matrices and never BERT.

use std::fmt;

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

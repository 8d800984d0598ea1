//! Converter and runtime together, on the tiny checkpoints that `tests/golden/README.md` describes.

mod invariance;
mod reference;
mod report;
mod support;

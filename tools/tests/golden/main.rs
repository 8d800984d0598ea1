//! Converter and runtime together, on the tiny checkpoints that `tests/golden/README.md` describes.

mod docs;
mod families;
mod family_heads;
mod heads;
mod invariance;
mod pieces;
mod recipe;
mod reference;
mod report;
mod support;
mod weights;

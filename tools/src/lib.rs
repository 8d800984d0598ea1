//! What `bertlet-convert` is made of: reading checkpoints, quantizing them, writing `.bertlet` files.
#![deny(unsafe_code)]

pub mod quantize;
pub mod reference;
pub mod weights;

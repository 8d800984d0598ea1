//! What `bertlet-convert` is made of: reading checkpoints, quantizing them, writing `.bertlet` files.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod command;
mod files;
pub mod hub;
pub mod pack;
pub mod progress;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod weights;

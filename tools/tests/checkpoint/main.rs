//! Reading checkpoints: from directories written by hand, and from a hub on loopback.

mod common;
mod hub;
mod settings;
mod tensors;
mod torch_file;

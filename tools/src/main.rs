//! `bertlet-convert`: turns Hugging Face BERT checkpoints into `.bertlet` files.

fn main() {}

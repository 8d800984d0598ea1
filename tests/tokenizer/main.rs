//! The tokenizer, mostly against Hugging Face's `tokenizers`.

mod allocation;
mod equality;
mod files;
mod support;
mod vocabulary;

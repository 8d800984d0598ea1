//! The tokenizer, mostly against Hugging Face's `tokenizers`.

mod allocation;
mod equality;
mod files;
mod json;
mod support;
mod vocabulary;

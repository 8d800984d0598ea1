//! Normalizers, pre-tokenizers, post-processors and decoders of the `tokenizers` crate, each from the JSON of its type.
//!
//! The crate's wrappers can read them too, but not only by their types: every one of them would be in the program twice.

use super::parts::{Checked, items, type_of, unknown};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::{self, DecoderWrapper};
use tokenizers::normalizers::{self, NormalizerWrapper};
use tokenizers::pre_tokenizers::{self, PreTokenizerWrapper};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::{PostProcessorWrapper, sequence};

/// A part of the type `T`.
fn read<T: DeserializeOwned + Into<W>, W>(part: &Value) -> Checked<W> {
    serde_json::from_value::<T>(part.clone())
        .map(Into::into)
        .map_err(|error| error.to_string())
}

fn all<T>(part: &Value, field: &str, one: impl Fn(&Value) -> Checked<T>) -> Checked<Vec<T>> {
    items(part, field)?.iter().map(one).collect()
}

pub(super) fn normalizer(part: &Value) -> Checked<NormalizerWrapper> {
    match type_of(part)? {
        "BertNormalizer" => read::<normalizers::BertNormalizer, _>(part),
        "Strip" => read::<normalizers::Strip, _>(part),
        "StripAccents" => read::<normalizers::StripAccents, _>(part),
        "NFC" => read::<normalizers::NFC, _>(part),
        "NFD" => read::<normalizers::NFD, _>(part),
        "NFKC" => read::<normalizers::NFKC, _>(part),
        "NFKD" => read::<normalizers::NFKD, _>(part),
        "Lowercase" => read::<normalizers::Lowercase, _>(part),
        "Nmt" => read::<normalizers::Nmt, _>(part),
        "ByteLevel" => read::<normalizers::ByteLevel, _>(part),
        "Replace" => read::<normalizers::Replace, _>(part),
        "Prepend" => read::<normalizers::Prepend, _>(part),
        "Precompiled" => precompiled(part).map(Into::into),
        "Sequence" => {
            let parts = all(part, "normalizers", normalizer)?;
            Ok(normalizers::Sequence::new(parts).into())
        }
        name => unknown(name),
    }
}

/// A table of replacements, which the crate reads of text only.
pub(super) fn precompiled(part: &Value) -> Checked<normalizers::Precompiled> {
    serde_json::from_str(&part.to_string())
        .map_err(|error| format!("precompiled_charsmap: {error}"))
}

pub(super) fn pre_tokenizer(part: &Value) -> Checked<PreTokenizerWrapper> {
    use pre_tokenizers::whitespace::{Whitespace, WhitespaceSplit};
    match type_of(part)? {
        "BertPreTokenizer" => read::<pre_tokenizers::bert::BertPreTokenizer, _>(part),
        "ByteLevel" => read::<ByteLevel, _>(part),
        "CharDelimiterSplit" => read::<pre_tokenizers::delimiter::CharDelimiterSplit, _>(part),
        "Digits" => read::<pre_tokenizers::digits::Digits, _>(part),
        "FixedLength" => read::<pre_tokenizers::fixed_length::FixedLength, _>(part),
        "Metaspace" => read::<pre_tokenizers::metaspace::Metaspace, _>(part),
        "Punctuation" => read::<pre_tokenizers::punctuation::Punctuation, _>(part),
        "Split" => read::<pre_tokenizers::split::Split, _>(part),
        "UnicodeScripts" => read::<pre_tokenizers::unicode_scripts::UnicodeScripts, _>(part),
        "Whitespace" => read::<Whitespace, _>(part),
        "WhitespaceSplit" => read::<WhitespaceSplit, _>(part),
        "Sequence" => {
            let parts = all(part, "pretokenizers", pre_tokenizer)?;
            Ok(pre_tokenizers::sequence::Sequence::new(parts).into())
        }
        name => unknown(name),
    }
}

/// A post-processor of those that `parts::trimming` leaves.
pub(super) fn post_processor(part: &Value) -> Checked<PostProcessorWrapper> {
    match type_of(part)? {
        "ByteLevel" => read::<ByteLevel, _>(part),
        // Without its settings for trimming the crate takes it for BERT's, which does not trim.
        "RobertaProcessing" => read::<RobertaProcessing, _>(part)
            .or_else(|reason| read::<BertProcessing, _>(part).map_err(|_| reason)),
        "Sequence" => {
            let parts = all(part, "processors", post_processor)?;
            Ok(sequence::Sequence::new(parts).into())
        }
        name => unknown(name),
    }
}

pub(super) fn decoder(part: &Value) -> Checked<DecoderWrapper> {
    match type_of(part)? {
        "BPEDecoder" => read::<decoders::bpe::BPEDecoder, _>(part),
        "ByteFallback" => read::<decoders::byte_fallback::ByteFallback, _>(part),
        "ByteLevel" => read::<ByteLevel, _>(part),
        "CTC" => read::<decoders::ctc::CTC, _>(part),
        "Fuse" => read::<decoders::fuse::Fuse, _>(part),
        "Metaspace" => read::<decoders::metaspace::Metaspace, _>(part),
        "Replace" => read::<normalizers::Replace, _>(part),
        "Strip" => read::<decoders::strip::Strip, _>(part),
        "WordPiece" => read::<decoders::wordpiece::WordPiece, _>(part),
        "Sequence" => {
            let parts = all(part, "decoders", decoder)?;
            Ok(decoders::sequence::Sequence::new(parts).into())
        }
        name => unknown(name),
    }
}

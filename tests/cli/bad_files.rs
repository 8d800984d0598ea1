//! Bad model files, one for each rule of the format.

use super::support::model;
use half::f16;
use serde_json::{Value, json};
use std::ops::Range;

/// Bytes in front of the JSON header.
pub const PREFIX: usize = 24;
/// Room for what a test adds to the header.
const ROOM: usize = 1024;

/// A good model whose header was changed afterwards, as the writer never would. The tensors stay where the table says.
pub fn with_header(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let good = model(true);
    let length = u64::from_le_bytes(good[16..24].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&good[PREFIX..PREFIX + length]).unwrap();
    let tensors = header["tensors"].as_array_mut().unwrap();
    let start = tensors[0]["offset"].as_u64().unwrap() as usize;
    for tensor in tensors {
        tensor["offset"] = (tensor["offset"].as_u64().unwrap() + ROOM as u64).into();
    }
    change(&mut header);
    let mut json = serde_json::to_vec(&header).unwrap();
    // Blanks behind the object fill the room up to the first tensor.
    json.resize(start + ROOM - PREFIX, b' ');
    let length = (json.len() as u64).to_le_bytes();
    [&good[..16], &length, &json, &good[start..]].concat()
}

/// The first byte of an input for `Target::Header` in `fuzz/entry.rs` that says that a whole file follows.
pub const WHOLE_FILE: u8 = 254;
const WORDS: &str = "embeddings.word_embeddings.weight";
/// The last tensor of the file, two numbers.
const LAST: &str = "classifier.bias";

/// The header's entry of a tensor.
fn tensor<'a>(header: &'a mut Value, name: &str) -> &'a mut Value {
    let tensors = header["tensors"].as_array_mut().unwrap();
    tensors
        .iter_mut()
        .find(|tensor| tensor["name"] == name)
        .unwrap()
}

fn with_bytes(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = model(true);
    change(&mut bytes);
    bytes
}

fn config(field: &'static str, value: impl Into<Value>) -> Vec<u8> {
    let value = value.into();
    with_header(|header| header["config"][field] = value)
}

/// Where a tensor of a model file lies.
fn place(bytes: &[u8], name: &str) -> Range<usize> {
    let length = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[PREFIX..PREFIX + length]).unwrap();
    let entry = tensor(&mut header, name);
    let shape = entry["shape"].as_array().unwrap();
    let count: u64 = shape.iter().map(|size| size.as_u64().unwrap()).product();
    let size = match entry["dtype"].as_str().unwrap() {
        "u8" => 1,
        "f16" => 2,
        _ => 4,
    };
    let start = entry["offset"].as_u64().unwrap() as usize;
    start..start + (size * count) as usize
}

/// A change of the header, and other numbers where the last of a tensor's were.
fn with_tail(name: &str, tail: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let end = place(&with_header(|_| ()), name).end;
    let mut bytes = with_header(change);
    bytes[end - tail.len()..end].copy_from_slice(tail);
    bytes
}

/// A tensor whose last number is not one, with the right checksum.
fn not_finite(name: &str, number: &[u8]) -> Vec<u8> {
    let good = with_header(|_| ());
    let mut bytes = good[place(&good, name)].to_vec();
    let end = bytes.len();
    bytes[end - number.len()..].copy_from_slice(number);
    let crc32 = crc32fast::hash(&bytes);
    with_tail(name, number, |header| {
        tensor(header, name)["crc32"] = crc32.into()
    })
}

/// The bytes, the cause and the remedy that the message must name.
pub type Bad = (Vec<u8>, &'static str, &'static str);

const AGAIN: &str = "copy or convert it again";
const CONVERT: &str = "convert the checkpoint again";

/// Bad files, one for each rule: the bytes, the cause and the remedy that the message must name.
pub fn bad_files() -> Vec<Bad> {
    let special = |id: u64, type_id: u64| json!({"special": {"id": id, "type_id": type_id}});
    vec![
        (
            Vec::new(),
            "not a .bertlet file: it has only 0 bytes",
            "make one with bertlet-convert",
        ),
        (
            with_bytes(|bytes| bytes.truncate(10)),
            "it has only 10 bytes",
            "bertlet-convert",
        ),
        (
            with_bytes(|bytes| bytes[0] = b'X'),
            "not a .bertlet file: it begins with \"XERTLET",
            "bertlet-convert",
        ),
        (
            with_bytes(|bytes| bytes[8] = 9),
            "file version 9 is newer",
            "update bertlet",
        ),
        (
            with_bytes(|bytes| bytes[8] = 0),
            "file version 0 is not known",
            CONVERT,
        ),
        (
            with_bytes(|bytes| bytes[12] = 1),
            "reserved word is 0x1, expected 0",
            AGAIN,
        ),
        (
            with_bytes(|bytes| bytes[16..24].fill(0xff)),
            "header of 18446744073709551615 bytes",
            AGAIN,
        ),
        (with_bytes(|bytes| bytes[24] = b'['), "header: ", CONVERT),
        (with_bytes(|bytes| bytes[30] = 0xff), "header: ", CONVERT),
        (
            with_header(|header| header["surprise"] = 1.into()),
            "unknown field `surprise`",
            CONVERT,
        ),
        (
            with_header(|header| header["config"]["hidden_size"] = "8".into()),
            "invalid type: string \"8\"",
            CONVERT,
        ),
        (
            with_header(|header| header["precision"] = "int4".into()),
            "unknown variant `int4`",
            CONVERT,
        ),
        (
            with_bytes(|bytes| bytes.truncate(bytes.len() - 1)),
            "it is truncated",
            AGAIN,
        ),
        (
            with_bytes(|bytes| bytes.push(0)),
            "something was appended",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["tensors"][1]["name"] = header["tensors"][0]["name"].clone()
            }),
            "appears twice",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["offset"] = 0.into()),
            "is said to begin at byte 0, expected",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["offset"] = u64::MAX.into()),
            "is said to begin at byte 18446744073709551615",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["shape"] = json!([u64::MAX, u64::MAX])),
            "of shape [18446744073709551615, 18446744073709551615] is larger than any file",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["shape"] = json!([1u64 << 62, 1])),
            "is said to begin at byte",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["name"] = "other".into()),
            "tensor embeddings.word_embeddings.weight is missing",
            AGAIN,
        ),
        (
            with_header(|header| header["head"] = Value::Null),
            "is not known",
            AGAIN,
        ),
        (
            with_header(|header| tensor(header, WORDS)["dtype"] = "i8".into()),
            "begin at byte",
            AGAIN,
        ),
        (
            with_header(|header| {
                let shape = tensor(header, WORDS)["shape"].as_array_mut().unwrap();
                shape.reverse();
            }),
            "tensor embeddings.word_embeddings.weight is F16 [8, ",
            AGAIN,
        ),
        (
            config("hidden_size", 0),
            "hidden_size is 0, expected 1 to",
            AGAIN,
        ),
        (
            config("hidden_size", 1u64 << 31),
            "hidden_size is 2147483648, expected 1 to",
            AGAIN,
        ),
        (config("hidden_size", 16), "expected F16", AGAIN),
        (
            config("num_hidden_layers", 0),
            "num_hidden_layers is 0, expected 1 to",
            AGAIN,
        ),
        (
            config("num_hidden_layers", 1_000_000_000),
            "num_hidden_layers is 1000000000, expected 1 to",
            AGAIN,
        ),
        (
            config("num_hidden_layers", 2),
            "tensor layer.1.attention.query_key_value.weight is missing",
            AGAIN,
        ),
        (
            config("num_attention_heads", 0),
            "num_attention_heads is 0, expected 1 to",
            AGAIN,
        ),
        (
            config("num_attention_heads", 3),
            "num_attention_heads is 3, expected a divisor",
            AGAIN,
        ),
        (
            config("intermediate_size", u64::MAX),
            "intermediate_size is 18446744073709551615",
            AGAIN,
        ),
        (config("vocab_size", 0), "vocab_size is 0", AGAIN),
        (
            config("vocab_size", 1u64 << 40),
            "vocab_size is 1099511627776",
            AGAIN,
        ),
        (
            config("vocab_size", -1),
            "invalid value: integer `-1`",
            CONVERT,
        ),
        (config("type_vocab_size", 0), "type_vocab_size is 0", AGAIN),
        (
            config("type_vocab_size", 1000),
            "type_vocab_size is 1000",
            AGAIN,
        ),
        (
            config("max_position_embeddings", (1 << 15) + 1),
            "max_position_embeddings is 32769",
            AGAIN,
        ),
        (
            config("layer_norm_eps", -1.0),
            "layer_norm_eps is -1, expected a finite number",
            AGAIN,
        ),
        (config("layer_norm_eps", 1e300), "header: ", AGAIN),
        (config("model_type", "gpt2"), "model_type is gpt2", AGAIN),
        (
            config("hidden_act", "swoosh"),
            "unknown variant `swoosh`",
            CONVERT,
        ),
        (
            with_header(|header| header["max_length"] = 17.into()),
            "max_length is 17, expected 1 to 16",
            AGAIN,
        ),
        (
            with_header(|header| header["quantization_group"] = 64.into()),
            "quantization_group is 64",
            AGAIN,
        ),
        (
            with_header(|header| header["embedding"]["pooling"] = json!([])),
            "embedding.pooling is 0 modes",
            AGAIN,
        ),
        (
            with_header(|header| header["embedding"]["pooling"] = vec!["cls"; 7].into()),
            "embedding.pooling is 7 modes",
            AGAIN,
        ),
        (
            with_header(
                |header| header["embedding"]["dense"] = json!([{"in_features": 9, "out_features": 4, "bias": false, "activation": "tanh"}]),
            ),
            "embedding.dense is 9 → 4",
            AGAIN,
        ),
        (
            with_header(
                |header| header["embedding"]["dense"] = json!([{"in_features": 8, "out_features": 1u64 << 40, "bias": false, "activation": "tanh"}]),
            ),
            "embedding.dense is 8 → ",
            AGAIN,
        ),
        (
            with_header(|header| header["embedding"]["default_prompt_name"] = "none".into()),
            "default_prompt_name is none",
            AGAIN,
        ),
        (
            with_header(|header| header["head"]["labels"] = json!([])),
            "head.labels is 0",
            AGAIN,
        ),
        (
            with_header(|header| header["head"]["labels"] = json!(["a", "b", "c"])),
            "expected F32 [3, 8]",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["single"] = json!([])),
            "tokenizer.single is empty",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["single"][0] = special(1000, 0)),
            "tokenizer.single is",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["single"][0] = special(2, 2)),
            "tokenizer.single is",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["tokenizer"]["pair"] = header["tokenizer"]["single"].clone()
            }),
            "tokenizer.pair is",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["unk_token"] = "[NONE]".into()),
            "tokenizer: the vocabulary has no token \"[NONE]\"",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["max_input_chars_per_word"] = 0.into()),
            "tokenizer: max_input_chars_per_word is 0",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["added_tokens"][0]["content"] = "".into()),
            "tokenizer: added token 12 has no text to look for",
            AGAIN,
        ),
        (
            with_header(|header| {
                let tokens = header["tokenizer"]["added_tokens"].as_array_mut().unwrap();
                tokens.push(tokens[0].clone());
            }),
            "tokenizer: added tokens 12 and 12 are both looked for as \"[MASK]\"",
            AGAIN,
        ),
        (config("embedding_size", 0), "embedding_size is 0", AGAIN),
        (
            config("pad_token_id", 1000),
            "pad_token_id is 1000, expected a row of the word embedding",
            AGAIN,
        ),
        (
            config("num_hidden_groups", 2),
            "num_hidden_groups is 2, expected a divisor of num_hidden_layers 1",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["head"] = json!({"kind": "masked_language_model", "mask_id": 1000,
                    "activation": "gelu", "tied": true, "next_sentence": false});
            }),
            "head.mask_id is 1000, expected a row of the word embedding",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["head"] = json!({"kind": "masked_language_model", "mask_id": 1, "pad_id": 1000,
                    "activation": "gelu", "tied": true, "next_sentence": false});
            }),
            "head.pad_id is 1000, expected a row of the word embedding",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["precision"] = "int8".into();
                header["quantization_group"] = 100.into();
            }),
            "quantization_group is 100, expected a multiple of 64 in an int8 model",
            AGAIN,
        ),
        (
            config("num_hidden_groups", 0),
            "num_hidden_groups is 0, expected a divisor",
            AGAIN,
        ),
        (
            config("embedding_size", 1 << 20),
            "embedding_size is 1048576, expected 1 to 65536",
            AGAIN,
        ),
        (
            with_header(|header| header["tokenizer"]["added_tokens"][0]["id"] = 1000.into()),
            "vocab_size is 13, expected at least 1001, the tokenizer's ids",
            AGAIN,
        ),
        (
            with_header(|header| {
                tensor(header, "tokenizer.trie")["name"] = "other".into();
                let last = tensor(header, LAST);
                last["name"] = "tokenizer.trie".into();
                last["dtype"] = "u32".into();
                header["head"] = Value::Null;
            }),
            "tokenizer.trie: found 2 units, expected a multiple of 256",
            AGAIN,
        ),
        (
            with_tail("tokenizer.token_starts", &[0xff, 0xff, 0, 0], |_| ()),
            "tokenizer.token_starts: the last text ends at byte 65535, but",
            AGAIN,
        ),
        (
            with_tail(LAST, &f32::NAN.to_le_bytes(), |header| {
                tensor(header, LAST)["name"] = "layer.0.output.scale".into()
            }),
            "tensor layer.0.output.scale is not finite at element 1",
            AGAIN,
        ),
        (
            with_tail(LAST, &f32::INFINITY.to_le_bytes(), |header| {
                tensor(header, LAST)["name"] = "layer.0.output.input_scale".into()
            }),
            "tensor layer.0.output.input_scale is not finite at element 1",
            AGAIN,
        ),
        (
            with_header(|header| header["max_length"] = 4.into()),
            "max_length is 4, expected at least 5: 3 special tokens and two of text",
            AGAIN,
        ),
        (
            with_header(|header| {
                header["embedding"]["default_prompt_name"] = "query".into();
                header["embedding"]["prompts"]["query"] = "a cat sleeps. ".repeat(4).into();
            }),
            "embedding.default_prompt_name is query, a prompt of 8 tokens or more, expected a shorter prompt",
            AGAIN,
        ),
    ]
}

/// Bad files whose mistake is in what a load does not read.
pub fn unread() -> Vec<Bad> {
    let behind = "embeddings.position_table";
    let padding = |bytes: &mut Vec<u8>| {
        let start = place(bytes, behind).start;
        bytes[start - 1] = 1;
    };
    let checksum = |bytes: &mut Vec<u8>| {
        let start = place(bytes, WORDS).start;
        bytes[start] ^= 1;
    };
    vec![
        (
            with_bytes(padding),
            "padding before tensor embeddings.position_table is not zero",
            AGAIN,
        ),
        (
            with_bytes(checksum),
            "tensor embeddings.word_embeddings.weight has checksum",
            AGAIN,
        ),
        (
            not_finite(WORDS, &f16::NAN.to_le_bytes()),
            "tensor embeddings.word_embeddings.weight is not finite at element 103",
            AGAIN,
        ),
        (
            not_finite(LAST, &f32::INFINITY.to_le_bytes()),
            "tensor classifier.bias is not finite at element 1",
            AGAIN,
        ),
    ]
}

//! From weights in f32 to the tensors of a `.bertlet` file.

use crate::checkpoint::Checkpoint;
use crate::quantize::{GROUP, PackedLinear, QuantizedEncoder};
use crate::weights::{LayerNorm, Linear, Weights};
use anyhow::{Result, bail};
use bertlet::format::TensorData;
use bertlet::format::header::{Header, Precision};
use bertlet::tokenizer::{TOKEN_STARTS, TOKEN_TEXT, TOKENIZER_JSON, TRIE, VocabularyTables};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// The encoder's matrices in the precision of the file.
pub enum Encoder {
    /// Quantized, with its smoothing folded in.
    Int8(QuantizedEncoder),
    /// As they are, rounded to half precision.
    F16,
}

/// What the file keeps of the tokenizer beside the header.
pub enum Tokenizer<'a> {
    /// WordPiece's tokens with their ids.
    Vocabulary(&'a [(String, u32)]),
    /// `tokenizer.json`.
    Json(&'a [u8]),
}

impl<'a> Tokenizer<'a> {
    /// That of a checkpoint.
    pub fn of(checkpoint: &'a Checkpoint) -> Tokenizer<'a> {
        match &checkpoint.tokenizer_json {
            Some(json) => Tokenizer::Json(json),
            None => Tokenizer::Vocabulary(&checkpoint.vocabulary),
        }
    }
}

/// The header of a checkpoint's file; the writer fills in the tensor table.
pub fn header(checkpoint: &Checkpoint, precision: Precision) -> Header {
    Header {
        producer: concat!("bertlet-convert ", env!("CARGO_PKG_VERSION")).to_owned(),
        source: checkpoint.source.clone(),
        precision,
        quantization_group: match precision {
            Precision::Int8 => GROUP,
            Precision::F16 => 0,
        },
        config: checkpoint.config.clone(),
        tokenizer: checkpoint.tokenizer.clone(),
        max_length: checkpoint.max_length,
        embedding: checkpoint.embedding.clone(),
        head: checkpoint.head.clone(),
        tensors: Vec::new(),
    }
}

/// All tensors of the file, in order: what every text needs first.
///
/// # Errors
/// A weight is too large for half precision, or the vocabulary cannot be laid out.
pub fn tensors(
    header: &Header,
    tokenizer: Tokenizer<'_>,
    weights: &Weights,
    encoder: &Encoder,
) -> Result<Vec<TensorData<'static>>> {
    let mut out = Vec::new();
    match tokenizer {
        Tokenizer::Vocabulary(tokens) => push_vocabulary(tokens, &mut out)?,
        Tokenizer::Json(json) => out.push(TensorData::new(TOKENIZER_JSON, &[json.len()], json)),
    }
    let config = &weights.config;
    let (vocab_size, width) = (config.vocab_size, config.embedding_width());
    let words = "embeddings.word_embeddings.weight";
    match encoder {
        Encoder::Int8(quantized) => {
            let rows = &quantized.word_embeddings;
            out.push(TensorData::new(words, &[vocab_size, width], &rows.weight));
            let scale = "embeddings.word_embeddings.scale";
            out.push(TensorData::new(scale, &[vocab_size], &rows.scale));
        }
        Encoder::F16 => out.push(half(words, &[vocab_size, width], &weights.word_embeddings)?),
    }
    out.push(half(
        "embeddings.position_table",
        &[config.type_vocab_size, config.position_rows(), width],
        &weights.position_table,
    )?);
    push_layer_norm(
        "embeddings.LayerNorm",
        &weights.embeddings_layer_norm,
        &mut out,
    );
    if let Some(projection) = &weights.embeddings_projection {
        push_linear("embeddings.projection", projection, &mut out)?;
    }
    if let Some(bias) = &weights.relative_attention_bias {
        let heads = config.num_attention_heads;
        let name = "relative_attention_bias";
        out.push(TensorData::new(name, &[heads, bias.len() / heads], bias));
    }
    for (i, layer) in weights.layers.iter().enumerate() {
        let linears = [
            ("attention.query_key_value", &layer.query_key_value),
            ("attention.output", &layer.attention_output),
            ("intermediate", &layer.intermediate),
            ("output", &layer.output),
        ];
        for (index, (name, linear)) in linears.into_iter().enumerate() {
            let name = format!("layer.{i}.{name}");
            match encoder {
                Encoder::Int8(quantized) => {
                    let layer = &quantized.layers[i];
                    let packed = [
                        &layer.query_key_value,
                        &layer.attention_output,
                        &layer.intermediate,
                        &layer.output,
                    ];
                    push_packed(&name, packed[index], &mut out);
                }
                Encoder::F16 => push_linear(&name, linear, &mut out)?,
            }
        }
        push_layer_norm(
            &format!("layer.{i}.attention.LayerNorm"),
            &layer.attention_layer_norm,
            &mut out,
        );
        push_layer_norm(
            &format!("layer.{i}.output.LayerNorm"),
            &layer.output_layer_norm,
            &mut out,
        );
    }
    push_heads(header, weights, &mut out)?;
    Ok(out)
}

fn push_vocabulary(vocabulary: &[(String, u32)], out: &mut Vec<TensorData<'static>>) -> Result<()> {
    let tables = VocabularyTables::build(vocabulary)?;
    let VocabularyTables {
        trie,
        token_starts,
        token_text,
    } = &tables;
    out.push(TensorData::new(TRIE, &[trie.len()], trie));
    out.push(TensorData::new(
        TOKEN_STARTS,
        &[token_starts.len()],
        token_starts,
    ));
    out.push(TensorData::new(TOKEN_TEXT, &[token_text.len()], token_text));
    Ok(())
}

fn push_layer_norm(name: &str, layer: &LayerNorm, out: &mut Vec<TensorData<'static>>) {
    for (part, values) in [("weight", &layer.weight), ("bias", &layer.bias)] {
        out.push(TensorData::new(
            format!("{name}.{part}"),
            &[values.len()],
            values,
        ));
    }
}

/// A linear layer in half precision.
fn push_linear(name: &str, linear: &Linear, out: &mut Vec<TensorData<'static>>) -> Result<()> {
    let shape = [linear.out_features, linear.in_features];
    out.push(half(&format!("{name}.weight"), &shape, &linear.weight)?);
    out.push(TensorData::new(
        format!("{name}.bias"),
        &shape[..1],
        &linear.bias,
    ));
    Ok(())
}

/// A quantized linear layer.
fn push_packed(name: &str, packed: &PackedLinear, out: &mut Vec<TensorData<'static>>) {
    let panels = packed.out_features.div_ceil(16);
    let shape = [panels, packed.in_features.div_ceil(64) * 16, 16, 4];
    let part = |part: &str| format!("{name}.{part}");
    let width = [panels * 16];
    let grouped = [packed.in_features.div_ceil(GROUP), panels * 16];
    out.push(TensorData::new(part("weight"), &shape, &packed.weight));
    out.push(TensorData::new(part("scale"), &grouped, &packed.scale));
    out.push(TensorData::new(
        part("column_sum"),
        &grouped,
        &packed.column_sum,
    ));
    out.push(TensorData::new(part("bias"), &width, &packed.bias));
    out.push(TensorData::new(
        part("input_scale"),
        &[packed.in_features],
        &packed.input_scale,
    ));
}

fn push_heads(
    header: &Header,
    weights: &Weights,
    out: &mut Vec<TensorData<'static>>,
) -> Result<()> {
    if let Some(pooler) = &weights.pooler {
        push_linear("pooler", pooler, out)?;
    }
    for (name, linear) in [
        ("classifier", &weights.classifier),
        ("next_sentence", &weights.next_sentence),
    ] {
        let Some(linear) = linear else { continue };
        let shape = [linear.out_features, linear.in_features];
        let part = |part: &str| format!("{name}.{part}");
        out.push(TensorData::new(part("weight"), &shape, &linear.weight));
        out.push(TensorData::new(part("bias"), &shape[..1], &linear.bias));
    }
    if let Some(predictions) = &weights.language_model {
        push_linear("predictions.transform", &predictions.transform, out)?;
        push_layer_norm("predictions.LayerNorm", &predictions.layer_norm, out);
        let vocab_size = predictions.bias.len();
        if let Some(decoder) = &predictions.decoder {
            let shape = [vocab_size, predictions.transform.out_features];
            out.push(half("predictions.decoder.weight", &shape, decoder)?);
        }
        out.push(TensorData::new(
            "predictions.bias",
            &[vocab_size],
            &predictions.bias,
        ));
    }
    for (i, (linear, dense)) in weights
        .dense
        .iter()
        .zip(&header.embedding.dense)
        .enumerate()
    {
        push_linear(&format!("dense.{i}"), linear, out)?;
        if !dense.bias {
            out.pop();
        }
    }
    Ok(())
}

/// Rounds to half precision.
fn half(name: &str, shape: &[usize], values: &[f32]) -> Result<TensorData<'static>> {
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(values);
    match halves.iter().position(|value| !value.is_finite()) {
        None => Ok(TensorData::new(name, shape, &halves)),
        Some(index) => bail!(
            "{name}: element {index} is {}, too large for half precision (at most 65,504); such a checkpoint cannot be converted",
            values[index]
        ),
    }
}

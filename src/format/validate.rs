//! Whether the numbers of a header are possible and fit each other.

use super::FormatError;
use super::header::{HeadConfig, Header, MODEL_TYPES, Precision, TemplatePiece};

/// Bounds that no real model comes near; they keep all later size arithmetic far from overflow.
const MAX_SIZE: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 10;
const MAX_POSITIONS: usize = 1 << 15;

/// Checks that the numbers are possible and fit each other.
pub(super) fn validate(header: &Header) -> Result<(), FormatError> {
    let config = &header.config;
    let in_range = |field, value: usize, most: usize| {
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(FormatError::Config {
            field,
            found: value.to_string(),
            expected: format!("1 to {most}"),
        })
    };
    // i32 holds the products of 2^16 pairs of bytes: 65,536 · 255 · 127 < 2^31.
    const MAX_INPUTS: usize = 1 << 16;
    in_range("hidden_size", config.hidden_size, MAX_INPUTS)?;
    in_range("intermediate_size", config.intermediate_size, MAX_INPUTS)?;
    in_range("num_hidden_layers", config.num_hidden_layers, MAX_LAYERS)?;
    in_range(
        "num_attention_heads",
        config.num_attention_heads,
        config.hidden_size,
    )?;
    let group = header.quantization_group;
    let fits = match header.precision {
        Precision::Int8 => group > 0 && group.is_multiple_of(64) && group <= MAX_INPUTS,
        Precision::F16 => group == 0,
    };
    if !fits {
        return Err(FormatError::Config {
            field: "quantization_group",
            found: group.to_string(),
            expected: "a multiple of 64 in an int8 model, nothing in an f16 model".to_owned(),
        });
    }
    in_range("vocab_size", config.vocab_size, MAX_SIZE)?;
    in_range("type_vocab_size", config.type_vocab_size, 256)?;
    in_range(
        "max_position_embeddings",
        config.max_position_embeddings,
        MAX_POSITIONS,
    )?;
    in_range(
        "max_length",
        header.max_length,
        config.max_position_embeddings,
    )?;
    let wrong = |field, found: String, expected: &str| {
        Err(FormatError::Config {
            field,
            found,
            expected: expected.to_owned(),
        })
    };
    if !MODEL_TYPES.contains(&config.model_type.as_str()) {
        return wrong(
            "model_type",
            config.model_type.clone(),
            &format!("one of {}", MODEL_TYPES.join(", ")),
        );
    }
    in_range("embedding_size", config.embedding_width(), MAX_INPUTS)?;
    let no_row = |id: &u32| *id as usize >= config.vocab_size;
    if let Some(id) = config.pad_token_id.filter(no_row) {
        return wrong(
            "pad_token_id",
            id.to_string(),
            "a row of the word embedding",
        );
    }
    let groups = config.stored_layers();
    if groups == 0 || !config.num_hidden_layers.is_multiple_of(groups) {
        return wrong(
            "num_hidden_groups",
            groups.to_string(),
            &format!(
                "a divisor of num_hidden_layers {}",
                config.num_hidden_layers
            ),
        );
    }
    if !config
        .hidden_size
        .is_multiple_of(config.num_attention_heads)
    {
        return wrong(
            "num_attention_heads",
            config.num_attention_heads.to_string(),
            &format!("a divisor of hidden_size {}", config.hidden_size),
        );
    }
    if !(config.layer_norm_eps.is_finite() && config.layer_norm_eps >= 0.0) {
        return wrong(
            "layer_norm_eps",
            config.layer_norm_eps.to_string(),
            "a finite number ≥ 0",
        );
    }
    validate_embedding(header)?;
    validate_template(header)?;
    validate_room(header)?;
    if let Some(labels) = header.head.as_ref().and_then(HeadConfig::labels) {
        in_range("head.labels", labels.len(), MAX_SIZE)?;
    }
    if let Some(HeadConfig::MaskedLanguageModel {
        mask_id, pad_id, ..
    }) = header.head
    {
        for (field, id) in [("head.mask_id", Some(mask_id)), ("head.pad_id", pad_id)] {
            if let Some(id) = id.filter(no_row) {
                return wrong(field, id.to_string(), "a row of the word embedding");
            }
        }
    }
    Ok(())
}

fn validate_embedding(header: &Header) -> Result<(), FormatError> {
    let embedding = &header.embedding;
    if embedding.pooling.is_empty() || embedding.pooling.len() > 6 {
        return Err(FormatError::Config {
            field: "embedding.pooling",
            found: format!("{} modes", embedding.pooling.len()),
            expected: "1 to 6".to_owned(),
        });
    }
    let mut width = embedding.pooling.len() * header.config.hidden_size;
    for dense in &embedding.dense {
        if dense.in_features != width || !(1..=MAX_SIZE).contains(&dense.out_features) {
            return Err(FormatError::Config {
                field: "embedding.dense",
                found: format!("{} → {}", dense.in_features, dense.out_features),
                expected: format!("{width} inputs and 1 to {MAX_SIZE} outputs"),
            });
        }
        width = dense.out_features;
    }
    match &embedding.default_prompt_name {
        Some(name) if !embedding.prompts.contains_key(name) => Err(FormatError::Config {
            field: "embedding.default_prompt_name",
            found: name.clone(),
            expected: "the name of a prompt".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Every template names each of its texts once, and ids and segments that the embedding has.
fn validate_template(header: &Header) -> Result<(), FormatError> {
    let config = &header.config;
    let check = |field, pieces: &[TemplatePiece], pair: bool| {
        let (mut firsts, mut seconds, mut possible) = (0, 0, true);
        for piece in pieces {
            let type_id = match *piece {
                TemplatePiece::Special { id, type_id } => {
                    possible &= (id as usize) < config.vocab_size;
                    type_id
                }
                TemplatePiece::First { type_id } => {
                    firsts += 1;
                    type_id
                }
                TemplatePiece::Second { type_id } => {
                    seconds += 1;
                    type_id
                }
            };
            possible &= (type_id as usize) < config.type_vocab_size;
        }
        if possible && firsts == 1 && seconds == usize::from(pair) {
            return Ok(());
        }
        Err(FormatError::Config {
            field,
            found: described(pieces),
            expected: "each text once, and ids and segments that the embedding has".to_owned(),
        })
    };
    check("tokenizer.single", header.tokenizer.single(), false)?;
    if header.tokenizer.pair().is_empty() {
        return Ok(());
    }
    check("tokenizer.pair", header.tokenizer.pair(), true)
}

/// A sequence holds the special tokens of each template, and two tokens of text: one of each text of a pair.
fn validate_room(header: &Header) -> Result<(), FormatError> {
    let special = |pieces: &[TemplatePiece]| {
        let pieces = pieces.iter();
        pieces
            .filter(|piece| matches!(piece, TemplatePiece::Special { .. }))
            .count()
    };
    let tokenizer = &header.tokenizer;
    let special = special(tokenizer.single()).max(special(tokenizer.pair()));
    if header.max_length >= special + 2 {
        return Ok(());
    }
    Err(FormatError::Config {
        field: "max_length",
        found: header.max_length.to_string(),
        expected: format!(
            "at least {}: {special} special tokens and two of text",
            special + 2
        ),
    })
}

/// A template in words.
fn described(pieces: &[TemplatePiece]) -> String {
    let words = pieces.iter().map(|piece| match *piece {
        TemplatePiece::Special { id, type_id } => format!("id {id} (segment {type_id})"),
        TemplatePiece::First { type_id } => format!("first text (segment {type_id})"),
        TemplatePiece::Second { type_id } => format!("second text (segment {type_id})"),
    });
    match words.collect::<Vec<_>>().join(", ") {
        words if words.is_empty() => "empty".to_owned(),
        words => words,
    }
}

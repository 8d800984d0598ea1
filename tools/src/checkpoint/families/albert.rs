//! ALBERT: layers that share their weights, narrower embeddings.

use super::{CHOICE, Counting, Family, KEYS, Keys, PreTraining, Projection, TokenizerKind};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["albert"],
    classes: &["Albert"],
    prefix: "albert.",
    names: &[
        (
            "encoder.embedding_hidden_mapping_in",
            "embeddings.projection",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.attention.query",
            "encoder.layer.*.attention.self.query",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.attention.key",
            "encoder.layer.*.attention.self.key",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.attention.value",
            "encoder.layer.*.attention.self.value",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.attention.dense",
            "encoder.layer.*.attention.output.dense",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.attention.LayerNorm",
            "encoder.layer.*.attention.output.LayerNorm",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.ffn",
            "encoder.layer.*.intermediate.dense",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.ffn_output",
            "encoder.layer.*.output.dense",
        ),
        (
            "encoder.albert_layer_groups.*.albert_layers.0.full_layer_layer_norm",
            "encoder.layer.*.output.LayerNorm",
        ),
        ("pooler", "pooler.dense"),
        ("predictions.dense", "cls.predictions.transform.dense"),
        (
            "predictions.LayerNorm",
            "cls.predictions.transform.LayerNorm",
        ),
        ("predictions.decoder", "cls.predictions.decoder"),
        ("predictions.bias", "cls.predictions.bias"),
        ("sop_classifier.classifier", "sentence_order"),
    ],
    keys: Keys {
        num_hidden_groups: Some("num_hidden_groups"),
        ..KEYS
    },
    hidden_act: Activation::GeluTanh,
    counting: Counting::FromZero,
    projection: Projection::Always,
    relative_attention_bias: false,
    pooler: Activation::Tanh,
    transform: None,
    pre_training: PreTraining::MaskedWords,
    choice: CHOICE,
    tokenizers: &[TokenizerKind::Albert],
};

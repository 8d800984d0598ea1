//! DistilBERT: names of its own for everything, no segments, one epsilon.

use super::{Choice, Counting, Family, Keys, PreTraining, Projection, TokenizerKind};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["distilbert"],
    classes: &["DistilBert"],
    prefix: "distilbert.",
    names: &[
        (
            "transformer.layer.*.attention.q_lin",
            "encoder.layer.*.attention.self.query",
        ),
        (
            "transformer.layer.*.attention.k_lin",
            "encoder.layer.*.attention.self.key",
        ),
        (
            "transformer.layer.*.attention.v_lin",
            "encoder.layer.*.attention.self.value",
        ),
        (
            "transformer.layer.*.attention.out_lin",
            "encoder.layer.*.attention.output.dense",
        ),
        (
            "transformer.layer.*.sa_layer_norm",
            "encoder.layer.*.attention.output.LayerNorm",
        ),
        (
            "transformer.layer.*.ffn.lin1",
            "encoder.layer.*.intermediate.dense",
        ),
        (
            "transformer.layer.*.ffn.lin2",
            "encoder.layer.*.output.dense",
        ),
        (
            "transformer.layer.*.output_layer_norm",
            "encoder.layer.*.output.LayerNorm",
        ),
        ("pre_classifier", "pooler.dense"),
        ("vocab_transform", "cls.predictions.transform.dense"),
        ("vocab_layer_norm", "cls.predictions.transform.LayerNorm"),
        ("vocab_projector", "cls.predictions.decoder"),
    ],
    keys: Keys {
        hidden_size: "dim",
        num_hidden_layers: "n_layers",
        num_attention_heads: "n_heads",
        intermediate_size: "hidden_dim",
        hidden_act: "activation",
        layer_norm_eps: None,
        type_vocab_size: None,
        num_hidden_groups: None,
    },
    hidden_act: Activation::Gelu,
    counting: Counting::FromZero,
    projection: Projection::Never,
    relative_attention_bias: false,
    pooler: Activation::Relu,
    transform: None,
    pre_training: PreTraining::None,
    choice: Choice {
        pooler: "pooler.dense",
        activation: Activation::Relu,
        summary: false,
    },
    tokenizers: &[TokenizerKind::Bert],
};

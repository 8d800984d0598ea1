//! MPNet: a bias by distance in attention, positions behind the padding, no segments, a classifier without pooler.

use super::{
    CHOICE_BY_OWN_POOLER, Counting, Family, KEYS, Keys, PreTraining, Projection, TokenizerKind,
};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["mpnet"],
    classes: &["MPNet"],
    prefix: "mpnet.",
    names: &[
        (
            "encoder.layer.*.attention.attn.q",
            "encoder.layer.*.attention.self.query",
        ),
        (
            "encoder.layer.*.attention.attn.k",
            "encoder.layer.*.attention.self.key",
        ),
        (
            "encoder.layer.*.attention.attn.v",
            "encoder.layer.*.attention.self.value",
        ),
        (
            "encoder.layer.*.attention.attn.o",
            "encoder.layer.*.attention.output.dense",
        ),
        (
            "encoder.layer.*.attention.LayerNorm",
            "encoder.layer.*.attention.output.LayerNorm",
        ),
        ("pooler.dense", "own_pooler"),
        ("classifier.dense", "pooler.dense"),
        ("classifier.out_proj", "classifier"),
        ("lm_head.dense", "cls.predictions.transform.dense"),
        ("lm_head.layer_norm", "cls.predictions.transform.LayerNorm"),
        ("lm_head.decoder", "cls.predictions.decoder"),
        ("lm_head.bias", "cls.predictions.bias"),
    ],
    keys: Keys {
        type_vocab_size: None,
        ..KEYS
    },
    hidden_act: Activation::Gelu,
    counting: Counting::BehindOne,
    projection: Projection::Never,
    relative_attention_bias: true,
    pooler: Activation::Tanh,
    transform: Some(Activation::Gelu),
    pre_training: PreTraining::None,
    choice: CHOICE_BY_OWN_POOLER,
    tokenizers: &[TokenizerKind::Mpnet],
};

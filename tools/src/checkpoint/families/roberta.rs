//! RoBERTa, XLM-RoBERTa and CamemBERT: positions behind the padding, one segment, a classifier on `<s>` without pooler.

use super::{CHOICE_BY_OWN_POOLER, Counting, Family, KEYS, PreTraining, Projection, TokenizerKind};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["roberta", "xlm-roberta", "camembert"],
    classes: &["Roberta", "XLMRoberta", "Camembert"],
    prefix: "roberta.",
    names: &[
        // A classifier has a dense layer of its own; the pooler is the bare model's.
        ("pooler.dense", "own_pooler"),
        ("classifier.dense", "pooler.dense"),
        ("classifier.out_proj", "classifier"),
        ("lm_head.dense", "cls.predictions.transform.dense"),
        ("lm_head.layer_norm", "cls.predictions.transform.LayerNorm"),
        ("lm_head.decoder", "cls.predictions.decoder"),
        ("lm_head.bias", "cls.predictions.bias"),
    ],
    keys: KEYS,
    hidden_act: Activation::Gelu,
    counting: Counting::BehindPadding,
    projection: Projection::Never,
    relative_attention_bias: false,
    pooler: Activation::Tanh,
    transform: Some(Activation::Gelu),
    pre_training: PreTraining::None,
    choice: CHOICE_BY_OWN_POOLER,
    tokenizers: &[
        TokenizerKind::Roberta,
        TokenizerKind::XlmRoberta,
        TokenizerKind::Camembert,
    ],
};

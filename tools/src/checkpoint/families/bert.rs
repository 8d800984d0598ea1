//! BERT itself.

use super::{CHOICE, Counting, Family, KEYS, PreTraining, Projection, TokenizerKind};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["bert"],
    classes: &["Bert"],
    prefix: "bert.",
    names: &[],
    keys: KEYS,
    hidden_act: Activation::Gelu,
    counting: Counting::FromZero,
    projection: Projection::Never,
    relative_attention_bias: false,
    pooler: Activation::Tanh,
    transform: None,
    pre_training: PreTraining::NextSentence,
    choice: CHOICE,
    tokenizers: &[TokenizerKind::Bert],
};

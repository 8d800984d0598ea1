//! BERT itself.

use super::{Counting, Family, KEYS, Projection};
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
    vocab_txt: true,
};

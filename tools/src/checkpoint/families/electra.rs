//! ELECTRA, discriminator and generator: narrower embeddings, a classifier with GELU and without pooler.

use super::{Choice, Counting, Family, KEYS, PreTraining, Projection, TokenizerKind};
use bertlet::format::header::Activation;

pub(super) const FAMILY: Family = Family {
    model_types: &["electra"],
    classes: &["Electra"],
    prefix: "electra.",
    names: &[
        ("embeddings_project", "embeddings.projection"),
        ("classifier.dense", "pooler.dense"),
        ("classifier.out_proj", "classifier"),
        // A classifier of choices.
        ("sequence_summary.summary", "summary"),
        // The generator's head, and the discriminator's.
        (
            "generator_predictions.dense",
            "cls.predictions.transform.dense",
        ),
        (
            "generator_predictions.LayerNorm",
            "cls.predictions.transform.LayerNorm",
        ),
        ("generator_lm_head", "cls.predictions.decoder"),
        ("discriminator_predictions.dense", "replaced_token.dense"),
        (
            "discriminator_predictions.dense_prediction",
            "replaced_token.prediction",
        ),
    ],
    keys: KEYS,
    hidden_act: Activation::Gelu,
    counting: Counting::FromZero,
    projection: Projection::IfWider,
    relative_attention_bias: false,
    pooler: Activation::Gelu,
    transform: Some(Activation::Gelu),
    pre_training: PreTraining::ReplacedTokens,
    choice: Choice {
        pooler: "summary",
        activation: Activation::Gelu,
        summary: true,
    },
    tokenizers: &[TokenizerKind::Bert],
};

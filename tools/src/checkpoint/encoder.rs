//! The tensors that a model needs, by BERT's names: one table of names and shapes, and how they become [`Weights`].

use super::{
    config::{ModelConfig, Positions},
    families::Family,
    positions,
    tensors::TensorStore,
};
use crate::weights::{LanguageModel, LayerNorm, LayerWeights, Linear, Weights};
use anyhow::{Context, Result, bail, ensure};
use bertlet::format::header::{Config, HeadConfig};
use std::collections::BTreeMap;

/// Checkpoints converted from TensorFlow call LayerNorm's weight and bias so.
const OLD_NAMES: [(&str, &str); 2] = [
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
];
/// Buffers that hold 0, 1, 2, … or zeros, not weights.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";
const TYPES: &str = "embeddings.token_type_embeddings.weight";
/// bertlet's name: from the embeddings' width to the encoder's.
const PROJECTION: &str = "embeddings.projection";
/// `[buckets, num_attention_heads]`.
const DISTANCES: &str = "encoder.relative_attention_bias.weight";
const POOLER: &str = "pooler.dense";
const CLASSIFIER: &str = "classifier";
const ANSWER: &str = "qa_outputs";
const NEXT_SENTENCE: &str = "cls.seq_relationship";
const TRANSFORM: &str = "cls.predictions.transform.dense";
const TRANSFORM_NORM: &str = "cls.predictions.transform.LayerNorm";
const DECODER: &str = "cls.predictions.decoder.weight";
const DECODER_BIAS: &str = "cls.predictions.bias";
/// The decoder's bias under the name that it has as a part of the decoder; checkpoints hold either name, or both.
const DECODER_BIAS_ALIAS: &str = "cls.predictions.decoder.bias";

/// What a tensor of this name belongs to, when it is not the encoder's.
fn head_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "cls.predictions.bias"
        | "cls.predictions.transform.dense.weight"
        | "cls.predictions.transform.dense.bias"
        | "cls.predictions.transform.LayerNorm.weight"
        | "cls.predictions.transform.LayerNorm.bias"
        | "cls.predictions.decoder.weight"
        | "cls.predictions.decoder.bias" => "masked-language-model head",
        "cls.seq_relationship.weight" | "cls.seq_relationship.bias" => "next-sentence head",
        "sentence_order.weight" | "sentence_order.bias" => "sentence-order head",
        "qa_outputs.weight" | "qa_outputs.bias" => "question-answering head",
        "summary.weight" | "summary.bias" => "multiple-choice head",
        "replaced_token.dense.weight"
        | "replaced_token.dense.bias"
        | "replaced_token.prediction.weight"
        | "replaced_token.prediction.bias" => "replaced-token head",
        "pooler.dense.weight" | "pooler.dense.bias" | "own_pooler.weight" | "own_pooler.bias" => {
            "pooler (this head does not use it)"
        }
        _ => return None,
    })
}

/// The checkpoint's tensors under the names of `BertModel`.
#[derive(Debug)]
pub(crate) struct Tensors {
    store: TensorStore,
    /// Name of `BertModel` → name in the file.
    names: BTreeMap<String, String>,
    /// What of the checkpoint is not converted, for the user.
    pub notices: Vec<String>,
}

/// Names and shapes of the tensors that the converter reads.
fn expected(model: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let Config {
        hidden_size: hidden,
        intermediate_size: inner,
        vocab_size,
        type_vocab_size,
        num_attention_heads,
        ..
    } = model.config;
    let width = model.config.embedding_width();
    let mut shapes = BTreeMap::new();
    let norm = |shapes: &mut BTreeMap<_, _>, name: String, width: usize| {
        shapes.insert(format!("{name}.weight"), vec![width]);
        shapes.insert(format!("{name}.bias"), vec![width]);
    };
    let linear = |shapes: &mut BTreeMap<_, _>, name: String, output: usize, input: usize| {
        shapes.insert(format!("{name}.weight"), vec![output, input]);
        shapes.insert(format!("{name}.bias"), vec![output]);
    };
    shapes.insert(WORDS.into(), vec![vocab_size, width]);
    shapes.insert(POSITIONS.into(), vec![model.stored_positions(), width]);
    if model.family.keys.type_vocab_size.is_some() {
        shapes.insert(TYPES.into(), vec![type_vocab_size, width]);
    }
    norm(&mut shapes, "embeddings.LayerNorm".into(), width);
    if model.config.embedding_size.is_some() {
        linear(&mut shapes, PROJECTION.into(), hidden, width);
    }
    if let Some(buckets) = model.relative_attention_buckets {
        shapes.insert(DISTANCES.into(), vec![buckets, num_attention_heads]);
    }
    for layer in (0..model.config.stored_layers()).map(layer_name) {
        for part in ["query", "key", "value"] {
            linear(
                &mut shapes,
                format!("{layer}.attention.self.{part}"),
                hidden,
                hidden,
            );
        }
        linear(
            &mut shapes,
            format!("{layer}.attention.output.dense"),
            hidden,
            hidden,
        );
        norm(
            &mut shapes,
            format!("{layer}.attention.output.LayerNorm"),
            hidden,
        );
        linear(
            &mut shapes,
            format!("{layer}.intermediate.dense"),
            inner,
            hidden,
        );
        linear(&mut shapes, format!("{layer}.output.dense"), hidden, inner);
        norm(&mut shapes, format!("{layer}.output.LayerNorm"), hidden);
    }
    let parts = HeadParts::of(model);
    if let Some(pooler) = parts.pooler {
        linear(&mut shapes, pooler.into(), hidden, hidden);
    }
    for (name, outputs) in [parts.classifier, parts.next_sentence]
        .into_iter()
        .flatten()
    {
        linear(&mut shapes, name.into(), outputs, hidden);
    }
    if let Some(tied) = parts.language_model {
        linear(&mut shapes, TRANSFORM.into(), width, hidden);
        norm(&mut shapes, TRANSFORM_NORM.into(), width);
        shapes.insert(DECODER_BIAS.into(), vec![vocab_size]);
        if !tied {
            shapes.insert(DECODER.into(), vec![vocab_size, width]);
        }
    }
    shapes
}

/// What the heads are made of.
#[derive(Debug, Default)]
struct HeadParts {
    /// Name of the dense layer.
    pooler: Option<&'static str>,
    /// Name and number of outputs.
    classifier: Option<(&'static str, usize)>,
    next_sentence: Option<(&'static str, usize)>,
    /// Whether its decoder is the word embedding.
    language_model: Option<bool>,
}

impl HeadParts {
    fn of(model: &ModelConfig) -> HeadParts {
        let none = HeadParts::default();
        match model.architecture.head() {
            None => none,
            Some(HeadConfig::SequenceClassification { labels, .. }) => HeadParts {
                pooler: Some(POOLER),
                classifier: Some((CLASSIFIER, labels.len())),
                ..none
            },
            Some(HeadConfig::TokenClassification { labels }) => HeadParts {
                classifier: Some((CLASSIFIER, labels.len())),
                ..none
            },
            Some(HeadConfig::QuestionAnswering {}) => HeadParts {
                classifier: Some((ANSWER, 2)),
                ..none
            },
            Some(HeadConfig::MultipleChoice { .. }) => HeadParts {
                pooler: Some(model.family.choice.pooler),
                classifier: Some((CLASSIFIER, 1)),
                ..none
            },
            Some(HeadConfig::NextSentencePrediction {}) => HeadParts {
                pooler: Some(POOLER),
                next_sentence: Some((NEXT_SENTENCE, 2)),
                ..none
            },
            Some(HeadConfig::MaskedLanguageModel {
                tied,
                next_sentence,
                ..
            }) => HeadParts {
                pooler: next_sentence.then_some(POOLER),
                next_sentence: next_sentence.then_some((NEXT_SENTENCE, 2)),
                language_model: Some(*tied),
                ..none
            },
        }
    }
}

fn layer_name(index: usize) -> String {
    format!("encoder.layer.{index}")
}

/// The name under which a tensor of a language model's decoder is expected; `None` for one that is not used.
///
/// A tied decoder is the word embedding and has the bias of the predictions, whatever the file holds under the decoder's
/// names; one that is not tied has its own bias, unless the file names only the other.
fn other_name<'a>(
    name: &'a str,
    expected: &BTreeMap<String, Vec<usize>>,
    store: &TensorStore,
    family: &Family,
) -> Option<&'a str> {
    if !expected.contains_key(DECODER_BIAS) {
        return Some(name);
    }
    let holds = |wanted: &str| {
        store
            .names()
            .any(|stored| canonical(stored, family) == wanted)
    };
    let tied = !expected.contains_key(DECODER);
    match name {
        DECODER if tied => None,
        DECODER_BIAS_ALIAS if tied && holds(DECODER_BIAS) => None,
        DECODER_BIAS if !tied && holds(DECODER_BIAS_ALIAS) => None,
        DECODER_BIAS_ALIAS => Some(DECODER_BIAS),
        name => Some(name),
    }
}

/// Whether the weights hold any part of a masked language model's head.
pub(super) fn has_language_model(store: &TensorStore, family: &Family) -> bool {
    let mut names = store.names().map(|name| canonical(name, family));
    names.any(|name| name.starts_with("cls.predictions."))
}

/// The name that `BertModel` gives a tensor.
fn canonical(name: &str, family: &Family) -> String {
    let renewed = OLD_NAMES.iter().find_map(|(old, new)| {
        let stem = name.strip_suffix(old)?;
        Some(format!("{stem}{new}"))
    });
    family.canonical(renewed.as_deref().unwrap_or(name))
}

impl Tensors {
    /// Checks every tensor of the checkpoint against the table: all that are expected are there with their shapes, and
    /// nothing is there that is not known.
    pub fn new(store: TensorStore, model: &ModelConfig) -> Result<Tensors> {
        // A layer takes 16 tensors; a hostile count must not make the table below large.
        ensure!(
            model.config.stored_layers() <= store.names().count(),
            "config.json says {} layers, the weights hold {} tensors",
            model.config.stored_layers(),
            store.names().count()
        );
        let expected = expected(model);
        let mut names = BTreeMap::new();
        let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
        for stored in store.names() {
            let name = canonical(stored, model.family);
            if BUFFERS.contains(&name.as_str()) {
                continue;
            }
            let name = match other_name(&name, &expected, &store, model.family) {
                Some(name) => name.to_owned(),
                None => continue,
            };
            if let Some(shape) = expected.get(&name) {
                let found = store.shape(stored).unwrap_or_default();
                ensure!(
                    found == shape,
                    "tensor '{stored}': found shape {found:?}, config.json makes it {shape:?}{}",
                    match name.starts_with(CLASSIFIER) {
                        true => "; 'id2label' must name every label",
                        false => "",
                    }
                );
                if let Some(other) = names.insert(name, stored.to_owned()) {
                    bail!("tensors '{other}' and '{stored}' are the same part of the model");
                }
            } else if let Some(head) = head_of(&name) {
                *left_out.entry(head).or_default() += 1;
            } else {
                match model.architecture_name.as_deref() {
                    Some(class) => bail!(
                        "tensor '{stored}' is not part of {class} as config.json describes it; \
                         what is not understood is not converted"
                    ),
                    None => bail!(
                        "tensor '{stored}' is not part of an encoder, and config.json does not say whose it is; name the \
                         class in 'architectures', as [\"{}ForSequenceClassification\"]",
                        model.family.classes[0]
                    ),
                }
            }
        }
        for (name, shape) in &expected {
            let computed = name == POSITIONS && model.positions == Positions::Sinusoidal;
            ensure!(
                computed || names.contains_key(name),
                "tensor '{}' of shape {shape:?} is missing in the weights",
                model.family.native(name)
            );
        }
        let notices = left_out
            .into_iter()
            .map(|(head, count)| format!("left out: {head}, {count} tensors"))
            .collect();
        Ok(Tensors {
            store,
            names,
            notices,
        })
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self
            .names
            .get(name)
            .with_context(|| format!("tensor '{name}' is missing"))?;
        self.store.read(stored)
    }

    fn layer_norm(&self, name: &str) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: self.read(&format!("{name}.weight"))?,
            bias: self.read(&format!("{name}.bias"))?,
        })
    }

    /// Linear layers of one input width, their outputs one after another.
    fn linear(&self, parts: &[String], in_features: usize) -> Result<Linear> {
        let mut weight = Vec::new();
        let mut bias = Vec::new();
        for name in parts {
            weight.append(&mut self.read(&format!("{name}.weight"))?);
            bias.append(&mut self.read(&format!("{name}.bias"))?);
        }
        let out_features = bias.len();
        Ok(Linear {
            weight,
            bias,
            in_features,
            out_features,
        })
    }

    /// Reads all weights as f32, one stored tensor at a time. `dense` is passed through.
    pub fn weights(&self, model: &ModelConfig, dense: Vec<Linear>) -> Result<Weights> {
        let config = &model.config;
        let hidden = config.hidden_size;
        let layers = (0..config.stored_layers())
            .map(|index| {
                let layer = layer_name(index);
                let part = |name: &str| format!("{layer}.{name}");
                Ok(LayerWeights {
                    query_key_value: self.linear(
                        &["query", "key", "value"]
                            .map(|name| part(&format!("attention.self.{name}"))),
                        hidden,
                    )?,
                    attention_output: self.linear(&[part("attention.output.dense")], hidden)?,
                    attention_layer_norm: self.layer_norm(&part("attention.output.LayerNorm"))?,
                    intermediate: self.linear(&[part("intermediate.dense")], hidden)?,
                    output: self.linear(&[part("output.dense")], config.intermediate_size)?,
                    output_layer_norm: self.layer_norm(&part("output.LayerNorm"))?,
                })
            })
            .collect::<Result<_>>()?;
        let parts = HeadParts::of(model);
        let optional = |name: Option<&str>| {
            name.map(|name| self.linear(&[name.to_owned()], hidden))
                .transpose()
        };
        let language_model = |tied: bool| -> Result<LanguageModel> {
            Ok(LanguageModel {
                transform: self.linear(&[TRANSFORM.to_owned()], hidden)?,
                layer_norm: self.layer_norm(TRANSFORM_NORM)?,
                decoder: (!tied).then(|| self.read(DECODER)).transpose()?,
                bias: self.read(DECODER_BIAS)?,
            })
        };
        Ok(Weights {
            config: config.clone(),
            word_embeddings: self.read(WORDS)?,
            position_table: self.position_table(model)?,
            embeddings_layer_norm: self.layer_norm("embeddings.LayerNorm")?,
            embeddings_projection: config
                .embedding_size
                .map(|width| self.linear(&[PROJECTION.to_owned()], width))
                .transpose()?,
            relative_attention_bias: match model.relative_attention_buckets {
                None => None,
                Some(buckets) => Some(positions::by_distance(
                    &self.read(DISTANCES)?,
                    buckets,
                    config,
                )),
            },
            layers,
            pooler: optional(parts.pooler)?,
            classifier: optional(parts.classifier.map(|(name, _)| name))?,
            next_sentence: optional(parts.next_sentence.map(|(name, _)| name))?,
            language_model: parts.language_model.map(language_model).transpose()?,
            dense,
        })
    }

    /// `[type_vocab_size, position_rows, embedding_width]`: sums of a position vector and a type vector.
    fn position_table(&self, model: &ModelConfig) -> Result<Vec<f32>> {
        let config = &model.config;
        let width = config.embedding_width();
        let mut positions = if self.names.contains_key(POSITIONS) {
            self.read(POSITIONS)?
        } else {
            positions::sinusoidal(model.stored_positions(), width)
        };
        positions.drain(..model.unused_positions * width);
        if model.family.keys.type_vocab_size.is_none() {
            return Ok(positions);
        }
        let types = self.read(TYPES)?;
        let mut table = Vec::with_capacity(config.type_vocab_size * positions.len());
        for kind in types.chunks_exact(width) {
            for position in positions.chunks_exact(width) {
                table.extend(
                    position
                        .iter()
                        .zip(kind)
                        .map(|(position, kind)| position + kind),
                );
            }
        }
        Ok(table)
    }
}

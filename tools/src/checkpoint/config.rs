//! `config.json`: the encoder's shape and the head, told apart exactly. What would change the arithmetic and is not
//! known here is refused by name.

use super::json::{Object, kind};
use anyhow::{Context, Result, bail, ensure};
use bertlet::format::header::{Activation, Config, HeadConfig, ProblemType};
use serde_json::Value;

/// How positions enter the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Positions {
    /// A learned table in the weights.
    Learned,
    /// The original Transformer's sines and cosines, computed where the weights hold no table.
    Sinusoidal,
}

/// What the checkpoint was made for, as far as it decides which tensors are expected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Architecture {
    /// The encoder alone; heads that the weights hold beside it are left out.
    Encoder,
    /// The encoder and a head. The tokenizer's files add the mask token's id to a masked language model.
    Head(HeadConfig),
}

impl Architecture {
    /// The head that is expected in the weights.
    pub fn head(&self) -> Option<&HeadConfig> {
        match self {
            Architecture::Encoder => None,
            Architecture::Head(head) => Some(head),
        }
    }
}

/// What `config.json` says.
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    pub config: Config,
    pub positions: Positions,
    pub architecture: Architecture,
    /// First entry of `architectures`, for messages.
    pub architecture_name: Option<String>,
    pub notices: Vec<String>,
}

/// Values of `BertConfig` in transformers where `config.json` is silent. Files from Google's release lack the first.
const DEFAULT_LAYER_NORM_EPS: f64 = 1e-12;
const DEFAULT_HIDDEN_ACT: &str = "gelu";
/// Labels of a classifier whose `config.json` names none (`PreTrainedConfig`).
const DEFAULT_NUM_LABELS: usize = 2;

/// Reads the fields of `config.json`.
pub(crate) fn parse(json: &Object) -> Result<ModelConfig> {
    let architecture_name = architecture_name(json)?;
    refuse_other_families(json, architecture_name.as_deref())?;
    refuse_unsupported(json)?;
    let size = |key: &str| -> Result<usize> {
        let value = json.required(key, json.count(key)?)?;
        ensure!(value > 0, "{}: expected at least 1, found 0", json.at(key));
        Ok(value)
    };
    let hidden_act = json.string("hidden_act")?.unwrap_or(DEFAULT_HIDDEN_ACT);
    let layer_norm_eps = json
        .number("layer_norm_eps")?
        .unwrap_or(DEFAULT_LAYER_NORM_EPS);
    ensure!(
        layer_norm_eps > 0.0 && layer_norm_eps < 1.0,
        "{}: expected a number between 0 and 1, found {layer_norm_eps}",
        json.at("layer_norm_eps")
    );
    let config = Config {
        model_type: "bert".into(),
        hidden_size: size("hidden_size")?,
        num_hidden_layers: size("num_hidden_layers")?,
        num_attention_heads: size("num_attention_heads")?,
        intermediate_size: size("intermediate_size")?,
        hidden_act: activation(hidden_act).with_context(|| json.at("hidden_act"))?,
        // The file keeps f32, the precision that PyTorch computes in.
        layer_norm_eps: layer_norm_eps as f32,
        max_position_embeddings: size("max_position_embeddings")?,
        type_vocab_size: size("type_vocab_size")?,
        vocab_size: size("vocab_size")?,
    };
    ensure!(
        config
            .hidden_size
            .is_multiple_of(config.num_attention_heads),
        "{}: {} heads do not divide hidden_size {}",
        json.at("num_attention_heads"),
        config.num_attention_heads,
        config.hidden_size
    );
    let mut notices = Vec::new();
    let architecture = architecture(
        json,
        architecture_name.as_deref(),
        config.hidden_act,
        &mut notices,
    )?;
    Ok(ModelConfig {
        config,
        positions: positions(json)?,
        architecture,
        architecture_name,
        notices,
    })
}

/// Activation functions by transformers' names. Names of one formula with different rounding share a value; formulas
/// that differ (`gelu_10`, `quick_gelu`, …) are refused.
fn activation(name: &str) -> Result<Activation> {
    Ok(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh" => {
            Activation::GeluTanh
        }
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "linear" => Activation::Identity,
        _ => bail!(
            "activation '{name}' is not known; known are gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, silu, \
             swish, tanh, sigmoid, linear"
        ),
    })
}

fn positions(json: &Object) -> Result<Positions> {
    // DistilBERT's flag; its table has the original Transformer's interleaved order.
    if json.boolean("sinusoidal_pos_embds")? == Some(true) {
        return Ok(Positions::Sinusoidal);
    }
    match json.string("position_embedding_type")? {
        None | Some("absolute") => Ok(Positions::Learned),
        Some("sinusoidal") => Ok(Positions::Sinusoidal),
        Some(other) => bail!(
            "{}: '{other}' is not known; known are 'absolute' and 'sinusoidal'",
            json.at("position_embedding_type")
        ),
    }
}

fn architecture_name(json: &Object) -> Result<Option<String>> {
    let Some(names) = json.array("architectures")? else {
        return Ok(None);
    };
    match names {
        [] => Ok(None),
        [Value::String(name)] => Ok(Some(name.clone())),
        [other] => bail!(
            "{}: expected a name, found {}",
            json.at("architectures"),
            kind(other)
        ),
        more => bail!(
            "{}: expected one name, found {}",
            json.at("architectures"),
            more.len()
        ),
    }
}

fn refuse_other_families(json: &Object, architecture: Option<&str>) -> Result<()> {
    match json.string("model_type")? {
        Some("bert") => Ok(()),
        Some(other) => bail!(
            "{}: '{other}' is not supported; supported is 'bert'",
            json.at("model_type")
        ),
        // Files older than the field; the architecture's name says the same.
        None if architecture.is_some_and(|name| name.starts_with("Bert")) => Ok(()),
        None => bail!(
            "{}: is missing, and 'architectures' does not say that this is BERT",
            json.at("model_type")
        ),
    }
}

fn refuse_unsupported(json: &Object) -> Result<()> {
    for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
        ensure!(
            json.boolean(key)? != Some(true),
            "{}: true; only encoders are supported",
            json.at(key)
        );
    }
    if let Some(heads) = json.object("pruned_heads")? {
        ensure!(
            heads.iter().next().is_none(),
            "{}: pruned heads are not supported",
            json.at("pruned_heads")
        );
    }
    ensure!(
        json.get("quantization_config").is_none(),
        "{}: the weights are quantized already; convert the original checkpoint",
        json.at("quantization_config")
    );
    Ok(())
}

fn architecture(
    json: &Object,
    name: Option<&str>,
    hidden_act: Activation,
    notices: &mut Vec<String>,
) -> Result<Architecture> {
    let pooler = Some(Activation::Tanh);
    let language_model = |next_sentence| -> Result<HeadConfig> {
        Ok(HeadConfig::MaskedLanguageModel {
            // Known when the tokenizer's files are read.
            mask_id: 0,
            activation: hidden_act,
            tied: json.boolean("tie_word_embeddings")? != Some(false),
            next_sentence,
        })
    };
    Ok(Architecture::Head(match name {
        None | Some("BertModel") => return Ok(Architecture::Encoder),
        Some("BertForSequenceClassification") => HeadConfig::SequenceClassification {
            labels: labels(json)?,
            problem_type: problem_type(json)?,
            pooler,
            cross_encoder: cross_encoder(json, notices)?,
        },
        Some("BertForTokenClassification") => HeadConfig::TokenClassification {
            labels: labels(json)?,
        },
        Some("BertForQuestionAnswering") => HeadConfig::QuestionAnswering {},
        Some("BertForMaskedLM") => language_model(false)?,
        Some("BertForPreTraining") => language_model(true)?,
        Some("BertForNextSentencePrediction") => HeadConfig::NextSentencePrediction {},
        Some("BertForMultipleChoice") => HeadConfig::MultipleChoice { pooler },
        Some(other) => bail!(
            "{}: '{other}' is not supported; supported are BertModel and BERT's heads for sequence classification, token \
             classification, question answering, masked language modelling, next-sentence prediction, pre-training and \
             multiple choice",
            json.at("architectures")
        ),
    }))
}

/// The function that a cross-encoder applies to its logits. One that bertlet cannot apply is reported, and left to the
/// user.
fn cross_encoder(json: &Object, notices: &mut Vec<String>) -> Result<Option<Activation>> {
    let Some(class) = cross_encoder_activation(json)? else {
        return Ok(None);
    };
    let name = class.rsplit('.').next();
    Ok(match name.filter(|_| class.starts_with("torch.nn.")) {
        Some("Sigmoid") => Some(Activation::Sigmoid),
        Some("Identity") => Some(Activation::Identity),
        _ => {
            notices.push(format!(
                "sentence-transformers' cross-encoder activation '{class}' is not known and not stored; known are \
                 torch.nn's Sigmoid and Identity (choose with --function)"
            ));
            None
        }
    })
}

/// Where a cross-encoder says which function follows its logits: today's place and the one before.
fn cross_encoder_activation(json: &Object) -> Result<Option<String>> {
    if let Some(nested) = json.object("sentence_transformers")?
        && let Some(name) = nested.string("activation_fn")?
    {
        return Ok(Some(name.to_owned()));
    }
    Ok(json
        .string("sbert_ce_default_activation_function")?
        .map(str::to_owned))
}

/// Names of the labels by index; transformers calls them `LABEL_0`, … where the file names none.
fn labels(json: &Object) -> Result<Vec<String>> {
    let number = json.count("num_labels")?;
    let Some(map) = json.object("id2label")? else {
        let number = number.unwrap_or(DEFAULT_NUM_LABELS);
        // Also bounds what a hostile number allocates.
        ensure!(
            (1..=100_000).contains(&number),
            "{}: {number} labels",
            json.at("num_labels")
        );
        return Ok((0..number).map(|index| format!("LABEL_{index}")).collect());
    };
    let mut labels: Vec<Option<String>> = vec![None; map.iter().count()];
    for (index, name) in map.iter() {
        let name = name
            .as_str()
            .with_context(|| format!("{}: expected a name, found {}", map.at(index), kind(name)))?;
        let slot = index
            .parse::<usize>()
            .ok()
            .and_then(|index| labels.get_mut(index));
        match slot {
            Some(slot @ None) => *slot = Some(name.to_owned()),
            _ => bail!("{}: expected indices from 0 without gaps", map.at(index)),
        }
    }
    ensure!(
        !labels.is_empty(),
        "{}: names no label",
        json.at("id2label")
    );
    ensure!(
        number.is_none_or(|number| number == labels.len()),
        "{}: {} labels, but num_labels is {}",
        json.at("id2label"),
        labels.len(),
        number.unwrap_or_default()
    );
    Ok(labels.into_iter().flatten().collect())
}

fn problem_type(json: &Object) -> Result<Option<ProblemType>> {
    Ok(match json.string("problem_type")? {
        None => None,
        Some("regression") => Some(ProblemType::Regression),
        Some("single_label_classification") => Some(ProblemType::SingleLabelClassification),
        Some("multi_label_classification") => Some(ProblemType::MultiLabelClassification),
        Some(other) => bail!(
            "{}: '{other}' is not known; known are regression, single_label_classification, \
             multi_label_classification",
            json.at("problem_type")
        ),
    })
}

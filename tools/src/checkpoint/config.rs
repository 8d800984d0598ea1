//! `config.json`: the encoder's shape and the head, told apart exactly. What would change the arithmetic and is not
//! known here is refused by name.

use super::families::{Counting, Family, PreTraining, Projection};
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
    pub family: &'static Family,
    pub positions: Positions,
    /// Rows at the start of the position table that no text reaches.
    pub unused_positions: usize,
    /// Buckets of the bias by distance.
    pub relative_attention_buckets: Option<usize>,
    pub architecture: Architecture,
    /// First entry of `architectures`, for messages.
    pub architecture_name: Option<String>,
    pub notices: Vec<String>,
}

/// Value of `BertConfig` in transformers where `config.json` is silent, as files from Google's release are.
const DEFAULT_LAYER_NORM_EPS: f64 = 1e-12;
/// Values of `RobertaConfig` and `MPNetConfig`.
const DEFAULT_PAD_TOKEN_ID: u32 = 1;
const DEFAULT_RELATIVE_BUCKETS: usize = 32;
/// Value of `ElectraConfig` and `AlbertConfig`.
const DEFAULT_EMBEDDING_SIZE: usize = 128;
/// Labels of a classifier whose `config.json` names none (`PreTrainedConfig`).
const DEFAULT_NUM_LABELS: usize = 2;

/// Reads the fields of `config.json`.
pub(crate) fn parse(json: &Object) -> Result<ModelConfig> {
    let architecture_name = architecture_name(json)?;
    let (family, model_type) = family(json, architecture_name.as_deref())?;
    refuse_unsupported(json)?;
    let keys = &family.keys;
    let size = |key: &str| -> Result<usize> {
        let value = json.required(key, json.count(key)?)?;
        ensure!(value > 0, "{}: expected at least 1, found 0", json.at(key));
        Ok(value)
    };
    let hidden_act = match json.string(keys.hidden_act)? {
        Some(name) => activation(name).with_context(|| json.at(keys.hidden_act))?,
        None => family.hidden_act,
    };
    let layer_norm_eps = keys
        .layer_norm_eps
        .map(|key| json.number(key))
        .transpose()?;
    let layer_norm_eps = layer_norm_eps.flatten().unwrap_or(DEFAULT_LAYER_NORM_EPS);
    ensure!(
        layer_norm_eps > 0.0 && layer_norm_eps < 1.0,
        "{}: expected a number between 0 and 1, found {layer_norm_eps}",
        json.at("layer_norm_eps")
    );
    let hidden_size = size(keys.hidden_size)?;
    let pad_token_id = match family.counting {
        Counting::FromZero => None,
        Counting::BehindPadding => Some(json.id("pad_token_id")?.unwrap_or(DEFAULT_PAD_TOKEN_ID)),
        Counting::BehindOne => Some(DEFAULT_PAD_TOKEN_ID),
    };
    let unused_positions = pad_token_id.map_or(0, |id| id as usize);
    let positions_key = "max_position_embeddings";
    let all_positions = size(positions_key)?;
    // Behind the padding's place.
    let max_position_embeddings = match pad_token_id {
        None => all_positions,
        Some(id) => all_positions
            .checked_sub(id as usize + 1)
            .filter(|left| *left > 0)
            .with_context(|| {
                format!(
                    "{}: {all_positions} positions leave none behind the padding's, {id}",
                    json.at(positions_key)
                )
            })?,
    };
    let config = Config {
        model_type,
        hidden_size,
        num_hidden_layers: size(keys.num_hidden_layers)?,
        num_attention_heads: size(keys.num_attention_heads)?,
        intermediate_size: size(keys.intermediate_size)?,
        hidden_act,
        // The file keeps f32, the precision that PyTorch computes in.
        layer_norm_eps: layer_norm_eps as f32,
        max_position_embeddings,
        type_vocab_size: keys.type_vocab_size.map_or(Ok(1), size)?,
        vocab_size: size("vocab_size")?,
        embedding_size: embedding_size(json, family, hidden_size)?,
        pad_token_id,
        num_hidden_groups: keys.num_hidden_groups.map(size).transpose()?,
        relative_attention_bias: family.relative_attention_bias,
    };
    let groups = config.stored_layers();
    ensure!(
        config.num_hidden_layers.is_multiple_of(groups),
        "{}: {groups} groups do not divide {} layers",
        json.at("num_hidden_groups"),
        config.num_hidden_layers
    );
    ensure!(
        config
            .hidden_size
            .is_multiple_of(config.num_attention_heads),
        "{}: {} heads do not divide hidden_size {}",
        json.at(keys.num_attention_heads),
        config.num_attention_heads,
        config.hidden_size
    );
    let mut notices = Vec::new();
    let task = match architecture_name.as_deref() {
        None => None,
        Some(name) => Some(
            family
                .task(name)
                .with_context(|| unknown_class(json, family, name))?,
        ),
    };
    let architecture = architecture(json, family, task, config.hidden_act, &mut notices)?;
    Ok(ModelConfig {
        config,
        family,
        positions: positions(json)?,
        unused_positions,
        relative_attention_buckets: relative_attention_buckets(json, family)?,
        architecture,
        architecture_name,
        notices,
    })
}

impl ModelConfig {
    /// Rows of the position table in the checkpoint.
    pub fn stored_positions(&self) -> usize {
        self.unused_positions + self.config.position_rows()
    }
}

/// Width of the embeddings, where a linear layer follows them.
fn embedding_size(json: &Object, family: &Family, hidden_size: usize) -> Result<Option<usize>> {
    if family.projection == Projection::Never {
        return Ok(None);
    }
    let key = "embedding_size";
    let size = json.count(key)?.unwrap_or(DEFAULT_EMBEDDING_SIZE);
    ensure!(size > 0, "{}: expected at least 1, found 0", json.at(key));
    let is_there = family.projection == Projection::Always || size != hidden_size;
    Ok(is_there.then_some(size))
}

fn relative_attention_buckets(json: &Object, family: &Family) -> Result<Option<usize>> {
    if !family.relative_attention_bias {
        return Ok(None);
    }
    let key = "relative_attention_num_buckets";
    let buckets = json.count(key)?.unwrap_or(DEFAULT_RELATIVE_BUCKETS);
    // transformers' MPNet sorts distances into 32 buckets whatever the number says.
    ensure!(
        buckets == DEFAULT_RELATIVE_BUCKETS,
        "{}: {buckets} is not supported; supported is {DEFAULT_RELATIVE_BUCKETS}",
        json.at(key)
    );
    Ok(Some(buckets))
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

/// The family and its `model_type`.
fn family(json: &Object, architecture: Option<&str>) -> Result<(&'static Family, String)> {
    match json.string("model_type")? {
        Some(name) => Family::of_type(name)
            .map(|family| (family, name.to_owned()))
            .with_context(|| {
                format!(
                    "{}: '{name}' is not supported; supported are {}",
                    json.at("model_type"),
                    Family::types()
                )
            }),
        // Files older than the field; the architecture's name says the same.
        None => architecture
            .and_then(Family::of_class)
            .map(|(family, name)| (family, name.to_owned()))
            .with_context(|| {
                format!(
                    "{}: is missing, and 'architectures' does not say which of {} this is; add it",
                    json.at("model_type"),
                    Family::types()
                )
            }),
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
    let inner = json.count("inner_group_num")?.unwrap_or(1);
    ensure!(
        inner == 1,
        "{}: {inner} layers in a group are not supported; supported is 1",
        json.at("inner_group_num")
    );
    ensure!(
        json.get("quantization_config").is_none(),
        "{}: the weights are quantized already; convert the original checkpoint",
        json.at("quantization_config")
    );
    Ok(())
}

fn architecture(
    json: &Object,
    family: &Family,
    task: Option<&str>,
    hidden_act: Activation,
    notices: &mut Vec<String>,
) -> Result<Architecture> {
    let language_model = |next_sentence| -> Result<HeadConfig> {
        Ok(HeadConfig::MaskedLanguageModel {
            // Known when the tokenizer's files are read.
            mask_id: 0,
            pad_id: None,
            clean_up_tokenization_spaces: false,
            activation: family.transform.unwrap_or(hidden_act),
            tied: json.boolean("tie_word_embeddings")? != Some(false),
            next_sentence,
        })
    };
    Ok(Architecture::Head(match (task, family.pre_training) {
        (None | Some("Model"), _) => return Ok(Architecture::Encoder),
        (Some("ForSequenceClassification"), _) => HeadConfig::SequenceClassification {
            labels: labels(json)?,
            problem_type: problem_type(json)?,
            pooler: Some(family.pooler),
            cross_encoder: cross_encoder(json, notices)?,
        },
        (Some("ForTokenClassification"), _) => HeadConfig::TokenClassification {
            labels: labels(json)?,
        },
        (Some("ForQuestionAnswering"), _) => HeadConfig::QuestionAnswering {},
        (Some("ForMaskedLM"), _) | (Some("ForPreTraining"), PreTraining::MaskedWords) => {
            language_model(false)?
        }
        (Some("ForPreTraining"), PreTraining::NextSentence) => language_model(true)?,
        (Some("ForPreTraining"), PreTraining::ReplacedTokens) => return Ok(Architecture::Encoder),
        (Some("ForNextSentencePrediction"), PreTraining::NextSentence) => {
            HeadConfig::NextSentencePrediction {}
        }
        (Some("ForMultipleChoice"), _) => HeadConfig::MultipleChoice {
            pooler: Some(choice_activation(json, family)?),
        },
        (Some(_), _) => {
            let name = json.array("architectures")?.and_then(|names| names.first());
            let name = name.and_then(Value::as_str).unwrap_or_default();
            bail!(unknown_class(json, family, name))
        }
    }))
}

/// Activation of the dense layer in front of a classifier of choices.
fn choice_activation(json: &Object, family: &Family) -> Result<Activation> {
    if !family.choice.summary {
        return Ok(family.choice.activation);
    }
    let key = "summary_type";
    let found = json.string(key)?.unwrap_or("first");
    ensure!(
        found == "first",
        "{}: '{found}' is not supported; supported is 'first'",
        json.at(key)
    );
    let key = "summary_use_proj";
    ensure!(
        json.boolean(key)? != Some(false),
        "{}: false is not supported; supported is true",
        json.at(key)
    );
    let key = "summary_activation";
    match json.string(key)? {
        Some(name) => activation(name).with_context(|| json.at(key)),
        // transformers takes `null` for none, and its default where nothing is said.
        None if json.is_null(key) => Ok(Activation::Identity),
        None => Ok(family.choice.activation),
    }
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

fn unknown_class(json: &Object, family: &Family, name: &str) -> String {
    let class = family.classes[0];
    let mut more = String::new();
    match family.pre_training {
        PreTraining::NextSentence => more.push_str(", next-sentence prediction, pre-training"),
        PreTraining::MaskedWords => more.push_str(", pre-training (its masked words)"),
        PreTraining::ReplacedTokens => more.push_str(", pre-training (its encoder alone)"),
        PreTraining::None => {}
    }
    format!(
        "{}: '{name}' is not supported; supported are {class}Model and its heads for sequence classification, token \
         classification, question answering, masked language modelling, multiple choice{more}",
        json.at("architectures")
    )
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

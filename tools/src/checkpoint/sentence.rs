//! sentence-transformers' files: which modules follow the encoder, and with which settings. Obeyed as its own loader
//! does; modules and settings that are not known are refused by name.

use super::{
    json::{Object, kind},
    tensors::TensorStore,
};
use crate::{files, weights::Linear};
use anyhow::{Context, Result, bail, ensure};
use bertlet::format::header::{Activation, DenseConfig, EmbeddingConfig, Pooling};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Names under which the encoder's settings are kept, in the loader's order.
const ENCODER_SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// `pooling_mode_…` flags of older files in the order of concatenation, with the mode that each stands for.
const POOLING_FLAGS: [(&str, Pooling); 6] = [
    ("pooling_mode_cls_token", Pooling::Cls),
    ("pooling_mode_max_tokens", Pooling::Max),
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
    ("pooling_mode_lasttoken", Pooling::LastToken),
];

/// Kinds of module by the last part of their type's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModuleKind {
    Transformer,
    Pooling,
    Dense,
    Normalize,
    /// Does nothing at inference.
    Dropout,
}

/// One entry of `modules.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub kind: ModuleKind,
    /// Its folder within the checkpoint; empty for the checkpoint's own.
    pub path: String,
}

/// What the files say about sentence vectors.
#[derive(Debug)]
pub(crate) struct SentenceConfig {
    /// Folder of the encoder's files.
    pub encoder: PathBuf,
    pub embedding: EmbeddingConfig,
    /// Weights of `embedding.dense`.
    pub dense: Vec<TensorStore>,
    pub max_seq_length: Option<usize>,
    pub lowercase: bool,
}

/// Reads `modules.json`, if there is one.
pub(crate) fn modules(directory: &Path) -> Result<Option<Vec<Module>>> {
    let path = directory.join("modules.json");
    let text = match files::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    let place = path.display().to_string();
    let entries: Vec<Value> = serde_json::from_slice(&text)
        .with_context(|| format!("{place}: expected an array of modules"))?;
    let modules: Vec<Module> = entries
        .into_iter()
        .map(|entry| module(Object::from_value(place.clone(), entry)?))
        .collect::<Result<_>>()?;
    check_order(&modules, &place)?;
    Ok(Some(modules))
}

fn module(entry: Object) -> Result<Module> {
    let class = entry.required("type", entry.string("type")?)?;
    let known = match (
        class.starts_with("sentence_transformers."),
        class.rsplit('.').next(),
    ) {
        (true, Some("Transformer")) => Some(ModuleKind::Transformer),
        (true, Some("Pooling")) => Some(ModuleKind::Pooling),
        (true, Some("Dense")) => Some(ModuleKind::Dense),
        (true, Some("Normalize")) => Some(ModuleKind::Normalize),
        (true, Some("Dropout")) => Some(ModuleKind::Dropout),
        _ => None,
    };
    let kind = known.with_context(|| {
        format!(
            "{}: module '{class}' is not supported; supported are sentence-transformers' Transformer, Pooling, \
             Dense and Normalize",
            entry.at("type")
        )
    })?;
    let path = entry.string("path")?.unwrap_or_default();
    ensure!(
        Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_))),
        "{}: '{path}' leaves the checkpoint's directory",
        entry.at("path")
    );
    Ok(Module {
        kind,
        path: path.to_owned(),
    })
}

/// Transformer, Pooling, any number of Dense, at most one Normalize. A bare Transformer (a cross-encoder's) will do.
fn check_order(modules: &[Module], place: &str) -> Result<()> {
    let kinds: Vec<ModuleKind> = modules
        .iter()
        .map(|module| module.kind)
        .filter(|&kind| kind != ModuleKind::Dropout)
        .collect();
    let rest = match kinds[..] {
        [ModuleKind::Transformer] => return Ok(()),
        [ModuleKind::Transformer, ModuleKind::Pooling, ref rest @ ..] => rest,
        _ => bail!("{place}: found modules {kinds:?}; expected Transformer, then Pooling"),
    };
    let dense = rest
        .iter()
        .take_while(|&&kind| kind == ModuleKind::Dense)
        .count();
    ensure!(
        matches!(rest[dense..], [] | [ModuleKind::Normalize]),
        "{place}: found modules {kinds:?}; expected Transformer, Pooling, Dense layers and one Normalize in this order"
    );
    Ok(())
}

/// Reads everything about sentence vectors. Without `modules.json`: the mean of all tokens, not normalized, as
/// sentence-transformers loads a plain encoder.
pub(crate) fn read(directory: &Path) -> Result<SentenceConfig> {
    let modules = modules(directory)?;
    let is_sentence_transformer = modules.is_some();
    let modules = modules.unwrap_or_default();
    let find = |kind| {
        modules
            .iter()
            .find(|module| module.kind == kind)
            .map(|module| directory.join(&module.path))
    };
    let encoder = find(ModuleKind::Transformer).unwrap_or_else(|| directory.to_owned());
    let (pooling, include_prompt) = match find(ModuleKind::Pooling) {
        Some(folder) => pooling(&folder.join("config.json"))?,
        None => (vec![Pooling::Mean], true),
    };
    let mut dense_configs = Vec::new();
    let mut dense = Vec::new();
    for module in modules
        .iter()
        .filter(|module| module.kind == ModuleKind::Dense)
    {
        let (config, weights) = dense_layer(&directory.join(&module.path))?;
        dense_configs.push(config);
        dense.push(weights);
    }
    let normalize = match find(ModuleKind::Normalize) {
        Some(folder) => {
            // The module had no file of its own for long.
            if let Some(settings) = Object::read(&folder.join("config.json"))? {
                expect_sentence_embedding(&settings)?;
            }
            true
        }
        None => false,
    };
    let (prompts, default_prompt_name) = match is_sentence_transformer {
        true => prompts(directory)?,
        false => (BTreeMap::new(), None),
    };
    let (max_seq_length, lowercase) = encoder_settings(&encoder)?;
    Ok(SentenceConfig {
        encoder,
        embedding: EmbeddingConfig {
            pooling,
            dense: dense_configs,
            normalize,
            prompts,
            default_prompt_name,
            include_prompt,
        },
        dense,
        max_seq_length,
        lowercase,
    })
}

fn required_file(path: &Path) -> Result<Object> {
    Object::read(path)?.with_context(|| format!("{}: not found", path.display()))
}

fn pooling(path: &Path) -> Result<(Vec<Pooling>, bool)> {
    let config = required_file(path)?;
    for (key, _) in config
        .iter()
        .filter(|(key, _)| key.starts_with("pooling_mode_"))
    {
        ensure!(
            POOLING_FLAGS.iter().any(|(flag, _)| *flag == key),
            "{}: is not a pooling mode that is known",
            config.at(key)
        );
    }
    let modes = match config.get("pooling_mode") {
        Some(Value::String(name)) => {
            vec![pooling_mode(name).with_context(|| config.at("pooling_mode"))?]
        }
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| match name.as_str() {
                Some(name) => pooling_mode(name),
                None => bail!("expected a mode, found {}", kind(name)),
            })
            .collect::<Result<_>>()
            .with_context(|| config.at("pooling_mode"))?,
        Some(other) => bail!(
            "{}: expected one mode or several, found {}",
            config.at("pooling_mode"),
            kind(other)
        ),
        None => {
            let mut modes = Vec::new();
            for (flag, mode) in POOLING_FLAGS {
                if config.boolean(flag)? == Some(true) {
                    modes.push(mode);
                }
            }
            // What sentence-transformers takes when every flag is off.
            if modes.is_empty() {
                vec![Pooling::Mean]
            } else {
                modes
            }
        }
    };
    ensure!(
        !modes.is_empty(),
        "{}: names no mode",
        config.at("pooling_mode")
    );
    Ok((modes, config.boolean("include_prompt")?.unwrap_or(true)))
}

fn pooling_mode(name: &str) -> Result<Pooling> {
    Ok(match name {
        "cls" => Pooling::Cls,
        "max" => Pooling::Max,
        "mean" => Pooling::Mean,
        "mean_sqrt_len_tokens" => Pooling::MeanSqrtLen,
        "weightedmean" => Pooling::WeightedMean,
        "lasttoken" => Pooling::LastToken,
        _ => bail!(
            "pooling mode '{name}' is not known; known are cls, max, mean, mean_sqrt_len_tokens, weightedmean, \
             lasttoken"
        ),
    })
}

/// Modules can be told to work on other values than the sentence vector; that is not supported.
fn expect_sentence_embedding(config: &Object) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if let Some(name) = config.string(key)? {
            ensure!(
                name == "sentence_embedding",
                "{}: '{name}' is not supported; supported is 'sentence_embedding'",
                config.at(key)
            );
        }
    }
    Ok(())
}

fn dense_layer(folder: &Path) -> Result<(DenseConfig, TensorStore)> {
    let config = required_file(&folder.join("config.json"))?;
    expect_sentence_embedding(&config)?;
    ensure!(
        config.boolean("use_residual")? != Some(true),
        "{}: residual connections are not supported",
        config.at("use_residual")
    );
    let activation = match config.string("activation_function")? {
        // sentence-transformers' default.
        None => Activation::Tanh,
        Some(class) => dense_activation(class).with_context(|| config.at("activation_function"))?,
    };
    let dense = DenseConfig {
        in_features: config.required("in_features", config.count("in_features")?)?,
        out_features: config.required("out_features", config.count("out_features")?)?,
        bias: config.boolean("bias")?.unwrap_or(true),
        activation,
    };
    let store = TensorStore::open(folder)?;
    let mut expected = vec![("linear.weight", vec![dense.out_features, dense.in_features])];
    if dense.bias {
        expected.push(("linear.bias", vec![dense.out_features]));
    }
    for name in store.names() {
        ensure!(
            expected.iter().any(|(known, _)| *known == name),
            "{}: tensor '{name}' is not part of a dense layer as its config.json describes it",
            folder.display()
        );
    }
    for (name, shape) in &expected {
        let found = store.shape(name).with_context(|| {
            format!(
                "{}: tensor '{name}' of shape {shape:?} is missing",
                folder.display()
            )
        })?;
        ensure!(
            found == shape,
            "{}: tensor '{name}': found shape {found:?}, config.json makes it {shape:?}",
            folder.display()
        );
    }
    Ok((dense, store))
}

/// Activations are named by the path of a class of `torch.nn`, made without arguments.
fn dense_activation(class: &str) -> Result<Activation> {
    let name = class
        .strip_prefix("torch.nn.")
        .and_then(|path| path.rsplit('.').next());
    Ok(match name {
        Some("Tanh") => Activation::Tanh,
        Some("Identity") => Activation::Identity,
        Some("ReLU") => Activation::Relu,
        Some("GELU") => Activation::Gelu,
        Some("SiLU") => Activation::Silu,
        Some("Sigmoid") => Activation::Sigmoid,
        _ => bail!(
            "activation '{class}' is not known; known are torch.nn's Tanh, Identity, ReLU, GELU, SiLU and Sigmoid"
        ),
    })
}

/// The weights of dense layers as f32.
pub(crate) fn dense_weights(
    configs: &[DenseConfig],
    stores: &[TensorStore],
) -> Result<Vec<Linear>> {
    configs
        .iter()
        .zip(stores)
        .map(|(config, store)| {
            Ok(Linear {
                weight: store.read("linear.weight")?,
                bias: if config.bias {
                    store.read("linear.bias")?
                } else {
                    vec![0.0; config.out_features]
                },
                in_features: config.in_features,
                out_features: config.out_features,
            })
        })
        .collect()
}

type Prompts = (BTreeMap<String, String>, Option<String>);

fn prompts(directory: &Path) -> Result<Prompts> {
    let Some(config) = Object::read(&directory.join("config_sentence_transformers.json"))? else {
        return Ok((BTreeMap::new(), None));
    };
    let mut prompts = BTreeMap::new();
    if let Some(map) = config.object("prompts")? {
        for (name, _) in map.iter() {
            // `null` stands for no prompt, which is the empty one.
            prompts.insert(
                name.to_owned(),
                map.string(name)?.unwrap_or_default().to_owned(),
            );
        }
    }
    let default = config.string("default_prompt_name")?.map(str::to_owned);
    if let Some(name) = &default {
        ensure!(
            prompts.contains_key(name),
            "{}: '{name}' is not one of the prompts",
            config.at("default_prompt_name")
        );
    }
    Ok((prompts, default))
}

/// `max_seq_length` and `do_lower_case` of the encoder module.
fn encoder_settings(encoder: &Path) -> Result<(Option<usize>, bool)> {
    for name in ENCODER_SETTINGS {
        if let Some(settings) = Object::read(&encoder.join(name))? {
            ensure!(
                settings.get("tokenizer_name_or_path").is_none(),
                "{}: a tokenizer from another place is not supported",
                settings.at("tokenizer_name_or_path")
            );
            let length = settings.count("max_seq_length")?;
            ensure!(
                length != Some(0),
                "{}: expected at least 1, found 0",
                settings.at("max_seq_length")
            );
            return Ok((length, settings.boolean("do_lower_case")?.unwrap_or(false)));
        }
    }
    Ok((None, false))
}

/// The names above, for those who must know which files to fetch.
pub(crate) fn encoder_settings_files() -> &'static [&'static str] {
    &ENCODER_SETTINGS
}

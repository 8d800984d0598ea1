//! The command line's side of the library: opening models, and what options mean to it.

use super::{
    args::{LongChoice, ModelArgs, PoolingChoice, TextArgs, VectorArgs},
    bundle,
    exit::{Failure, message},
    input::Record,
    output::sink::never_overwrite,
};
use crate::{EmbeddingOptions, Error, LongText, Model, TextOptions, format::header::Pooling};
use anyhow::{Context, anyhow};
use std::{io::ErrorKind, path::Path};

/// Opens the model that the options, the environment or the program itself give.
pub fn open(args: &ModelArgs) -> Result<Model, Failure> {
    let variable = || std::env::var_os("BERTLET_MODEL").filter(|value| !value.is_empty());
    match (&args.model, bundle::own()) {
        (Some(path), _) => open_file(path),
        (None, Some(own)) => Ok(own.clone()),
        (None, None) => match variable() {
            Some(path) => open_model(Path::new(&path))
                .context("the model of $BERTLET_MODEL")
                .map_err(Failure::model),
            None => Model::embedded().map_err(Failure::model),
        },
    }
}

/// Opens a model file.
pub fn open_file(path: &Path) -> Result<Model, Failure> {
    open_model(path).map_err(Failure::model)
}

/// From now on no output may be the file.
fn open_model(path: &Path) -> anyhow::Result<Model> {
    never_overwrite(path);
    Model::open(path).map_err(|error| match error {
        // The name alone does not tell that it is the model, rather than an input, which is missing.
        Error::Io { path, source } if source.kind() == ErrorKind::NotFound => anyhow!(
            "{}: the model cannot be read: {source}; give -m a .bertlet file (bertlet-convert makes one)",
            path.display()
        ),
        error => error.into(),
    })
}

/// From text to tokens, as the options say.
pub fn text_options(args: &TextArgs, prompt: Option<String>) -> TextOptions {
    TextOptions {
        long: match args.long {
            LongChoice::Truncate => LongText::Truncate,
            LongChoice::TruncateLeft => LongText::TruncateLeft,
            LongChoice::Window => LongText::Window,
            LongChoice::Error => LongText::Error,
        },
        max_length: args.max_length,
        prompt,
    }
}

/// What is put in front of each text, as the options say. A word that only looks like the name of a prompt is said to be none.
pub fn prompt(model: &Model, args: &VectorArgs) -> Option<String> {
    let asked = args.prompt.as_deref();
    let prompts = &model.header().embedding.prompts;
    let is_word = |text: &str| {
        let mut chars = text.chars();
        chars.all(|char| char.is_alphanumeric() || "_-".contains(char))
    };
    if let Some(word) = asked.filter(|word| !word.is_empty() && is_word(word))
        && !prompts.contains_key(word)
    {
        let names: Vec<&str> = prompts.keys().map(String::as_str).collect();
        let known = match names.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };
        message(format_args!(
            "--prompt {word}: the model has no prompt of this name ({known}); the word is put in front of each text as it is"
        ));
    }
    model.prompt(asked)
}

/// From hidden states to vectors, as the options say.
pub fn embedding_options(args: &VectorArgs) -> EmbeddingOptions {
    let pooling = |choice: &PoolingChoice| match choice {
        PoolingChoice::Cls => Pooling::Cls,
        PoolingChoice::Max => Pooling::Max,
        PoolingChoice::Mean => Pooling::Mean,
        PoolingChoice::MeanSqrtLen => Pooling::MeanSqrtLen,
        PoolingChoice::WeightedMean => Pooling::WeightedMean,
        PoolingChoice::LastToken => Pooling::LastToken,
    };
    EmbeddingOptions {
        pooling: args
            .pooling
            .as_ref()
            .map(|choices| choices.iter().map(pooling).collect()),
        normalize: args.normalize,
        dimensions: args.dimensions,
    }
}

/// Estimate of a record's tokens: what the queue is balanced by before anything is tokenized.
pub fn weight(record: &Record, max_length: usize, windows: bool) -> usize {
    // English has 4 to 5 bytes a token; other scripts more, so the estimate errs to the safe side.
    let tokens = record.size() / 4 + 2;
    if windows {
        tokens
    } else {
        tokens.min(max_length)
    }
}

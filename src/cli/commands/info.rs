//! `bertlet info`.

use crate::{
    Model,
    cli::{
        args::InfoArgs,
        engine,
        exit::{self, Failure, escaped},
        output::sink::Sink,
    },
    format::header::{Config, HeadConfig, Header, Precision, TokenizerConfig},
    heads::Function,
};
use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

/// Runs the command.
pub fn info(args: &InfoArgs) -> Result<u8, Failure> {
    let model = match &args.file {
        Some(path) => engine::open_file(path)?,
        None => engine::open(&args.model)?,
    };
    let facts = facts(&model)?;
    let text = if args.json {
        format!("{facts:#}\n")
    } else {
        lines(&facts)
    };
    let mut sink = Sink::open(None, &[])?;
    sink.write(text.as_bytes())?;
    sink.flush()?;
    Ok(exit::OK)
}

/// The configuration, with the decimal digits that name each f32 and no more.
fn architecture(config: &Config) -> anyhow::Result<Value> {
    let mut architecture = value(config)?;
    let eps: f64 = config.layer_norm_eps.to_string().parse()?;
    architecture["layer_norm_eps"] = json!(eps);
    Ok(architecture)
}

/// All that is known of a model, in the order in which it is shown.
fn facts(model: &Model) -> anyhow::Result<Value> {
    let Header {
        producer,
        source,
        precision,
        quantization_group,
        config,
        tokenizer,
        max_length,
        embedding,
        head,
        tensors,
    } = model.header();
    let elements =
        |dimensions: &[usize]| dimensions.iter().map(|size| *size as u64).product::<u64>();
    let tensor_bytes: u64 = tensors
        .iter()
        .map(|tensor| elements(&tensor.shape) * tensor.dtype.size() as u64)
        .sum();
    let head = head.as_ref().map(head_facts).transpose()?;
    Ok(json!({
        "file": model.file().path().display().to_string(),
        "source": value(source)?,
        "producer": producer,
        "precision": match precision {
            Precision::Int8 => "int8",
            Precision::F16 => "f16",
        },
        "quantization_group": match precision {
            Precision::Int8 => json!(quantization_group),
            Precision::F16 => Value::Null,
        },
        "architecture": architecture(config)?,
        "tokenizer": tokenizer_facts(tokenizer),
        "max_length": max_length,
        "embedding": value(embedding)?,
        "head": head,
        "file_bytes": model.file().size(),
        "tensors": tensors.len(),
        "tensor_bytes": tensor_bytes,
        "kernel": model.kernel().name(),
    }))
}

/// The rules of WordPiece; other kinds are described by the `tokenizer.json` in the file.
fn tokenizer_facts(tokenizer: &TokenizerConfig) -> Value {
    let mut facts = json!({"kind": tokenizer.kind()});
    if let TokenizerConfig::WordPiece(rules) = tokenizer {
        facts["lowercase"] = rules.lowercase.into();
        facts["strip_accents"] = rules.strip_accents.into();
        facts["handle_chinese_chars"] = rules.handle_chinese_chars.into();
        facts["clean_text"] = rules.clean_text.into();
    }
    facts["added_tokens"] = tokenizer.added_tokens().len().into();
    facts
}

/// What the header says of the head, and the function that its scores pass through.
fn head_facts(head: &HeadConfig) -> anyhow::Result<Value> {
    let mut facts = value(head)?;
    if let HeadConfig::SequenceClassification { problem_type, .. } = head {
        facts["problem_type"] = json!(problem_type);
        facts["function"] = match Function::auto(head) {
            Function::Softmax => "softmax",
            Function::Sigmoid => "sigmoid",
            Function::None => "none",
        }
        .into();
    }
    Ok(facts)
}

fn value(part: &impl Serialize) -> anyhow::Result<Value> {
    serde_json::to_value(part).context("the header cannot be shown as JSON")
}

/// The facts as `name  value` lines; those of an object are named `object.name`. Whoever made the model has chosen some.
fn lines(facts: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", facts, &mut rows);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let separator = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{separator}{field}"), value, rows);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    };
    rows.push((escaped(name), escaped(&text)));
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_facts_become_lines() {
        let facts = json!({"a": {"b": 1, "cc": ["x", "y"]}, "d": null});
        assert_eq!(lines(&facts), "a.b   1\na.cc  x, y\nd     none\n");
    }

    #[test]
    fn a_model_cannot_drive_the_terminal_or_forge_a_line() {
        let facts = json!({"a\u{7}": "x\u{1b}[2J\nkernel  amx", "b": ["\u{9b}1m"]});
        let expected = "a\\u{7}  x\\u{1b}[2J\\nkernel  amx\nb       \\u{9b}1m\n";
        assert_eq!(lines(&facts), expected);
    }
}

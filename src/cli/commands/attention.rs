//! `bertlet attention`.

use crate::{
    Attention, AttentionViewer, RunOptions, Task, Text, TextOptions,
    cli::{
        args::AttentionArgs,
        engine,
        exit::{self, Failure},
        output::{color, heat_map, json, sink::Sink},
    },
};
use anyhow::{Context, anyhow};

/// Runs the command.
pub fn attention(args: &AttentionArgs) -> Result<u8, Failure> {
    let model = engine::open(&args.model)?;
    let viewer = AttentionViewer::new(&model, args.layer, args.head, TextOptions::default());
    let viewer = viewer.map_err(Failure::task)?;
    let text = Text {
        first: &args.text,
        second: args.text_pair.as_deref(),
    };
    let answers = viewer.run(&[text], RunOptions::default());
    let attention = answers
        .map_err(Failure::task)?
        .pop()
        .context("no answer to a text; this is a bug in bertlet, please report it")?;
    let rows = match &args.word {
        None => (0..attention.tokens.len()).collect(),
        Some(word) => rows_of(&attention, word)?,
    };
    let mut out = Vec::new();
    if args.json {
        write_json(&mut out, args, &attention, &rows);
    } else {
        let color = color::wanted(args.color, None);
        match &args.word {
            None => heat_map::matrix(&mut out, &attention, color),
            Some(_) => heat_map::bars(&mut out, &attention, &rows, color),
        }
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, heat_map::svg(&attention, &rows))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    let mut sink = Sink::open(None, &[])?;
    sink.write(&out)?;
    sink.flush()?;
    Ok(exit::OK)
}

/// The tokens of a word: those that lie within one of its places in the text.
fn rows_of(attention: &Attention, word: &str) -> Result<Vec<usize>, Failure> {
    let tokens = &attention.tokens;
    let wanted = word.to_lowercase();
    let mut rows = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        // A token and the pieces that continue its word.
        let mut end = start + 1;
        while tokens.get(end).is_some_and(|next| {
            next.text.is_some()
                && next.text == tokens[end - 1].text
                && next.offsets.0 == tokens[end - 1].offsets.1
                && next.token.starts_with("##")
        }) {
            end += 1;
        }
        let spelled: String = tokens[start..end]
            .iter()
            .map(|token| token.token.strip_prefix("##").unwrap_or(&token.token))
            .collect();
        if spelled.to_lowercase() == wanted {
            rows.extend(start..end);
        }
        start = end;
    }
    if rows.is_empty() {
        let spelled: Vec<&str> = tokens.iter().map(|token| token.token.as_str()).collect();
        return Err(Failure {
            code: exit::USAGE,
            error: anyhow!(
                "the text has no word {word:?}; its tokens are {}",
                spelled.join(" ")
            ),
        });
    }
    Ok(rows)
}

fn write_json(out: &mut Vec<u8>, args: &AttentionArgs, attention: &Attention, rows: &[usize]) {
    let tokens: Vec<&str> = attention.tokens.iter().map(|t| t.token.as_str()).collect();
    let count = tokens.len();
    let weights: Vec<&[f32]> = rows
        .iter()
        .map(|row| &attention.weights[row * count..][..count])
        .collect();
    json::fields(
        out,
        &[
            ("layer", &args.layer),
            ("head", &args.head),
            ("tokens", &tokens),
            ("rows", &rows),
            ("weights", &weights),
        ],
    );
    out.push(b'\n');
}

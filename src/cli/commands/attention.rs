//! `bertlet attention`.

use crate::{
    Attention, AttentionViewer, RunOptions, Task, Text, TextOptions, TokenFeature,
    cli::{
        args::AttentionArgs,
        engine,
        exit::{self, Failure, message},
        output::{
            color, heat_map, json,
            sink::{OutputFailed, Sink, refuse_in_use},
        },
    },
};
use anyhow::{Context, anyhow};
use std::{ops::Range, path::Path};

/// Runs the command.
pub fn attention(args: &AttentionArgs) -> Result<u8, Failure> {
    let model = engine::open(&args.model)?;
    let viewer = AttentionViewer::new(&model, args.layer, args.head, TextOptions::default());
    let viewer = viewer.map_err(Failure::task)?;
    let text = Text {
        first: &args.text,
        second: args.text_pair.as_deref(),
    };
    if Path::new(&args.text).is_file() && args.text_pair.is_none() {
        message(format_args!(
            "{0} is a file, and its name was taken as the text; \"$(cat {0})\" is the text in it",
            args.text
        ));
    }
    let answers = viewer.run(&[text], RunOptions::default());
    let attention = answers
        .map_err(Failure::task)?
        .pop()
        .context("no answer to a text; this is a bug in bertlet, please report it")?;
    let rows = match &args.word {
        None => (0..attention.tokens.len()).collect(),
        Some(word) => rows_of(args, &attention, word)?,
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
        refuse_in_use(path)?;
        std::fs::write(path, heat_map::svg(&attention, &rows))
            .with_context(|| OutputFailed(format!("{}: cannot be written", path.display())))?;
    }
    let mut sink = Sink::open(None, &[])?;
    sink.write(&out)?;
    sink.flush()?;
    Ok(exit::OK)
}

/// The tokens of a word: those that overlap one of its places in the texts; where there is none, those that spell it, alone or
/// with the pieces that continue them: special tokens, words without their accents, signs of a script without blanks.
fn rows_of(args: &AttentionArgs, attention: &Attention, word: &str) -> Result<Vec<usize>, Failure> {
    let tokens = &attention.tokens;
    let texts = [Some(&args.text), args.text_pair.as_ref()];
    let places = texts.map(|text| text.map_or(Vec::new(), |text| places(text, word)));
    let is_part = |token: &TokenFeature| {
        let mut places = token.text.into_iter().flat_map(|text| &places[text]);
        places.any(|place| token.offsets.0 < place.end && place.start < token.offsets.1)
    };
    let mut rows: Vec<usize> = (0..tokens.len())
        .filter(|row| is_part(&tokens[*row]))
        .collect();
    if rows.is_empty() {
        rows = spelled(tokens, &word.to_lowercase());
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

/// The tokens whose spelling, with that of the pieces that continue them, is this word in lower case.
fn spelled(tokens: &[TokenFeature], word: &str) -> Vec<usize> {
    let mut rows = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let continues = |token: &&TokenFeature| token.token.starts_with("##");
        let end = start + 1 + tokens[start + 1..].iter().take_while(continues).count();
        let pieces = tokens[start..end].iter().map(|token| &token.token[..]);
        let spelling: String = pieces
            .map(|piece| piece.strip_prefix("##").unwrap_or(piece))
            .collect();
        if spelling.to_lowercase() == word {
            rows.extend(start..end);
        }
        start = end;
    }
    rows
}

/// Where a word stands in a text by itself, in any case; in characters.
fn places(text: &str, word: &str) -> Vec<Range<usize>> {
    let (text, word): (Vec<char>, Vec<char>) = (text.chars().collect(), word.chars().collect());
    let same = |(a, b): (&char, &char)| a.to_lowercase().eq(b.to_lowercase());
    // Whether a word ends between these two.
    let ends = |inside: Option<&char>, outside: Option<&char>| {
        let letter = |char: Option<&char>| char.is_some_and(|char| char.is_alphanumeric());
        !(letter(inside) && letter(outside))
    };
    let starts = 0..(text.len() + 1).saturating_sub(word.len());
    let places = starts.map(|start| start..start + word.len());
    places
        .filter(|place| !word.is_empty() && text[place.clone()].iter().zip(&word).all(same))
        .filter(|place| {
            let before = place
                .start
                .checked_sub(1)
                .and_then(|before| text.get(before));
            ends(word.first(), before) && ends(word.last(), text.get(place.end))
        })
        .collect()
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

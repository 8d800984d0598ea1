//! `bertlet tokenize`.

use super::{Input, Limit, run};
use crate::{
    Model,
    cli::{
        args::{TokenShape, TokenizeArgs},
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{Format, Totals, json, resume::Framing},
        stream::{Done, OnError, Task},
    },
    format::header::TemplatePiece,
    kernels::Team,
    tokenizer::{Offsets, Tokens},
};
use anyhow::Result;

/// Runs the command.
pub fn tokenize(args: &TokenizeArgs) -> Result<u8, Failure> {
    let shape = args.output.format(args.format)?;
    let shape = shape.unwrap_or(TokenShape::Text);
    let model = engine::open(&args.model)?;
    let input = Input::open(&args.input, &args.run, false)?;
    let task = Tokenize {
        shape: TokenFormat {
            shape,
            with_errors: args.output.on_error == OnError::Record,
        },
        special: !args.no_special,
        model,
    };
    if args.no_special && args.input.pairs && shape != TokenShape::Jsonl {
        return Err(Failure::usage(
            "without special tokens the texts of a pair cannot be told apart in this format; use --format jsonl",
        ));
    }
    if args.output.on_error == OnError::Record && shape == TokenShape::Ids {
        return Err(Failure::usage(
            "--format ids has no room for error records; use --format jsonl",
        ));
    }
    let limit = Limit {
        max_length: task.model.header().max_length,
        windows: false,
    };
    let args = (&args.input, &args.output, &args.run);
    run(task, input, args, None, limit)
}

struct Tokenize {
    model: Model,
    shape: TokenFormat,
    special: bool,
}

/// What a thread works with.
struct Room {
    tokens: Tokens,
    offsets: Vec<Offsets>,
    rows: Vec<Token>,
}

/// One token of the assembled sequence.
struct Token {
    id: u32,
    type_id: u32,
    /// In characters of its text; 0, 0 for the special tokens around the texts.
    offsets: Offsets,
    special: bool,
}

impl Task for Tokenize {
    type Format = TokenFormat;
    type Worker = Room;
    const TEAM: Option<fn(&mut Room) -> &mut Team> = None;

    fn format(&self) -> &TokenFormat {
        &self.shape
    }

    fn worker(&self, _: usize) -> Result<Room> {
        Ok(Room {
            tokens: match self.shape.shape {
                TokenShape::Jsonl => Tokens::new(),
                TokenShape::Text | TokenShape::Ids => Tokens::ids_only(),
            },
            offsets: Vec::new(),
            rows: Vec::new(),
        })
    }

    fn weight(&self, record: &Record) -> usize {
        engine::weight(record, usize::MAX, true)
    }

    fn run(&self, room: &mut Room, records: &[Record], done: &mut Done) -> Result<()> {
        for record in records {
            match &record.texts {
                Err(reason) => done.bad(record, reason, &self.shape),
                Ok(texts) => {
                    self.assemble(room, texts);
                    let tokens = room.rows.len() as u64;
                    done.good(record, tokens, false, |out| {
                        self.write(out, record, &room.rows)
                    });
                }
            }
            if done.stopped() {
                break;
            }
        }
        Ok(())
    }
}

impl Tokenize {
    /// The tokens of the texts with the model's template around them.
    fn assemble(&self, room: &mut Room, texts: &Texts) {
        let Room {
            tokens,
            offsets,
            rows,
        } = room;
        rows.clear();
        let tokenizer = self.model.tokenizer();
        let mut add = |text: &str, type_id: u32, rows: &mut Vec<Token>| {
            tokenizer.tokenize(text, tokens);
            if self.shape.shape == TokenShape::Jsonl {
                tokens.char_offsets(text, offsets);
            } else {
                offsets.clear();
                offsets.resize(tokens.ids.len(), (0, 0));
            }
            rows.extend(tokens.ids.iter().zip(&*offsets).map(|(id, offsets)| Token {
                id: *id,
                type_id,
                offsets: *offsets,
                special: false,
            }));
        };
        let pieces = tokenizer.rules().template().pieces(texts.second.is_some());
        for piece in pieces {
            match *piece {
                TemplatePiece::Special { id, type_id } => {
                    if self.special {
                        rows.push(Token {
                            id,
                            type_id,
                            offsets: (0, 0),
                            special: true,
                        });
                    }
                }
                TemplatePiece::First { type_id } => add(&texts.first, type_id, rows),
                TemplatePiece::Second { type_id } => {
                    add(texts.second.as_deref().unwrap_or(""), type_id, rows);
                }
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, rows: &[Token]) {
        let tokenizer = self.model.tokenizer();
        // Every id comes from the vocabulary, so each has a text.
        let text = |token: &Token| tokenizer.token(token.id).unwrap_or("");
        match self.shape.shape {
            TokenShape::Text => {
                join(out, rows, b' ', |out, token| {
                    out.extend_from_slice(text(token).as_bytes());
                });
                out.push(b'\n');
            }
            TokenShape::Ids => {
                join(out, rows, b' ', |out, token| json::integer(out, token.id));
                out.push(b'\n');
            }
            TokenShape::Jsonl => {
                let list = |write: &dyn Fn(&mut Vec<u8>, &Token)| {
                    let mut list = vec![b'['];
                    join(&mut list, rows, b',', write);
                    list.push(b']');
                    list
                };
                let tokens = list(&|out, token| json::string(out, text(token)));
                let ids = list(&|out, token| json::integer(out, token.id));
                let type_ids = list(&|out, token| json::integer(out, token.type_id));
                let special = list(&|out, token| json::integer(out, u64::from(token.special)));
                let offsets = list(&|out, token| {
                    out.push(b'[');
                    json::integer(out, token.offsets.0 as u64);
                    out.push(b',');
                    json::integer(out, token.offsets.1 as u64);
                    out.push(b']');
                });
                let mut fields: Vec<(&str, &[u8])> = vec![
                    ("tokens", &tokens),
                    ("ids", &ids),
                    ("type_ids", &type_ids),
                    ("special_tokens_mask", &special),
                    ("offsets", &offsets),
                ];
                if self.shape.with_errors {
                    // Kept free, so that a good record cannot be taken for an error.
                    fields.push(("error", b""));
                }
                write_object(out, record, &fields);
            }
        }
    }
}

fn join(out: &mut Vec<u8>, rows: &[Token], separator: u8, write: impl Fn(&mut Vec<u8>, &Token)) {
    for (index, token) in rows.iter().enumerate() {
        if index > 0 {
            out.push(separator);
        }
        write(out, token);
    }
}

fn write_object(out: &mut Vec<u8>, record: &Record, fields: &[(&str, &[u8])]) {
    json::object(out, &record.fields, fields);
    out.push(b'\n');
}

/// How tokens are written.
struct TokenFormat {
    shape: TokenShape,
    /// Whether bad records are written in place.
    with_errors: bool,
}

impl Format for TokenFormat {
    fn begin(&self, _: &mut Vec<u8>) {}

    fn error(&self, out: &mut Vec<u8>, record: &Record, reason: &str) {
        let text = format!("{}: {reason}", record.place);
        if self.shape == TokenShape::Jsonl {
            let mut message = Vec::new();
            json::string(&mut message, &text);
            write_object(out, record, &[("error", &message)]);
        } else {
            let line = text.replace(['\n', '\r'], " ");
            out.extend_from_slice(format!("ERROR\t{line}\n").as_bytes());
        }
    }

    fn end(&self, _: &mut Vec<u8>, _: &Totals) {}

    fn framing(&self) -> Framing {
        Framing::Lines
    }
}

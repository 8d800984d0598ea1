//! `bertlet tag`.

use super::{
    Input, record_format, record_shape,
    task::{Show, TaskCommand},
};
use crate::{
    Entity, Tagger, TaggerOptions,
    cli::{
        args::TagArgs,
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{
            color, json,
            record::{RecordFormat, RecordShape, Row, Value},
        },
    },
};

/// Runs the command.
pub fn tag(args: &TagArgs) -> Result<u8, Failure> {
    let shape = record_shape(args.format, &args.input, &args.output)?;
    let model = engine::open(&args.model)?;
    let options = TaggerOptions {
        aggregation: args.aggregation.aggregation(),
        ignore: args.ignore.clone(),
        long: args.text.long(),
    };
    let task = Tagger::new(&model, options).map_err(Failure::task)?;
    let input = Input::open(&args.input, &args.run, false)?;
    let mut format = record_format(
        shape,
        "entities",
        &args.input,
        &input,
        &args.output,
        args.with_text,
    );
    format.bare = true;
    format.columns = vec!["entities".to_owned()];
    let show = ShowEntities {
        color: color::wanted(args.color, args.output.output.as_deref()),
        threshold: args.threshold.unwrap_or(f32::NEG_INFINITY),
        format,
    };
    let command = TaskCommand { task, show };
    let io = (&args.input, &args.output, &args.run);
    command.run(input, io, None, args.text.max_length)
}

struct ShowEntities {
    format: RecordFormat,
    threshold: f32,
    color: bool,
}

impl Show<Tagger> for ShowEntities {
    type Format = RecordFormat;

    fn format(&self) -> &RecordFormat {
        &self.format
    }

    fn input<'a>(&'a self, _: &'a Record, texts: &'a Texts) -> Result<&'a str, String> {
        match texts.second {
            None => Ok(&texts.first),
            Some(_) => Err("a pair of texts; tag takes single texts".to_owned()),
        }
    }

    fn write(&self, out: &mut Vec<u8>, record: &Record, mut entities: Vec<Entity>, _: bool) {
        entities.retain(|entity| entity.score >= self.threshold);
        let text = record.texts.as_ref().map_or("", |texts| &texts.first);
        let value = Entities {
            text,
            entities,
            color: self.color,
        };
        self.format.write(out, record, &value, false);
    }
}

/// The entities of a text.
struct Entities<'a> {
    text: &'a str,
    entities: Vec<Entity>,
    color: bool,
}

impl Value for Entities<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        json::list(out, &self.entities, |out, entity| {
            let Entity {
                label,
                score,
                word,
                start,
                end,
                ..
            } = entity;
            match &entity.index {
                Some(index) => json::fields(
                    out,
                    &[
                        ("entity", label),
                        ("score", score),
                        ("index", index),
                        ("word", word),
                        ("start", start),
                        ("end", end),
                    ],
                ),
                None => json::fields(
                    out,
                    &[
                        ("entity_group", label),
                        ("score", score),
                        ("word", word),
                        ("start", start),
                        ("end", end),
                    ],
                ),
            }
        });
    }

    fn cells(&self, row: &mut Row) {
        if row.shape() == RecordShape::Text {
            row.text(&marked(self.text, &self.entities, self.color));
            return;
        }
        let mut list = Vec::new();
        self.json(&mut list);
        row.text(&String::from_utf8_lossy(&list));
    }
}

/// The text with its entities in it: `[Ann](PER) lives in [Rome](LOC)`, or in colours.
fn marked(text: &str, entities: &[Entity], color: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for entity in entities {
        // Entities come in order and do not overlap, but an added token may take a blank that is another's.
        let (start, end) = (entity.bytes.start.max(at), entity.bytes.end.max(at));
        out.push_str(&text[at..start]);
        let (word, label) = (&text[start..end], &entity.label);
        if color {
            let code = color::of(label);
            out.push_str(&format!("\x1b[1;{code}m{word}\x1b[0;2m/{label}\x1b[0m"));
        } else {
            out.push_str(&format!("[{word}]({label})"));
        }
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_marked_in_the_text() {
        let entity = |label: &str, bytes: std::ops::Range<usize>| Entity {
            label: label.to_owned(),
            score: 0.5,
            word: String::new(),
            start: 0,
            end: 0,
            bytes,
            index: None,
        };
        let entities = [entity("PER", 0..4), entity("LOC", 14..20)];
        assert_eq!(
            marked("Zoé lives in Łódź.", &[entity("PER", 0..4)], false),
            "[Zoé](PER) lives in Łódź."
        );
        assert_eq!(
            marked("Zoé lives in  Łódź", &entities[1..], false),
            "Zoé lives in [ Łód](LOC)ź"
        );
        let colored = marked("Zoé lives", &entities[..1], true);
        assert!(
            colored.starts_with("\x1b[1;3") && colored.ends_with("m lives"),
            "{colored:?}"
        );
    }
}

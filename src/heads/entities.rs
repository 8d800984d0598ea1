//! From labelled tokens to entities, as transformers' token classification pipeline groups them.

/// How tokens are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// Not at all: one entity for each token.
    None,
    /// Neighbouring tokens of one kind become one entity.
    #[default]
    Simple,
    /// As `Simple`, but all of a word has the label of its first token.
    First,
    /// As `Simple`, but all of a word has the label with the highest mean score.
    Average,
    /// As `Simple`, but all of a word has the label of its token with the highest score.
    Max,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelledToken<'a> {
    /// Its text.
    pub(crate) word: &'a str,
    /// Whether it continues the word before it.
    pub(crate) continues: bool,
}

/// A run of neighbouring tokens with one label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// First token, and the one behind the last.
    pub(crate) tokens: std::ops::Range<usize>,
    /// Index of the label of its first token or word.
    pub(crate) label: usize,
    /// Mean score of its tokens or words.
    pub(crate) score: f32,
    /// Its text.
    pub(crate) word: String,
}

/// The model's labels, with what their names say of where an entity begins and ends.
#[derive(Debug, Clone)]
pub(crate) struct LabelScheme {
    marks: Vec<(Mark, String)>,
    /// Whether there are labels for an entity's end, or for one of a single token.
    has_ends: bool,
}

/// What the prefix of a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// `B-`: an entity begins.
    Begin,
    /// `I-`, or no prefix: it goes on.
    Inside,
    /// `E-` or `L-`: it goes on and ends.
    End,
    /// `S-` or `U-`: it begins and ends.
    Single,
}

impl LabelScheme {
    /// Reads the labels' names. `E-`, `L-`, `S-` and `U-` count as prefixes if all labels but `O` have one of these or
    /// `B-` or `I-`.
    pub(crate) fn new(labels: &[String]) -> LabelScheme {
        let prefix = |label: &str| match label.split_once('-')?.0 {
            "B" => Some(Mark::Begin),
            "I" => Some(Mark::Inside),
            "E" | "L" => Some(Mark::End),
            "S" | "U" => Some(Mark::Single),
            _ => None,
        };
        let all_marked = labels
            .iter()
            .all(|label| label == "O" || prefix(label).is_some());
        let marks = labels.iter().map(|label| match prefix(label) {
            Some(mark @ (Mark::Begin | Mark::Inside)) => (mark, label[2..].to_owned()),
            Some(mark) if all_marked => (mark, label[2..].to_owned()),
            _ => (Mark::Inside, label.clone()),
        });
        let marks: Vec<_> = marks.collect();
        LabelScheme {
            has_ends: marks
                .iter()
                .any(|(mark, _)| matches!(mark, Mark::End | Mark::Single)),
            marks,
        }
    }

    /// A label without its prefix.
    pub(crate) fn kind(&self, label: usize) -> &str {
        &self.marks[label].1
    }

    /// Whether a token labelled `next` belongs to the entity whose last token is labelled `last`.
    fn continues(&self, last: usize, next: usize) -> bool {
        let ((last, last_kind), (next, next_kind)) = (&self.marks[last], &self.marks[next]);
        let ended = self.has_ends && matches!(last, Mark::End | Mark::Single);
        last_kind == next_kind && !ended && !matches!(next, Mark::Begin | Mark::Single)
    }
}

/// Groups tokens. `scores` are `[tokens, labels]`; `join` makes a text of tokens or words.
pub(crate) fn group(
    scheme: &LabelScheme,
    tokens: &[LabelledToken<'_>],
    scores: &[f32],
    aggregation: Aggregation,
    join: impl Fn(&[&str]) -> String,
) -> Vec<Group> {
    let labels = scheme.marks.len();
    let row = |token: usize| &scores[token * labels..][..labels];
    let single = |token: usize| {
        let (label, score) = best(row(token));
        Group {
            tokens: token..token + 1,
            label,
            score,
            word: tokens[token].word.to_owned(),
        }
    };
    let units: Vec<Group> = match aggregation {
        Aggregation::None => return (0..tokens.len()).map(single).collect(),
        Aggregation::Simple => (0..tokens.len()).map(single).collect(),
        Aggregation::First | Aggregation::Average | Aggregation::Max => words(tokens)
            .map(|word| {
                let (label, score) = match aggregation {
                    Aggregation::First => best(row(word.start)),
                    Aggregation::Max => {
                        // The first of equals, as everywhere.
                        let best_of = word.clone().map(|token| best(row(token)));
                        best_of.fold((0, f32::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a })
                    }
                    _ => {
                        let mut mean = vec![0.0; labels];
                        for token in word.clone() {
                            mean.iter_mut().zip(row(token)).for_each(|(m, s)| *m += s);
                        }
                        mean.iter_mut().for_each(|m| *m /= word.len() as f32);
                        best(&mean)
                    }
                };
                let texts: Vec<&str> = tokens[word.clone()].iter().map(|t| t.word).collect();
                Group {
                    word: join(&texts),
                    tokens: word,
                    label,
                    score,
                }
            })
            .collect(),
    };
    let mut groups = Vec::new();
    let mut rest = &units[..];
    while let Some(first) = rest.first() {
        let more = rest
            .windows(2)
            .take_while(|pair| scheme.continues(pair[0].label, pair[1].label))
            .count();
        let (group, behind) = rest.split_at(more + 1);
        let texts: Vec<&str> = group.iter().map(|unit| unit.word.as_str()).collect();
        groups.push(Group {
            tokens: first.tokens.start..group[more].tokens.end,
            label: first.label,
            score: group.iter().map(|unit| unit.score).sum::<f32>() / group.len() as f32,
            word: join(&texts),
        });
        rest = behind;
    }
    groups
}

/// The highest score and its index; the first of equals.
fn best(scores: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (index, *score);
        }
    }
    best
}

/// Each word's tokens.
fn words(tokens: &[LabelledToken<'_>]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let begin = start;
        if begin == tokens.len() {
            return None;
        }
        start += 1;
        while tokens.get(start).is_some_and(|token| token.continues) {
            start += 1;
        }
        Some(begin..start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(labels: &[&str], given: &[&str], aggregation: Aggregation) -> Vec<(String, String)> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let words: Vec<String> = (0..given.len()).map(|index| format!("w{index}")).collect();
        let tokens: Vec<LabelledToken<'_>> = words
            .iter()
            .map(|word| LabelledToken {
                word,
                continues: false,
            })
            .collect();
        let mut scores = vec![0.0; labels.len() * given.len()];
        for (token, label) in given.iter().enumerate() {
            let index = labels.iter().position(|l| l == label).unwrap();
            scores[token * labels.len() + index] = 1.0;
        }
        let scheme = LabelScheme::new(&labels);
        group(&scheme, &tokens, &scores, aggregation, |texts| {
            texts.join(" ")
        })
        .into_iter()
        .map(|group| (labels[group.label].clone(), group.word))
        .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = expected.iter();
        owned.map(|(a, b)| ((*a).into(), (*b).into())).collect()
    }

    const BIO: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

    #[test]
    fn a_beginning_or_another_kind_starts_an_entity() {
        let found = grouped(
            &BIO,
            &[
                "B-PER", "I-PER", "B-PER", "I-LOC", "I-LOC", "O", "O", "I-PER",
            ],
            Aggregation::Simple,
        );
        assert_eq!(
            found,
            pairs(&[
                ("B-PER", "w0 w1"),
                ("B-PER", "w2"),
                ("I-LOC", "w3 w4"),
                ("O", "w5 w6"),
                ("I-PER", "w7")
            ])
        );
    }

    #[test]
    fn ends_and_singles_close_an_entity() {
        let labels = ["O", "B-A", "I-A", "E-A", "S-A"];
        let found = grouped(
            &labels,
            &["B-A", "I-A", "E-A", "I-A", "S-A", "S-A", "B-A", "E-A"],
            Aggregation::Simple,
        );
        assert_eq!(
            found,
            pairs(&[
                ("B-A", "w0 w1 w2"),
                ("I-A", "w3"),
                ("S-A", "w4"),
                ("S-A", "w5"),
                ("B-A", "w6 w7")
            ])
        );
    }

    #[test]
    fn names_without_prefixes_are_kinds() {
        let found = grouped(
            &["E-mail", "PHONE", "O"],
            &["E-mail", "E-mail", "PHONE", "PHONE"],
            Aggregation::Simple,
        );
        assert_eq!(found, pairs(&[("E-mail", "w0 w1"), ("PHONE", "w2 w3")]));
    }

    #[test]
    fn no_aggregation_keeps_tokens() {
        let found = grouped(&BIO, &["B-PER", "I-PER"], Aggregation::None);
        assert_eq!(found, pairs(&[("B-PER", "w0"), ("I-PER", "w1")]));
    }
}

//! Answers to questions, as parts of a text.

use super::batch::Batch;
use super::model::Model;
use super::span_tokens::{Long, Room, SpanTokens, template_room};
use super::task::Task;
use super::text_encoder::EncodedText;
use crate::error::{Error, Result};
use crate::heads::{Span, best_answers, spans};
use crate::kernels::MatrixMut;
use crate::tokenizer::{Offsets, Tokens, windows};
use std::ops::Range;

/// Tokens that neighbouring windows share unless told otherwise, as in BERT's own SQuAD program.
const STRIDE: usize = 128;

/// How an [`Answerer`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswererOptions {
    /// Answers that are wanted.
    pub top: usize,
    /// Longest answer in tokens.
    pub max_answer_length: usize,
    /// Whether "no answer" is an answer, for models trained so (SQuAD 2.0).
    pub no_answer: bool,
    /// Windows over long contexts.
    pub long: Long,
}

impl Default for AnswererOptions {
    /// The best answer, of at most 15 tokens, as transformers' pipeline did.
    fn default() -> Self {
        AnswererOptions {
            top: 1,
            max_answer_length: 15,
            no_answer: false,
            long: Long::default(),
        }
    }
}

/// A question, and the text that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The question.
    pub question: &'a str,
    /// The text.
    pub context: &'a str,
}

/// A part of the context.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Probability that it starts here and ends here; where candidates differ in nothing but place or case, the sum of theirs.
    pub score: f32,
    /// Where it begins, in characters of the context.
    pub start: usize,
    /// Behind its last character.
    pub end: usize,
    /// Where it lies, in bytes.
    pub bytes: Range<usize>,
    /// Its text; empty if there is no answer.
    pub text: String,
}

/// Extractive question answering: [`Task`] from [`Question`]s to the best [`Answer`]s, best first; as many as there are
/// if the context has few words.
///
/// A context that is too long is read in overlapping windows. All windows' scores pass through one softmax, so that they can
/// be compared. For a context of one window, answers and scores are those of the pipeline of transformers 4.
#[derive(Debug)]
pub struct Answerer {
    model: Model,
    options: AnswererOptions,
    room: Room,
}

/// A question whose windows are being computed.
#[derive(Debug)]
pub struct OpenQuestion {
    context: String,
    offsets: Vec<Offsets>,
    /// Whether a token continues the word before it.
    continues: Vec<bool>,
    windows: Vec<Range<usize>>,
    /// Row of the context's first token in a sequence.
    first_row: usize,
    /// One behind the other for all windows: the score of the first token, which stands for "no answer", then those of the
    /// window's tokens.
    starts: Vec<f32>,
    ends: Vec<f32>,
}

/// Where tokens lie that have such places.
fn place(offsets: &[Offsets], tokens: &Range<usize>) -> Range<usize> {
    offsets[tokens.start].0..offsets[tokens.end - 1].1
}

impl Answerer {
    /// # Errors
    /// [`Error::Model`] if the model has no question answering head, [`Error::Input`] if the options do not fit it.
    pub fn new(model: &Model, options: AnswererOptions) -> Result<Answerer> {
        model.answer_head()?;
        let room = template_room(model, options.long.max_length, true)?;
        if let Some(stride) = options.long.stride.filter(|stride| *stride >= room.tokens) {
            return Err(Error::Input(format!(
                "a stride of {stride} tokens, but question and context together have {}; the stride must be less",
                room.tokens
            )));
        }
        Ok(Answerer {
            model: model.clone(),
            options,
            room,
        })
    }
}

/// One thread's memory: the context's tokens and the question's.
#[derive(Debug)]
pub struct QuestionRoom {
    context: SpanTokens,
    question: Tokens,
}

impl Task for Answerer {
    type Input<'a> = Question<'a>;
    type Room = QuestionRoom;
    type Pending = OpenQuestion;
    type Answer = Vec<Answer>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> QuestionRoom {
        QuestionRoom {
            context: SpanTokens::default(),
            question: Tokens::ids_only(),
        }
    }

    fn encode(
        &self,
        input: &Question<'_>,
        room: &mut QuestionRoom,
        batch: &mut Batch,
    ) -> Result<(OpenQuestion, EncodedText)> {
        let tokenizer = self.model.tokenizer();
        tokenizer.tokenize(input.question, &mut room.question);
        room.context.tokenize(tokenizer, input.context);
        let (question, ids) = (&room.question.ids, &room.context.tokens.ids);
        let asked = self.options.long.stride;
        // A window must hold the question, and of the context more than it repeats.
        let least = asked.unwrap_or(0) + 1;
        let window = self.room.tokens.saturating_sub(question.len());
        if window < least {
            return Err(Error::Input(format!(
                "the question has {} tokens; of the {} that a window holds it leaves {window} for the context, and {least} are needed; shorten the question{}",
                question.len(),
                self.room.tokens,
                if asked.is_some() {
                    " or the stride"
                } else {
                    ""
                }
            )));
        }
        let overlap = asked.unwrap_or(STRIDE.min(window / 2));
        let windows: Vec<_> = windows(ids.len(), window, overlap).collect();
        let before = batch.tokens();
        for window in &windows {
            batch.push_window(0, window.len(), |all, type_ids| {
                let template = tokenizer.rules().template();
                template.assemble(question, Some(&ids[window.clone()]), all, type_ids);
            });
        }
        let encoded = EncodedText {
            tokens: batch.tokens() - before,
            truncated: false,
            windows: windows.len(),
        };
        let pending = OpenQuestion {
            context: input.context.to_owned(),
            continues: tokenizer.continuations(input.context, &room.context.tokens),
            offsets: std::mem::take(&mut room.context.tokens.offsets),
            windows,
            first_row: context_row(&self.model, question.len()),
            starts: Vec::new(),
            ends: Vec::new(),
        };
        Ok((pending, encoded))
    }

    fn read(&self, open: &mut OpenQuestion, room: &mut QuestionRoom, index: usize, states: &[f32]) {
        let Ok(head) = self.model.answer_head() else {
            return;
        };
        let hidden_size = self.model.header().config.hidden_size;
        let (file, kernel) = (self.model.file(), self.model.kernel());
        let context = open.first_row..open.first_row + open.windows[index].len();
        for row in std::iter::once(0).chain(context) {
            let values = &mut room.context.values;
            values.clear();
            head.forward(
                file,
                kernel,
                &states[row * hidden_size..][..hidden_size],
                values,
            );
            open.starts.push(values[0]);
            open.ends.push(values[1]);
        }
    }

    fn finish(&self, mut open: OpenQuestion, room: &mut QuestionRoom) -> Vec<Answer> {
        let kernel = self.model.kernel();
        for scores in [&mut open.starts, &mut open.ends] {
            let all = scores.len();
            kernel.softmax_rows(MatrixMut::new(scores, 1, all, all), 1.0);
        }
        let whole = |span: Range<usize>| {
            let (mut start, mut end) = (span.start, span.end);
            while start > 0 && open.continues[start] {
                start -= 1;
            }
            while end < open.continues.len() && open.continues[end] {
                end += 1;
            }
            start..end
        };
        let mut at = 0;
        let mut no_answer = f32::INFINITY;
        let windows = open.windows.iter().map(|window| {
            no_answer = no_answer.min(open.starts[at] * open.ends[at]);
            let scores = at + 1..at + 1 + window.len();
            let (starts, ends) = (&open.starts[scores.clone()], &open.ends[scores.clone()]);
            let longest = self.options.max_answer_length;
            let mut found = Vec::new();
            spans(window.start, starts, ends, longest, whole, &mut found);
            at = scores.end;
            found
        });
        let top = self.options.top;
        let text = |tokens: &Range<usize>| &open.context[place(&open.offsets, tokens)];
        let best = best_answers(windows, top, text);
        let [bytes, chars] = room.context.places(open.offsets, &open.context);
        let answer = |span: Span| {
            let (bytes, chars) = (place(bytes, &span.tokens), place(chars, &span.tokens));
            Answer {
                score: span.score,
                start: chars.start,
                end: chars.end,
                text: open.context[bytes.clone()].to_owned(),
                bytes,
            }
        };
        let mut answers: Vec<Answer> = best.into_iter().map(answer).collect();
        if self.options.no_answer {
            answers.push(Answer {
                score: no_answer,
                start: 0,
                end: 0,
                bytes: 0..0,
                text: String::new(),
            });
            answers.sort_by(|a, b| b.score.total_cmp(&a.score));
            answers.truncate(top);
        }
        answers
    }
}

/// Row of the second text's first token, behind a first text of `first` tokens.
fn context_row(model: &Model, first: usize) -> usize {
    use crate::format::header::TemplatePiece;
    let tokenizer = model.tokenizer();
    let pieces = tokenizer.rules().template().pieces(true).iter();
    pieces
        .take_while(|piece| !matches!(piece, TemplatePiece::Second { .. }))
        .map(|piece| match piece {
            TemplatePiece::Special { .. } => 1,
            _ => first,
        })
        .sum()
}

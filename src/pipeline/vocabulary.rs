//! What all tasks of a masked language model have in common: texts as ids, and hidden states as scores of the vocabulary.

use super::encoder::forward;
use super::model::Model;
use super::span_tokens::template_room;
use crate::error::Result;
use crate::heads::LanguageModelScratch;
use crate::kernels::{MatrixMut, Team};
use crate::tokenizer::{Tokens, TruncationSide};

/// Most masks whose scores are computed together: the vocabulary's vectors come from memory once for all of them.
const MASKS: usize = 8;

/// Bytes that their scores may have, so that they stay in the second-level cache, unless those of one mask are more.
const SCORE_BYTES: usize = 1 << 20;

/// The mask token, and room for text beside the special tokens.
#[derive(Debug)]
pub(super) struct Mask {
    pub(super) id: u32,
    pub(super) text: String,
    pub(super) room: usize,
    /// The padding token, which no answer shows.
    pub(super) padding: Option<u32>,
}

impl Mask {
    pub(super) fn new(model: &Model, max_length: Option<usize>) -> Result<Mask> {
        let (_, id, padding) = model.language_model_head()?;
        let text = model.tokenizer().token(id).unwrap_or_default().to_owned();
        Ok(Mask {
            id,
            text,
            room: template_room(model, max_length, false)?.tokens,
            padding,
        })
    }
}

/// One thread's memory.
#[derive(Debug)]
pub struct VocabularyRoom {
    tokens: Tokens,
    /// The sequence of the text that was assembled last.
    pub(super) ids: Vec<u32>,
    pub(super) type_ids: Vec<u8>,
    scratch: LanguageModelScratch,
}

impl VocabularyRoom {
    pub(super) fn new() -> VocabularyRoom {
        VocabularyRoom {
            tokens: Tokens::ids_only(),
            ids: Vec::new(),
            type_ids: Vec::new(),
            scratch: LanguageModelScratch::default(),
        }
    }

    /// Assembles the sequence of `text`, cut to `room` tokens of text; returns whether it was cut.
    pub(super) fn assemble(&mut self, model: &Model, text: &str, room: usize) -> bool {
        let tokenizer = model.tokenizer();
        // As transformers counts: the limit is the whole sequence's.
        let special = tokenizer.rules().template().special_count(false);
        tokenizer.tokenize_some(text, room + special + 1, &mut self.tokens);
        let all = self.tokens.ids.len();
        let kept = &self.tokens.ids[TruncationSide::Right.kept(all, room)];
        self.ids.clear();
        self.type_ids.clear();
        let template = tokenizer.rules().template();
        template.assemble(kept, None, &mut self.ids, &mut self.type_ids);
        all > room
    }

    /// Shows `visit` the logits, `[vocab_size]`, that follow from each hidden state, in order. Record `i` has the states
    /// `[masks, hidden_size]` of `states[i]`.
    pub(super) fn predict(
        &mut self,
        model: &Model,
        states: &[Vec<f32>],
        team: &mut Team,
        mut visit: impl FnMut(usize, &mut [f32]),
    ) {
        let Ok((head, ..)) = model.language_model_head() else {
            return;
        };
        let hidden_size = model.header().config.hidden_size;
        let (records, rows): (Vec<usize>, Vec<&[f32]>) = (states.iter().enumerate())
            .flat_map(|(record, states)| {
                let rows = states.chunks_exact(hidden_size);
                rows.map(move |state| (record, state))
            })
            .unzip();
        let vocabulary_bytes = size_of::<f32>() * model.header().config.vocab_size.max(1);
        let together = (SCORE_BYTES / vocabulary_bytes).clamp(1, MASKS);
        for (records, rows) in records.chunks(together).zip(rows.chunks(together)) {
            let mut logits = head.forward(forward(model), rows, &mut self.scratch, team);
            for (row, record) in records.iter().enumerate() {
                visit(*record, logits.row(row));
            }
        }
    }
}

/// Turns logits into probabilities.
pub(super) fn softmax(model: &Model, logits: &mut [f32]) {
    let all = logits.len();
    let row = MatrixMut::new(logits, 1, all, all);
    model.kernel().softmax_rows(row, 1.0);
}

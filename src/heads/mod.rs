//! From hidden states to answers: pooling for sentence vectors, task heads for scores.
//!
//! A head knows what it computes and nothing of the family that the checkpoint came from: the converter brings all
//! families' layouts into these forms.

mod classification;
mod dense;
mod elementary;
mod entities;
mod function;
mod language_model;
mod pooling;
mod spans;

pub(crate) use classification::ClassificationHead;
pub(crate) use dense::Dense;
pub(crate) use elementary::{exp, ln};
pub use entities::Aggregation;
pub(crate) use entities::{LabelScheme, LabelledToken, group};
pub use function::Function;
pub(crate) use language_model::{LanguageModelHead, LanguageModelScratch};
pub use pooling::cosine;
pub(crate) use pooling::{normalize, pool};
pub(crate) use spans::{Span, best_answers, spans};

use crate::format::header::{Activation, HeadConfig};
use crate::format::{FormatError, Locator};
use crate::kernels;

/// The tensors of a model's task head.
#[derive(Debug)]
pub(crate) enum Head {
    /// Scores of a sequence's labels.
    Sequence(ClassificationHead),
    /// Scores of each token's labels, or of an answer's start and end.
    Token(Dense<f32>),
    /// Scores of the vocabulary.
    LanguageModel {
        predictions: LanguageModelHead,
        next_sentence: Option<ClassificationHead>,
    },
}

impl Head {
    /// Finds the tensors that the header asks for; `None` where it names no head.
    pub(crate) fn locate(locator: &Locator<'_>) -> Result<Option<Head>, FormatError> {
        let header = locator.file().header();
        let Some(config) = &header.head else {
            return Ok(None);
        };
        let hidden = header.config.hidden_size;
        let sequence = |pooler, name: &str, outputs| {
            ClassificationHead::locate(locator, pooler, name, outputs)
        };
        let token = |outputs| {
            Dense::locate(
                locator,
                "classifier",
                [outputs, hidden],
                true,
                kernels::Activation::Identity,
            )
        };
        let next_sentence = || sequence(Some(Activation::Tanh), "next_sentence", 2);
        Ok(Some(match config {
            HeadConfig::SequenceClassification { labels, pooler, .. } => {
                Head::Sequence(sequence(*pooler, "classifier", labels.len())?)
            }
            HeadConfig::MultipleChoice { pooler } => {
                Head::Sequence(sequence(*pooler, "classifier", 1)?)
            }
            HeadConfig::NextSentencePrediction {} => Head::Sequence(next_sentence()?),
            HeadConfig::TokenClassification { labels } => Head::Token(token(labels.len())?),
            HeadConfig::QuestionAnswering {} => Head::Token(token(2)?),
            HeadConfig::MaskedLanguageModel {
                activation,
                tied,
                next_sentence: with_next_sentence,
                ..
            } => Head::LanguageModel {
                predictions: LanguageModelHead::locate(locator, *activation, *tied)?,
                next_sentence: with_next_sentence.then(next_sentence).transpose()?,
            },
        }))
    }
}

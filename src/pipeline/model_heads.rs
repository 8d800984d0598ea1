//! Which task a model's head is for, and the errors of a model that is for another.

use super::model::Model;
use crate::error::{Error, Result};
use crate::format::header::HeadConfig;
use crate::heads::{ClassificationHead, Dense, Head, LanguageModelHead};

impl Model {
    /// Names of the labels by index, if the model's head gives labels to texts or tokens.
    pub fn labels(&self) -> Option<&[String]> {
        self.header().head.as_ref().and_then(HeadConfig::labels)
    }

    /// The head of sequence classification.
    pub(crate) fn sequence_head(&self) -> Result<&ClassificationHead> {
        match (&self.header().head, &self.parts().head) {
            (Some(HeadConfig::SequenceClassification { .. }), Some(Head::Sequence(head))) => {
                Ok(head)
            }
            _ => Err(self.wrong_head("sequence classification")),
        }
    }

    /// The head of multiple choice.
    pub(crate) fn choice_head(&self) -> Result<&ClassificationHead> {
        match (&self.header().head, &self.parts().head) {
            (Some(HeadConfig::MultipleChoice { .. }), Some(Head::Sequence(head))) => Ok(head),
            _ => Err(self.wrong_head("multiple choice")),
        }
    }

    /// The head of next-sentence prediction, alone or beside a masked language model.
    pub(crate) fn next_sentence_head(&self) -> Result<&ClassificationHead> {
        match (&self.header().head, &self.parts().head) {
            (Some(HeadConfig::NextSentencePrediction {}), Some(Head::Sequence(head)))
            | (
                _,
                Some(Head::LanguageModel {
                    next_sentence: Some(head),
                    ..
                }),
            ) => Ok(head),
            _ => Err(self.wrong_head("next-sentence prediction")),
        }
    }

    /// The head of token classification.
    pub(crate) fn token_head(&self) -> Result<&Dense<f32>> {
        match (&self.header().head, &self.parts().head) {
            (Some(HeadConfig::TokenClassification { .. }), Some(Head::Token(head))) => Ok(head),
            _ => Err(self.wrong_head("token classification")),
        }
    }

    /// The head of question answering.
    pub(crate) fn answer_head(&self) -> Result<&Dense<f32>> {
        match (&self.header().head, &self.parts().head) {
            (Some(HeadConfig::QuestionAnswering {}), Some(Head::Token(head))) => Ok(head),
            _ => Err(self.wrong_head("question answering")),
        }
    }

    /// The head of masked language modelling, and the ids of the mask token and the padding token.
    pub(crate) fn language_model_head(&self) -> Result<(&LanguageModelHead, u32, Option<u32>)> {
        match (&self.header().head, &self.parts().head) {
            (
                Some(HeadConfig::MaskedLanguageModel {
                    mask_id, pad_id, ..
                }),
                Some(Head::LanguageModel { predictions, .. }),
            ) => Ok((predictions, *mask_id, *pad_id)),
            _ => Err(self.wrong_head("masked language modelling")),
        }
    }

    /// What is said when a task asks for a head that the model does not have.
    fn wrong_head(&self, wanted: &str) -> Error {
        let path = self.file().path().display();
        let found = match &self.header().head {
            Some(head) => format!("its head is for {}", head.task()),
            None => "it has no task head".to_owned(),
        };
        Error::Model(format!(
            "{path}: the model is not made for {wanted}: {found}; convert a checkpoint that was trained for {wanted}"
        ))
    }
}

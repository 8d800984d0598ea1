//! Labels with scores from texts, over all threads.

use super::model::Model;
use super::text_encoder::{Text, TextOptions};
use super::workers::Workers;
use crate::error::Result;
use crate::heads::Function;

/// How a [`Classifier`] works.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifierOptions {
    /// From text to tokens.
    pub text: TextOptions,
    /// From logits to scores; `None` for what transformers would choose, [`Function::auto`].
    pub function: Option<Function>,
    /// Threads; `None` for the physical cores that this process may use.
    pub threads: Option<usize>,
    /// Tokens that one thread computes at a time, about. Bounds the working memory.
    pub batch_tokens: usize,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        ClassifierOptions {
            text: TextOptions::default(),
            function: None,
            threads: None,
            batch_tokens: super::DEFAULT_BATCH_TOKENS,
        }
    }
}

/// Turns texts, or pairs of texts, into scored labels. Can be shared between threads.
///
/// ```
/// # #[cfg(feature = "default-model")] {
/// use bertlet::{Classifier, Model};
///
/// let classifier = Classifier::new(&Model::embedded()?)?;
/// let answers = classifier.classify(&["A charming and moving film.", "Dull from start to end."])?;
/// assert_eq!(answers[0].best().0, "positive");
/// assert_eq!(answers[1].best().0, "negative");
/// # }
/// # Ok::<(), bertlet::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    workers: Workers,
    labels: Vec<String>,
    function: Function,
}

impl Classifier {
    /// A classifier as transformers' pipeline would run the model, on all threads.
    ///
    /// # Errors
    /// As [`Classifier::with_options`].
    pub fn new(model: &Model) -> Result<Classifier> {
        Classifier::with_options(model, ClassifierOptions::default())
    }

    /// A classifier with other options.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if the model has no classification head, [`crate::Error::Input`] if the options do not
    /// fit it.
    pub fn with_options(model: &Model, options: ClassifierOptions) -> Result<Classifier> {
        model.sequence_head()?;
        let (Some(head), Some(labels)) = (&model.header().head, model.labels()) else {
            unreachable!("a sequence classification head has labels");
        };
        Ok(Classifier {
            workers: Workers::new(model, options.text, options.threads, options.batch_tokens)?,
            function: options.function.unwrap_or_else(|| Function::auto(head)),
            labels: labels.to_vec(),
        })
    }

    /// Names of the labels by index.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// One answer for each text, in order.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if a text is too long and the options say that this is an error, or is a pair that the
    /// model's tokenizer has no template for.
    pub fn classify<'t, T: Into<Text<'t>> + Copy>(
        &self,
        texts: &[T],
    ) -> Result<Vec<Classification<'_>>> {
        let texts: Vec<Text<'t>> = texts.iter().map(|text| (*text).into()).collect();
        let mut scores = self
            .workers
            .run(&texts, |encoder, batch, out| encoder.classify(batch, out))?;
        let labels = self.labels();
        let rows = scores.chunks_exact_mut(labels.len());
        Ok(rows
            .map(|scores| {
                self.function.apply(self.workers.model().kernel(), scores);
                Classification {
                    labels,
                    scores: scores.to_vec(),
                }
            })
            .collect())
    }
}

/// The scores of all labels for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification<'a> {
    labels: &'a [String],
    scores: Vec<f32>,
}

impl Classification<'_> {
    /// Scores by index of the label.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The label with the highest score; the first of equals.
    pub fn best(&self) -> (&str, f32) {
        let index = (1..self.scores.len()).fold(0, |best, index| {
            if self.scores[index] > self.scores[best] {
                index
            } else {
                best
            }
        });
        (&self.labels[index], self.scores[index])
    }

    /// Labels with scores, highest first; equals in the order of the labels.
    pub fn ranked(&self) -> Vec<(&str, f32)> {
        let mut ranked: Vec<(&str, f32)> = self
            .labels
            .iter()
            .map(String::as_str)
            .zip(self.scores.iter().copied())
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

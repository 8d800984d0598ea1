//! Labels that the model was not trained for: by entailment, and by nearness of vectors.

use super::batch::Batch;
use super::embedder::{Embedder, EmbedderOptions};
use super::encoder::{EmbeddingOptions, States};
use super::model::Model;
use super::span_tokens::template_room;
use super::task::Task;
use super::text_encoder::{EncodedText, TextOptions};
use crate::error::{Error, Result};
use crate::heads;
use crate::kernels::MatrixMut;
use crate::tokenizer::Tokens;
use std::collections::HashSet;

/// Stands for the label's name in a template.
const PLACE: &str = "{}";

/// A label of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Texts that it would be right for, for models that compare vectors; without any, the name is the text.
    pub examples: Vec<String>,
}

impl From<&str> for Label {
    fn from(name: &str) -> Label {
        Label {
            name: name.to_owned(),
            examples: Vec::new(),
        }
    }
}

/// Checks a list of labels.
fn check(labels: &[Label]) -> Result<()> {
    if labels.is_empty() {
        return Err(Error::Input(
            "no label is named; name at least one".to_owned(),
        ));
    }
    let mut names = HashSet::with_capacity(labels.len());
    for (index, label) in labels.iter().enumerate() {
        if label.name.trim().is_empty() {
            return Err(Error::Input(format!(
                "label {} has no name; between two commas there must be one",
                index + 1
            )));
        }
        if !names.insert(&label.name) {
            return Err(Error::Input(format!(
                "label {:?} is named twice; leave one out",
                label.name
            )));
        }
    }
    Ok(())
}

/// A template with a label's name in it.
fn filled(template: &str, name: &str) -> Result<String> {
    match template.contains(PLACE) {
        true => Ok(template.replace(PLACE, name)),
        false => Err(Error::Input(format!(
            "the template {template:?} has no {PLACE} for the label's name"
        ))),
    }
}

/// How an [`EntailmentClassifier`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntailmentOptions {
    /// What a label becomes, with `{}` for its name.
    pub hypothesis_template: String,
    /// Scores each label by itself, entailment against contradiction; else all labels' entailments pass through one softmax.
    pub multi_label: bool,
    /// Longest sequence in tokens, special tokens included, instead of the model's; the text's end is cut off.
    pub max_length: Option<usize>,
}

impl Default for EntailmentOptions {
    fn default() -> Self {
        EntailmentOptions {
            hypothesis_template: "This example is {}.".to_owned(),
            multi_label: false,
            max_length: None,
        }
    }
}

/// Zero-shot classification by a model of natural language inference, as transformers' pipeline does it: [`Task`] from texts to
/// a score for each label, in the order of the labels.
#[derive(Debug)]
pub struct EntailmentClassifier {
    model: Model,
    /// Tokens of each label's hypothesis.
    hypotheses: Vec<Vec<u32>>,
    multi_label: bool,
    entailment: usize,
    contradiction: usize,
    /// Tokens of text and hypothesis together.
    room: usize,
}

impl EntailmentClassifier {
    /// # Errors
    /// [`Error::Model`] if the model has no sequence classification head with a label that begins with "entail";
    /// [`Error::Input`] if the labels or options cannot be used.
    pub fn new(
        model: &Model,
        labels: &[Label],
        options: &EntailmentOptions,
    ) -> Result<EntailmentClassifier> {
        model.sequence_head()?;
        check(labels)?;
        let names = model.labels().unwrap_or_default();
        let Some(entailment) = entailment(names) else {
            return Err(Error::Model(format!(
                "{}: no label of the model begins with \"entail\", its labels are {}; zero-shot classification needs a model of natural language inference, or one that gives sentence vectors",
                model.file().path().display(),
                names.join(", ")
            )));
        };
        if names.len() < 2 {
            return Err(Error::Model(format!(
                "{}: the model has the label {} alone; contradiction is missing",
                model.file().path().display(),
                names.join(", ")
            )));
        }
        let room = template_room(model, options.max_length, true)?.tokens;
        let mut tokens = Tokens::ids_only();
        let mut hypotheses = Vec::with_capacity(labels.len());
        for label in labels {
            let hypothesis = filled(&options.hypothesis_template, &label.name)?;
            model.tokenizer().tokenize(&hypothesis, &mut tokens);
            if tokens.ids.len() >= room {
                return Err(Error::Input(format!(
                    "the hypothesis {hypothesis:?} has {} tokens; of the {room} that the model takes none is left for the text; shorten the label or the template",
                    tokens.ids.len()
                )));
            }
            hypotheses.push(tokens.ids.clone());
        }
        Ok(EntailmentClassifier {
            model: model.clone(),
            hypotheses,
            // As transformers does for a single label, whose softmax would be 1.
            multi_label: options.multi_label || labels.len() == 1,
            entailment,
            contradiction: if entailment == 0 { names.len() - 1 } else { 0 },
            room,
        })
    }
}

/// Index of the label that means entailment.
pub(crate) fn entailment(labels: &[String]) -> Option<usize> {
    let mut lower = labels.iter().map(|label| label.to_lowercase());
    lower.position(|label| label.starts_with("entail"))
}

/// One thread's memory.
#[derive(Debug)]
pub struct EntailmentRoom {
    tokens: Tokens,
    pooled: Vec<f32>,
    logits: Vec<f32>,
}

impl Task for EntailmentClassifier {
    type Input<'a> = &'a str;
    type Room = EntailmentRoom;
    /// For each label the logits of contradiction and entailment.
    type Pending = Vec<[f32; 2]>;
    type Answer = Vec<f32>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn room(&self) -> EntailmentRoom {
        EntailmentRoom {
            tokens: Tokens::ids_only(),
            pooled: Vec::new(),
            logits: Vec::new(),
        }
    }

    fn encode(
        &self,
        input: &&str,
        room: &mut EntailmentRoom,
        batch: &mut Batch,
    ) -> Result<(Vec<[f32; 2]>, EncodedText)> {
        let tokenizer = self.model.tokenizer();
        let template = tokenizer.rules().template();
        let limit = self.room + template.special_count(true) + 1;
        tokenizer.tokenize_some(input, limit, &mut room.tokens);
        let ids = &room.tokens.ids;
        let before = batch.tokens();
        let mut truncated = false;
        for hypothesis in &self.hypotheses {
            let kept = ids.len().min(self.room - hypothesis.len());
            truncated |= kept < ids.len();
            batch.push_window(0, 1, |all, type_ids| {
                template.assemble(&ids[..kept], Some(hypothesis), all, type_ids);
            });
        }
        let encoded = EncodedText {
            tokens: batch.tokens() - before,
            truncated,
            windows: self.hypotheses.len(),
        };
        Ok((Vec::with_capacity(self.hypotheses.len()), encoded))
    }

    fn states(&self) -> States<'_> {
        States::LastOfFirst
    }

    fn read(
        &self,
        pending: &mut Vec<[f32; 2]>,
        room: &mut EntailmentRoom,
        _: usize,
        states: &[f32],
    ) {
        let Ok(head) = self.model.sequence_head() else {
            return;
        };
        let (file, kernel) = (self.model.file(), self.model.kernel());
        room.logits.clear();
        head.forward(file, kernel, states, &mut room.pooled, &mut room.logits);
        pending.push([self.contradiction, self.entailment].map(|label| room.logits[label]));
    }

    fn finish(&self, mut pending: Vec<[f32; 2]>, _: &mut EntailmentRoom) -> Vec<f32> {
        let kernel = self.model.kernel();
        if self.multi_label {
            for pair in &mut pending {
                kernel.softmax_rows(MatrixMut::new(pair, 1, 2, 2), 1.0);
            }
            return pending
                .into_iter()
                .map(|[_, entailment]| entailment)
                .collect();
        }
        let mut scores: Vec<f32> = pending
            .into_iter()
            .map(|[_, entailment]| entailment)
            .collect();
        let all = scores.len();
        kernel.softmax_rows(MatrixMut::new(&mut scores, 1, all, all), 1.0);
        scores
    }
}

/// How [`LabelVectors`] work.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelOptions {
    /// What a label without examples becomes, with `{}` for its name.
    pub template: String,
    /// Gives the cosines themselves, as for a single label; else they pass through a softmax.
    pub multi_label: bool,
    /// Cosines are divided by this before the softmax.
    pub temperature: f32,
}

impl Default for LabelOptions {
    fn default() -> Self {
        LabelOptions {
            template: PLACE.to_owned(),
            multi_label: false,
            temperature: 0.05,
        }
    }
}

/// Zero-shot classification by sentence vectors: a label's vector is the mean of its texts' directions, and a text's score for
/// it their cosine.
#[derive(Debug, Clone)]
pub struct LabelVectors {
    model: Model,
    /// `[labels, width]`, each of length 1.
    vectors: Vec<f32>,
    width: usize,
    options: LabelOptions,
}

impl LabelVectors {
    /// Embeds the labels with the model's own pooling; `text` says how, as for the texts that come later.
    ///
    /// # Errors
    /// [`Error::Input`] if the labels or options cannot be used.
    pub fn new(
        model: &Model,
        labels: &[Label],
        text: TextOptions,
        options: LabelOptions,
    ) -> Result<LabelVectors> {
        check(labels)?;
        let embedder = Embedder::with_options(
            model,
            EmbedderOptions {
                text,
                ..EmbedderOptions::default()
            },
        )?;
        let width = EmbeddingOptions::default().width(model)?;
        let mut vectors = Vec::with_capacity(labels.len() * width);
        for label in labels {
            let name = filled(&options.template, &label.name)?;
            let texts: Vec<&str> = match &label.examples[..] {
                [] => vec![&name],
                examples => examples.iter().map(String::as_str).collect(),
            };
            let mut sum = vec![0.0; width];
            for vector in embedder.embed(&texts)?.iter() {
                let mut direction = vector.to_vec();
                heads::normalize(&mut direction);
                sum.iter_mut().zip(direction).for_each(|(sum, x)| *sum += x);
            }
            heads::normalize(&mut sum);
            vectors.append(&mut sum);
        }
        Ok(LabelVectors {
            model: model.clone(),
            vectors,
            width,
            options: LabelOptions {
                // The softmax of a single label would be 1.
                multi_label: options.multi_label || labels.len() == 1,
                ..options
            },
        })
    }

    /// A score for each label, in their order, of a text whose sentence vector is `vector`.
    ///
    /// # Panics
    /// If the vector's length is not that of the model's sentence vectors.
    pub fn scores(&self, vector: &[f32]) -> Vec<f32> {
        let labels = self.vectors.chunks_exact(self.width);
        let mut scores: Vec<f32> = labels.map(|label| heads::cosine(vector, label)).collect();
        if !self.options.multi_label {
            let all = scores.len();
            let row = MatrixMut::new(&mut scores, 1, all, all);
            let scale = 1.0 / self.options.temperature;
            self.model.kernel().softmax_rows(row, scale);
        }
        scores
    }
}

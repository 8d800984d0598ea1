//! Each task head against pinned transformers, on the tiny checkpoints that `tests/golden/heads.py` describes.
//!
//! f16 models may depart by [`F16`]; int8 models by what each test states: measured, plus a half. Random weights quantize far worse
//! than trained ones.

pub mod answers;
pub mod features;
pub mod masks;
pub mod pairs;
mod sameness;
pub mod tags;
mod zero_shot;

use crate::support::{converted, golden_json, golden_tensors};
use bertlet::{Model, RunOptions, Task};
use serde_json::Value;
use std::collections::HashMap;

/// Largest difference of an f16 model's logits or scores from transformers in f64.
pub const F16: f32 = 5e-5;

/// A converted checkpoint and its reference.
pub struct Case {
    pub model: Model,
    pub meta: Value,
    pub tensors: HashMap<String, Vec<f32>>,
}

/// Golden folder `head-{name}`, converted.
pub fn case(name: &str, precision: &str) -> Case {
    let name = format!("head-{name}");
    Case {
        model: Model::open(converted(&name, precision)).unwrap(),
        meta: golden_json(&name),
        tensors: golden_tensors(&name),
    }
}

/// Answers of a task, one record at a time on one thread.
pub fn answers<T: Task>(task: &T, inputs: &[T::Input<'_>]) -> Vec<T::Answer> {
    let run = RunOptions {
        threads: Some(1),
        batch_tokens: 1,
    };
    task.run(inputs, run).unwrap()
}

/// A list of strings.
pub fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap().iter();
    list.map(|item| item.as_str().unwrap()).collect()
}

/// Fails if a number is further from the expected one than `tolerance`.
pub fn near(found: f32, expected: &Value, tolerance: f32, what: &str) {
    let expected = expected.as_f64().unwrap() as f32;
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found}, expected {expected}"
    );
}

/// Largest differences of scores that are probabilities.
#[derive(Debug, Clone, Copy, Default)]
pub struct Largest {
    /// Of the scores themselves.
    pub score: f32,
    /// Of their logarithms, which is that of logits up to what they have in common.
    pub log: f32,
}

impl Largest {
    /// Takes one more score and the logarithm that it should have.
    pub fn note(&mut self, score: f32, expected: f32) {
        assert!(score > 0.0, "{score}, expected {}", expected.exp());
        self.score = self.score.max((score - expected.exp()).abs());
        self.log = self.log.max((score.ln() - expected).abs());
    }
}

/// Logarithms of the softmax of logits.
pub fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    let minus = highest + sum.ln();
    logits.iter().map(|logit| logit - minus).collect()
}

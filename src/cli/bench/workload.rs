//! What is computed: built-in English, cut to sequences of certain lengths.

use crate::{Batch, DEFAULT_BATCH_TOKENS, Model, Result, Text, TextEncoder, TextOptions};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Some lines of everyday English.
const LINES: &str = include_str!("lines.txt");

/// Lengths in tokens of the single texts.
const SINGLE: [usize; 4] = [16, 32, 128, 512];
/// Length of a passage.
const PASSAGE: usize = 128;
/// Different sentences, and different texts of any other kind.
const SENTENCES: usize = 256;
const TEXTS: usize = 8;
/// Lines for the tokenizer.
const MIXED_LINES: usize = 2000;
/// Words between the beginnings of two texts.
const STEP: usize = 37;

/// Texts that a model cuts to given lengths.
#[derive(Debug)]
pub struct Workload {
    /// A text, and its length in tokens.
    texts: Vec<(String, usize)>,
    /// For each length what cuts to it.
    encoders: BTreeMap<usize, TextEncoder>,
}

impl Workload {
    /// One text for each of `lengths`, which the model's positions bound (they may be more than its own maximum).
    fn new(model: &Model, lengths: impl Iterator<Item = usize>) -> Result<Workload> {
        let words: Vec<&str> = LINES.split_whitespace().collect();
        let longest = model.header().config.max_position_embeddings;
        let special = model.tokenizer().rules().template().special_count(false);
        let mut workload = Workload {
            texts: Vec::new(),
            encoders: BTreeMap::new(),
        };
        for (index, length) in lengths.enumerate() {
            let length = length.max(special + 2).min(longest);
            // A word has one token at least.
            let words = words.iter().cycle().skip(index * STEP % words.len());
            let text: Vec<&str> = words.take(length).copied().collect();
            workload.texts.push((text.join(" "), length));
            if let Entry::Vacant(entry) = workload.encoders.entry(length) {
                let options = TextOptions {
                    max_length: Some(length),
                    ..TextOptions::default()
                };
                entry.insert(TextEncoder::new(model, options)?);
            }
        }
        Ok(workload)
    }

    /// Texts of one length for each of 16, 32, 128 and 512 tokens, as far as the model takes them.
    ///
    /// # Errors
    /// If the model has no room for a text.
    pub fn singles(model: &Model) -> Result<Vec<(usize, Workload)>> {
        let mut lengths = SINGLE
            .map(|length| length.min(model.header().config.max_position_embeddings))
            .to_vec();
        lengths.dedup();
        let of = |length| Ok((length, Workload::new(model, [length; TEXTS].into_iter())?));
        lengths.into_iter().map(of).collect()
    }

    /// Sentences of 5 to 60 tokens, 24 in the mean.
    ///
    /// # Errors
    /// If the model has no room for a text.
    pub fn sentences(model: &Model) -> Result<Workload> {
        Workload::new(model, (0..SENTENCES).map(sentence_length))
    }

    /// Passages of 128 tokens.
    ///
    /// # Errors
    /// If the model has no room for a text.
    pub fn passages(model: &Model) -> Result<Workload> {
        Workload::new(model, [PASSAGE; SENTENCES / 4].into_iter())
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Appends a text to `batch`.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn encode(&mut self, index: usize, batch: &mut Batch) -> Result<()> {
        let (text, length) = &self.texts[index];
        let encoder = self.encoders.get_mut(length).expect("one for each length");
        encoder.encode(&Text::from(text.as_str()), batch).map(drop)
    }

    /// All texts, as many to a batch as a thread takes at a time.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    pub fn batches(&mut self) -> Result<Vec<Batch>> {
        let mut batches = vec![Batch::new()];
        for index in 0..self.len() {
            if batches
                .last()
                .is_some_and(|batch| batch.tokens() >= DEFAULT_BATCH_TOKENS)
            {
                batches.push(Batch::new());
            }
            let last = batches.last_mut().expect("there is a first");
            self.encode(index, last)?;
        }
        Ok(batches)
    }
}

/// Lines of the built-in lines' words in an order that no CPU learns by heart, for the tokenizer.
pub fn mixed_lines() -> Vec<String> {
    let words: Vec<&str> = LINES.split_whitespace().collect();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        // Knuth's generator; its high bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let line = |_| {
        let count = 4 + next(24);
        let words: Vec<&str> = (0..count).map(|_| words[next(words.len())]).collect();
        words.join(" ")
    };
    (0..MIXED_LINES).map(line).collect()
}

/// Lengths as those of real sentences are distributed, about: most are short. All of them once, in no order.
fn sentence_length(index: usize) -> usize {
    // 77 and 256 have no common factor.
    let place = (index * 77 % SENTENCES) as f64 / (SENTENCES - 1) as f64;
    5 + (55.0 * place.powf(1.9)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_have_5_to_60_tokens_and_24_in_the_mean() {
        let lengths: Vec<usize> = (0..SENTENCES).map(sentence_length).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / SENTENCES as f64;
        assert_eq!(lengths.iter().min(), Some(&5));
        assert_eq!(lengths.iter().max(), Some(&60));
        assert!((mean - 24.0).abs() < 0.5, "{mean}");
    }

    #[cfg(feature = "default-model")]
    #[test]
    fn texts_have_the_lengths_that_were_asked_for() {
        let model = Model::embedded().unwrap();
        for (length, mut workload) in Workload::singles(&model).unwrap() {
            for batch in workload.batches().unwrap() {
                assert!(
                    batch
                        .sequences()
                        .ranges()
                        .all(|range| range.len() == length)
                );
            }
        }
        let mut sentences = Workload::sentences(&model).unwrap();
        let batches = sentences.batches().unwrap();
        let ranges = batches.iter().flat_map(|batch| batch.sequences().ranges());
        let found: Vec<usize> = ranges.map(|range| range.len()).collect();
        assert_eq!(
            found,
            (0..SENTENCES).map(sentence_length).collect::<Vec<_>>()
        );
    }
}

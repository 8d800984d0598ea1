//! Many texts over several threads, results in order.

use super::batch::Batch;
use super::encoder::Encoder;
use super::model::Model;
use super::text_encoder::{Text, TextEncoder, TextOptions};
use super::threads::{on_threads, physical_cores};
use crate::error::Result;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of text that a token of English takes, about; used to cut texts into batches before they are tokenized.
const BYTES_PER_TOKEN: usize = 4;

/// What one thread needs. Kept between calls so that its memory is reused.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) text_encoder: TextEncoder,
    pub(super) encoder: Encoder,
    pub(super) batch: Batch,
}

/// A model's workers, at most one for each thread that computes.
#[derive(Debug)]
pub(super) struct Workers {
    model: Model,
    /// Checked once; every worker has a copy.
    text_encoder: TextEncoder,
    threads: usize,
    batch_tokens: usize,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    /// # Errors
    /// As [`TextEncoder::new`].
    pub(super) fn new(
        model: &Model,
        options: TextOptions,
        threads: Option<usize>,
        batch_tokens: usize,
    ) -> Result<Workers> {
        Ok(Workers {
            model: model.clone(),
            text_encoder: TextEncoder::new(model, options)?,
            threads: threads.unwrap_or_else(physical_cores).max(1),
            batch_tokens: batch_tokens.max(1),
            idle: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Encodes `texts` in batches, lets `compute` append each batch's results, and returns all in order.
    ///
    /// # Errors
    /// The error of the first text, in order of batches, that has one.
    pub(super) fn run(
        &self,
        texts: &[Text<'_>],
        compute: impl Fn(&mut Encoder, &Batch, &mut Vec<f32>) -> Result<()> + Sync,
    ) -> Result<Vec<f32>> {
        let batches = cut(texts, self.batch_tokens);
        self.run_batches(batches.len(), |worker, index, out| {
            worker.batch.clear();
            for text in &texts[batches[index].clone()] {
                worker.text_encoder.encode(text, &mut worker.batch)?;
            }
            compute(&mut worker.encoder, &worker.batch, out)
        })
    }

    /// Runs `compute` for each index below `count`, on as many threads as there are, and joins what they append.
    pub(super) fn run_batches(
        &self,
        count: usize,
        compute: impl Fn(&mut Worker, usize, &mut Vec<f32>) -> Result<()> + Sync,
    ) -> Result<Vec<f32>> {
        let threads = self.threads.min(count);
        // Threads that no batch is left for help with the others.
        let team = self.threads / threads.max(1);
        if threads <= 1 {
            let mut worker = self.take(team);
            let mut out = Vec::new();
            let result = (0..count).try_for_each(|index| compute(&mut worker, index, &mut out));
            self.give_back(worker);
            return result.map(|()| out);
        }
        // A slot for each batch; the first error in order is the one that is returned, and no batch behind a failed
        // one is begun.
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Result<Vec<f32>>>> =
            (0..count).map(|_| Mutex::new(Ok(Vec::new()))).collect();
        let work = || {
            let mut worker = self.take(team);
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                let mut out = Vec::new();
                let result = compute(&mut worker, index, &mut out).map(|()| out);
                if result.is_err() {
                    next.store(count, Ordering::Relaxed);
                }
                *lock(&results[index]) = result;
            }
            self.give_back(worker);
        };
        on_threads(threads, work);
        let mut all = Vec::new();
        for result in results {
            all.extend(
                result
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner)?,
            );
        }
        Ok(all)
    }

    /// A worker whose batches `team` threads compute together.
    fn take(&self, team: usize) -> Worker {
        let mut worker = lock(&self.idle).pop().unwrap_or_else(|| Worker {
            text_encoder: self.text_encoder.clone(),
            encoder: Encoder::new(&self.model),
            batch: Batch::new(),
        });
        worker.encoder.set_threads(team);
        worker
    }

    fn give_back(&self, worker: Worker) {
        lock(&self.idle).push(worker);
    }
}

/// What a panicking thread leaves behind is still a list of whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts `texts` into runs of about `batch_tokens` tokens.
fn cut(texts: &[Text<'_>], batch_tokens: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        bytes += text.first.len() + text.second.map_or(0, str::len) + 2 * BYTES_PER_TOKEN;
        if bytes >= batch_tokens * BYTES_PER_TOKEN {
            batches.push(start..index + 1);
            (start, bytes) = (index + 1, 0);
        }
    }
    if start < texts.len() {
        batches.push(start..texts.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_all_texts_once_and_in_order() {
        let long = "x".repeat(1000);
        let texts: Vec<Text<'_>> = (0..57)
            .map(|i| Text::from(&long[..(i * 37) % 1000]))
            .collect();
        for batch_tokens in [1, 10, 100, 1_000_000] {
            let batches = cut(&texts, batch_tokens);
            let covered: Vec<usize> = batches.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..57).collect::<Vec<_>>());
            assert!(batches.iter().all(|batch| !batch.is_empty()));
        }
        assert!(cut(&[], 10).is_empty());
    }
}

//! Where the time goes, on one thread, from text to vectors.

use super::measure::repeat;
use super::workload::Workload;
use crate::{Batch, EmbeddingOptions, Encoder, Model, Result, Stage};
use serde::Serialize;
use std::time::{Duration, Instant};

/// One workload's stages, in microseconds a token.
#[derive(Debug, Serialize)]
pub struct Column {
    /// The workload.
    pub texts: String,
    /// The stages in the order of the work, and last what is left of the whole.
    pub stages: Vec<StageTime>,
    /// Everything.
    pub whole_us: f64,
}

/// One stage.
#[derive(Debug, Serialize)]
pub struct StageTime {
    /// Its name.
    pub stage: &'static str,
    /// Microseconds a token.
    pub us: f64,
}

/// The stages of the fastest of many passes, each over a batch of at least `batch_tokens` tokens.
pub fn column(
    model: &Model,
    texts: String,
    workload: &mut Workload,
    batch_tokens: usize,
    slice: Duration,
) -> Result<Column> {
    let mut encoder = Encoder::new(model);
    let options = EmbeddingOptions::default();
    let (mut batch, mut out) = (Batch::new(), Vec::new());
    let mut next = 0;
    let mut fastest: Option<Column> = None;
    repeat(slice, |_| {
        batch.clear();
        out.clear();
        encoder.start_profile();
        let began = Instant::now();
        while batch.tokens() < batch_tokens {
            workload.encode(next, &mut batch)?;
            next = (next + 1) % workload.len();
        }
        let tokenized = began.elapsed();
        encoder.embed(&batch, &options, &mut out)?;
        let whole = began.elapsed();
        let profile = encoder.stop_profile();
        let per_token = |time: Duration| time.as_secs_f64() * 1e6 / batch.tokens() as f64;
        if fastest
            .as_ref()
            .is_some_and(|fastest| fastest.whole_us <= per_token(whole))
        {
            return Ok(());
        }
        let mut parts = vec![("tokenizing", tokenized)];
        parts.extend(Stage::ALL.map(|stage| (stage.name(), profile.time(stage))));
        let sum: Duration = parts.iter().map(|(_, time)| *time).sum();
        // Every part lies within the whole, and no two overlap.
        parts.push(("other", whole.saturating_sub(sum)));
        fastest = Some(Column {
            texts: texts.clone(),
            stages: parts
                .into_iter()
                .map(|(stage, time)| StageTime {
                    stage,
                    us: per_token(time),
                })
                .collect(),
            whole_us: per_token(whole),
        });
        Ok(())
    })?;
    Ok(fastest.expect("at least two passes"))
}

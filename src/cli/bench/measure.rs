//! Runs the workloads and looks at the clock.

use super::workload::{self, Workload};
use super::{
    Bulk, KernelReport, Latency, ModelFacts, Report, Settings, Tokenizing, machine, profile,
};
use crate::format::header::Precision;
use crate::kernels::Kernel;
use crate::{
    Batch, DEFAULT_BATCH_TOKENS, Embedder, EmbedderOptions, Model, Result, Text, TextEncoder,
    TextOptions,
};
use std::time::{Duration, Instant};

/// Batches of a bulk pass for each thread, at most: the threads' ends then differ by little.
const BATCHES_PER_THREAD: usize = 16;

/// Measures everything.
///
/// # Errors
/// If the model has no room for a text.
pub fn measure(model: &Model, settings: Settings) -> Result<Report> {
    let header = model.header();
    let kernels: Vec<Kernel> = match settings.all_kernels {
        true => Kernel::available().collect(),
        false => vec![model.kernel()],
    };
    let tokenizer = tokenizing(model, Duration::from_secs_f64(settings.seconds / 12.0))?;
    let kernels = kernels
        .into_iter()
        .map(|kernel| measure_kernel(&model.with_kernel(kernel), settings))
        .collect::<Result<_>>()?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        target: env!("BERTLET_TARGET"),
        cpu: machine::cpu(),
        model: ModelFacts {
            file: model.file().path().display().to_string(),
            source: header.source.name.clone(),
            precision: match header.precision {
                Precision::Int8 => "int8",
                Precision::F16 => "f16",
            },
            hidden_size: header.config.hidden_size,
            num_hidden_layers: header.config.num_hidden_layers,
        },
        threads: settings.threads,
        tokenizer,
        kernels,
        peak_rss_bytes: machine::peak_rss(),
    })
}

fn measure_kernel(model: &Model, settings: Settings) -> Result<KernelReport> {
    let mut singles = Workload::singles(model)?;
    let mut bulk = [
        ("sentences", Workload::sentences(model)?),
        ("passages", Workload::passages(model)?),
    ];
    let mut threads = vec![1, settings.threads];
    threads.dedup();
    let parts = singles.len() * threads.len() + bulk.len();
    let profiled = if settings.profile {
        singles.len() + 1
    } else {
        0
    };
    let slice = Duration::from_secs_f64(settings.seconds / (parts + profiled) as f64);

    let mut latencies = Vec::new();
    for &threads in &threads {
        let embedder = embedder(model, threads)?;
        for (tokens, workload) in &mut singles {
            let times = latency(&embedder, workload, slice)?;
            latencies.push(Latency {
                tokens: *tokens,
                threads,
                runs: times.len(),
                minimum_ms: times[0] * 1e3,
                median_ms: times[times.len() / 2] * 1e3,
                p90_ms: times[times.len() * 9 / 10] * 1e3,
            });
        }
    }
    let embedder = embedder(model, settings.threads)?;
    let bulks = bulk
        .iter_mut()
        .map(|(name, workload)| bulk_rate(&embedder, name, workload, settings.threads, slice))
        .collect::<Result<_>>()?;
    let mut columns = Vec::new();
    if settings.profile {
        for (tokens, workload) in &mut singles {
            let name = format!("{tokens} tokens");
            // One text at a time.
            columns.push(profile::column(model, name, workload, 1, slice)?);
        }
        let (name, sentences) = &mut bulk[0];
        let batch = DEFAULT_BATCH_TOKENS;
        columns.push(profile::column(
            model,
            (*name).to_owned(),
            sentences,
            batch,
            slice,
        )?);
    }
    Ok(KernelReport {
        kernel: model.kernel().name(),
        latency: latencies,
        bulk: bulks,
        profile: columns,
    })
}

fn embedder(model: &Model, threads: usize) -> Result<Embedder> {
    let options = EmbedderOptions {
        threads: Some(threads),
        ..EmbedderOptions::default()
    };
    Embedder::with_options(model, options)
}

/// Runs `work`, which takes the number of the run, until `slice` has passed: a sixth of it to warm up, and the rest of
/// it measured; each of both at least once. Returns the measured runs' seconds, the fastest first.
pub fn repeat(slice: Duration, mut work: impl FnMut(usize) -> Result<()>) -> Result<Vec<f64>> {
    let began = Instant::now();
    let mut run = 0;
    while run == 0 || began.elapsed() < slice / 6 {
        work(run)?;
        run += 1;
    }
    let mut seconds = Vec::new();
    while seconds.is_empty() || began.elapsed() < slice {
        let began = Instant::now();
        work(run)?;
        seconds.push(began.elapsed().as_secs_f64());
        run += 1;
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// Lines to token ids, on this thread.
fn tokenizing(model: &Model, slice: Duration) -> Result<Tokenizing> {
    let mut encoder = TextEncoder::new(model, TextOptions::default())?;
    let mut batch = Batch::new();
    let lines = workload::mixed_lines();
    let bytes: usize = lines.iter().map(String::len).sum();
    let times = repeat(slice, |_| {
        batch.clear();
        for line in &lines {
            encoder.encode(&Text::from(line.as_str()), &mut batch)?;
        }
        Ok(())
    })?;
    let median = times[times.len() / 2];
    Ok(Tokenizing {
        tokens_per_second: batch.tokens() as f64 / median,
        bytes_per_second: bytes as f64 / median,
    })
}

/// Seconds of one text from token ids to its vector.
fn latency(embedder: &Embedder, workload: &mut Workload, slice: Duration) -> Result<Vec<f64>> {
    let mut batches = Vec::new();
    for index in 0..workload.len() {
        let mut batch = Batch::new();
        workload.encode(index, &mut batch)?;
        batches.push([batch]);
    }
    repeat(slice, |run| {
        embedder
            .embed_batches(&batches[run % batches.len()])
            .map(drop)
    })
}

/// Many texts from token ids to their vectors.
fn bulk_rate(
    embedder: &Embedder,
    name: &'static str,
    workload: &mut Workload,
    threads: usize,
    slice: Duration,
) -> Result<Bulk> {
    let batches = workload.batches()?;
    let mut pass: Vec<Batch> = batches.iter().cycle().take(threads).cloned().collect();
    embedder.embed_batches(&pass)?;
    let began = Instant::now();
    embedder.embed_batches(&pass)?;
    // Passes as long as a sixth of the time allows.
    let rounds = slice.as_secs_f64() / 6.0 / began.elapsed().as_secs_f64();
    let rounds = (rounds as usize).clamp(1, BATCHES_PER_THREAD);
    pass = batches
        .iter()
        .cycle()
        .take(threads * rounds)
        .cloned()
        .collect();
    let tokens: usize = pass.iter().map(Batch::tokens).sum();
    let texts: usize = pass.iter().map(Batch::len).sum();
    let times = repeat(slice, |_| embedder.embed_batches(&pass).map(drop))?;
    let median = times[times.len() / 2];
    Ok(Bulk {
        texts: name,
        mean_tokens: tokens as f64 / texts as f64,
        texts_per_pass: texts,
        passes: times.len(),
        texts_per_second: texts as f64 / median,
        tokens_per_second: tokens as f64 / median,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_runs_once_to_warm_up_and_once_for_the_clock() {
        let mut runs = Vec::new();
        let times = repeat(Duration::ZERO, |run| {
            runs.push(run);
            Ok(())
        });
        assert_eq!(times.unwrap().len(), 1);
        assert_eq!(runs, [0, 1]);
    }
}

//! A benchmark program over the public interface: token ids in, sentence vectors out.
//!
//! ```text
//! peer lat MODEL THREADS
//! peer tput MODEL WORKERS SET B1,B2,… STEP PASSES
//! peer fid MODEL OUT.f32
//! peer cold MODEL
//! ```
//!
//! `lat` times single sequences of 16, 32, 128 and 512 tokens (ms); `tput` times passes over every STEP-th sequence of
//! a set in batches of B, longest first, on one engine with two threads (WORKERS 1) or two engines with one (WORKERS 2);
//! `fid` writes the vectors of the first 500 sequences, one at a time and then batched; `cold` embeds one text. Inputs
//! are `inputs.json` and `cold.txt` in the folder that `PEERS_DIR` names. Each prints one line, `RESULT {json}`.

use anyhow::{Context, Result, bail};
use bertlet::{Batch, Embedder, EmbedderOptions, Model};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["lat", model, threads] => latency(&embedder(model, threads.parse()?)?)?,
        ["tput", model, workers, set, sizes, step, passes] => {
            let workers: usize = workers.parse()?;
            let engines: Vec<Embedder> = (0..workers)
                .map(|_| embedder(model, if workers == 1 { 2 } else { 1 }))
                .collect::<Result<_>>()?;
            throughput(&engines, set, sizes, step.parse()?, passes.parse()?)?
        }
        ["fid", model, out] => fidelity(&embedder(model, 2)?, out)?,
        ["cold", model] => {
            let text = std::fs::read_to_string(folder()?.join("cold.txt"))?;
            let vectors = embedder(model, 2)?.embed(&[text.as_str()])?;
            json!({ "dim": vectors.dimensions() })
        }
        _ => bail!("usage: peer lat|tput|fid|cold MODEL …; see the head of this program's source"),
    };
    println!("RESULT {result}");
    Ok(())
}

fn embedder(model: &str, threads: usize) -> Result<Embedder> {
    let options = EmbedderOptions {
        threads: Some(threads),
        ..EmbedderOptions::default()
    };
    Ok(Embedder::with_options(&Model::open(model)?, options)?)
}

fn folder() -> Result<PathBuf> {
    let folder = std::env::var_os("PEERS_DIR").context("PEERS_DIR must name the inputs' folder")?;
    Ok(PathBuf::from(folder))
}

fn inputs() -> Result<Value> {
    let path = folder()?.join("inputs.json");
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

/// The `ids` of each element.
fn sequences(value: &Value) -> Result<Vec<Vec<u32>>> {
    let sequences = value.as_array().context("expected a list of sequences")?;
    sequences
        .iter()
        .map(|sequence| Ok(serde_json::from_value(sequence["ids"].clone())?))
        .collect()
}

fn batch_of(sequences: &[&[u32]]) -> Batch {
    let mut batch = Batch::new();
    for ids in sequences {
        batch.push(ids, &vec![0; ids.len()]);
    }
    batch
}

fn latency(embedder: &Embedder) -> Result<Value> {
    let inputs = inputs()?;
    let mut out = Map::new();
    for (length, runs) in [("16", 1000), ("32", 1000), ("128", 300), ("512", 100)] {
        let batches: Vec<[Batch; 1]> = sequences(&inputs["lat"][length])?
            .iter()
            .map(|ids| [batch_of(&[ids])])
            .collect();
        let (began, mut warm) = (Instant::now(), 0);
        while (warm < 30 || began.elapsed().as_secs_f64() < 1.0) && warm < 400 {
            embedder.embed_batches(&batches[warm % batches.len()])?;
            warm += 1;
        }
        let mut times = Vec::with_capacity(runs);
        let (whole, processor) = (Instant::now(), processor_seconds()?);
        for run in 0..runs {
            let began = Instant::now();
            embedder.embed_batches(&batches[run % batches.len()])?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let processor = processor_seconds()? - processor;
        let cpu_per_wall = processor / whole.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let figures = json!({
            "median": times[runs / 2],
            "p10": times[runs / 10],
            "p90": times[runs * 9 / 10],
            "min": times[0],
            "n": runs,
            "cpu_per_wall": cpu_per_wall,
        });
        out.insert(length.to_owned(), figures);
    }
    Ok(Value::Object(out))
}

/// What this process has used on all processors, in hundredths, as Linux counts it for programs.
fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is a name in brackets; times are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn throughput(
    engines: &[Embedder],
    set: &str,
    sizes: &str,
    step: usize,
    passes: usize,
) -> Result<Value> {
    let mut chosen: Vec<Vec<u32>> = sequences(&inputs()?[set])?
        .into_iter()
        .step_by(step)
        .collect();
    let tokens: usize = chosen.iter().map(Vec::len).sum();
    chosen.sort_by_key(|ids| std::cmp::Reverse(ids.len()));
    let mut times = Map::new();
    for size in sizes.split(',') {
        let groups: Vec<&[Vec<u32>]> = chosen.chunks(size.parse()?).collect();
        pass(engines, &groups)?;
        let seconds: Vec<f64> = (0..passes)
            .map(|_| pass(engines, &groups))
            .collect::<Result<_>>()?;
        times.insert(size.to_owned(), json!(seconds));
    }
    Ok(json!({ "n": chosen.len(), "tok": tokens, "t": times }))
}

/// All groups once, each engine on a thread of its own; an engine with two threads gets a half of the group for each.
fn pass(engines: &[Embedder], groups: &[&[Vec<u32>]]) -> Result<f64> {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let halves = if engines.len() == 1 { 2 } else { 1 };
    let work = |engine: &Embedder| -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index) else {
                return Ok(());
            };
            let ids: Vec<&[u32]> = group.iter().map(Vec::as_slice).collect();
            let parts = ids.chunks(ids.len().div_ceil(halves));
            let batches: Vec<Batch> = parts.map(batch_of).collect();
            engine.embed_batches(&batches)?;
        }
    };
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = engines
            .iter()
            .map(|engine| scope.spawn(move || work(engine)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn fidelity(embedder: &Embedder, out: &str) -> Result<Value> {
    let mut chosen = sequences(&inputs()?["spread"])?;
    chosen.truncate(500);
    let singles: Vec<Batch> = chosen.iter().map(|ids| batch_of(&[ids])).collect();
    let ids: Vec<&[u32]> = chosen.iter().map(Vec::as_slice).collect();
    let batched: Vec<Batch> = ids.chunks(16).map(batch_of).collect();
    let mut bytes = Vec::new();
    for batches in [singles, batched] {
        let vectors = embedder.embed_batches(&batches)?;
        bytes.extend(
            vectors
                .values()
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
    }
    std::fs::write(out, bytes).with_context(|| out.to_owned())?;
    Ok(json!({}))
}

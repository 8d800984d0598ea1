//! `bertlet bench`.

use crate::cli::{
    args::BenchArgs,
    bench::{self, Settings},
    engine,
    exit::{self, Failure},
    output::sink::Sink,
};
use crate::pipeline::physical_cores;
use anyhow::Context;

/// Runs the command.
pub fn bench(args: &BenchArgs) -> Result<u8, Failure> {
    let model = engine::open(&args.model)?;
    let settings = Settings {
        threads: args.threads.unwrap_or_else(physical_cores),
        seconds: args.seconds,
        all_kernels: args.kernels,
        profile: args.profile,
    };
    let report = bench::measure(&model, settings).map_err(Failure::task)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&report).context("the report as JSON")? + "\n",
        false => report.to_string(),
    };
    let mut sink = Sink::open(None, &[])?;
    sink.write(text.as_bytes())?;
    sink.flush()?;
    Ok(exit::OK)
}

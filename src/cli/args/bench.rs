//! Options of `bertlet bench`.

use super::shared::{ModelArgs, threads};
use clap::Args;

/// `bertlet bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Where the model comes from.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Number of threads [default: the physical cores that the process may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Time to measure for, with each kernel; slow CPUs take longer, since everything is run twice at least
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub seconds: f64,
    /// Also show where the time goes, in microseconds a token
    #[arg(long)]
    pub profile: bool,
    /// Measure every kernel that this CPU has
    #[arg(long)]
    pub kernels: bool,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.001..=86_400.0) => Ok(seconds),
        Ok(_) => Err("must be from 0.001 to 86400".to_owned()),
        Err(_) => Err("is not a number".to_owned()),
    }
}

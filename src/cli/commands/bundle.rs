//! `bertlet bundle`.

use crate::cli::{
    args::BundleArgs,
    bundle,
    exit::{self, Failure, message},
};

/// Runs the command.
pub fn bundle(args: &BundleArgs) -> Result<u8, Failure> {
    bundle::write(&args.model, &args.output)?;
    let size = args.output.metadata().map_or(0, |metadata| metadata.len());
    message(format_args!(
        "wrote {} ({:.1} MB)",
        args.output.display(),
        size as f64 / 1e6
    ));
    Ok(exit::OK)
}

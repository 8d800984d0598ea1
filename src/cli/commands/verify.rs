//! `bertlet verify`.

use crate::cli::{
    args::VerifyArgs,
    engine,
    exit::{self, Failure, message},
    output::sink::Sink,
};

/// Runs the command: all files are checked, also behind a bad one.
pub fn verify(args: &VerifyArgs) -> Result<u8, Failure> {
    let mut sink = Sink::open(None, &[])?;
    if args.files.is_empty() {
        let model = engine::open(&args.model)?;
        model.verify().map_err(Failure::model)?;
        let name = model.file().path().display();
        sink.write(format!("{name}: good\n").as_bytes())?;
        sink.flush()?;
        return Ok(exit::OK);
    }
    let mut code = exit::OK;
    for path in &args.files {
        let checked = engine::open_file(path)
            .map_err(|failure| failure.error)
            .and_then(|model| Ok(model.verify()?));
        match checked {
            Ok(()) => {
                sink.write(format!("{}: good\n", path.display()).as_bytes())?;
                sink.flush()?;
            }
            Err(error) => {
                message(crate::cli::chain(&error));
                code = exit::MODEL;
            }
        }
    }
    Ok(code)
}

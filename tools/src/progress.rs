//! What the user sees while a conversion runs: a bar on a terminal, nothing in a log.

use indicatif::{ProgressBar, ProgressStyle};

/// One bar for the whole run.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Draws on stderr if that is a terminal.
    pub fn new() -> Progress {
        let style = ProgressStyle::with_template("{msg:24} [{bar:32}] {pos}/{len} {elapsed}")
            .expect("a valid template")
            .progress_chars("=> ");
        Progress(ProgressBar::new(1).with_style(style))
    }

    /// Names what is done next.
    pub fn step(&self, message: &'static str) {
        self.0.set_message(message);
        self.0.tick();
    }

    /// Draws again after [`finish`](Self::finish), from zero.
    pub fn restart(&self, message: &'static str) {
        self.0.reset();
        self.step(message);
    }

    /// Shows how far the step is.
    pub fn at(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

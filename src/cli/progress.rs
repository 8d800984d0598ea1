//! `--progress`: one line on stderr that is written again and again; a line now and then where stderr is no terminal.

use super::{input::ByteCounter, output::Totals};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Shows how far a run has come.
pub struct Progress {
    start: Instant,
    shown: Option<Instant>,
    counter: ByteCounter,
    /// Bytes of the whole input, if all of it is files.
    total: Option<u64>,
    /// Whether the line can be written over.
    terminal: bool,
}

impl Progress {
    /// Starts now.
    pub fn new(counter: ByteCounter, total: Option<u64>) -> Self {
        Progress {
            start: Instant::now(),
            shown: None,
            counter,
            total,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// How often the line changes, or another one comes.
    pub fn interval(&self) -> Duration {
        match self.terminal {
            true => Duration::from_millis(250),
            false => Duration::from_secs(10),
        }
    }

    /// Shows the line, if it is time.
    pub fn show(&mut self, totals: &Totals) {
        // Into a file goes no line before the first interval is over.
        let last = self.shown.or((!self.terminal).then_some(self.start));
        if last.is_some_and(|last| last.elapsed() < self.interval()) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = line(
            totals,
            self.start.elapsed().as_secs_f64(),
            self.total.map(|total| (self.counter.get(), total)),
        );
        // Not worth an error: the data go elsewhere.
        let _ = match self.terminal {
            true => write!(std::io::stderr().lock(), "\r\x1b[K{line}"),
            false => writeln!(std::io::stderr().lock(), "bertlet: {line}"),
        };
    }

    /// Removes the line, before something else is written.
    pub fn clear(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(totals: &Totals, seconds: f64, bytes: Option<(u64, u64)>) -> String {
    let rate = |count: u64| count as f64 / seconds.max(1e-3);
    let mut line = format!(
        "{} records, {:.0} records/s, {:.0} tokens/s",
        totals.records,
        rate(totals.records),
        rate(totals.tokens)
    );
    if let Some((read, total)) = bytes.filter(|(read, total)| *read > 0 && *total > 0) {
        let part = (read as f64 / total as f64).min(1.0);
        let left = seconds * (1.0 / part - 1.0);
        line += &format!(", {:.0} % read, {} left", part * 100.0, clock(left));
    }
    line
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rate_and_time_left() {
        let totals = Totals {
            records: 500,
            tokens: 10_000,
            ..Totals::default()
        };
        assert_eq!(
            line(&totals, 10.0, None),
            "500 records, 50 records/s, 1000 tokens/s"
        );
        assert_eq!(
            line(&totals, 10.0, Some((25, 100))),
            "500 records, 50 records/s, 1000 tokens/s, 25 % read, 0:30 left"
        );
        assert_eq!(clock(3661.2), "1:01:01");
    }
}

//! What becomes of the records of a job.

use crate::cli::{
    input::{Place, Record},
    output::{Format, Totals},
};

/// What a bad record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Everything before it is written, then the run ends.
    Stop,
    /// It is reported on stderr and left out.
    Skip,
    /// It is reported on stderr, and an error record stands in its place.
    Record,
}

/// The output of a job.
pub struct Done {
    pub(super) on_error: OnError,
    /// The output's bytes.
    pub(super) bytes: Vec<u8>,
    pub(super) totals: Totals,
    /// Records in `bytes`, error records included.
    pub(super) written: u64,
    pub(super) reports: Vec<String>,
    pub(super) first_truncated: Option<Place>,
    pub(super) first_replaced: Option<Place>,
    pub(super) stop: Option<String>,
}

impl Done {
    pub(super) fn new(on_error: OnError) -> Self {
        Done {
            on_error,
            bytes: Vec::new(),
            totals: Totals::default(),
            written: 0,
            reports: Vec::new(),
            first_truncated: None,
            first_replaced: None,
            stop: None,
        }
    }

    /// Whether a bad record ended the run; what follows it is not wanted.
    pub fn stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Reports a good record, written by `write`, that was `tokens` long and was cut or not.
    pub fn good(
        &mut self,
        record: &Record,
        tokens: u64,
        truncated: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.stopped() {
            return;
        }
        self.totals.records += 1;
        self.written += 1;
        self.totals.tokens += tokens;
        if truncated {
            self.totals.truncated += 1;
            self.first_truncated
                .get_or_insert_with(|| record.place.clone());
        }
        self.note_replaced(record);
        write(&mut self.bytes);
    }

    /// Reports a bad record.
    pub fn bad(&mut self, record: &Record, reason: &str, format: &dyn Format) {
        if self.stopped() {
            return;
        }
        self.totals.records += 1;
        self.totals.failed += 1;
        self.note_replaced(record);
        let id = record
            .id
            .as_ref()
            .filter(|id| !id.is_empty())
            .map(|id| format!(" (id {id})"));
        let report = format!("{}{}: {reason}", record.place, id.unwrap_or_default());
        match self.on_error {
            OnError::Stop => self.stop = Some(report),
            OnError::Skip => self.reports.push(report),
            OnError::Record => {
                self.reports.push(report);
                self.written += 1;
                format.error(&mut self.bytes, record, reason);
            }
        }
    }

    fn note_replaced(&mut self, record: &Record) {
        if record.replaced {
            self.totals.replaced += 1;
            self.first_replaced
                .get_or_insert_with(|| record.place.clone());
        }
    }
}

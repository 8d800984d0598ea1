//! Records on their way through the encoder.

use crate::encoder::Sequences;
use std::ops::Range;

/// A packed batch of records. A record is one text or pair; it has one sequence, or several if a long text was cut
/// into windows.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    sequences: Sequences,
    /// For each sequence: tokens at its start that pooling leaves out (a prompt).
    skips: Vec<usize>,
    /// For each sequence: its weight in its record's mean.
    weights: Vec<usize>,
    /// Where each record ends among the sequences.
    record_ends: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.record_ends.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.record_ends.is_empty()
    }

    /// Number of tokens of all records.
    pub fn tokens(&self) -> usize {
        self.sequences.tokens()
    }

    /// The sequences of all records, in order.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.sequences.clear();
        self.skips.clear();
        self.weights.clear();
        self.record_ends.clear();
    }

    /// Appends a record of one sequence, special tokens included.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u8]) {
        self.push_window(0, ids.len().max(1), |all_ids, all_type_ids| {
            all_ids.extend_from_slice(ids);
            all_type_ids.extend_from_slice(type_ids);
        });
        self.end_record();
    }

    /// Appends a sequence to the record that [`Batch::end_record`] will end.
    pub(super) fn push_window(
        &mut self,
        skip: usize,
        weight: usize,
        fill: impl FnOnce(&mut Vec<u32>, &mut Vec<u8>),
    ) {
        self.sequences.push_with(fill);
        self.skips.push(skip);
        self.weights.push(weight);
    }

    pub(super) fn end_record(&mut self) {
        self.record_ends.push(self.sequences.len());
    }

    /// The sequences of each record, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.record_ends.iter().copied());
        starts
            .zip(self.record_ends.iter().copied())
            .map(|(start, end)| start..end)
    }

    /// Forgets the sequences of a record that was not ended.
    pub(super) fn drop_unfinished(&mut self) {
        let count = self.record_ends.last().copied().unwrap_or(0);
        self.sequences.truncate(count);
        self.skips.truncate(count);
        self.weights.truncate(count);
    }

    pub(super) fn skip(&self, sequence: usize) -> usize {
        self.skips[sequence]
    }

    pub(super) fn weight(&self, sequence: usize) -> usize {
        self.weights[sequence]
    }
}

//! The packed batch: the tokens of many sequences end to end, without padding.

use std::ops::Range;

/// Token ids and segment ids of several sequences.
#[derive(Debug, Clone, Default)]
pub struct Sequences {
    ids: Vec<u32>,
    type_ids: Vec<u8>,
    /// Where each sequence ends in `ids`.
    ends: Vec<usize>,
}

impl Sequences {
    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Forgets the sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.type_ids.clear();
        self.ends.clear();
    }

    /// Appends a sequence that `fill` writes behind the tokens that are there.
    pub fn push_with(&mut self, fill: impl FnOnce(&mut Vec<u32>, &mut Vec<u8>)) {
        fill(&mut self.ids, &mut self.type_ids);
        assert_eq!(self.ids.len(), self.type_ids.len(), "a segment for each id");
        self.ends.push(self.ids.len());
    }

    /// Appends a sequence.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u8]) {
        self.push_with(|all_ids, all_type_ids| {
            all_ids.extend_from_slice(ids);
            all_type_ids.extend_from_slice(type_ids);
        });
    }

    /// Keeps the first `count` sequences.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        let tokens = self.range_start(self.ends.len());
        self.ids.truncate(tokens);
        self.type_ids.truncate(tokens);
    }

    /// The tokens of sequence `index` as a range of all tokens.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.range_start(index)..self.ends[index]
    }

    /// The ranges of all sequences, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.len()).map(|index| self.range(index))
    }

    /// Runs of neighbouring sequences with at most `tokens` tokens each, or one longer sequence.
    pub(crate) fn chunks(&self, tokens: usize) -> impl Iterator<Item = Range<usize>> {
        let mut first = 0;
        let blocks = self.view(0..self.len()).blocks(tokens);
        blocks.map(move |block| {
            let begin = first;
            first += block.ends.len();
            begin..first
        })
    }

    /// Some neighbouring sequences.
    pub(crate) fn view(&self, sequences: Range<usize>) -> SequencesView<'_> {
        let start = self.range_start(sequences.start);
        let end = self.range_start(sequences.end);
        SequencesView {
            ids: &self.ids[start..end],
            type_ids: &self.type_ids[start..end],
            ends: &self.ends[sequences],
            start,
        }
    }

    fn range_start(&self, index: usize) -> usize {
        match index {
            0 => 0,
            _ => self.ends[index - 1],
        }
    }

    /// Token ids of all sequences, `[tokens]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Segment ids of all sequences, `[tokens]`.
    pub fn type_ids(&self) -> &[u8] {
        &self.type_ids
    }
}

/// Neighbouring sequences of a [`Sequences`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct SequencesView<'a> {
    /// `[tokens]`
    pub(super) ids: &'a [u32],
    /// `[tokens]`
    pub(super) type_ids: &'a [u8],
    /// Where each sequence ends, counted as `start` is.
    ends: &'a [usize],
    start: usize,
}

impl<'a> SequencesView<'a> {
    /// Runs of neighbouring sequences with at most `tokens` tokens each, or one longer sequence.
    pub(super) fn blocks(self, tokens: usize) -> impl Iterator<Item = SequencesView<'a>> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let fitting = rest.ends.partition_point(|end| end - rest.start <= tokens);
            let count = fitting.max(1);
            let end = rest.ends.get(count - 1)? - rest.start;
            let (ids, later_ids) = rest.ids.split_at(end);
            let (type_ids, later_type_ids) = rest.type_ids.split_at(end);
            let (ends, later_ends) = rest.ends.split_at(count);
            let block = SequencesView {
                ids,
                type_ids,
                ends,
                start: rest.start,
            };
            rest = SequencesView {
                ids: later_ids,
                type_ids: later_type_ids,
                ends: later_ends,
                start: rest.start + end,
            };
            Some(block)
        })
    }

    /// Number of sequences.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of each sequence as a range of the view's.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let ends = self.ends.iter().map(|end| end - self.start);
        let starts = std::iter::once(0).chain(ends.clone());
        starts.zip(ends).map(|(start, end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_as_many_sequences_as_fit() {
        let mut sequences = Sequences::default();
        for length in [3, 3, 9, 1, 1, 1, 1, 4] {
            sequences.push(&vec![7; length], &vec![0; length]);
        }
        let chunks: Vec<_> = sequences.chunks(6).collect();
        assert_eq!(chunks, [0..2, 2..3, 3..7, 7..8]);
        let view = sequences.view(3..7);
        assert_eq!(view.tokens(), 4);
        assert_eq!(view.ranges().collect::<Vec<_>>(), [0..1, 1..2, 2..3, 3..4]);
        assert_eq!(Sequences::default().chunks(6).count(), 0);
        let blocks = sequences.view(0..8).blocks(6);
        let lengths = blocks.map(|block| block.ranges().map(|range| range.len()).collect());
        let lengths: Vec<Vec<usize>> = lengths.collect();
        assert_eq!(lengths, [vec![3, 3], vec![9], vec![1, 1, 1, 1], vec![4]]);
    }
}

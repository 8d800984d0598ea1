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

    /// The tokens of sequence `index` as a range of all tokens.
    pub fn range(&self, index: usize) -> Range<usize> {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        start..self.ends[index]
    }

    /// The ranges of all sequences, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.len()).map(|index| self.range(index))
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

//! The order in which a long sequence's queries and keys meet.

use crate::lanes::LANES;

/// Keys of a block.
pub(super) const KEYS: usize = 128;

/// Blocks of 64 keys in it.
pub(super) const KEY_DEPTH: usize = KEYS / 64;

/// Panels of sixteen queries that go through the keys together.
pub(super) const PANELS: usize = 2;

/// A panel's queries and a block of keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Which of those that alternate.
    pub(super) side: usize,
    pub(super) panel: usize,
    pub(super) first_query: usize,
    pub(super) queries: usize,
    /// Block of keys.
    pub(super) block: usize,
    pub(super) keys: usize,
    pub(super) is_last: bool,
}

/// The parts of some queries and keys: two panels go through the keys together, block by block.
pub(super) struct Parts {
    queries: usize,
    keys: usize,
    count: usize,
}

impl Parts {
    #[inline(always)]
    pub(super) fn of(queries: usize, keys: usize) -> Self {
        let count = queries.div_ceil(LANES) * keys.div_ceil(KEYS);
        Parts {
            queries,
            keys,
            count,
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<Part> {
        if index >= self.count {
            return None;
        }
        let blocks = self.keys.div_ceil(KEYS);
        let first_panel = index / (PANELS * blocks) * PANELS;
        let together = PANELS.min(self.queries.div_ceil(LANES) - first_panel);
        let (block, panel) = {
            let index = index - first_panel * blocks;
            (index / together, index % together)
        };
        let first_query = (first_panel + panel) * LANES;
        Some(Part {
            side: index % 2,
            panel,
            first_query,
            queries: LANES.min(self.queries - first_query),
            block,
            keys: KEYS.min(self.keys - block * KEYS),
            is_last: block + 1 == blocks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_query_meets_each_key_once_block_by_block() {
        for queries in [1, 16, 17, 32, 33, 80] {
            for keys in [65, 128, 129, 256, 300] {
                let parts = Parts::of(queries, keys);
                let mut met = vec![0; queries];
                let mut index = 0;
                while let Some(part) = parts.get(index) {
                    assert_eq!(part.side, index % 2);
                    let rows = part.first_query..part.first_query + part.queries;
                    for met in &mut met[rows] {
                        assert_eq!(*met, part.block * KEYS, "{queries}, {keys}, {part:?}");
                        *met += part.keys;
                    }
                    assert_eq!(part.is_last, met[part.first_query] == keys);
                    // What a panel begins may replace what two parts before it left, but nothing newer.
                    if part.block == 0 && index > 0 {
                        let before = parts.get(index - 1).expect("there was one");
                        assert_ne!(before.panel, part.panel);
                    }
                    index += 1;
                }
                assert!(met.iter().all(|met| *met == keys));
            }
        }
        assert!(Parts::of(0, 100).get(0).is_none());
    }
}

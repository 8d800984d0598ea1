//! Lays a vocabulary out for the model file.

use super::vocabulary::{BLOCK, HIGH_BIT, MAX_UNITS, Node, VALUE_BYTE, Vocabulary};
use crate::{Error, Result};

/// The three tensors of a vocabulary, as a converter writes them; [`Vocabulary`] documents their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyTables {
    /// `tokenizer.trie`.
    pub trie: Vec<u32>,
    /// `tokenizer.token_starts`.
    pub token_starts: Vec<u32>,
    /// `tokenizer.token_text`.
    pub token_text: Vec<u8>,
}

/// Full blocks are not searched any more when this many newer ones exist: it bounds the time to place a node, and
/// the room lost in old blocks is below a percent for real vocabularies.
const OPEN_BLOCKS: usize = 16;

impl VocabularyTables {
    /// Lays out the tokens; the same tokens in the same order always give the same bytes.
    ///
    /// Where a text occurs twice its last id counts, where an id occurs twice its last text does, as in a map that is filled
    /// in this order. Ids may have holes, and the empty text is allowed.
    ///
    /// # Errors
    /// [`Error::Model`] if an id or the vocabulary is too large for the format (2³¹ bytes of text, 4 million trie units).
    pub fn build<T: AsRef<str>>(tokens: &[(T, u32)]) -> Result<Self> {
        let mut sorted: Vec<(&str, u32)> = tokens
            .iter()
            .map(|(text, id)| (text.as_ref(), *id))
            .collect();
        // A stable sort keeps entries of one text in their order, so the last of each run is the one that counts.
        sorted.sort_by_key(|&(text, _)| text);
        let unique: Vec<(&str, u32)> = sorted
            .iter()
            .enumerate()
            .filter(|&(i, &(text, _))| sorted.get(i + 1).is_none_or(|next| next.0 != text))
            .map(|(_, &entry)| entry)
            .collect();
        let (token_starts, token_text) = texts_by_id(tokens, &unique)?;
        Ok(VocabularyTables {
            trie: Trie::build(&unique)?,
            token_starts,
            token_text,
        })
    }

    /// The tables as the tokenizer uses them.
    ///
    /// # Errors
    /// [`Error::Model`] if they do not belong together.
    pub fn view(&self) -> Result<Vocabulary<'_>> {
        Vocabulary::new(&self.trie, &self.token_starts, &self.token_text)
    }
}

/// `token_starts` and `token_text`.
fn texts_by_id<T: AsRef<str>>(
    tokens: &[(T, u32)],
    unique: &[(&str, u32)],
) -> Result<(Vec<u32>, Vec<u8>)> {
    let ids = unique
        .iter()
        .map(|&(_, id)| id as usize + 1)
        .max()
        .unwrap_or(0);
    // An id far beyond the number of tokens would make a table of holes; no model has such a vocabulary.
    if ids > 16 * (tokens.len() + 1024) {
        return Err(Error::Model(format!(
            "token id {} in a vocabulary of {} tokens; ids must be nearly contiguous",
            ids - 1,
            tokens.len()
        )));
    }
    let mut texts: Vec<Option<&str>> = vec![None; ids];
    for (text, id) in tokens {
        let text = text.as_ref();
        let counts = unique
            .binary_search_by_key(&text, |&(t, _)| t)
            .is_ok_and(|i| unique[i].1 == *id);
        if counts {
            texts[*id as usize] = Some(text);
        }
    }
    let mut starts = Vec::with_capacity(ids + 1);
    let mut bytes = Vec::new();
    for text in texts {
        starts.push(bytes.len() as u32 | if text.is_none() { HIGH_BIT } else { 0 });
        bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        if bytes.len() >= HIGH_BIT as usize {
            return Err(Error::Model(
                "the vocabulary has more than 2 GB of text".into(),
            ));
        }
    }
    starts.push(bytes.len() as u32);
    Ok((starts, bytes))
}

/// The double array under construction.
struct Trie {
    units: Vec<u32>,
    /// Which units are taken.
    used: Vec<bool>,
    /// Which bases are taken: two nodes with one base would see each other's children.
    based: Vec<bool>,
}

/// A node whose children are still to be placed: the tokens below it and how many of their bytes lead to it.
struct Pending<'a> {
    unit: usize,
    label: u8,
    depth: usize,
    tokens: &'a [(&'a str, u32)],
}

impl Trie {
    /// `tokens` sorted by text, each text once.
    fn build(tokens: &[(&str, u32)]) -> Result<Vec<u32>> {
        let mut trie = Trie {
            units: Vec::new(),
            used: Vec::new(),
            based: Vec::new(),
        };
        trie.grow()?;
        trie.used[0] = true;
        // Breadth first: the top levels, which every word passes, lie together.
        let mut queue = std::collections::VecDeque::new();
        // The root's own byte is one that no text has, so nothing takes it for a child.
        queue.push_back(Pending {
            unit: 0,
            label: VALUE_BYTE,
            depth: 0,
            tokens,
        });
        let mut labels = Vec::new();
        while let Some(Pending {
            unit,
            label,
            depth,
            tokens,
        }) = queue.pop_front()
        {
            labels.clear();
            let value = tokens
                .first()
                .filter(|(text, _)| text.len() == depth)
                .map(|&(_, id)| id);
            let below = if value.is_some() {
                &tokens[1..]
            } else {
                tokens
            };
            labels.extend(
                below
                    .chunk_by(same_byte(depth))
                    .map(|group| group[0].0.as_bytes()[depth]),
            );
            if value.is_some() {
                labels.push(VALUE_BYTE);
            }
            let base = trie.place(&labels)?;
            trie.units[unit] = Node::new(label, value.is_some(), base).0;
            if let Some(id) = value {
                trie.units[base ^ VALUE_BYTE as usize] = HIGH_BIT | id;
            }
            for group in below.chunk_by(same_byte(depth)) {
                let label = group[0].0.as_bytes()[depth];
                queue.push_back(Pending {
                    unit: base ^ label as usize,
                    label,
                    depth: depth + 1,
                    tokens: group,
                });
            }
        }
        Ok(trie.units)
    }

    /// Appends a block of free units.
    fn grow(&mut self) -> Result<()> {
        let units = self.units.len() + BLOCK;
        if units > MAX_UNITS {
            return Err(Error::Model(format!(
                "the vocabulary needs more than {MAX_UNITS} trie units"
            )));
        }
        self.units.resize(units, HIGH_BIT);
        self.used.resize(units, false);
        self.based.resize(units, false);
        Ok(())
    }

    /// Finds and takes a base under which all `labels` are free.
    fn place(&mut self, labels: &[u8]) -> Result<usize> {
        loop {
            let from = self.units.len().saturating_sub(OPEN_BLOCKS * BLOCK);
            let base = (from..self.units.len()).find(|&base| {
                !self.based[base]
                    && labels
                        .iter()
                        .all(|&label| !self.used[base ^ label as usize])
            });
            if let Some(base) = base {
                self.based[base] = true;
                for &label in labels {
                    self.used[base ^ label as usize] = true;
                }
                return Ok(base);
            }
            self.grow()?;
        }
    }
}

/// Whether two tokens go on with the same byte.
fn same_byte(depth: usize) -> impl Fn(&(&str, u32), &(&str, u32)) -> bool {
    move |a, b| a.0.as_bytes()[depth] == b.0.as_bytes()[depth]
}

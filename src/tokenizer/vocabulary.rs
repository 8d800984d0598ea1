//! The vocabulary as it lies in the model file.
//!
//! Three tensors, used from the map as they are:
//!
//! - `tokenizer.trie`, u32 `[units]`: a double-array trie over the tokens' UTF-8 bytes. A unit is either a node
//!   (bit 31 clear; bits 0–7 the byte that leads to it, bit 8 set where a token ends, bits 9–30 its base) or a value
//!   (bit 31 set; bits 0–30 a token id) or unused (bit 31 set). The child of a node by byte `b` is unit `base ^ b`, if that
//!   is a node with byte `b`; the id of a token that ends at a node is in unit `base ^ 0xFF`, a byte that UTF-8 never has.
//!   Unit 0 is the root; the number of units is a multiple of 256.
//! - `tokenizer.token_starts`, u32 `[ids + 1]`: bits 0–30 say where the text of each id begins in `tokenizer.token_text`,
//!   and the last element where the last one ends. Bit 31 is set for an id that has no token.
//! - `tokenizer.token_text`, u8 `[bytes]`: the texts of all tokens, end to end, in the order of their ids.
//!
//! One trie serves words and continuations: a piece that continues a word is looked up from the node of the prefix `##`,
//! so a lookup is equal to one in a hash map of whole tokens, at one array read a byte and no string to build.
//!
//! Loading checks lengths only. Every number read from the file is checked where it is used, so the worst that a broken
//! file can do is give wrong tokens, with ids still below [`Vocabulary::len`].

use crate::{Error, Result};

/// Name of the trie's tensor.
pub const TRIE: &str = "tokenizer.trie";
/// Name of the tensor of text positions.
pub const TOKEN_STARTS: &str = "tokenizer.token_starts";
/// Name of the tensor of token texts.
pub const TOKEN_TEXT: &str = "tokenizer.token_text";

/// Units of the trie come in blocks of this many, so that a base within the array leads to children within it.
pub(super) const BLOCK: usize = 256;
/// The byte under which a node keeps its id.
pub(super) const VALUE_BYTE: u8 = 0xFF;
/// Marks a unit that is no node, and an id that has no token.
pub(super) const HIGH_BIT: u32 = 1 << 31;
const TERMINAL: u32 = 1 << 8;
const BASE_SHIFT: u32 = 9;
const BASE_MASK: u32 = (1 << 22) - 1;
/// The trie cannot have more units: bases have 22 bits.
pub(super) const MAX_UNITS: usize = 1 << 22;

/// A position in the trie: the unit itself, so that a step needs no second read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(pub(super) u32);

impl Node {
    pub(super) const fn new(label: u8, terminal: bool, base: usize) -> Node {
        Node(label as u32 | if terminal { TERMINAL } else { 0 } | (base as u32) << BASE_SHIFT)
    }

    /// Whether a token ends here.
    #[inline]
    pub(super) fn is_terminal(self) -> bool {
        self.0 & TERMINAL != 0
    }

    #[inline]
    fn base(self) -> usize {
        (self.0 >> BASE_SHIFT & BASE_MASK) as usize
    }
}

/// A borrowed vocabulary: three slices, usually of the mapped model file.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    trie: &'a [u32],
    token_starts: &'a [u32],
    token_text: &'a [u8],
}

impl<'a> Vocabulary<'a> {
    /// Takes the tensors [`TRIE`], [`TOKEN_STARTS`] and [`TOKEN_TEXT`]; reads two elements, whatever their size.
    ///
    /// # Errors
    /// [`Error::Model`] if their lengths contradict each other.
    pub fn new(trie: &'a [u32], token_starts: &'a [u32], token_text: &'a [u8]) -> Result<Self> {
        if trie.is_empty() || !trie.len().is_multiple_of(BLOCK) || trie.len() > MAX_UNITS {
            return Err(Error::Model(format!(
                "{TRIE}: found {} units, expected a multiple of {BLOCK} up to {MAX_UNITS}",
                trie.len()
            )));
        }
        let Some(last) = token_starts.last() else {
            return Err(Error::Model(format!("{TOKEN_STARTS} is empty")));
        };
        let end = (last & !HIGH_BIT) as usize;
        if end != token_text.len() {
            return Err(Error::Model(format!(
                "{TOKEN_STARTS}: the last text ends at byte {end}, but {TOKEN_TEXT} has {} bytes",
                token_text.len()
            )));
        }
        Ok(Vocabulary {
            trie,
            token_starts,
            token_text,
        })
    }

    /// Number of ids, those without a token included. Every id that a lookup returns is below it.
    pub fn len(&self) -> usize {
        self.token_starts.len() - 1
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Text of a token; `None` if the id has none.
    pub fn token(&self, id: u32) -> Option<&'a str> {
        let start = *self.token_starts.get(id as usize)?;
        let end = *self.token_starts.get(id as usize + 1)? & !HIGH_BIT;
        if start & HIGH_BIT != 0 {
            return None;
        }
        std::str::from_utf8(self.token_text.get(start as usize..end as usize)?).ok()
    }

    /// Id of the token with exactly this text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.value(self.walk(self.root(), token)?)
    }

    /// Where every word starts.
    #[inline]
    pub(super) fn root(&self) -> Node {
        Node(self.trie[0])
    }

    /// The node that `text` leads to.
    pub(super) fn walk(&self, from: Node, text: &str) -> Option<Node> {
        text.bytes()
            .try_fold(from, |node, byte| self.child(node, byte))
    }

    /// One step down the trie.
    #[inline]
    pub(super) fn child(&self, node: Node, byte: u8) -> Option<Node> {
        let unit = *self.trie.get(node.base() ^ byte as usize)?;
        (unit & (HIGH_BIT | 0xFF) == byte as u32).then_some(Node(unit))
    }

    /// The id of the token that ends at `node`, if one does.
    #[inline]
    pub(super) fn value(&self, node: Node) -> Option<u32> {
        if !node.is_terminal() {
            return None;
        }
        let id = *self.trie.get(node.base() ^ VALUE_BYTE as usize)? & !HIGH_BIT;
        ((id as usize) < self.len()).then_some(id)
    }
}

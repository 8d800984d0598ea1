//! From tokens back to text, as the decoder of `tokenizers` for WordPiece does with its clean-up on.

use super::BoundTokenizer;

/// Beginnings of a word that the blank in front of it is taken from.
const NO_BLANK_BEFORE: [&str; 9] = [".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"];

impl BoundTokenizer<'_> {
    /// The text that tokens spell: blanks between words, none before pieces that continue a word and before most
    /// punctuation.
    pub fn join<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> String {
        let prefix = self.rules().continuation_prefix();
        let mut text = String::new();
        for (index, token) in tokens.into_iter().enumerate() {
            let continues = (index > 0).then(|| token.strip_prefix(prefix)).flatten();
            if let Some(rest) = continues {
                text.push_str(rest);
                continue;
            }
            let closes = NO_BLANK_BEFORE.iter().any(|mark| token.starts_with(mark));
            if index > 0 && !closes {
                text.push(' ');
            }
            text.push_str(token);
        }
        text
    }

    /// The text that ids spell, with or without special tokens. Ids without a token are left out.
    pub fn decode(&self, ids: &[u32], with_special: bool) -> String {
        let kept = ids
            .iter()
            .filter(|id| with_special || !self.is_special(**id));
        self.join(kept.filter_map(|id| self.token(*id)))
    }

    /// Whether an id is one of the special tokens.
    pub fn is_special(&self, id: u32) -> bool {
        let mut added = self.rules().added_tokens().iter();
        added.any(|token| token.special && token.id == id)
    }

    /// Whether an id is a piece that continues the word before it.
    pub fn continues_word(&self, id: u32) -> bool {
        let prefix = self.rules().continuation_prefix();
        let is_added = || {
            let mut added = self.rules().added_tokens().iter();
            added.any(|token| token.id == id)
        };
        let token = self.token(id);
        token.is_some_and(|token| token.starts_with(prefix) && token != prefix) && !is_added()
    }
}

//! From tokens back to text: WordPiece as the decoder of `tokenizers` does with its clean-up on, other kinds by that
//! decoder itself.

use super::{BoundTokenizer, Kind, Offsets, Tokens};

/// Beginnings of a word that the blank in front of it is taken from.
const NO_BLANK_BEFORE: [&str; 9] = [".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"];

/// A text without blanks in front of most punctuation and around apostrophes: `clean_up_tokenization` of transformers.
pub fn clean_up(text: &str) -> String {
    let marks = [" .", " ?", " !", " ,"];
    let text = marks
        .iter()
        .fold(text.to_owned(), |text, mark| text.replace(mark, &mark[1..]));
    let text = text.replace(" ' ", "'");
    let endings = [" n't", " 'm", " 's", " 've", " 're"];
    endings
        .iter()
        .fold(text, |text, ending| text.replace(ending, &ending[1..]))
}

impl BoundTokenizer<'_> {
    /// The text that tokens spell. WordPiece: blanks between words, none before pieces that continue a word and before
    /// most punctuation; other kinds: what the decoder of `tokenizer.json` makes, a blank in front of a word included.
    pub fn join<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> String {
        let prefix = match &self.rules().kind {
            Kind::WordPiece(rules) => &rules.continuation_prefix,
            Kind::Json(tokenizer) => {
                return tokenizer.join(tokens.into_iter().map(str::to_owned).collect());
            }
        };
        let mut text = String::new();
        for (index, token) in tokens.into_iter().enumerate() {
            let continues = (index > 0)
                .then(|| token.strip_prefix(prefix.as_str()))
                .flatten();
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

    /// Whether a token of `text` continues the word before it. WordPiece marks such pieces; with other kinds it is what
    /// transformers' token classification takes for one: no blank at its place or in front of it.
    pub fn continues_word(&self, text: &str, id: u32, offsets: Offsets) -> bool {
        let Some(prefix) = self.rules().continuation_prefix() else {
            let before = text[..offsets.0].chars().next_back();
            let first = text[offsets.0..].chars().next();
            return before.is_some() && before != Some(' ') && first != Some(' ');
        };
        let is_added = || {
            let mut added = self.rules().added_tokens().iter();
            added.any(|token| token.id == id)
        };
        let token = self.token(id);
        token.is_some_and(|token| token.starts_with(prefix) && token != prefix) && !is_added()
    }

    /// Which of the tokens of `text` continue a word, as the tokenizer cuts words before it looks for tokens.
    pub fn continuations(&self, text: &str, tokens: &Tokens) -> Vec<bool> {
        match &self.rules().kind {
            Kind::WordPiece(_) => {
                let places = tokens.ids.iter().zip(&tokens.offsets);
                places
                    .map(|(id, offsets)| self.continues_word(text, *id, *offsets))
                    .collect()
            }
            Kind::Json(tokenizer) => tokenizer.continuations(text),
        }
    }
}

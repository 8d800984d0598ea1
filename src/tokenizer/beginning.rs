//! How much of a text is looked at where only its first tokens are wanted.
//!
//! The tokenizers of BPE and Unigram need more than a hundred times a text's bytes, and WordPiece with added tokens that are
//! looked for in normalized text some thirty times; else both would take a line of any length as a whole.

/// Bytes of text for a token that is asked for, before the rest of a long text is left alone: few texts need so many.
const BYTES_A_TOKEN: usize = 64;
/// Bytes that are looked at of a text that has no place to cut, or too few tokens in front of it. Tokens depend on what is
/// near them; those that are wanted are a few thousand bytes from the text's start, unless it has tokens as long as pages.
const UNBROKEN: usize = 1 << 17;
/// Tokens for which no more than that is looked at.
pub(super) const MOST_TOKENS: usize = UNBROKEN / BYTES_A_TOKEN;

/// Calls `tokenize`, which returns the number of tokens, with a beginning of `text` that gives the first `limit` tokens of
/// the whole; once more with a longer one where that has fewer.
pub(super) fn with_enough(
    text: &str,
    limit: usize,
    words_stand_alone: bool,
    mut tokenize: impl FnMut(&str) -> usize,
) {
    let length = limit.saturating_mul(BYTES_A_TOKEN);
    if words_stand_alone
        && let Some(beginning) = beginning(text, length)
        && tokenize(beginning) >= limit
    {
        return;
    }
    let mut end = text.len().min(length.max(UNBROKEN));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    tokenize(&text[..end]);
}

/// The text up to a blank between two ASCII letters or digits, the first one behind `length` bytes.
fn beginning(text: &str, length: usize) -> Option<&str> {
    let rest = text.as_bytes().get(length..)?;
    let rest = &rest[..rest.len().min(UNBROKEN)];
    let is_plain = u8::is_ascii_alphanumeric;
    let place = rest
        .windows(3)
        .position(|bytes| is_plain(&bytes[0]) && bytes[1] == b' ' && is_plain(&bytes[2]))?;
    text.get(..length + place + 1)
}

//! From scores of starts and ends to answers.

use std::cmp::Ordering;
use std::ops::Range;

/// A run of tokens with the probability that it is the answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// First token, and the one behind the last.
    pub(crate) tokens: Range<usize>,
    /// Probability of the start, times that of the end.
    pub(crate) score: f32,
}

/// All spans of at most `longest` tokens within the tokens `first..first + starts.len()`, as whole words: `whole` widens a
/// span. Appended to `out`.
pub(crate) fn spans(
    first: usize,
    starts: &[f32],
    ends: &[f32],
    longest: usize,
    whole: impl Fn(Range<usize>) -> Range<usize>,
    out: &mut Vec<Span>,
) {
    for (start, start_score) in starts.iter().enumerate() {
        for (end, end_score) in ends.iter().enumerate().skip(start).take(longest) {
            out.push(Span {
                tokens: whole(first + start..first + end + 1),
                score: start_score * end_score,
            });
        }
    }
}

/// The `count` best of different spans, best first; of equal scores the one further in front.
pub(crate) fn best_spans(mut spans: Vec<Span>, count: usize) -> Vec<Span> {
    let place =
        |a: &Span, b: &Span| (a.tokens.start, a.tokens.end).cmp(&(b.tokens.start, b.tokens.end));
    let rank = |a: &Span, b: &Span| b.score.total_cmp(&a.score);
    // The best of each place, then the best of all.
    spans.sort_unstable_by(|a, b| place(a, b).then_with(|| rank(a, b)));
    spans.dedup_by(|next, kept| place(next, kept) == Ordering::Equal);
    spans.sort_by(rank);
    spans.truncate(count);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_ranked_and_counted_once() {
        let mut all = Vec::new();
        let (starts, ends) = ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]);
        spans(10, &starts, &ends, 2, |span| span, &mut all);
        assert_eq!(all.len(), 5);
        // A second window that holds token 12 again, and a wider word.
        spans(12, &[0.5], &[0.5], 2, |_| 12..14, &mut all);
        let best = best_spans(all, 3);
        let found: Vec<_> = best.into_iter().map(|s| (s.tokens, s.score)).collect();
        assert_eq!(found, [(10..12, 0.25), (12..14, 0.25), (10..11, 0.125)]);
    }
}

//! From scores of starts and ends to answers.

use std::collections::{HashMap, hash_map::Entry};
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

/// The best answers, best first; of equal scores the one further in front. As in transformers' pipeline, the 2·`count` + 10
/// best spans are candidates; those whose texts differ at most in case are one answer: the best of them, with the sum of
/// their scores. At most `count` remain.
pub(crate) fn best_answers<'a>(
    mut spans: Vec<Span>,
    count: usize,
    text: impl Fn(&Range<usize>) -> &'a str,
) -> Vec<Span> {
    let place = |span: &Span| (span.tokens.start, span.tokens.end);
    let rank =
        |a: &Span, b: &Span| (b.score.total_cmp(&a.score)).then_with(|| place(a).cmp(&place(b)));
    let candidates = count.saturating_mul(2).saturating_add(10);
    if candidates < spans.len() {
        spans.select_nth_unstable_by(candidates, rank);
        spans.truncate(candidates);
    }
    spans.sort_unstable_by(rank);
    let mut answers: Vec<Span> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for span in spans {
        match known.entry(text(&span.tokens).to_lowercase()) {
            Entry::Occupied(known) => answers[*known.get()].score += span.score,
            Entry::Vacant(new) => {
                new.insert(answers.len());
                answers.push(span);
            }
        }
    }
    answers.sort_by(rank);
    answers.truncate(count);
    answers
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
        let texts = |tokens: &Range<usize>| match (tokens.start, tokens.end) {
            (10, 11) => "the cat",
            (11, 12) => "The Cat",
            (10, 12) => "both",
            _ => "other",
        };
        let best = best_answers(all, 3, texts);
        let found: Vec<_> = best.into_iter().map(|s| (s.tokens, s.score)).collect();
        // "other": 12..14 of the second window, 12..13 and 11..13 of the first. "the cat": 10..11 and 11..12.
        assert_eq!(found, [(12..14, 0.375), (10..11, 0.25), (10..12, 0.25)]);
    }

    #[test]
    fn only_the_best_spans_are_candidates() {
        let mut all = Vec::new();
        spans(0, &[0.1; 40], &[0.1; 40], 1, |span| span, &mut all);
        let [one] = &best_answers(all, 1, |_| "same")[..] else {
            panic!("several answers of one text");
        };
        assert_eq!(one.tokens, 0..1);
        assert!((one.score - 12.0 * 0.01).abs() < 1e-6, "{}", one.score);
    }
}

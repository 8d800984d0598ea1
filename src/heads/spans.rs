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

/// The best answers of all windows, at most `count`, best first; of equal scores the one further in front.
///
/// As in transformers' pipeline, the 2·`count` + 10 best spans of a window are candidates; spans that became one when they
/// were widened add up, and so do those whose texts differ at most in case: the best of them is the answer. A place that
/// several windows hold counts once, with its best score. The windows are taken one by one: all spans of a long text
/// would take hundreds of times its bytes.
pub(crate) fn best_answers<'a>(
    windows: impl IntoIterator<Item = Vec<Span>>,
    count: usize,
    text: impl Fn(&Range<usize>) -> &'a str,
) -> Vec<Span> {
    let rank = |a: &Span, b: &Span| {
        let place = |span: &Span| (span.tokens.start, span.tokens.end);
        (b.score.total_cmp(&a.score)).then_with(|| place(a).cmp(&place(b)))
    };
    let candidates = count.saturating_mul(2).saturating_add(10);
    // By place: the best score, and the sum of the scores of all spans that have become it.
    let mut places: HashMap<Range<usize>, [f32; 2]> = HashMap::new();
    for mut spans in windows {
        if candidates < spans.len() {
            spans.select_nth_unstable_by(candidates, rank);
            spans.truncate(candidates);
        }
        spans.sort_unstable_by(rank);
        let mut window: HashMap<Range<usize>, [f32; 2]> = HashMap::new();
        for Span { tokens, score } in spans {
            let [_, sum] = window.entry(tokens).or_insert([score, 0.0]);
            *sum += score;
        }
        for (tokens, found) in window {
            let known = places.entry(tokens).or_insert(found);
            if found[1] > known[1] {
                *known = found;
            }
        }
    }
    let spans = places
        .into_iter()
        .map(|(tokens, [score, sum])| (Span { tokens, score }, sum));
    let mut spans: Vec<(Span, f32)> = spans.collect();
    spans.sort_unstable_by(|(a, _), (b, _)| rank(a, b));
    let mut answers: Vec<Span> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (Span { tokens, .. }, score) in spans {
        match known.entry(text(&tokens).to_lowercase()) {
            Entry::Occupied(known) => answers[*known.get()].score += score,
            Entry::Vacant(new) => {
                new.insert(answers.len());
                answers.push(Span { tokens, score });
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
        // A second window that holds token 12 again, and two spans that become a wider word.
        let mut second = Vec::new();
        spans(12, &[0.25, 0.5], &[0.25, 0.25], 1, |_| 12..14, &mut second);
        spans(12, &[0.125], &[0.25], 1, |span| span, &mut second);
        let texts = |tokens: &Range<usize>| match (tokens.start, tokens.end) {
            (10, 11) => "the cat",
            (11, 12) => "The Cat",
            (10, 12) => "both",
            _ => "other",
        };
        let best = best_answers(vec![all, second], 3, texts);
        let found: Vec<_> = best.into_iter().map(|s| (s.tokens, s.score)).collect();
        // "other": twice 12..14 of the second window, 12..13 of both, which counts once, 11..13 of the first. "the cat": 10..11
        // and 11..12.
        assert_eq!(found, [(12..14, 0.3125), (10..11, 0.25), (10..12, 0.25)]);
    }

    #[test]
    fn only_the_best_spans_are_candidates() {
        let mut all = Vec::new();
        spans(0, &[0.1; 40], &[0.1; 40], 1, |span| span, &mut all);
        let [one] = &best_answers(vec![all], 1, |_| "same")[..] else {
            panic!("several answers of one text");
        };
        assert_eq!(one.tokens, 0..1);
        assert!((one.score - 12.0 * 0.01).abs() < 1e-6, "{}", one.score);
    }
}

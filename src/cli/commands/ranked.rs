//! Labels with scores, best first.

use crate::cli::output::{
    json,
    record::{RecordShape, Row, Value},
};

/// The labels that a text gets.
pub struct Ranked<'a> {
    /// Best first.
    pub labels: Vec<(&'a str, f32)>,
    /// Labels that a row of a table has room for.
    most: usize,
}

impl<'a> Ranked<'a> {
    /// The best labels, at most `most` of those that reach the threshold.
    pub fn new(names: &'a [String], scores: &[f32], most: usize, threshold: Option<f32>) -> Self {
        let mut labels: Vec<(&str, f32)> = names
            .iter()
            .map(String::as_str)
            .zip(scores.iter().copied())
            .filter(|(_, score)| threshold.is_none_or(|threshold| *score >= threshold))
            .collect();
        // Stable: equal scores keep the labels' order.
        labels.sort_by(|a, b| b.1.total_cmp(&a.1));
        labels.truncate(most);
        Ranked { labels, most }
    }

    /// Names of a table's columns.
    pub fn columns(most: usize) -> Vec<String> {
        match most {
            1 => vec!["label".to_owned(), "score".to_owned()],
            _ => (1..=most)
                .flat_map(|rank| [format!("label_{rank}"), format!("score_{rank}")])
                .collect(),
        }
    }
}

impl Value for Ranked<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        json::list(out, &self.labels, |out, (label, score)| {
            json::fields(out, &[("label", label), ("score", score)]);
        });
    }

    fn cells(&self, row: &mut Row) {
        for (label, score) in &self.labels {
            row.text(label);
            row.number(*score);
        }
        // A table's rows have one width.
        if row.shape() != RecordShape::Text {
            for _ in self.labels.len()..self.most {
                row.text("");
                row.text("");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(most: usize, threshold: Option<f32>) -> Vec<(String, f32)> {
        let labels = ["a", "b", "c", "d"].map(String::from);
        Ranked::new(&labels, &[0.1, 0.4, 0.4, 0.05], most, threshold)
            .labels
            .into_iter()
            .map(|(label, score)| (label.to_owned(), score))
            .collect()
    }

    #[test]
    fn labels_are_ranked_with_ties_in_the_models_order() {
        let names: String = ranked(4, None)
            .into_iter()
            .map(|(label, _)| label)
            .collect();
        assert_eq!(names, "bcad");
    }

    #[test]
    fn threshold_and_number_both_limit() {
        assert_eq!(ranked(1, Some(0.2)), [("b".to_owned(), 0.4)]);
        assert_eq!(ranked(4, Some(0.2)).len(), 2);
        assert_eq!(ranked(4, Some(0.4)).len(), 2);
        assert!(ranked(4, Some(0.5)).is_empty());
    }
}

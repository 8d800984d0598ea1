//! From logits to scores.

use crate::format::header::{self, HeadConfig, ProblemType};
use crate::kernels::{Activation, Kernel, MatrixMut};

/// What turns a head's logits into the scores that are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Probabilities of labels of which one is right.
    Softmax,
    /// A probability for each label by itself.
    Sigmoid,
    /// The logits as they are.
    None,
}

impl Function {
    /// The function that transformers' text classification pipeline takes when none is named: nothing for a
    /// regression, sigmoid for several right labels or a single output, else (and for all other heads) softmax.
    pub fn auto(head: &HeadConfig) -> Function {
        let HeadConfig::SequenceClassification {
            labels,
            problem_type,
            ..
        } = head
        else {
            return Function::Softmax;
        };
        match problem_type {
            Some(ProblemType::Regression) => Function::None,
            Some(ProblemType::MultiLabelClassification) => Function::Sigmoid,
            _ if labels.len() == 1 => Function::Sigmoid,
            _ => Function::Softmax,
        }
    }

    /// The function that sentence-transformers' cross-encoder applies to the logits of a pair: the one that the checkpoint
    /// names, else sigmoid for a single output and nothing for several.
    pub fn cross_encoder(head: &HeadConfig) -> Function {
        match head {
            HeadConfig::SequenceClassification {
                cross_encoder: Some(header::Activation::Sigmoid),
                ..
            } => Function::Sigmoid,
            HeadConfig::SequenceClassification {
                cross_encoder: Some(_),
                ..
            } => Function::None,
            HeadConfig::SequenceClassification { labels, .. } if labels.len() == 1 => {
                Function::Sigmoid
            }
            _ => Function::None,
        }
    }

    /// Applies the function to the logits of one record, in place.
    pub fn apply(self, kernel: Kernel, scores: &mut [f32]) {
        match self {
            Function::Softmax => {
                let labels = scores.len();
                kernel.softmax_rows(MatrixMut::new(scores, 1, labels, labels), 1.0);
            }
            Function::Sigmoid => kernel.activation(scores, Activation::Sigmoid),
            Function::None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(labels: usize, problem_type: Option<ProblemType>) -> HeadConfig {
        HeadConfig::SequenceClassification {
            labels: (0..labels).map(|i| format!("LABEL_{i}")).collect(),
            problem_type,
            pooler: None,
            cross_encoder: None,
        }
    }

    #[test]
    fn auto_follows_transformers() {
        use ProblemType::*;
        for (labels, problem_type, expected) in [
            (1, None, Function::Sigmoid),
            (1, Some(Regression), Function::None),
            (3, Some(Regression), Function::None),
            (1, Some(SingleLabelClassification), Function::Sigmoid),
            (2, None, Function::Softmax),
            (5, Some(SingleLabelClassification), Function::Softmax),
            (5, Some(MultiLabelClassification), Function::Sigmoid),
        ] {
            assert_eq!(Function::auto(&head(labels, problem_type)), expected);
        }
    }
}

//! Sequence classification: the first token's hidden state → pooler → classifier.

use super::Dense;
use crate::encoder;
use crate::format::header::HeadConfig;
use crate::format::{FormatError, Locator, ModelFile};
use crate::kernels::{Activation, Kernel};
use half::f16;

/// `BertForSequenceClassification`'s head.
#[derive(Debug)]
pub(crate) struct ClassificationHead {
    pooler: Option<Dense<f16>>,
    classifier: Dense<f32>,
}

impl ClassificationHead {
    /// Finds the head's tensors; `None` where the header names no head.
    pub(crate) fn locate(locator: &Locator<'_>) -> Result<Option<ClassificationHead>, FormatError> {
        let Some(HeadConfig::SequenceClassification { labels, pooler, .. }) =
            &locator.file().header().head
        else {
            return Ok(None);
        };
        let hidden = locator.file().header().config.hidden_size;
        let pooler = pooler.map(|activation| {
            let activation = encoder::activation(activation);
            Dense::locate(locator, "pooler", [hidden, hidden], true, activation)
        });
        Ok(Some(ClassificationHead {
            pooler: pooler.transpose()?,
            classifier: Dense::locate(
                locator,
                "classifier",
                [labels.len(), hidden],
                true,
                Activation::Identity,
            )?,
        }))
    }

    /// Appends the logits of one sequence to `out`; `first` is its first token's hidden state, `pooled` is scratch.
    pub(crate) fn forward(
        &self,
        file: &ModelFile,
        kernel: Kernel,
        first: &[f32],
        pooled: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) {
        let Some(pooler) = &self.pooler else {
            return self.classifier.forward(file, kernel, first, out);
        };
        pooled.clear();
        pooler.forward(file, kernel, first, pooled);
        self.classifier.forward(file, kernel, pooled, out);
    }
}

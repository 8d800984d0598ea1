//! One vector for a sequence to scores: the first token's hidden state → pooler → classifier.

use super::Dense;
use crate::encoder;
use crate::format::header::Activation;
use crate::format::{FormatError, Locator, ModelFile};
use crate::kernels::{self, Kernel};
use half::f16;

/// The head of sequence classification, multiple choice and next-sentence prediction.
#[derive(Debug)]
pub(crate) struct ClassificationHead {
    pooler: Option<Dense<f16>>,
    classifier: Dense<f32>,
}

impl ClassificationHead {
    /// Finds the head's tensors: `pooler`, where there is an activation for it, and the classifier called `name` with
    /// `outputs` rows.
    pub(super) fn locate(
        locator: &Locator<'_>,
        pooler: Option<Activation>,
        name: &str,
        outputs: usize,
    ) -> Result<ClassificationHead, FormatError> {
        let hidden = locator.file().header().config.hidden_size;
        let pooler = pooler.map(|activation| {
            let activation = encoder::activation(activation);
            Dense::locate(locator, "pooler", [hidden, hidden], true, activation)
        });
        Ok(ClassificationHead {
            pooler: pooler.transpose()?,
            classifier: Dense::locate(
                locator,
                name,
                [outputs, hidden],
                true,
                kernels::Activation::Identity,
            )?,
        })
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

//! Hidden states of chosen layers, side by side or added up.

use super::model::Model;
use crate::error::{Error, Result};

/// How the states of several layers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Combine {
    /// Side by side, in the order asked for.
    #[default]
    Concatenate,
    /// Added.
    Sum,
    /// Added, and divided by their number.
    Mean,
}

/// Which hidden states are wanted, of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// 0 is what comes out of the embeddings, `i` what comes out of layer `i`.
    stages: Vec<usize>,
    combine: Combine,
}

impl Layers {
    /// Layers by number: 0 for the embeddings, 1 for the first layer, -1 for the last one, -2 for the one before.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none, or one that the model does not have.
    pub fn new(model: &Model, layers: &[isize], combine: Combine) -> Result<Layers> {
        let count = model.header().config.num_hidden_layers;
        let stages = layers.iter().map(|layer| {
            let stage = match usize::try_from(*layer) {
                Ok(stage) => Some(stage),
                Err(_) => (count + 1).checked_sub(layer.unsigned_abs()),
            };
            stage.filter(|stage| *stage <= count).ok_or_else(|| {
                Error::Input(format!(
                    "layer {layer}, but the model has {count}: 0 (the embeddings) to {count}, or -1 (the last) to -{}",
                    count + 1
                ))
            })
        });
        let stages: Vec<usize> = stages.collect::<Result<_>>()?;
        if stages.is_empty() {
            return Err(Error::Input("no layer is named".to_owned()));
        }
        Ok(Layers { stages, combine })
    }

    /// Numbers of a token's state.
    pub fn width(&self, hidden_size: usize) -> usize {
        match self.combine {
            Combine::Concatenate => self.stages.len() * hidden_size,
            Combine::Sum | Combine::Mean => hidden_size,
        }
    }

    /// Adds the states `hidden` `[tokens, hidden_size]` of a stage to `out` `[tokens, width]`, which is empty before the
    /// first.
    pub(super) fn take(
        &self,
        stage: usize,
        hidden: &[f32],
        hidden_size: usize,
        out: &mut Vec<f32>,
    ) {
        let width = self.width(hidden_size);
        out.resize(hidden.len() / hidden_size * width, 0.0);
        let places = self.stages.iter().enumerate();
        for (place, _) in places.filter(|(_, wanted)| **wanted == stage) {
            let first = match self.combine {
                Combine::Concatenate => place * hidden_size,
                Combine::Sum | Combine::Mean => 0,
            };
            let share = match self.combine {
                Combine::Mean => 1.0 / self.stages.len() as f32,
                Combine::Concatenate | Combine::Sum => 1.0,
            };
            let rows = out.chunks_exact_mut(width);
            for (row, state) in rows.zip(hidden.chunks_exact(hidden_size)) {
                for (sum, value) in row[first..first + hidden_size].iter_mut().zip(state) {
                    *sum += share * value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(stages: &[usize], combine: Combine) -> Vec<f32> {
        let layers = Layers {
            stages: stages.to_vec(),
            combine,
        };
        let mut out = Vec::new();
        for (stage, hidden) in [[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]]
            .iter()
            .enumerate()
        {
            layers.take(stage, hidden, 2, &mut out);
        }
        out
    }

    #[test]
    fn states_are_joined_as_asked() {
        assert_eq!(taken(&[1], Combine::Concatenate), [10.0, 20.0, 30.0, 40.0]);
        assert_eq!(
            taken(&[1, 0], Combine::Concatenate),
            [10.0, 20.0, 1.0, 2.0, 30.0, 40.0, 3.0, 4.0]
        );
        assert_eq!(taken(&[0, 1], Combine::Sum), [11.0, 22.0, 33.0, 44.0]);
        assert_eq!(taken(&[0, 1], Combine::Mean), [5.5, 11.0, 16.5, 22.0]);
        assert_eq!(taken(&[0, 0], Combine::Sum), [2.0, 4.0, 6.0, 8.0]);
    }
}

//! What each word of a text looks at.

use super::batch::Batch;
use super::encoder::{States, forward};
use super::features::{FeatureExtractor, FeatureRoom, TokenFeature};
use super::layers::{Combine, Layers};
use super::model::Model;
use super::task::Task;
use super::text_encoder::{EncodedText, Text, TextOptions};
use crate::error::{Error, Result};

/// The attention weights of one layer for a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// The sequence's tokens, special tokens included.
    pub tokens: Vec<TokenFeature>,
    /// `[tokens, tokens]`: row i holds what token i looks at, and adds up to 1.
    pub weights: Vec<f32>,
}

/// Attention weights: [`Task`] from texts or pairs to [`Attention`].
#[derive(Debug)]
pub struct AttentionViewer {
    features: FeatureExtractor,
    /// From 0.
    layer: usize,
    head: Option<usize>,
}

impl AttentionViewer {
    /// `layer` counts from 1, or from -1 backwards; `head` counts from 1, `None` is the mean of all.
    ///
    /// # Errors
    /// [`Error::Input`] if the model does not have the layer or head, or the options do not fit it.
    pub fn new(
        model: &Model,
        layer: isize,
        head: Option<usize>,
        options: TextOptions,
    ) -> Result<AttentionViewer> {
        let config = &model.header().config;
        let (layers, heads) = (config.num_hidden_layers, config.num_attention_heads);
        let index = match usize::try_from(layer) {
            Ok(layer) => layer.checked_sub(1),
            Err(_) => layers.checked_sub(layer.unsigned_abs()),
        };
        let Some(index) = index.filter(|index| *index < layers) else {
            return Err(Error::Input(format!(
                "layer {layer}, but the model has the layers 1 to {layers} (or -1 to -{layers})"
            )));
        };
        if let Some(head) = head.filter(|head| !(1..=heads).contains(head)) {
            return Err(Error::Input(format!(
                "head {head}, but the model has the heads 1 to {heads}"
            )));
        }
        // What goes into layer `index` comes out of the one before.
        let input = isize::try_from(index).unwrap_or(0);
        let input = Layers::new(model, &[input], Combine::Concatenate)?;
        Ok(AttentionViewer {
            features: FeatureExtractor::new(model, input, options)?,
            layer: index,
            head: head.map(|head| head - 1),
        })
    }
}

impl Task for AttentionViewer {
    type Input<'a> = Text<'a>;
    type Room = FeatureRoom;
    type Pending = Attention;
    type Answer = Attention;

    fn model(&self) -> &Model {
        self.features.model()
    }

    fn states(&self) -> States<'_> {
        self.features.states()
    }

    fn room(&self) -> FeatureRoom {
        self.features.room()
    }

    fn encode(
        &self,
        input: &Text<'_>,
        room: &mut FeatureRoom,
        batch: &mut Batch,
    ) -> Result<(Attention, EncodedText)> {
        let (tokens, encoded) = self.features.encode(input, room, batch)?;
        let weights = Vec::new();
        Ok((Attention { tokens, weights }, encoded))
    }

    fn read(&self, pending: &mut Attention, _: &mut FeatureRoom, _: usize, states: &[f32]) {
        let all = forward(self.model()).attention_weights(self.layer, states);
        let each = pending.tokens.len() * pending.tokens.len();
        pending.weights = match self.head {
            Some(head) => all[head * each..][..each].to_vec(),
            None => {
                let heads = all.len() / each;
                let mean = |place| {
                    let sum: f32 = (0..heads).map(|head| all[head * each + place]).sum();
                    sum / heads as f32
                };
                (0..each).map(mean).collect()
            }
        };
    }

    fn finish(&self, pending: Attention, _: &mut FeatureRoom) -> Attention {
        pending
    }
}

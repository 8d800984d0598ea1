//! Hidden states as features: of any layers, for each token or pooled.

use super::batch::Batch;
use super::encoder::States;
use super::layers::Layers;
use super::model::Model;
use super::span_tokens::{template_room, text_room};
use super::task::Task;
use super::text_encoder::{EncodedText, LongText, Text, TextOptions};
use crate::error::{Error, Result};
use crate::format::header::{Pooling, TemplatePiece};
use crate::heads;
use crate::tokenizer::{Offsets, Tokens, TruncationSide, truncate_pair};

/// A token of the sequence and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenFeature {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Where it lies in its text, in characters; 0, 0 for a special token.
    pub offsets: Offsets,
    /// Which text it belongs to: 0 or 1; `None` for a special token.
    pub text: Option<usize>,
    /// Its state.
    pub values: Vec<f32>,
}

/// Feature extraction: [`Task`] from texts or pairs to the states of each token, special tokens included.
#[derive(Debug)]
pub struct FeatureExtractor {
    model: Model,
    layers: Layers,
    options: TextOptions,
    max_length: usize,
}

impl FeatureExtractor {
    /// `options`: a text that is too long is cut at its end, at its beginning, or an error; there are no windows.
    ///
    /// # Errors
    /// [`Error::Input`] if the options do not fit the model.
    pub fn new(model: &Model, layers: Layers, options: TextOptions) -> Result<FeatureExtractor> {
        if options.long == LongText::Window {
            return Err(Error::Input(
                "the states of single tokens are not averaged over windows; cut long texts into records of their own"
                    .to_owned(),
            ));
        }
        let room = template_room(model, options.max_length, false)?;
        Ok(FeatureExtractor {
            model: model.clone(),
            max_length: room.tokens + model.tokenizer().rules().template().special_count(false),
            layers,
            options,
        })
    }

    /// Finds out before any pair is there whether the maximum length has room for one.
    pub(crate) fn check_pairs(&self) -> Result<()> {
        let template = self.model.tokenizer().rules().template();
        text_room(template, self.max_length, true).map(drop)
    }

    /// Numbers of a token's state.
    pub fn width(&self) -> usize {
        self.layers.width(self.model.header().config.hidden_size)
    }

    /// Appends the text's vector to `out`: its tokens' states, pooled.
    pub fn pool(tokens: &[TokenFeature], modes: &[Pooling], out: &mut Vec<f32>) {
        let width = tokens.first().map_or(1, |token| token.values.len());
        let rows: Vec<f32> = tokens
            .iter()
            .flat_map(|token| &token.values)
            .copied()
            .collect();
        heads::pool(modes, &rows, width, 0, out);
    }
}

/// One thread's memory.
#[derive(Debug, Default)]
pub struct FeatureRoom {
    texts: [Tokens; 2],
    chars: [Vec<Offsets>; 2],
}

impl Task for FeatureExtractor {
    type Input<'a> = Text<'a>;
    type Room = FeatureRoom;
    type Pending = Vec<TokenFeature>;
    type Answer = Vec<TokenFeature>;

    fn model(&self) -> &Model {
        &self.model
    }

    fn states(&self) -> States<'_> {
        States::Of(&self.layers)
    }

    fn room(&self) -> FeatureRoom {
        FeatureRoom::default()
    }

    fn encode(
        &self,
        input: &Text<'_>,
        room: &mut FeatureRoom,
        batch: &mut Batch,
    ) -> Result<(Vec<TokenFeature>, EncodedText)> {
        let tokenizer = self.model.tokenizer();
        let template = tokenizer.rules().template();
        let is_pair = input.second.is_some();
        let pieces = template.pieces(is_pair);
        if is_pair && pieces.is_empty() {
            return Err(Error::Input(
                "a pair of texts, but the model's tokenizer takes single texts only".to_owned(),
            ));
        }
        let texts = [
            match &self.options.prompt {
                Some(prompt) => format!("{prompt}{}", input.first),
                None => input.first.to_owned(),
            },
            input.second.unwrap_or_default().to_owned(),
        ];
        for (index, text) in texts.iter().enumerate() {
            tokenizer.tokenize(text, &mut room.texts[index]);
            room.texts[index].char_offsets(text, &mut room.chars[index]);
        }
        let special = template.special_count(is_pair);
        let most = text_room(template, self.max_length, is_pair)?;
        let lengths = [0, 1].map(|index| room.texts[index].ids.len());
        let total = lengths[0] + lengths[1];
        let truncated = total > most;
        let side = match self.options.long {
            LongText::TruncateLeft => TruncationSide::Left,
            LongText::Error if truncated => {
                return Err(Error::Input(format!(
                    "text of {} tokens, but the model takes {}; cut it, or ask for truncation",
                    total + special,
                    self.max_length
                )));
            }
            _ => TruncationSide::Right,
        };
        let (first, second) = truncate_pair(lengths[0], lengths[1], most);
        let kept = [side.kept(lengths[0], first), side.kept(lengths[1], second)];
        let mut features = Vec::with_capacity(total.min(most) + special);
        let mut feature = |id: u32, offsets, text| {
            features.push(TokenFeature {
                id,
                token: tokenizer.token(id).unwrap_or_default().to_owned(),
                offsets,
                text,
                values: Vec::new(),
            });
        };
        for piece in pieces {
            let index = match *piece {
                TemplatePiece::Special { id, .. } => {
                    feature(id, (0, 0), None);
                    continue;
                }
                TemplatePiece::First { .. } => 0,
                TemplatePiece::Second { .. } => 1,
            };
            for token in kept[index].clone() {
                let offsets = room.chars[index][token];
                feature(room.texts[index].ids[token], offsets, Some(index));
            }
        }
        // A prompt that the model leaves out of its vectors does not concern single states.
        batch.push_window(0, 1, |ids, type_ids| {
            let ids_of = |index: usize| &room.texts[index].ids[kept[index].clone()];
            template.assemble(ids_of(0), is_pair.then(|| ids_of(1)), ids, type_ids);
        });
        let encoded = EncodedText {
            tokens: features.len(),
            truncated,
            windows: 1,
        };
        Ok((features, encoded))
    }

    fn read(
        &self,
        features: &mut Vec<TokenFeature>,
        _: &mut FeatureRoom,
        _: usize,
        states: &[f32],
    ) {
        let width = self.width();
        for (feature, state) in features.iter_mut().zip(states.chunks_exact(width)) {
            feature.values = state.to_vec();
        }
    }

    fn finish(&self, features: Vec<TokenFeature>, _: &mut FeatureRoom) -> Vec<TokenFeature> {
        features
    }
}

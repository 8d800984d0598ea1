//! Where the encoder's weights lie in the file, checked against the configuration.

use crate::format::header::{Config, Precision};
use crate::format::{Element, FormatError, Locator, ModelFile, Tensor};
use crate::kernels::PackedLinear;
use half::f16;

/// The encoder's tensors. Made once for a model; cheap to resolve into slices.
#[derive(Debug)]
pub(crate) struct EncoderTensors {
    pub(super) word_embeddings: WordEmbeddings,
    /// `[type_vocab_size, position_rows, embedding_width]`
    pub(super) position_table: Tensor<f16>,
    pub(super) embeddings_layer_norm: LayerNormTensors,
    /// From the embeddings' width to the encoder's.
    pub(super) projection: Option<Projection>,
    /// `[num_attention_heads, 2·max_position_embeddings − 1]`: added to the score of a query and a key, by the key's
    /// place less the query's; the middle is distance 0.
    pub(super) relative_attention_bias: Option<Tensor<f32>>,
    /// Those that the file holds; [`EncoderTensors::layer`] knows which computes when.
    stored_layers: Vec<LayerTensors>,
}

/// A linear layer in half precision, whatever the model's: a hundredth of a small encoder's work, and what it loses
/// would reach every layer.
#[derive(Debug)]
pub(super) struct Projection {
    /// `[hidden_size, embedding_size]`
    pub(super) weight: Tensor<f16>,
    pub(super) bias: Tensor<f32>,
}

/// `[vocab_size, embedding_width]`, in the model's precision.
#[derive(Debug)]
pub(super) enum WordEmbeddings {
    Int8 {
        weight: Tensor<i8>,
        /// `[vocab_size]`
        scale: Tensor<f32>,
    },
    F16(Tensor<f16>),
}

#[derive(Debug)]
pub(super) struct LayerTensors {
    /// `hidden_size` → 3·`hidden_size`
    pub(super) query_key_value: LinearTensors,
    pub(super) attention_output: LinearTensors,
    pub(super) attention_layer_norm: LayerNormTensors,
    pub(super) intermediate: LinearTensors,
    pub(super) output: LinearTensors,
    pub(super) output_layer_norm: LayerNormTensors,
}

#[derive(Debug)]
pub(super) struct LayerNormTensors {
    weight: Tensor<f32>,
    bias: Tensor<f32>,
}

/// y = W·x + b with `n` outputs and `k` inputs.
#[derive(Debug)]
pub(super) enum LinearTensors {
    Int8 {
        n: usize,
        k: usize,
        /// `[N16, K64/4, 16, 4]`
        weight: Tensor<i8>,
        scale: Tensor<f32>,
        column_sum: Tensor<i32>,
        bias: Tensor<f32>,
        /// `[k]`
        input_scale: Tensor<f32>,
        /// Inputs that share a range.
        group: usize,
    },
    F16 {
        n: usize,
        k: usize,
        /// `[n, k]`
        weight: Tensor<f16>,
        bias: Tensor<f32>,
    },
}

/// A [`LinearTensors`] resolved into slices of the map.
#[derive(Debug, Clone, Copy)]
pub(super) enum LinearWeights<'a> {
    Int8 {
        packed: PackedLinear<'a>,
        input_scale: &'a [f32],
    },
    F16 {
        n: usize,
        k: usize,
        weight: &'a [f16],
        bias: &'a [f32],
    },
}

/// Weight and bias of a LayerNorm.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerNormWeights<'a> {
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl EncoderTensors {
    /// Finds every tensor of the encoder.
    pub(crate) fn locate(locator: &Locator<'_>) -> Result<EncoderTensors, FormatError> {
        let config = &locator.file().header().config;
        let &Config {
            hidden_size: hidden,
            intermediate_size: inner,
            vocab_size,
            type_vocab_size,
            max_position_embeddings,
            num_attention_heads,
            ..
        } = config;
        let width = config.embedding_width();
        let precision = locator.file().header().precision;
        let words = "embeddings.word_embeddings.weight";
        let word_embeddings = match precision {
            Precision::Int8 => WordEmbeddings::Int8 {
                weight: locator.tensor(words, &[vocab_size, width])?,
                scale: locator.tensor("embeddings.word_embeddings.scale", &[vocab_size])?,
            },
            Precision::F16 => WordEmbeddings::F16(locator.tensor(words, &[vocab_size, width])?),
        };
        let linear = |name: String, n, k| LinearTensors::locate(locator, precision, &name, n, k);
        let layer_norm = |name: &str| LayerNormTensors::locate(locator, name, hidden);
        let stored_layers = (0..config.stored_layers())
            .map(|i| {
                Ok(LayerTensors {
                    query_key_value: linear(
                        format!("layer.{i}.attention.query_key_value"),
                        3 * hidden,
                        hidden,
                    )?,
                    attention_output: linear(
                        format!("layer.{i}.attention.output"),
                        hidden,
                        hidden,
                    )?,
                    attention_layer_norm: layer_norm(&format!("layer.{i}.attention.LayerNorm"))?,
                    intermediate: linear(format!("layer.{i}.intermediate"), inner, hidden)?,
                    output: linear(format!("layer.{i}.output"), hidden, inner)?,
                    output_layer_norm: layer_norm(&format!("layer.{i}.output.LayerNorm"))?,
                })
            })
            .collect::<Result<_, FormatError>>()?;
        Ok(EncoderTensors {
            word_embeddings,
            position_table: locator.tensor(
                "embeddings.position_table",
                &[type_vocab_size, config.position_rows(), width],
            )?,
            embeddings_layer_norm: LayerNormTensors::locate(
                locator,
                "embeddings.LayerNorm",
                width,
            )?,
            projection: match config.embedding_size {
                None => None,
                Some(size) => Some(Projection {
                    weight: locator.tensor("embeddings.projection.weight", &[hidden, size])?,
                    bias: locator.tensor("embeddings.projection.bias", &[hidden])?,
                }),
            },
            relative_attention_bias: match config.relative_attention_bias {
                false => None,
                true => Some(locator.tensor(
                    "relative_attention_bias",
                    &[num_attention_heads, 2 * max_position_embeddings - 1],
                )?),
            },
            stored_layers,
        })
    }

    /// What computes layer `layer`, from 0.
    pub(super) fn layer(&self, layer: usize, config: &Config) -> &LayerTensors {
        &self.stored_layers[config.stored_layer(layer)]
    }
}

impl LayerNormTensors {
    fn locate(locator: &Locator<'_>, name: &str, width: usize) -> Result<Self, FormatError> {
        Ok(LayerNormTensors {
            weight: locator.tensor(&format!("{name}.weight"), &[width])?,
            bias: locator.tensor(&format!("{name}.bias"), &[width])?,
        })
    }

    pub(super) fn resolve<'a>(&self, file: &'a ModelFile) -> LayerNormWeights<'a> {
        LayerNormWeights {
            weight: file.get(self.weight),
            bias: file.get(self.bias),
        }
    }
}

impl LinearTensors {
    fn locate(
        locator: &Locator<'_>,
        precision: Precision,
        name: &str,
        n: usize,
        k: usize,
    ) -> Result<Self, FormatError> {
        fn part<T: Element>(
            locator: &Locator<'_>,
            name: &str,
            part: &str,
            shape: &[usize],
        ) -> Result<Tensor<T>, FormatError> {
            locator.tensor(&format!("{name}.{part}"), shape)
        }
        let panels = n.div_ceil(16);
        Ok(match precision {
            Precision::Int8 => {
                let group = locator.file().header().quantization_group;
                let grouped = [k.div_ceil(group), panels * 16];
                LinearTensors::Int8 {
                    n,
                    k,
                    weight: part(
                        locator,
                        name,
                        "weight",
                        &[panels, k.div_ceil(64) * 16, 16, 4],
                    )?,
                    scale: part(locator, name, "scale", &grouped)?,
                    column_sum: part(locator, name, "column_sum", &grouped)?,
                    bias: part(locator, name, "bias", &[panels * 16])?,
                    input_scale: part(locator, name, "input_scale", &[k])?,
                    group,
                }
            }
            Precision::F16 => LinearTensors::F16 {
                n,
                k,
                weight: part(locator, name, "weight", &[n, k])?,
                bias: part(locator, name, "bias", &[n])?,
            },
        })
    }

    pub(super) fn resolve<'a>(&self, file: &'a ModelFile) -> LinearWeights<'a> {
        match *self {
            LinearTensors::Int8 {
                n,
                k,
                weight,
                scale,
                column_sum,
                bias,
                input_scale,
                group,
            } => LinearWeights::Int8 {
                packed: PackedLinear::new(
                    file.get(weight),
                    file.get(scale),
                    file.get(column_sum),
                    file.get(bias),
                    [n, k],
                    group,
                )
                .expect("the shapes were checked when the tensors were found"),
                input_scale: file.get(input_scale),
            },
            LinearTensors::F16 { n, k, weight, bias } => LinearWeights::F16 {
                n,
                k,
                weight: file.get(weight),
                bias: file.get(bias),
            },
        }
    }
}

//! The f32 weights of one model: what the checkpoint reader makes, and the reference encoder, the quantizer and the
//! file writer use.

use bertlet::format::header::Config;

/// All weights of an encoder and the heads behind it, in f32, row-major.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The encoder's shape.
    pub config: Config,
    /// `[vocab_size, embedding_width]`.
    pub word_embeddings: Vec<f32>,
    /// `[type_vocab_size, position_rows, embedding_width]`: position vector plus token type vector, folded.
    pub position_table: Vec<f32>,
    /// Behind the sum of the embeddings.
    pub embeddings_layer_norm: LayerNorm,
    /// `[hidden_size, embedding_size]`, behind that, where the configuration has an `embedding_size`.
    pub embeddings_projection: Option<Linear>,
    /// `[num_attention_heads, 2·max_position_embeddings − 1]`: added to scores by the key's place less the query's.
    pub relative_attention_bias: Option<Vec<f32>>,
    /// The stored layers, first to last; [`Config::stored_layer`] says which of them computes a layer.
    pub layers: Vec<LayerWeights>,
    /// `[hidden_size, hidden_size]`, followed by the head's activation, where the checkpoint has one.
    pub pooler: Option<Linear>,
    /// `[outputs, hidden_size]`, where the checkpoint has one: labels of texts or tokens, start and end of an answer, or
    /// the one score of a candidate.
    pub classifier: Option<Linear>,
    /// `[2, hidden_size]`, where the checkpoint predicts whether a sentence follows.
    pub next_sentence: Option<Linear>,
    /// What finds masked words, where the checkpoint has it.
    pub language_model: Option<LanguageModel>,
    /// Layers behind the pooling of a sentence vector (sentence-transformers' `2_Dense`), in order.
    pub dense: Vec<Linear>,
}

/// One encoder layer.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// `[3·hidden_size, hidden_size]`: query rows, key rows, value rows.
    pub query_key_value: Linear,
    /// `[hidden_size, hidden_size]`, on the concatenated heads.
    pub attention_output: Linear,
    /// Behind the attention's residual sum.
    pub attention_layer_norm: LayerNorm,
    /// `[intermediate_size, hidden_size]`, followed by the activation.
    pub intermediate: Linear,
    /// `[hidden_size, intermediate_size]`.
    pub output: Linear,
    /// Behind the feed-forward's residual sum.
    pub output_layer_norm: LayerNorm,
}

/// y = W·x + b.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out_features, in_features]`.
    pub weight: Vec<f32>,
    /// `[out_features]`; zeros where the checkpoint has none.
    pub bias: Vec<f32>,
    /// Width of the input.
    pub in_features: usize,
    /// Width of the output.
    pub out_features: usize,
}

/// The affine part of a LayerNorm; its epsilon is `config.layer_norm_eps`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// `[hidden_size]`.
    pub weight: Vec<f32>,
    /// `[hidden_size]`.
    pub bias: Vec<f32>,
}

/// From a masked token's hidden state to the vocabulary.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    /// `[embedding_width, hidden_size]`, followed by the head's activation.
    pub transform: Linear,
    /// Behind it.
    pub layer_norm: LayerNorm,
    /// `[vocab_size, embedding_width]`; `None` where it is the word embedding.
    pub decoder: Option<Vec<f32>>,
    /// `[vocab_size]`.
    pub bias: Vec<f32>,
}

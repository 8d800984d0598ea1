//! What the JSON header of a `.bertlet` file says. Field names follow Hugging Face's `config.json` where it has one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The JSON header: all that inference needs besides the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The program that wrote the file, with its version.
    pub producer: String,
    /// Where the weights come from.
    pub source: Source,
    /// How the encoder's weights are stored.
    pub precision: Precision,
    /// In an int8 model, how many neighbouring inputs of a matrix share a range when a token's activations are
    /// quantized: a multiple of 64. Absent (0) in an f16 model.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quantization_group: usize,
    /// The encoder's shape.
    pub config: Config,
    /// How text becomes token ids.
    pub tokenizer: TokenizerConfig,
    /// Longest sequence in tokens, special tokens included: at least two more than these, at most
    /// `config.max_position_embeddings`.
    pub max_length: usize,
    /// How a sentence vector is made of the last hidden state.
    pub embedding: EmbeddingConfig,
    /// The task head, if the checkpoint has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// Every tensor in the order of its offset.
    pub tensors: Vec<TensorEntry>,
}

// serde hands over references.
fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Origin and licence of the weights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Hub id or directory name of the checkpoint.
    pub name: String,
    /// Commit of the hub repository, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SPDX identifier or what the model card says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// How the encoder's matrices are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8-bit weights, a scale for each output channel and group of inputs; 8-bit activations, a range for each token and group.
    Int8,
    /// Half-precision weights, arithmetic in f32.
    F16,
}

/// Shape of the encoder, by the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The family, one of [`MODEL_TYPES`]. It changes nothing: what a family computes in its own way, other fields say.
    pub model_type: String,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub num_hidden_layers: usize,
    /// Heads of an attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward's inner layer.
    pub intermediate_size: usize,
    /// Activation of the feed-forward.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
    /// Longest sequence that there are positions for. RoBERTa's `config.json` counts the padding's too, which are not here.
    pub max_position_embeddings: usize,
    /// Number of segment ids.
    pub type_vocab_size: usize,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of the embeddings, where a linear layer (`embeddings.projection`) leads from them to `hidden_size`; absent
    /// where they have that width themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// RoBERTa's way to count positions: a token with this id has no place of its own and takes row 0 of the position
    /// table, which then has `max_position_embeddings` + 1 rows; all others count from row 1. Absent: every token counts,
    /// from row 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// Layers that the file holds, where they are shared: each serves `num_hidden_layers / num_hidden_groups` layers in
    /// a row. Absent: each layer is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_hidden_groups: Option<usize>,
    /// Whether attention scores get a bias by head and distance, the tensor `relative_attention_bias`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub relative_attention_bias: bool,
}

/// Families that a file may come from, by their `model_type` in `config.json`.
pub const MODEL_TYPES: [&str; 8] = [
    "bert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "electra",
    "albert",
    "mpnet",
];

impl Config {
    /// Width of the embeddings and their LayerNorm.
    pub fn embedding_width(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// Rows of the position table for each segment.
    pub fn position_rows(&self) -> usize {
        self.max_position_embeddings + usize::from(self.pad_token_id.is_some())
    }

    /// Layers that the file holds.
    pub fn stored_layers(&self) -> usize {
        self.num_hidden_groups.unwrap_or(self.num_hidden_layers)
    }

    /// Which of the stored layers computes layer `index`.
    pub fn stored_layer(&self, index: usize) -> usize {
        index * self.stored_layers() / self.num_hidden_layers
    }

    /// The row of the position table for each of `ids`, a whole sequence.
    pub fn position_rows_of<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        let mut last = 0;
        ids.iter()
            .enumerate()
            .map(move |(index, &id)| match self.pad_token_id {
                None => index,
                Some(pad) if pad == id => 0,
                Some(_) => {
                    last += 1;
                    last
                }
            })
    }
}

/// Activation functions, told apart exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·Φ(x) by the error function (`gelu`).
    Gelu,
    /// The tanh form (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x·σ(x) (`silu`, `swish`).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// σ(x) = 1/(1+e⁻ˣ).
    Sigmoid,
    /// x itself.
    Identity,
}

/// How text becomes token ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TokenizerConfig {
    /// BERT's normalizer and pre-tokenizer, and the longest match first from a fixed vocabulary.
    WordPiece(WordPieceConfig),
    /// Byte-pair encoding, as the tensor `tokenizer.json` describes it.
    Bpe(TokenizerJsonConfig),
    /// The likeliest pieces of a fixed vocabulary, as the tensor `tokenizer.json` describes it.
    Unigram(TokenizerJsonConfig),
}

impl TokenizerConfig {
    /// The name of the kind, as the header has it.
    pub fn kind(&self) -> &'static str {
        match self {
            TokenizerConfig::WordPiece(_) => "wordpiece",
            TokenizerConfig::Bpe(_) => "bpe",
            TokenizerConfig::Unigram(_) => "unigram",
        }
    }

    /// Tokens that are found in the text before anything else looks at it.
    pub fn added_tokens(&self) -> &[AddedToken] {
        match self {
            TokenizerConfig::WordPiece(config) => &config.added_tokens,
            TokenizerConfig::Bpe(config) | TokenizerConfig::Unigram(config) => &config.added_tokens,
        }
    }

    /// Special tokens around a single text.
    pub fn single(&self) -> &[TemplatePiece] {
        match self {
            TokenizerConfig::WordPiece(config) => &config.single,
            TokenizerConfig::Bpe(config) | TokenizerConfig::Unigram(config) => &config.single,
        }
    }

    /// Special tokens around a pair of texts.
    pub fn pair(&self) -> &[TemplatePiece] {
        match self {
            TokenizerConfig::WordPiece(config) => &config.pair,
            TokenizerConfig::Bpe(config) | TokenizerConfig::Unigram(config) => &config.pair,
        }
    }
}

/// BERT's tokenizer, plus the template of special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordPieceConfig {
    /// Removes control characters and turns every white space into a blank.
    pub clean_text: bool,
    /// Puts blanks around CJK ideographs.
    pub handle_chinese_chars: bool,
    /// Removes combining marks (after canonical decomposition).
    pub strip_accents: bool,
    /// Lower-cases, as Unicode defines it for single characters.
    pub lowercase: bool,
    /// Token for a word that the vocabulary cannot spell.
    pub unk_token: String,
    /// Prefix of a piece that continues a word.
    pub continuing_subword_prefix: String,
    /// A word with more characters than this becomes `unk_token`.
    pub max_input_chars_per_word: usize,
    /// Leaves the white space that an added token swallows (`lstrip`, `rstrip`) out of its offsets.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trim_offsets: bool,
    /// Tokens that are found in the text before anything else looks at it.
    pub added_tokens: Vec<AddedToken>,
    /// Special tokens around a single text.
    pub single: Vec<TemplatePiece>,
    /// Special tokens around a pair of texts.
    pub pair: Vec<TemplatePiece>,
}

/// What the header says of a tokenizer that the tensor `tokenizer.json` describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerJsonConfig {
    /// The added tokens of `tokenizer.json`, which says more of them.
    pub added_tokens: Vec<AddedToken>,
    /// Special tokens around a single text.
    pub single: Vec<TemplatePiece>,
    /// Special tokens around a pair of texts.
    pub pair: Vec<TemplatePiece>,
}

/// A token that is matched in the raw text; the flags are those of `tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Matches only where no word character touches it.
    pub single_word: bool,
    /// Swallows white space on its left.
    pub lstrip: bool,
    /// Swallows white space on its right.
    pub rstrip: bool,
    /// Is looked for in the normalized text instead of the raw one.
    pub normalized: bool,
    /// Is a special token (`[CLS]`, `[SEP]`, …).
    pub special: bool,
}

/// One piece of a template: a special token or one of the texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TemplatePiece {
    /// A special token.
    Special {
        /// Its id.
        id: u32,
        /// Its segment.
        type_id: u32,
    },
    /// The first text.
    First {
        /// Its segment.
        type_id: u32,
    },
    /// The second text.
    Second {
        /// Its segment.
        type_id: u32,
    },
}

/// How a sentence vector is made: pooling, dense layers, normalization, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// Pooled vectors that are concatenated, in this order. Never empty.
    pub pooling: Vec<Pooling>,
    /// Dense layers behind the pooling (sentence-transformers' `2_Dense`); weights in `dense.{i}.weight`, `dense.{i}.bias`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dense: Vec<DenseConfig>,
    /// Divides by the Euclidean norm.
    pub normalize: bool,
    /// Texts that the model wants in front of some kinds of input, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// Which of `prompts` is used when none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_prompt_name: Option<String>,
    /// Whether the prompt's tokens take part in the pooling (sentence-transformers' `include_prompt`).
    pub include_prompt: bool,
}

/// Pooling modes, by the names of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The first token.
    Cls,
    /// The largest value of each channel.
    Max,
    /// The mean over all tokens.
    Mean,
    /// The sum over all tokens divided by the square root of their number.
    MeanSqrtLen,
    /// The mean weighted by position, 1 for the first token.
    WeightedMean,
    /// The last token.
    LastToken,
}

/// A dense layer behind the pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseConfig {
    /// Width of its input.
    pub in_features: usize,
    /// Width of its output.
    pub out_features: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Its activation.
    pub activation: Activation,
}

/// The task head of the checkpoint, in terms of what it computes: the same for every family of models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// First token → pooler → classifier: one score for each label.
    SequenceClassification {
        /// Names of the labels by index.
        labels: Vec<String>,
        /// How scores become an answer; absent where `config.json` does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem_type: Option<ProblemType>,
        /// Activation of the dense layer before the classifier, `None` where there is no such layer. Absent: tanh.
        #[serde(default = "tanh", skip_serializing_if = "is_tanh")]
        pooler: Option<Activation>,
        /// What follows the logits when the model scores pairs as a cross-encoder (sentence-transformers); absent where
        /// the checkpoint does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cross_encoder: Option<Activation>,
    },
    /// Each token → classifier: one score for each label.
    TokenClassification {
        /// Names of the labels by index.
        labels: Vec<String>,
    },
    /// Each token → classifier: how well an answer starts there, and how well it ends there.
    QuestionAnswering {},
    /// A masked token → transform → one score for each entry of the vocabulary.
    MaskedLanguageModel {
        /// Id of the token that stands for what is to be found.
        mask_id: u32,
        /// Id of the padding token, which is left out of what is shown; absent where the tokenizer has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pad_id: Option<u32>,
        /// Activation of the transform.
        activation: Activation,
        /// Whether the decoder is the word embedding; else the file has one of its own.
        tied: bool,
        /// Whether the file has a next-sentence head too (`BertForPreTraining`).
        next_sentence: bool,
        /// `clean_up_tokenization_spaces` of `tokenizer_config.json`: blanks in front of most punctuation and around
        /// apostrophes are left out of what is shown. False for byte-level BPE, whose texts have their own blanks.
        #[serde(default, skip_serializing_if = "is_false")]
        clean_up_tokenization_spaces: bool,
    },
    /// First token → pooler (tanh) → two scores: the second text follows the first, or it does not.
    NextSentencePrediction {},
    /// First token → pooler → one score; the candidate with the highest is chosen.
    MultipleChoice {
        /// As in a sequence classification.
        #[serde(default = "tanh", skip_serializing_if = "is_tanh")]
        pooler: Option<Activation>,
    },
}

impl HeadConfig {
    /// The task, in words for messages.
    pub fn task(&self) -> &'static str {
        match self {
            HeadConfig::SequenceClassification { .. } => "sequence classification",
            HeadConfig::TokenClassification { .. } => "token classification",
            HeadConfig::QuestionAnswering {} => "question answering",
            HeadConfig::MaskedLanguageModel {
                next_sentence: true,
                ..
            } => "masked language modelling and next-sentence prediction",
            HeadConfig::MaskedLanguageModel { .. } => "masked language modelling",
            HeadConfig::NextSentencePrediction {} => "next-sentence prediction",
            HeadConfig::MultipleChoice { .. } => "multiple choice",
        }
    }

    /// Names of the labels, if the head gives any.
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            HeadConfig::SequenceClassification { labels, .. }
            | HeadConfig::TokenClassification { labels } => Some(labels),
            _ => None,
        }
    }
}

/// BERT's pooler.
fn tanh() -> Option<Activation> {
    Some(Activation::Tanh)
}

// The signature is serde's.
fn is_tanh(pooler: &Option<Activation>) -> bool {
    *pooler == tanh()
}

/// transformers' `problem_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// Scores are values.
    Regression,
    /// One label is right.
    SingleLabelClassification,
    /// Each label is right or wrong for itself.
    MultiLabelClassification,
}

/// Where a tensor lies and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Unique name.
    pub name: String,
    /// Type of an element.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// First byte, counted from the file's start; a multiple of 64.
    pub offset: u64,
    /// CRC-32 (IEEE) of the tensor's bytes.
    pub crc32: u32,
}

/// Element types; all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Signed byte.
    I8,
    /// Unsigned byte.
    U8,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
}

impl Dtype {
    /// Size of an element in bytes.
    pub const fn size(self) -> usize {
        match self {
            Dtype::I8 | Dtype::U8 => 1,
            Dtype::F16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
        }
    }
}

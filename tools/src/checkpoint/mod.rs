//! Reading a Hugging Face checkpoint of BERT or a relative, whatever form it has: weights, shape, tokenizer, sentence vectors, head.
//!
//! What would change a result and is not known is refused by name, never guessed.

mod card;
mod config;
mod encoder;
mod families;
mod json;
mod positions;
pub(crate) mod sentence;
pub(crate) mod tensors;
mod tokenizer;

pub use tokenizer::Encoded;

use crate::weights::Weights;
use anyhow::{Context, Result, ensure};
use bertlet::format::header::{
    Config, EmbeddingConfig, HeadConfig, Source, TemplatePiece, TokenizerConfig,
};
use config::ModelConfig;
use json::Object;
use sentence::SentenceConfig;
use std::path::Path;
use tensors::TensorStore;
use tokenizer::Tokenizer;

/// A checkpoint whose files have been read and found consistent; the weights are read by [`Checkpoint::weights`].
#[derive(Debug)]
pub struct Checkpoint {
    /// The encoder's shape.
    pub config: Config,
    /// How text becomes ids.
    pub tokenizer: TokenizerConfig,
    /// The tokenizer's vocabulary, by id; ids may have gaps. Added tokens outside it are in `tokenizer.added_tokens`.
    pub vocabulary: Vec<(String, u32)>,
    /// `tokenizer.json` as it is obeyed, for a tokenizer that bertlet runs by it.
    pub tokenizer_json: Option<Vec<u8>>,
    /// How a sentence vector is made.
    pub embedding: EmbeddingConfig,
    /// The task head, if the checkpoint has one that is supported.
    pub head: Option<HeadConfig>,
    /// Longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// Name of the directory and licence; the revision is the caller's to add.
    pub source: Source,
    /// What the user should know: parts that are left out, settings that contradict each other.
    pub notices: Vec<String>,
    model: ModelConfig,
    tensors: encoder::Tensors,
    dense: Vec<TensorStore>,
    reference: tokenizers::Tokenizer,
    /// Whether the two texts of a pair differ in their segment ids.
    has_segments: bool,
}

/// Reads a checkpoint's directory: `config.json`, the tokenizer's files, sentence-transformers' files where there are
/// any, the headers of the weights, the licence on the model card.
///
/// # Errors
/// A file is missing or damaged, files contradict each other, or something is not supported; the message names the
/// file, the field or tensor, what was found and what was expected.
pub fn open(directory: &Path) -> Result<Checkpoint> {
    let sentence = sentence::read(directory)?;
    let encoder = &sentence.encoder;
    let path = encoder.join("config.json");
    let json = Object::read(&path)?.with_context(|| {
        format!(
            "{}: not found; expected the directory of a Hugging Face checkpoint",
            path.display()
        )
    })?;
    let mut model = config::parse(&json)?;
    let mut tokenizer = Tokenizer::read(
        encoder,
        sentence.lowercase,
        model.family.tokenizer(&model.config.model_type),
    )?;
    let has_segments = model.config.type_vocab_size > 1 && tokenizer.gives_segments;
    if !has_segments && tokenizer.drop_segments() && model.config.type_vocab_size > 1 {
        tokenizer.notices.push(
            "tokenizer_config.json's model_input_names leaves token_type_ids out: all tokens are of segment 0"
                .to_owned(),
        );
    }
    let store = TensorStore::open(encoder)?;
    // Sentence encoders are often saved so: the name of what they were made from, and the encoder's weights.
    if let Some(HeadConfig::MaskedLanguageModel { .. }) = model.architecture.head()
        && !encoder::has_language_model(&store, model.family)
    {
        model.architecture = config::Architecture::Encoder;
        model.notices.push(format!(
            "config.json names {}, but the weights hold nothing of its head: converted as an encoder",
            model.architecture_name.as_deref().unwrap_or_default()
        ));
    }
    // Where no single file is to blame.
    let place = || encoder.display().to_string();
    let tensors = encoder::Tensors::new(store, &model).with_context(place)?;
    check_ids(&tokenizer, &model.config).with_context(place)?;
    check_widths(&sentence, &model.config).with_context(|| directory.display().to_string())?;
    let mut notices = [&model.notices[..], &tokenizer.notices, &tensors.notices].concat();
    let max_length =
        max_length(&sentence, &tokenizer, &model.config, &mut notices).with_context(place)?;
    let mut head = model.architecture.head().cloned();
    if let Some(HeadConfig::MaskedLanguageModel {
        mask_id,
        pad_id,
        clean_up_tokenization_spaces,
        ..
    }) = &mut head
    {
        *mask_id = tokenizer.mask_id().with_context(place)?;
        *pad_id = tokenizer.pad_id();
        *clean_up_tokenization_spaces = tokenizer.cleans_up;
    }
    Ok(Checkpoint {
        config: model.config.clone(),
        reference: tokenizer.reference().with_context(place)?,
        has_segments,
        tokenizer_json: tokenizer.json,
        tokenizer: tokenizer.config,
        vocabulary: tokenizer.vocabulary,
        embedding: sentence.embedding,
        head,
        max_length,
        source: Source {
            name: directory_name(directory)?,
            revision: None,
            license: card::license(directory)?,
        },
        notices,
        model,
        tensors,
        dense: sentence.dense,
    })
}

impl Checkpoint {
    /// Reads all weights as f32. Beside the result, at most one stored tensor is in memory.
    ///
    /// # Errors
    /// A file cannot be read, or a tensor holds something else than finite F32, F16 or BF16 numbers.
    pub fn weights(&self) -> Result<Weights> {
        let dense = sentence::dense_weights(&self.embedding.dense, &self.dense)?;
        self.tensors.weights(&self.model, dense)
    }

    /// The checkpoint's tokenizer in Hugging Face's implementation, without truncation and padding.
    pub fn reference_tokenizer(&self) -> &tokenizers::Tokenizer {
        &self.reference
    }

    /// Compares a tokenizer with the reference on built-in lines, each alone and in pairs. `encode` gives ids and
    /// segment ids of one text or of a pair, special tokens included, not truncated.
    ///
    /// # Errors
    /// The first line on which the two differ, with both results.
    pub fn check_tokenizer(
        &self,
        encode: impl FnMut(&str, Option<&str>) -> Result<Encoded>,
    ) -> Result<()> {
        tokenizer::compare(&self.reference, self.has_segments, encode)
    }
}

/// Every id that the tokenizer can give must have a row in its embedding table.
fn check_ids(tokenizer: &Tokenizer, config: &Config) -> Result<()> {
    if let Some((token, id)) = tokenizer.largest_id() {
        ensure!(
            (id as usize) < config.vocab_size,
            "the tokenizer's token '{token}' has id {id}, but config.json gives the word embeddings {} rows; both must be of one checkpoint",
            config.vocab_size
        );
    }
    let templates = tokenizer
        .config
        .single()
        .iter()
        .chain(tokenizer.config.pair());
    for piece in templates {
        let (TemplatePiece::Special { type_id, .. }
        | TemplatePiece::First { type_id }
        | TemplatePiece::Second { type_id }) = piece;
        ensure!(
            (*type_id as usize) < config.type_vocab_size,
            "the tokenizer gives segment {type_id}, but config.json's type_vocab_size is {}; both must be of one checkpoint",
            config.type_vocab_size
        );
        if let TemplatePiece::Special { id, .. } = piece {
            ensure!(
                (*id as usize) < config.vocab_size,
                "the tokenizer's template has id {id}, but config.json gives the word embeddings {} rows; both must be of one checkpoint",
                config.vocab_size
            );
        }
    }
    Ok(())
}

/// Dense layers must fit what comes before them.
fn check_widths(sentence: &SentenceConfig, config: &Config) -> Result<()> {
    let mut width = config.hidden_size * sentence.embedding.pooling.len();
    for (index, dense) in sentence.embedding.dense.iter().enumerate() {
        ensure!(
            dense.in_features == width,
            "dense layer {index} takes {} values, but what comes before it gives {width}; modules.json and its folders must be of one checkpoint",
            dense.in_features
        );
        width = dense.out_features;
    }
    Ok(())
}

/// sentence-transformers' `max_seq_length`, else the tokenizer's limit; never more than there are positions.
fn max_length(
    sentence: &SentenceConfig,
    tokenizer: &Tokenizer,
    config: &Config,
    notices: &mut Vec<String>,
) -> Result<usize> {
    let positions = config.max_position_embeddings;
    if let Some(length) = sentence.max_seq_length
        && length > positions
    {
        notices.push(format!("max_seq_length {length} is more than the model's {positions} positions; using {positions}"));
    }
    let length = sentence
        .max_seq_length
        .or(tokenizer.model_max_length)
        .unwrap_or(positions)
        .min(positions);
    let special = |template: &[TemplatePiece]| {
        template
            .iter()
            .filter(|piece| matches!(piece, TemplatePiece::Special { .. }))
            .count()
    };
    let needed = special(tokenizer.config.pair()).max(special(tokenizer.config.single()));
    ensure!(
        length > needed + 1,
        "sequences of at most {length} tokens leave no room for text beside {needed} special tokens; raise max_seq_length or model_max_length"
    );
    Ok(length)
}

fn directory_name(directory: &Path) -> Result<String> {
    let full = directory
        .canonicalize()
        .with_context(|| format!("{}", directory.display()))?;
    Ok(full.file_name().map_or_else(
        || "checkpoint".into(),
        |name| name.to_string_lossy().into_owned(),
    ))
}

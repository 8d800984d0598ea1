//! An open model: file, tokenizer, kernel.

use crate::encoder::EncoderTensors;
use crate::error::{Error, Result};
use crate::format::header::{Header, TokenizerConfig};
use crate::format::{FormatError, Locator, ModelFile, Tensor};
use crate::heads::{Dense, Head};
use crate::kernels::Kernel;
use crate::tokenizer::{self, BoundTokenizer, Tokenizer, Tokens, Vocabulary};
use half::f16;
use std::path::Path;
use std::sync::Arc;

/// The model that the executable carries, if the feature `default-model` is on.
#[cfg(feature = "default-model")]
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/default.bertlet"));

/// Puts the embedded file where tensors may lie in place.
#[cfg(feature = "default-model")]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// A model, opened and checked. Cloning it is cheap; all clones share the file.
///
/// ```
/// # #[cfg(feature = "default-model")] {
/// let model = bertlet::Model::embedded()?;
/// assert_eq!(model.header().config.hidden_size, 384);
/// # }
/// # Ok::<(), bertlet::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    parts: Arc<Parts>,
    kernel: Kernel,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) file: ModelFile,
    pub(super) tensors: EncoderTensors,
    pub(super) dense: Vec<Dense<f16>>,
    pub(super) head: Option<Head>,
    tokenizer: Tokenizer,
    /// WordPiece's; other kinds have none.
    vocabulary: Option<VocabularyTensors>,
}

/// See [`Vocabulary`].
#[derive(Debug)]
struct VocabularyTensors {
    trie: Tensor<u32>,
    token_starts: Tensor<u32>,
    token_text: Tensor<u8>,
}

impl Model {
    /// Maps the `.bertlet` file at `path` and checks its header; the weights are read as they are needed.
    ///
    /// The kernel is the one that `BERTLET_KERNEL` names, or else the best that this CPU has.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`], or [`Error::Kernel`] if `BERTLET_KERNEL` names one that cannot run here.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::new(ModelFile::open(path)?)
    }

    /// The model that lies in a file of another kind, `length` bytes from byte `offset` on, which is a multiple of 64.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_part(path: impl AsRef<Path>, offset: u64, length: u64) -> Result<Model> {
        Model::new(ModelFile::open_part(path, offset, length)?)
    }

    /// The model that the executable carries, used in place.
    ///
    /// # Errors
    /// [`Error::Model`] if the library was built without the feature `default-model`; else as [`Model::open`].
    pub fn embedded() -> Result<Model> {
        #[cfg(feature = "default-model")]
        return Model::new(ModelFile::from_static("<embedded model>", &EMBEDDED.0)?);
        #[cfg(not(feature = "default-model"))]
        Err(Error::Model(
            "this program carries no model: name a .bertlet file with -m FILE or in BERTLET_MODEL"
                .to_owned(),
        ))
    }

    fn new(file: ModelFile) -> Result<Model> {
        let kernel = Kernel::from_environment()?;
        let located = Parts::locate(&file);
        let (encoder, heads, tokenizer) = located.map_err(|source| Error::Format {
            path: file.path().to_owned(),
            source,
        })?;
        let parts = Parts {
            file,
            tensors: encoder,
            dense: heads.0,
            head: heads.1,
            tokenizer: tokenizer.0,
            vocabulary: tokenizer.1,
        };
        Ok(Model {
            parts: Arc::new(parts),
            kernel,
        })
    }

    /// The same model on another kernel.
    #[must_use]
    pub fn with_kernel(&self, kernel: Kernel) -> Model {
        Model {
            parts: self.parts.clone(),
            kernel,
        }
    }

    /// What the file says of the model.
    pub fn header(&self) -> &Header {
        self.parts.file.header()
    }

    /// The open file.
    pub fn file(&self) -> &ModelFile {
        &self.parts.file
    }

    /// The kernel that computes.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> BoundTokenizer<'_> {
        let Parts {
            file,
            tokenizer,
            vocabulary,
            ..
        } = &*self.parts;
        let vocabulary = vocabulary.as_ref().map(|tensors| {
            let vocabulary = tensors.resolve(file);
            vocabulary.expect("the lengths were checked when the model was opened")
        });
        tokenizer.with(vocabulary)
    }

    /// What is put in front of each text: the prompt that is stored under the name `asked`, else the text `asked`
    /// itself; or, if nothing is asked for, the prompt that the model takes by itself. An empty prompt is none.
    pub fn prompt(&self, asked: Option<&str>) -> Option<String> {
        let embedding = &self.header().embedding;
        let named = |name: &str| embedding.prompts.get(name).cloned();
        let prompt = match asked {
            Some(asked) => named(asked).or_else(|| Some(asked.to_owned())),
            None => embedding.default_prompt_name.as_deref().and_then(named),
        };
        prompt.filter(|prompt| !prompt.is_empty())
    }

    /// Reads the whole file and checks every tensor; see [`ModelFile::verify`].
    ///
    /// # Errors
    /// [`Error::Format`] naming the first damaged tensor.
    pub fn verify(&self) -> Result<()> {
        self.parts.file.verify()
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }
}

type TokenizerParts = (Tokenizer, Option<VocabularyTensors>);
type Heads = (Vec<Dense<f16>>, Option<Head>);

impl Parts {
    /// Finds all tensors of the file and nothing else.
    fn locate(file: &ModelFile) -> Result<(EncoderTensors, Heads, TokenizerParts), FormatError> {
        let locator = file.locator();
        let tensors = EncoderTensors::locate(&locator)?;
        let dense = Dense::locate_all(&locator)?;
        let head = Head::locate(&locator)?;
        let (tokenizer, vocabulary) = locate_tokenizer(&locator)?;
        locator.finish()?;
        check_ids(file, &tokenizer)?;
        check_prompt(file, &tokenizer, vocabulary.as_ref())?;
        Ok((tensors, (dense, head), (tokenizer, vocabulary)))
    }
}

/// The tokenizer and, for WordPiece, its tables.
fn locate_tokenizer(locator: &Locator<'_>) -> Result<TokenizerParts, FormatError> {
    let file = locator.file();
    let config = &file.header().tokenizer;
    let (tokenizer, vocabulary) = match config {
        TokenizerConfig::WordPiece(config) => {
            let tensors = VocabularyTensors::locate(locator)?;
            let tokenizer = tensors
                .resolve(file)
                .and_then(|vocabulary| Tokenizer::new(config, vocabulary));
            (tokenizer, Some(tensors))
        }
        TokenizerConfig::Bpe(_) | TokenizerConfig::Unigram(_) => {
            let json: Tensor<u8> = locator.vector(tokenizer::TOKENIZER_JSON)?;
            (Tokenizer::from_json(config, file.get(json)), None)
        }
    };
    let tokenizer = tokenizer.map_err(|error| FormatError::Tokenizer {
        message: error.to_string(),
    })?;
    Ok((tokenizer, vocabulary))
}

impl VocabularyTensors {
    fn locate(locator: &Locator<'_>) -> Result<VocabularyTensors, FormatError> {
        Ok(VocabularyTensors {
            trie: locator.vector(tokenizer::TRIE)?,
            token_starts: locator.vector(tokenizer::TOKEN_STARTS)?,
            token_text: locator.vector(tokenizer::TOKEN_TEXT)?,
        })
    }

    fn resolve<'a>(&self, file: &'a ModelFile) -> Result<Vocabulary<'a>> {
        Vocabulary::new(
            file.get(self.trie),
            file.get(self.token_starts),
            file.get(self.token_text),
        )
    }
}

/// Every id that the tokenizer can give has a row in the word embedding.
fn check_ids(file: &ModelFile, tokenizer: &Tokenizer) -> Result<(), FormatError> {
    let rows = file.header().config.vocab_size;
    if tokenizer.id_bound() <= rows {
        return Ok(());
    }
    Err(FormatError::Config {
        field: "vocab_size",
        found: rows.to_string(),
        expected: format!("at least {}, the tokenizer's ids", tokenizer.id_bound()),
    })
}

/// The prompt that the model takes by itself leaves room for text; else no text could be embedded, whatever the options.
fn check_prompt(
    file: &ModelFile,
    tokenizer: &Tokenizer,
    vocabulary: Option<&VocabularyTensors>,
) -> Result<(), FormatError> {
    let header = file.header();
    let embedding = &header.embedding;
    let name = embedding.default_prompt_name.as_ref();
    let Some((name, prompt)) = name.and_then(|name| embedding.prompts.get_key_value(name)) else {
        return Ok(());
    };
    let vocabulary = vocabulary.and_then(|tensors| tensors.resolve(file).ok());
    let tokenizer = tokenizer.with(vocabulary);
    let special = tokenizer.rules().template().special_count(false);
    let room = header.max_length.saturating_sub(special);
    let mut tokens = Tokens::ids_only();
    tokenizer.tokenize_some(prompt, room, &mut tokens);
    if tokens.ids.len() < room {
        return Ok(());
    }
    Err(FormatError::Config {
        field: "embedding.default_prompt_name",
        found: format!("{name}, a prompt of {room} tokens or more"),
        expected: "a shorter prompt, which leaves room for text".to_owned(),
    })
}

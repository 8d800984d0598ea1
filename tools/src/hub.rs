//! Checkpoints from the Hugging Face hub: only the files that are read, in the cache that Python's `huggingface_hub`
//! uses too.

use crate::checkpoint::{
    self, Checkpoint,
    sentence::{self, ModuleKind},
    tensors::{self, WeightFile},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{Api, ApiBuilder, ApiError},
};
use std::{
    collections::BTreeSet,
    fmt,
    io::IsTerminal,
    path::{Path, PathBuf},
};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";
/// Times that a broken download is taken up again.
const RETRIES: usize = 3;

/// A repository on the hub, and optionally which of its revisions: `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`, or `name` alone for the oldest models.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
}

impl HubId {
    /// Reads `owner/name[@revision]`.
    ///
    /// # Errors
    /// The text cannot name a repository.
    pub fn parse(text: &str) -> Result<HubId> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision.to_owned())),
            None => (text, None),
        };
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        ensure!(
            name.split('/').count() <= 2 && name.split('/').all(part),
            "'{text}' is neither a directory nor a hub id (owner/name, owner/name@revision)"
        );
        if let Some(revision) = &revision {
            ensure!(
                revision.split('/').all(part),
                "'{revision}' in '{text}' is not a branch, tag or commit"
            );
        }
        Ok(HubId {
            name: name.to_owned(),
            revision,
        })
    }

    fn wanted(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.clone(), RepoType::Model, revision.to_owned())
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' (revision {})", self.name, self.wanted())
    }
}

/// Where and how to look.
#[derive(Clone)]
pub struct Options {
    /// Server, without a slash at its end.
    pub endpoint: String,
    /// The cache's `hub` folder.
    pub cache: PathBuf,
    /// Access token for private and gated repositories.
    pub token: Option<String>,
    /// Takes what the cache has and asks no server.
    pub offline: bool,
    /// Shows a bar for each download.
    pub progress: bool,
}

impl Options {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` as Python's `huggingface_hub`
    /// does. Without `HF_TOKEN`, the token that `hf auth login` stored is used.
    ///
    /// # Errors
    /// There is no place for the cache: neither of the variables nor a home directory.
    pub fn from_env() -> Result<Options> {
        Options::from_variables(|name| std::env::var(name).ok())
    }

    /// [`Options::from_env`] with the variables taken from elsewhere.
    ///
    /// # Errors
    /// As there.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Options> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = variable("HF_HOME")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| format!("{cache}/huggingface")))
            .or_else(|| variable("HOME").map(|home| format!("{home}/.cache/huggingface")))
            .map(PathBuf::from);
        let cache = match (variable("HF_HUB_CACHE"), &home) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => home.join("hub"),
            (None, None) => bail!("no place for downloads: set HF_HOME to a directory"),
        };
        let stored_token = || {
            let text = std::fs::read_to_string(home.as_ref()?.join("token")).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
        });
        Ok(Options {
            endpoint: variable("HF_ENDPOINT").map_or_else(
                || DEFAULT_ENDPOINT.into(),
                |endpoint| endpoint.trim_end_matches('/').into(),
            ),
            cache: std::path::absolute(cache)?,
            token: variable("HF_TOKEN")
                .map(|token| token.trim().to_owned())
                .or_else(stored_token),
            offline,
            progress: std::io::stderr().is_terminal(),
        })
    }
}

impl fmt::Debug for Options {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.is_some())
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// A checkpoint in the cache.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its files.
    pub directory: PathBuf,
    /// Its name on the hub.
    pub name: String,
    /// The commit that the files belong to.
    pub revision: String,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl Snapshot {
    /// Opens the checkpoint and notes where it comes from.
    ///
    /// # Errors
    /// Those of [`checkpoint::open`].
    pub fn open(&self) -> Result<Checkpoint> {
        let mut checkpoint = checkpoint::open(&self.directory)?;
        checkpoint.source.name.clone_from(&self.name);
        checkpoint.source.revision = Some(self.revision.clone());
        checkpoint
            .notices
            .splice(0..0, self.notices.iter().cloned());
        Ok(checkpoint)
    }
}

/// Finds a checkpoint's files, downloading those that the cache lacks. All files belong to one commit, whatever happens
/// to the branch meanwhile.
///
/// # Errors
/// The repository or revision does not exist or may not be read, the server cannot be reached and the cache does not
/// have the checkpoint, or a file cannot be written.
pub fn fetch(id: &HubId, options: &Options) -> Result<Snapshot> {
    let cache = Cache::new(options.cache.clone());
    if options.offline {
        return cached(id, &cache)?.with_context(|| {
            format!(
                "HF_HUB_OFFLINE is set, and {id} is not in the cache {}",
                options.cache.display()
            )
        });
    }
    let api = ApiBuilder::from_cache(cache.clone())
        .with_endpoint(options.endpoint.clone())
        .with_token(options.token.clone())
        .with_progress(options.progress)
        .with_retries(RETRIES)
        .with_user_agent("bertlet-convert", env!("CARGO_PKG_VERSION"))
        .build()?;
    let info = match api.repo(id.repo(id.wanted())).info() {
        Ok(info) => info,
        Err(error) if status(&error).is_some() => return Err(explain(error, id, options)),
        // No answer at all: what an earlier run has fetched still serves.
        Err(error) => match cached(id, &cache)? {
            Some(mut snapshot) => {
                snapshot.notices.push(format!(
                    "{} cannot be reached ({error}); using {} from the cache",
                    options.endpoint, snapshot.revision
                ));
                return Ok(snapshot);
            }
            None => return Err(explain(error, id, options)),
        },
    };
    let commit = info.sha;
    ensure!(
        !commit.is_empty() && commit.chars().all(|c| c.is_ascii_hexdigit()),
        "{}: names '{commit}' as the commit of {id}",
        options.endpoint
    );
    let download = Download {
        api,
        id,
        options,
        directory: cache.repo(id.repo(&commit)).pointer_path(&commit),
        listed: info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect(),
        commit,
    };
    download.all()?;
    cache
        .repo(id.repo(id.wanted()))
        .create_ref(&download.commit)?;
    Ok(Snapshot {
        directory: download.directory,
        name: id.name.clone(),
        revision: download.commit,
        notices: Vec::new(),
    })
}

/// The snapshot that the cache has for a branch, tag or commit, if it holds weights.
fn cached(id: &HubId, cache: &Cache) -> Result<Option<Snapshot>> {
    let root = cache.path().join(id.repo(id.wanted()).folder_name());
    let reference = root.join("refs").join(id.wanted());
    let commit = match std::fs::read_to_string(&reference) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => id.wanted().to_owned(),
    };
    let directory = root.join("snapshots").join(&commit);
    if !directory.is_dir() {
        return Ok(None);
    }
    let encoder = encoder_folder(&directory)?;
    let has = |name: &str| directory.join(&encoder).join(name).exists();
    Ok(
        (has("config.json") && tensors::weight_file(has).is_some()).then(|| Snapshot {
            directory,
            name: id.name.clone(),
            revision: commit,
            notices: Vec::new(),
        }),
    )
}

/// Folder of the encoder's files within a checkpoint; empty for the checkpoint's own.
fn encoder_folder(directory: &Path) -> Result<String> {
    Ok(sentence::modules(directory)?
        .unwrap_or_default()
        .into_iter()
        .find(|module| module.kind == ModuleKind::Transformer)
        .map_or_else(String::new, |module| module.path))
}

/// What describes a tokenizer where there is no `tokenizer.json`.
const VOCABULARY_FILES: [&str; 5] = [
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
];

/// Download of one commit.
struct Download<'a> {
    api: Api,
    id: &'a HubId,
    options: &'a Options,
    commit: String,
    /// Where the files go.
    directory: PathBuf,
    /// Names of all files in the repository.
    listed: BTreeSet<String>,
}

impl Download<'_> {
    fn all(&self) -> Result<()> {
        for name in [
            "modules.json",
            "config_sentence_transformers.json",
            "README.md",
        ] {
            self.file("", name)?;
        }
        let encoder = encoder_folder(&self.directory)?;
        ensure!(
            self.lists(&encoder, "config.json"),
            "{} holds no config.json; it is not a transformers checkpoint",
            self.id
        );
        let vocabulary: &[&str] = match self.lists(&encoder, "tokenizer.json") {
            true => &["tokenizer.json"],
            false => &VOCABULARY_FILES,
        };
        for name in [
            "config.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
        ]
        .iter()
        .chain(vocabulary)
        .chain(sentence::encoder_settings_files())
        {
            self.file(&encoder, name)?;
        }
        self.weights(&encoder)?;
        for module in sentence::modules(&self.directory)?.unwrap_or_default() {
            if module.kind != ModuleKind::Transformer {
                self.file(&module.path, "config.json")?;
            }
            if module.kind == ModuleKind::Dense {
                self.weights(&module.path)?;
            }
        }
        Ok(())
    }

    fn weights(&self, folder: &str) -> Result<()> {
        match tensors::weight_file(|name| self.lists(folder, name)) {
            Some(WeightFile::Single(name)) => self.file(folder, name),
            Some(WeightFile::Index(name)) => {
                self.file(folder, name)?;
                let shards = tensors::shards(&self.directory.join(folder).join(name))?;
                let files: BTreeSet<String> = shards.into_values().collect();
                files.iter().try_for_each(|shard| {
                    ensure!(
                        self.lists(folder, shard),
                        "{} holds no '{shard}', which its {name} names",
                        self.id
                    );
                    self.file(folder, shard)
                })
            }
            None => bail!(
                "{} holds no weights that can be read (safetensors or pytorch_model.bin); its files are: {}",
                self.id,
                self.listed
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    fn lists(&self, folder: &str, name: &str) -> bool {
        self.listed.contains(&join(folder, name))
    }

    /// Fetches a file that the repository has and the cache has not.
    fn file(&self, folder: &str, name: &str) -> Result<()> {
        let path = join(folder, name);
        if self.listed.contains(&path) && !self.directory.join(&path).exists() {
            self.api
                .repo(self.id.repo(&self.commit))
                .download(&path)
                .map_err(|error| explain(error, self.id, self.options))
                .with_context(|| format!("cannot fetch '{path}'"))?;
        }
        Ok(())
    }
}

/// Path within a repository.
fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The HTTP status that an error stands for, if the server answered.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

/// Says what to do about an error.
fn explain(error: ApiError, id: &HubId, options: &Options) -> anyhow::Error {
    let endpoint = &options.endpoint;
    match status(&error) {
        Some(code @ (401 | 403)) if options.token.is_some() => anyhow!(
            "{endpoint} refuses {id} to the token in use (HTTP {code}): check the name, or ask for access to the model"
        ),
        Some(code @ (401 | 403)) => anyhow!(
            "{endpoint} does not show {id} (HTTP {code}): it does not exist, or is private or gated. Check the name, \
             or set HF_TOKEN to a token that may read it"
        ),
        Some(404) => anyhow!("{endpoint} has no {id} (HTTP 404): check the name and the revision"),
        Some(429) => {
            anyhow!("{endpoint} asks to slow down (HTTP 429): try again later, or set HF_TOKEN")
        }
        Some(code) => anyhow!("{endpoint} answers HTTP {code} for {id}: try again later"),
        None => anyhow!(error).context(format!("cannot fetch {id} from {endpoint}")),
    }
}

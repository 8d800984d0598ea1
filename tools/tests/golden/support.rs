//! Golden checkpoints on their way through the converter.

use crate::weights;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// Checkpoints that have their own reference.
pub const MODELS: [&str; 5] = [
    "classifier",
    "odd-shapes",
    "wide-head",
    "plain-cased",
    "sentence",
];

/// Checkpoints of BERT's relatives, which have their own reference too.
pub const FAMILIES: [&str; 8] = [
    "families/roberta",
    "families/distilbert",
    "families/xlm-roberta",
    "families/camembert",
    "families/electra",
    "families/electra-generator",
    "families/albert",
    "families/mpnet",
];

/// Both precisions, by the names of the converter's option.
pub const PRECISIONS: [&str; 2] = ["f16", "int8"];

/// The folder with checkpoints and references.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// A checkpoint directory, made in the build folder of one golden folder and changes to it.
pub struct Checkpoint {
    folder: PathBuf,
}

impl Checkpoint {
    /// A copy of golden folder `name`. `test` must differ between all copies that exist at a time.
    pub fn copy(name: &str, test: &str) -> Checkpoint {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test).join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        let checkpoint = Checkpoint { folder };
        checkpoint.lay_over(name)
    }

    /// Copies golden folder `name` over what is there; the references stay behind.
    pub fn lay_over(self, name: &str) -> Checkpoint {
        copy_tree(&golden_folder().join(name), &self.folder);
        let recipes = self.folder.join("weights.json");
        let recipe: Option<serde_json::Value> = recipes
            .exists()
            .then(|| serde_json::from_slice(&fs::read(&recipes).unwrap()).unwrap());
        // A list for the families, one object for the heads.
        match recipe {
            None => self,
            Some(serde_json::Value::Array(_)) => {
                let tensors = weights::made(&recipes);
                fs::remove_file(recipes).unwrap();
                self.with_weights(&tensors)
            }
            Some(_) => {
                crate::recipe::write_weights(&self.folder);
                self
            }
        }
    }

    /// Writes the weights anew.
    pub fn with_weights(self, tensors: &[weights::Tensor]) -> Checkpoint {
        let file = weights::safetensors(tensors);
        fs::write(self.folder.join("model.safetensors"), file).unwrap();
        self
    }

    /// Removes a file.
    pub fn without(self, file: &str) -> Checkpoint {
        fs::remove_file(self.folder.join(file)).unwrap();
        self
    }

    /// Sets a key of a JSON file.
    pub fn set(self, file: &str, key: &str, value: Value) -> Checkpoint {
        let path = self.folder.join(file);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        fs::write(path, json.to_string()).unwrap();
        self
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `bertlet-convert` and returns the model file.
    pub fn convert(&self, precision: &str) -> PathBuf {
        let output = self.folder.with_extension(format!("{precision}.bertlet"));
        let done = Command::new(env!("CARGO_BIN_EXE_bertlet-convert"))
            .arg(&self.folder)
            .arg("-o")
            .arg(&output)
            .args(["--precision", precision])
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "bertlet-convert {}: {}",
            self.folder.display(),
            String::from_utf8_lossy(&done.stderr)
        );
        output
    }
}

/// The model file of golden folder `name` as it is, converted once for all tests.
pub fn converted(name: &str, precision: &str) -> PathBuf {
    type Made = Mutex<HashMap<(String, String), Arc<OnceLock<PathBuf>>>>;
    static MADE: LazyLock<Made> = LazyLock::new(Made::default);
    let key = (name.to_owned(), precision.to_owned());
    let made = MADE.lock().unwrap().entry(key).or_default().clone();
    made.get_or_init(|| {
        Checkpoint::copy(name, &format!("converted-{precision}")).convert(precision)
    })
    .clone()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().starts_with("golden.") {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What transformers computes with a checkpoint.
pub struct Golden {
    /// What `golden.json` says.
    pub meta: Meta,
    /// `golden.safetensors`: each tensor's values, row-major.
    pub tensors: HashMap<String, Vec<f32>>,
}

/// `golden.json`.
#[derive(Deserialize)]
pub struct Meta {
    /// Longest sequence in tokens.
    pub max_length: usize,
    /// How far PyTorch's f32 is from the reference, by tensor.
    pub float32_error: HashMap<String, f32>,
    /// Texts and pairs in order.
    pub inputs: Vec<Input>,
    /// Sentence vectors of all texts, each by one way of making them.
    #[serde(default)]
    pub vectors: Vec<Vectors>,
}

/// A text or pair and its tokens.
#[derive(Deserialize)]
pub struct Input {
    /// One text, or two.
    pub texts: Vec<String>,
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// Segment ids.
    pub token_type_ids: Vec<u8>,
    /// `[start, end)` of each token in characters of its text; `(0, 0)` for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// Which text each token comes from; `None` for special tokens. Given for [`FAMILIES`].
    #[serde(default)]
    pub sequences: Vec<Option<usize>>,
}

/// Which tensor holds which sentence vectors.
#[derive(Deserialize)]
pub struct Vectors {
    /// The tensor: `[texts, width]`.
    pub tensor: String,
    /// The golden folder that is laid over the checkpoint.
    pub overlay: Option<String>,
    /// The prompt that was asked for by name.
    pub prompt_name: Option<String>,
}

impl Golden {
    /// Reads the reference in golden folder `name`.
    pub fn read(name: &str) -> Golden {
        let folder = golden_folder().join(name);
        let meta = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
        Golden {
            meta,
            tensors: read_safetensors(&folder.join("golden.safetensors")),
        }
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> &[f32] {
        &self.tensors[name]
    }
}

/// `golden.json` in golden folder `name`, of any form.
pub fn golden_json(name: &str) -> Value {
    let path = golden_folder().join(name).join("golden.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// `golden.safetensors` in golden folder `name`.
pub fn golden_tensors(name: &str) -> HashMap<String, Vec<f32>> {
    read_safetensors(&golden_folder().join(name).join("golden.safetensors"))
}

/// All tensors of a file of f32 tensors. Not the converter's own reader, which is under test here.
pub fn read_safetensors(path: &Path) -> HashMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| {
            assert_eq!(entry["dtype"], "F32", "{name}");
            let offset = |end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
            let (values, _) = data[offset(0)..offset(1)].as_chunks::<4>();
            let values = values.iter().copied().map(f32::from_le_bytes).collect();
            (name.clone(), values)
        })
        .collect()
}

/// Largest absolute difference of two value lists of one length.
///
/// # Panics
/// If the lengths differ or a value is not finite.
pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|value| value.is_finite()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

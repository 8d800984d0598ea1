//! The stored tensors of a checkpoint: where each lies, and how it becomes f32.
//!
//! Opening reads headers only. A tensor is read when it is asked for, so that converting a large checkpoint holds one
//! stored tensor beside the f32 weights.

mod pickle;
mod safetensors;
mod torch;

use super::json::Object;
use crate::files;
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Element types that checkpoints store. Only the floating ones up to 32 bits can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F32,
    F16,
    Bf16,
    /// Any other type, by its name in the file; tensors that are ignored by name (`position_ids`) may have it.
    Other(&'static str),
}

impl Element {
    fn size(self) -> Option<usize> {
        match self {
            Element::F32 => Some(4),
            Element::F16 | Element::Bf16 => Some(2),
            Element::Other(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::F32 => "F32",
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
            Element::Other(name) => name,
        }
    }
}

/// Where a tensor lies and how its elements are ordered.
#[derive(Debug, Clone)]
struct StoredTensor {
    /// Index into `TensorStore::files`.
    file: usize,
    element: Element,
    shape: Vec<usize>,
    /// Distance of neighbours in elements, one for each dimension; `None` for row-major order.
    strides: Option<Vec<usize>>,
    /// First element's place in the file, in bytes.
    offset: u64,
}

/// All tensors of one directory.
#[derive(Debug)]
pub(crate) struct TensorStore {
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, StoredTensor>,
}

/// Names under which weights are looked for, best first.
const SAFETENSORS: &str = "model.safetensors";
const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
const TORCH: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";

/// Which of the files `available` hold the weights: `Single` or `Index` to be read for the shards' names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WeightFile {
    Single(&'static str),
    Index(&'static str),
}

/// Picks the file to read among those a directory has, in the order that transformers prefers.
pub(crate) fn weight_file(has: impl Fn(&str) -> bool) -> Option<WeightFile> {
    [
        WeightFile::Single(SAFETENSORS),
        WeightFile::Index(SAFETENSORS_INDEX),
        WeightFile::Single(TORCH),
        WeightFile::Index(TORCH_INDEX),
    ]
    .into_iter()
    .find(|file| match file {
        WeightFile::Single(name) | WeightFile::Index(name) => has(name),
    })
}

/// The shards that an index file names, by tensor.
pub(crate) fn shards(index: &Path) -> Result<BTreeMap<String, String>> {
    let index = Object::read(index)?.with_context(|| format!("{}: not found", index.display()))?;
    let map = index.required("weight_map", index.object("weight_map")?)?;
    let mut shards = BTreeMap::new();
    for (tensor, file) in map.iter() {
        let file = file
            .as_str()
            .with_context(|| format!("{}: expected a file name", map.at(tensor)))?;
        ensure!(
            !file.is_empty() && !file.contains(['/', '\\']) && file != "..",
            "{}: expected the name of a file beside the index, found '{file}'",
            map.at(tensor)
        );
        shards.insert(tensor.to_owned(), file.to_owned());
    }
    Ok(shards)
}

impl TensorStore {
    /// Opens the weights of a directory: safetensors before torch, one file before shards.
    pub fn open(directory: &Path) -> Result<TensorStore> {
        let mut store = TensorStore {
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        match weight_file(|name| directory.join(name).exists()) {
            Some(WeightFile::Single(name)) => store.add(directory.join(name))?,
            Some(WeightFile::Index(name)) => {
                let index = directory.join(name);
                let shards = shards(&index)?;
                let files: BTreeSet<&String> = shards.values().collect();
                for file in files {
                    store.add(directory.join(file))?;
                }
                for (tensor, file) in &shards {
                    let found = store
                        .tensors
                        .get(tensor)
                        .map(|stored| &store.files[stored.file]);
                    ensure!(
                        found == Some(&directory.join(file)),
                        "{}: says that tensor '{tensor}' is in '{file}', which does not hold it",
                        index.display()
                    );
                }
            }
            None => bail!(
                "{}: no weights found; expected one of {SAFETENSORS}, {SAFETENSORS_INDEX}, {TORCH}, {TORCH_INDEX}",
                directory.display()
            ),
        }
        Ok(store)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let mut file = files::open(&path).with_context(|| format!("{}", path.display()))?;
        refuse_lfs_pointer(&mut file).with_context(|| format!("{}", path.display()))?;
        let tensors = if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            safetensors::read_header(&mut file)
        } else {
            torch::read_header(&mut file)
        }
        .with_context(|| format!("{}", path.display()))?;
        let index = self.files.len();
        for (name, mut tensor) in tensors {
            tensor.file = index;
            match self.tensors.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(tensor);
                }
                Entry::Occupied(entry) => {
                    let (path, name) = (path.display(), entry.key());
                    // Not there where it is this file, which holds a name twice.
                    match self.files.get(entry.get().file) {
                        Some(other) => {
                            bail!("{path}: tensor '{name}' is also in '{}'", other.display())
                        }
                        None => bail!("{path}: tensor '{name}': the file holds it twice"),
                    }
                }
            }
        }
        self.files.push(path);
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor, slowest dimension first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Reads a tensor as f32 in row-major order. The caller has checked its shape.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self
            .tensors
            .get(name)
            .with_context(|| format!("tensor '{name}': not found"))?;
        let path = &self.files[tensor.file];
        let values =
            read(path, tensor).with_context(|| format!("{}: tensor '{name}'", path.display()))?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "{}: tensor '{name}': holds values that are not finite numbers",
            path.display()
        );
        Ok(values)
    }
}

fn read(path: &Path, tensor: &StoredTensor) -> Result<Vec<f32>> {
    let Some(size) = tensor.element.size() else {
        bail!(
            "element type {} cannot be read; expected F32, F16 or BF16",
            tensor.element.name()
        );
    };
    let count: usize = tensor.shape.iter().product();
    if count == 0 {
        return Ok(Vec::new());
    }
    // Elements from the first to the last one that the strides reach.
    let span = match &tensor.strides {
        None => count,
        Some(strides) => {
            let last: usize = tensor
                .shape
                .iter()
                .zip(strides)
                .map(|(&n, &stride)| (n - 1) * stride)
                .sum();
            last + 1
        }
    };
    let mut file = files::open(path)?;
    file.seek(SeekFrom::Start(tensor.offset))?;
    let mut bytes = vec![0; span * size];
    file.read_exact(&mut bytes)?;
    let stored = decode(&bytes, tensor.element);
    drop(bytes);
    Ok(match &tensor.strides {
        None => stored,
        Some(strides) => gather(&stored, &tensor.shape, strides),
    })
}

/// Little-endian bytes to f32; every F16 and BF16 value is exact in f32.
fn decode(bytes: &[u8], element: Element) -> Vec<f32> {
    match element {
        Element::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| f32::from_le_bytes(chunk))
            .collect(),
        Element::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| half::f16::from_le_bytes(chunk).to_f32())
            .collect(),
        Element::Bf16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|&chunk| half::bf16::from_le_bytes(chunk).to_f32())
            .collect(),
        Element::Other(_) => Vec::new(),
    }
}

/// Brings elements that lie `strides` apart into row-major order.
fn gather(stored: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let place: usize = index
            .iter()
            .zip(strides)
            .map(|(i, stride)| i * stride)
            .sum();
        values.push(stored[place]);
        for dimension in (0..shape.len()).rev() {
            index[dimension] += 1;
            if index[dimension] < shape[dimension] {
                break;
            }
            index[dimension] = 0;
        }
    }
    values
}

/// A clone without `git lfs` holds small text files in place of the weights.
fn refuse_lfs_pointer(file: &mut File) -> Result<()> {
    const START: &[u8] = b"version https://git-lfs";
    let mut start = Vec::new();
    file.take(START.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    ensure!(
        start != START,
        "is a Git LFS pointer, not the weights; fetch them with 'git lfs pull'"
    );
    Ok(())
}

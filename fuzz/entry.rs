//! What the fuzz targets do. `tools/tests/hostile.rs` runs the same functions in the ordinary tests.
//!
//! No input may make them panic, hang, allocate without bound, or touch memory that is not theirs. What they return is
//! right or an error; a little of it is looked at.

#[path = "../tools/tests/golden/make.rs"]
mod make;
#[path = "tasks.rs"]
mod tasks;

use bertlet::Model;
use bertlet::format::ModelFile;
use bertlet::kernels::Kernel;
use bertlet::tokenizer::{TOKENIZER_JSON, Tokenizer, Tokens, Vocabulary};
use bertlet_tools::checkpoint;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A model file's prefix, header and tensor table.
    Header,
    /// A small model with some bytes changed: load and one forward pass.
    Model,
    /// Text through the tokenizer.
    Tokenizer,
    /// The header of `model.safetensors`.
    Safetensors,
    /// The pickle in `pytorch_model.bin`.
    Pickle,
    /// The JSON files of a checkpoint.
    Json,
    /// The `tokenizer.json` inside a model file of the BPE or Unigram kind, and a text through it.
    Pieces,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target::Header,
    Target::Model,
    Target::Tokenizer,
    Target::Safetensors,
    Target::Pickle,
    Target::Json,
    Target::Pieces,
];

impl Target {
    /// The name of the program and of its folders.
    pub fn name(self) -> &'static str {
        match self {
            Target::Header => "header",
            Target::Model => "model",
            Target::Tokenizer => "tokenizer",
            Target::Safetensors => "safetensors",
            Target::Pickle => "pickle",
            Target::Json => "json",
            Target::Pieces => "pieces",
        }
    }
}

/// Golden checkpoints and precisions of the models: every kind of tokenizer, of encoder and of head.
const MODELS: [(&str, &str); 16] = [
    ("classifier", "int8"),
    ("classifier", "f16"),
    ("sentence", "int8"),
    ("families/roberta", "int8"),
    ("families/xlm-roberta", "f16"),
    ("families/albert", "int8"),
    ("families/mpnet", "int8"),
    ("families/camembert", "f16"),
    ("families/distilbert", "f16"),
    ("families/electra", "f16"),
    ("head-tag", "f16"),
    ("head-answer", "f16"),
    ("head-fill", "f16"),
    ("head-next", "f16"),
    ("head-choice", "f16"),
    ("head-nli", "f16"),
];

/// JSON files that the converter reads; an input's first byte chooses one.
const JSON_FILES: [&str; 8] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "model.safetensors.index.json",
];

/// Good files, which the inputs are changes of.
pub struct Bases {
    folder: PathBuf,
    /// A small model for each of [`MODELS`].
    models: Vec<Vec<u8>>,
    open: Vec<Model>,
    /// `model.safetensors` behind its header.
    weights: Vec<u8>,
    /// Names and contents of the files in a `pytorch_model.bin`.
    torch: Vec<(String, Vec<u8>)>,
}

impl Bases {
    /// Makes them of golden checkpoints, in a temporary folder. Models are taken from the folder that
    /// `BERTLET_FUZZ_MODELS` names, as far as they are there: a converter with a sanitizer takes minutes.
    pub fn new() -> Bases {
        let folder = std::env::temp_dir().join(format!("bertlet-fuzz-{}", std::process::id()));
        let kept = std::env::var_os("BERTLET_FUZZ_MODELS").map(PathBuf::from);
        let made = |(name, precision): (&str, &str)| {
            let kept = kept.as_ref();
            let kept = kept.map(|kept| kept.join(make::file_name(name, precision)));
            let path = kept.filter(|path| path.exists());
            let path = path.unwrap_or_else(|| make::model(name, precision, &folder));
            (fs::read(&path).unwrap(), Model::open(&path).unwrap())
        };
        let (models, open) = MODELS.into_iter().map(made).unzip();
        for name in ["json", "safetensors", "pickle"] {
            let directory = folder.join(name);
            make::checkpoint("classifier", &directory);
            fs::create_dir_all(directory.join("1_Pooling")).unwrap();
            if name == "pickle" {
                fs::remove_file(directory.join("model.safetensors")).unwrap();
            }
        }
        let file = fs::read(make::golden().join("classifier/model.safetensors")).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        Bases {
            folder,
            models,
            open,
            weights: file[8 + length..].to_vec(),
            torch: unpacked(&make::golden().join("classifier-pickle/pytorch_model.bin")),
        }
    }

    /// One run on one input; whether it was taken for good.
    pub fn run(&self, target: Target, data: &[u8]) -> bool {
        match target {
            Target::Header => self.header(data),
            Target::Model => self.model(data),
            Target::Tokenizer => self.tokenizer(&String::from_utf8_lossy(data)),
            Target::Safetensors => self.safetensors(data),
            Target::Pickle => self.pickle(data),
            Target::Json => self.json(data),
            Target::Pieces => self.pieces(data),
        }
    }

    /// Writes what fuzzing begins with: the models into `folder/models`, good inputs into `folder/TARGET`.
    #[allow(dead_code)] // the example fuzz_seeds does
    pub fn write_seeds(&self, folder: &Path) {
        let models = folder.join("models");
        fs::create_dir_all(&models).unwrap();
        for ((name, precision), bytes) in MODELS.into_iter().zip(&self.models) {
            fs::write(models.join(make::file_name(name, precision)), bytes).unwrap();
        }
        for target in TARGETS {
            let folder = folder.join(target.name());
            fs::create_dir_all(&folder).unwrap();
            for (index, seed) in self.seeds(target).into_iter().enumerate() {
                fs::write(folder.join(format!("seed-{index}")), seed).unwrap();
            }
        }
    }

    /// Good inputs of a target to begin with.
    pub fn seeds(&self, target: Target) -> Vec<Vec<u8>> {
        let joined = |first: &[u8], rest: &[u8]| [first, rest].concat();
        match target {
            Target::Header => {
                let header = |model: &[u8]| {
                    let length = u64::from_le_bytes(model[16..24].try_into().unwrap()) as usize;
                    model[24..24 + length].to_vec()
                };
                let mut seeds = vec![joined(&[255], &self.models[0])];
                for (which, model) in (0..).zip(&self.models) {
                    seeds.push(joined(&[which], &header(model)));
                }
                seeds
            }
            Target::Model => (0..)
                .zip(&self.models)
                .flat_map(|(which, bytes)| {
                    let last = (bytes.len() - header_end(bytes) - 5) as u32;
                    let [low, middle, high, _] = last.to_le_bytes();
                    [
                        joined(&[which, 0], b"a good film"),
                        joined(&[which, 1 + 32, low, middle, high, 1], b"bad [MASK]"),
                        joined(&[which, 64], "中文 e\u{301}\0 \u{1f600}".as_bytes()),
                    ]
                })
                .collect(),
            Target::Tokenizer => [
                "A good film!",
                "ΑΣ ﬁ Å 中文 e\u{301}\u{301}",
                "[CLS] \0\u{200d}\u{1f600}",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
            Target::Safetensors => {
                let file = fs::read(make::golden().join("classifier/model.safetensors")).unwrap();
                vec![file[8..file.len() - self.weights.len()].to_vec()]
            }
            Target::Pickle => {
                let mut files = self.torch.iter();
                let pickle = files.find(|(name, _)| name.ends_with("/data.pkl"));
                vec![pickle.unwrap().1.clone()]
            }
            Target::Json => {
                let file = |index: u8, name: &str| {
                    let bytes = fs::read(make::golden().join(name)).unwrap();
                    joined(&[index], &bytes)
                };
                vec![
                    file(0, "classifier/config.json"),
                    file(0, "families/roberta/config.json"),
                    file(0, "families/mpnet/config.json"),
                    file(0, "families/albert/config.json"),
                    file(1, "classifier/tokenizer.json"),
                    file(1, "families/roberta/tokenizer.json"),
                    file(1, "families/xlm-roberta/tokenizer.json"),
                    file(2, "classifier/tokenizer_config.json"),
                    file(3, "sentence/modules.json"),
                    file(4, "sentence/1_Pooling/config.json"),
                    joined(&[5], br#"{"max_seq_length": 16, "do_lower_case": false}"#),
                    joined(
                        &[6],
                        br#"{"prompts": {"query": "q: "}, "default_prompt_name": null}"#,
                    ),
                    joined(&[7], br#"{"weight_map": {"a": "model.safetensors"}}"#),
                ]
            }
            Target::Pieces => (0..)
                .zip(&self.open)
                .filter_map(|(which, model)| {
                    let json = tokenizer_json(model)?;
                    let text = "Naïve films!".as_bytes();
                    Some(joined(&[which, text.len() as u8], &joined(text, &json)))
                })
                .collect(),
        }
    }

    /// The first byte says whose header the rest is; if there is no such model, the rest is a whole file.
    fn header(&self, data: &[u8]) -> bool {
        let Some((&which, rest)) = data.split_first() else {
            return false;
        };
        let bytes = match self.models.get(usize::from(which)) {
            None => rest.to_vec(),
            Some(model) => {
                let start = header_end(model);
                let padding = (24 + rest.len()).next_multiple_of(64) - 24 - rest.len();
                let length = (rest.len() as u64).to_le_bytes();
                [
                    &model[..16],
                    &length,
                    rest,
                    &[0; 64][..padding],
                    &model[start..],
                ]
                .concat()
            }
        };
        let path = self.folder.join("header.bertlet");
        fs::write(&path, bytes).unwrap();
        if let Ok(file) = ModelFile::open(&path) {
            let _ = file.verify();
        }
        Model::open(&path).is_ok()
    }

    /// Which model; how many patches (5 bits) and which kernel (3 bits); the patches (position in 24 bits, value); a text.
    /// A position counts from the header's end, or from the file's start where its top bit is set.
    fn model(&self, data: &[u8]) -> bool {
        let [which, count, rest @ ..] = data else {
            return false;
        };
        let mut bytes = self.models[usize::from(*which) % MODELS.len()].clone();
        let (patches, text) = rest.split_at(rest.len().min(4 * usize::from(count % 32)));
        for patch in patches.chunks_exact(4) {
            let place = u32::from_le_bytes([patch[0], patch[1], patch[2] & 0x7f, 0]) as usize;
            let start = match patch[2] & 0x80 {
                0 => header_end(&bytes),
                _ => 0,
            };
            let place = start + place % (bytes.len() - start);
            bytes[place] = patch[3];
        }
        let path = self.folder.join("model.bertlet");
        fs::write(&path, bytes).unwrap();
        let Ok(model) = Model::open(&path) else {
            return false;
        };
        let _ = model.verify();
        let kernels: Vec<Kernel> = Kernel::available().collect();
        let kernel = kernels[usize::from(count / 32) % kernels.len()];
        tasks::run(&model.with_kernel(kernel), &String::from_utf8_lossy(text));
        true
    }

    /// Which model's header, the length of a text, the text, and a tokenizer.json.
    fn pieces(&self, data: &[u8]) -> bool {
        let [which, length, rest @ ..] = data else {
            return false;
        };
        let model = &self.open[usize::from(*which) % MODELS.len()];
        if tokenizer_json(model).is_none() {
            return false;
        }
        let (text, json) = rest.split_at(rest.len().min(usize::from(*length)));
        let Ok(tokenizer) = Tokenizer::from_json(&model.header().tokenizer, json) else {
            return false;
        };
        let text = String::from_utf8_lossy(text);
        for text in [
            &*text,
            "",
            "Naïve films, e\u{301} 中文\0 \u{feff}\u{1f600}!",
        ] {
            let mut tokens = Tokens::new();
            tokenizer
                .with(None::<Vocabulary<'_>>)
                .tokenize(text, &mut tokens);
            let bound = tokenizer.id_bound();
            assert!(tokens.ids.iter().all(|id| (*id as usize) < bound));
        }
        true
    }

    fn tokenizer(&self, text: &str) -> bool {
        let characters = text.chars().count();
        for model in &self.open {
            let tokenizer = model.tokenizer();
            let mut tokens = Tokens::new();
            tokenizer.tokenize(text, &mut tokens);
            let mut offsets = Vec::new();
            tokens.char_offsets(text, &mut offsets);
            assert_eq!(tokens.ids.len(), offsets.len());
            for (id, offsets) in tokens.ids.iter().zip(&offsets) {
                assert!((*id as usize) < model.header().config.vocab_size);
                assert!(offsets.0 <= offsets.1 && offsets.1 <= characters);
            }
        }
        true
    }

    fn safetensors(&self, header: &[u8]) -> bool {
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length, header, &self.weights].concat();
        self.convert("safetensors", "model.safetensors", &file)
    }

    fn pickle(&self, pickle: &[u8]) -> bool {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in &self.torch {
            archive.start_file(name.as_str(), options).unwrap();
            let bytes = match name.ends_with("/data.pkl") {
                true => pickle,
                false => bytes,
            };
            archive.write_all(bytes).unwrap();
        }
        let file = archive.finish().unwrap().into_inner();
        self.convert("pickle", "pytorch_model.bin", &file)
    }

    fn json(&self, data: &[u8]) -> bool {
        let Some((&which, json)) = data.split_first() else {
            return false;
        };
        let name = JSON_FILES[usize::from(which) % JSON_FILES.len()];
        let path = self.folder.join("json").join(name);
        let before = fs::read(&path).ok();
        let good = self.convert("json", name, json);
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        good
    }

    /// Reads the checkpoint in a folder after one of its files was replaced.
    fn convert(&self, folder: &str, name: &str, bytes: &[u8]) -> bool {
        let directory = self.folder.join(folder);
        fs::write(directory.join(name), bytes).unwrap();
        checkpoint::open(&directory).is_ok_and(|checkpoint| checkpoint.weights().is_ok())
    }
}

/// The files in a zip archive.
fn unpacked(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let count = archive.len();
    let file = |index| {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let name = String::from_utf8(file.name_raw().to_vec()).unwrap();
        (name, bytes)
    };
    (0..count).map(file).collect()
}

/// Where the tensors of a good model file begin.
fn header_end(model: &[u8]) -> usize {
    let length = u64::from_le_bytes(model[16..24].try_into().unwrap()) as usize;
    (24 + length).next_multiple_of(64)
}

/// The tensor of that name, where the model has one.
fn tokenizer_json(model: &Model) -> Option<Vec<u8>> {
    let locator = model.file().locator();
    let tensor = locator.vector::<u8>(TOKENIZER_JSON).ok()?;
    Some(model.file().get(tensor).to_vec())
}

impl Drop for Bases {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! Good files, which the inputs of fuzzing are changes of.

#[path = "../tools/tests/golden/make.rs"]
mod make;
#[allow(dead_code)] // the tokenizer's own tests use all of it
#[path = "../tests/tokenizer/support.rs"]
pub(super) mod reference;

use super::{TARGETS, Target};
use bertlet::Model;
use bertlet::tokenizer::TOKENIZER_JSON;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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

/// JSON files that the converter reads, each in a folder of [`Bases`] where it does; an input's first byte chooses one.
pub const JSON_FILES: [(&str, &str); 12] = [
    ("classifier", "config.json"),
    ("classifier", "tokenizer.json"),
    ("classifier", "tokenizer_config.json"),
    ("sentence", "modules.json"),
    ("sentence", "1_Pooling/config.json"),
    ("sentence", "sentence_bert_config.json"),
    ("sentence", "config_sentence_transformers.json"),
    ("shards", "model.safetensors.index.json"),
    ("sentence", "2_Dense/config.json"),
    ("words", "added_tokens.json"),
    ("words", "special_tokens_map.json"),
    ("merges", "vocab.json"),
];

/// Other files that it reads, in the same way.
pub(super) const FILES: [(&str, &str); 8] = [
    ("safetensors", "model.safetensors"),
    ("pickle", "pytorch_model.bin"),
    ("words", "vocab.txt"),
    ("merges", "merges.txt"),
    ("xlm-roberta", "sentencepiece.bpe.model"),
    ("albert", "spiece.model"),
    ("sentence", "2_Dense/model.safetensors"),
    ("sentence", "3_Dense/pytorch_model.bin"),
];

/// Good files, which the inputs are changes of.
pub struct Bases {
    pub(super) folder: PathBuf,
    /// A small model for each of [`MODELS`].
    pub(super) models: Vec<Vec<u8>>,
    pub(super) open: Vec<Model>,
    /// WordPiece beside that of `tokenizers`, by all of its rules and by hardly any.
    pub(super) tokenizers: Mutex<[reference::Both; 2]>,
    /// `model.safetensors` behind its header.
    pub(super) weights: Vec<u8>,
    /// Names and contents of the files in a `pytorch_model.bin`.
    pub(super) torch: Vec<(String, Vec<u8>)>,
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
        make_checkpoints(&folder);
        let file = fs::read(make::golden().join("classifier/model.safetensors")).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let tokens = reference::vocabulary(3000);
        let specials = reference::special_tokens(&tokens);
        let tokenizers = [reference::UNCASED, reference::CASED]
            .map(|rules| reference::Both::new(&tokens, rules, &specials));
        Bases {
            folder,
            models,
            open,
            tokenizers: Mutex::new(tokenizers),
            weights: file[8 + length..].to_vec(),
            torch: unpacked(&make::golden().join("classifier-pickle/pytorch_model.bin")),
        }
    }

    /// Writes what fuzzing begins with: the models into `folder/models`, good inputs into `folder/TARGET`.
    #[allow(dead_code)] // the example fuzz_seeds does
    pub fn write_seeds(&self, folder: &Path) {
        let models = folder.join("models");
        fs::create_dir_all(&models).unwrap();
        for ((name, precision), bytes) in MODELS.into_iter().zip(&self.models) {
            // Renamed: other fuzzers may have a model mapped.
            let path = models.join(make::file_name(name, precision));
            let unfinished = path.with_extension(std::process::id().to_string());
            fs::write(&unfinished, bytes).unwrap();
            fs::rename(unfinished, path).unwrap();
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
                "İstanbul\u{307} 각\u{1100}\u{1161} \u{F73}\u{301}##s x[SEP]y",
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
                let golden = |index: u8, name: &str| {
                    let bytes = fs::read(make::golden().join(name)).unwrap();
                    joined(&[index], &bytes)
                };
                let mut seeds = self.own(&JSON_FILES);
                // These are of other checkpoints, so they are refused.
                seeds.extend([
                    golden(0, "families/roberta/config.json"),
                    golden(0, "families/mpnet/config.json"),
                    golden(0, "families/albert/config.json"),
                    golden(1, "families/roberta/tokenizer.json"),
                    golden(1, "families/xlm-roberta/tokenizer.json"),
                ]);
                seeds
            }
            Target::Files => self.own(&FILES),
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

    /// The good files themselves, as inputs that choose them.
    fn own(&self, files: &[(&str, &str)]) -> Vec<Vec<u8>> {
        let input = |(which, (folder, name)): (u8, &(&str, &str))| {
            let bytes = fs::read(self.folder.join(folder).join(name)).unwrap();
            [&[which], &bytes[..]].concat()
        };
        (0..).zip(files).map(input).collect()
    }
}

/// Good checkpoints in folders of their own, for the targets that change one of their files.
fn make_checkpoints(folder: &Path) {
    let made = |name: &str, golden: &str, without: &str| {
        let directory = folder.join(name);
        make::checkpoint(golden, &directory);
        if !without.is_empty() {
            fs::remove_file(directory.join(without)).unwrap();
        }
        directory
    };
    made("classifier", "classifier", "");
    made("safetensors", "classifier", "");
    made("shards", "classifier", "model.safetensors");
    made("shards", "classifier-shards", "");
    let sentence = made("sentence", "sentence", "");
    made("sentence", "sentence-dense", "");
    let settings = r#"{"max_seq_length": 16, "do_lower_case": false}"#;
    fs::write(sentence.join("sentence_bert_config.json"), settings).unwrap();
    let prompts = r#"{"prompts": {"query": "q: "}, "default_prompt_name": null}"#;
    fs::write(sentence.join("config_sentence_transformers.json"), prompts).unwrap();
    let pickle = made("pickle", "classifier", "model.safetensors");
    let torch = make::golden().join("classifier-pickle/pytorch_model.bin");
    fs::copy(torch, pickle.join("pytorch_model.bin")).unwrap();

    // Tokenizers of plain files.
    let words = made("words", "classifier", "tokenizer.json");
    fs::write(words.join("added_tokens.json"), "{}").unwrap();
    fs::write(words.join("special_tokens_map.json"), "{}").unwrap();
    let merges = made("merges", "families/roberta", "tokenizer.json");
    let path = make::golden().join("families/roberta/tokenizer.json");
    let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let model = &json["model"];
    fs::write(merges.join("vocab.json"), model["vocab"].to_string()).unwrap();
    let pairs = model["merges"].as_array().unwrap().iter();
    let token = |token: &Value| token.as_str().unwrap().to_owned();
    let lines = pairs.map(|pair| format!("{} {}\n", token(&pair[0]), token(&pair[1])));
    let lines: String = lines.collect();
    fs::write(merges.join("merges.txt"), lines).unwrap();
    for (name, file) in [
        ("xlm-roberta", "sentencepiece.bpe.model"),
        ("albert", "spiece.model"),
    ] {
        let directory = made(name, &format!("families/{name}"), "tokenizer.json");
        let model = make::golden().join(format!("pieces/{name}.model"));
        fs::copy(model, directory.join(file)).unwrap();
        fs::write(directory.join("tokenizer_config.json"), "{}").unwrap();
    }
}

impl Drop for Bases {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
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
pub(super) fn header_end(model: &[u8]) -> usize {
    let length = u64::from_le_bytes(model[16..24].try_into().unwrap()) as usize;
    (24 + length).next_multiple_of(64)
}

/// The tensor of that name, where the model has one.
pub(super) fn tokenizer_json(model: &Model) -> Option<Vec<u8>> {
    let locator = model.file().locator();
    let tensor = locator.vector::<u8>(TOKENIZER_JSON).ok()?;
    Some(model.file().get(tensor).to_vec())
}

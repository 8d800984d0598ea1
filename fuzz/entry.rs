//! What the fuzz targets do. `tools/tests/hostile.rs` runs the same functions in the ordinary tests.
//!
//! No input may make them panic, hang, allocate without bound, or touch memory that is not theirs. What they return is
//! right or an error; a little of it is looked at.

use bertlet::format::ModelFile;
use bertlet::tokenizer::Tokens;
use bertlet::{Classifier, Embedder, Model};
use bertlet_tools::{checkpoint, command};
use clap::Parser;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // each fuzz target names one of them
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
}

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
    /// A small model as int8 and as f16.
    models: [Vec<u8>; 2],
    open: [Model; 2],
    /// `model.safetensors` behind its header.
    weights: Vec<u8>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

impl Bases {
    /// Makes them of the golden checkpoint, in a temporary folder.
    pub fn new() -> Bases {
        let folder = std::env::temp_dir().join(format!("bertlet-fuzz-{}", std::process::id()));
        let made = |precision: &str| {
            let path = folder.join(format!("{precision}.bertlet"));
            let source = golden().join("classifier");
            let arguments = [
                "bertlet-convert".as_ref(),
                source.as_os_str(),
                "-o".as_ref(),
                path.as_os_str(),
                "--precision".as_ref(),
                precision.as_ref(),
            ];
            command::run(command::Arguments::parse_from(arguments)).unwrap();
            (fs::read(&path).unwrap(), Model::open(&path).unwrap())
        };
        for name in ["json", "safetensors", "pickle"] {
            let directory = folder.join(name);
            fs::create_dir_all(directory.join("1_Pooling")).unwrap();
            for file in fs::read_dir(golden().join("classifier")).unwrap() {
                let file = file.unwrap();
                let wanted = !file.file_name().to_string_lossy().starts_with("golden");
                if wanted && (name != "pickle" || file.file_name() != "model.safetensors") {
                    fs::copy(file.path(), directory.join(file.file_name())).unwrap();
                }
            }
        }
        let (int8, f16) = (made("int8"), made("f16"));
        let file = fs::read(golden().join("classifier/model.safetensors")).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        Bases {
            folder,
            models: [int8.0, f16.0],
            open: [int8.1, f16.1],
            weights: file[8 + length..].to_vec(),
        }
    }

    /// One run on one input.
    pub fn run(&self, target: Target, data: &[u8]) {
        match target {
            Target::Header => self.header(data),
            Target::Model => self.model(data),
            Target::Tokenizer => self.tokenizer(&String::from_utf8_lossy(data)),
            Target::Safetensors => self.safetensors(data),
            Target::Pickle => self.pickle(data),
            Target::Json => self.json(data),
        }
    }

    /// Good inputs of a target to begin with.
    #[allow(dead_code)] // only the ordinary test asks for them
    pub fn seeds(&self, target: Target) -> Vec<Vec<u8>> {
        let joined = |first: &[u8], rest: &[u8]| [first, rest].concat();
        match target {
            Target::Header => {
                let header = |model: &[u8]| {
                    let length = u64::from_le_bytes(model[16..24].try_into().unwrap()) as usize;
                    model[24..24 + length].to_vec()
                };
                let mut seeds = vec![joined(&[2], &self.models[0])];
                for (which, model) in (0..).zip(&self.models) {
                    seeds.push(joined(&[which], &header(model)));
                }
                seeds
            }
            Target::Model => vec![
                joined(&[0, 1, 200, 0, 0, 1], b"a good film"),
                joined(&[1, 2, 0, 40, 0, 255, 7, 50, 0, 127], b"bad"),
            ],
            Target::Tokenizer => [
                "A good film!",
                "ΑΣ ﬁ Å 中文 e\u{301}\u{301}",
                "[CLS] \0\u{200d}\u{1f600}",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
            Target::Safetensors => {
                let file = fs::read(golden().join("classifier/model.safetensors")).unwrap();
                vec![file[8..file.len() - self.weights.len()].to_vec()]
            }
            Target::Pickle => {
                let file = fs::read(golden().join("classifier-pickle/pytorch_model.bin")).unwrap();
                let mut archive = zip::ZipArchive::new(Cursor::new(file)).unwrap();
                let is_pickle = |name: &[u8]| name.ends_with(b"data.pkl");
                let index = archive.file_names_raw().position(is_pickle).unwrap();
                let mut pickle = Vec::new();
                std::io::copy(&mut archive.by_index(index).unwrap(), &mut pickle).unwrap();
                vec![pickle]
            }
            Target::Json => {
                let file = |index: u8, name: &str| {
                    let bytes = fs::read(golden().join(name)).unwrap();
                    joined(&[index], &bytes)
                };
                vec![
                    file(0, "classifier/config.json"),
                    file(1, "classifier/tokenizer.json"),
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
        }
    }

    /// The first byte says whether the rest is a whole file, or the header of one of the models.
    fn header(&self, data: &[u8]) {
        let Some((&which, rest)) = data.split_first() else {
            return;
        };
        let bytes = match self.models.get(usize::from(which) % 3) {
            None => rest.to_vec(),
            Some(model) => {
                let length = u64::from_le_bytes(model[16..24].try_into().unwrap()) as usize;
                let start = (24 + length).next_multiple_of(64);
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
        let _ = Model::open(&path);
    }

    /// Which model, how many patches, the patches (position in 24 bits, value), and a text.
    fn model(&self, data: &[u8]) {
        let [which, count, rest @ ..] = data else {
            return;
        };
        let mut bytes = self.models[usize::from(*which) % 2].clone();
        let (patches, text) = rest.split_at(rest.len().min(4 * usize::from(count % 32)));
        for patch in patches.chunks_exact(4) {
            let place = u32::from_le_bytes([patch[0], patch[1], patch[2], 0]) as usize;
            let place = place % bytes.len();
            bytes[place] = patch[3];
        }
        let path = self.folder.join("model.bertlet");
        fs::write(&path, bytes).unwrap();
        let Ok(model) = Model::open(&path) else {
            return;
        };
        let text = String::from_utf8_lossy(text);
        let texts = [&*text, "", "a good film"];
        if let Ok(classifier) = Classifier::new(&model) {
            let answers = classifier.classify(&texts).map(|answers| answers.len());
            assert!(answers.is_err() || answers.is_ok_and(|count| count == 3));
        }
        if let Ok(embedder) = Embedder::new(&model) {
            let vectors = embedder.embed(&texts).map(|vectors| vectors.len());
            assert!(vectors.is_err() || vectors.is_ok_and(|count| count == 3));
        }
        let _ = model.verify();
    }

    fn tokenizer(&self, text: &str) {
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
    }

    fn safetensors(&self, header: &[u8]) {
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length, header, &self.weights].concat();
        self.convert("safetensors", "model.safetensors", &file);
    }

    fn pickle(&self, pickle: &[u8]) {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let storage = vec![0; 4096];
        for (name, bytes) in [
            ("archive/data.pkl", pickle),
            ("archive/byteorder", b"little"),
            ("archive/data/0", &storage),
            ("archive/data/1", &storage),
        ] {
            archive.start_file(name, options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        let file = archive.finish().unwrap().into_inner();
        self.convert("pickle", "pytorch_model.bin", &file);
    }

    fn json(&self, data: &[u8]) {
        let Some((&which, json)) = data.split_first() else {
            return;
        };
        let name = JSON_FILES[usize::from(which) % JSON_FILES.len()];
        let path = self.folder.join("json").join(name);
        let before = fs::read(&path).ok();
        self.convert("json", name, json);
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }

    /// Reads the checkpoint in a folder after one of its files was replaced.
    fn convert(&self, folder: &str, name: &str, bytes: &[u8]) {
        let directory = self.folder.join(folder);
        fs::write(directory.join(name), bytes).unwrap();
        if let Ok(checkpoint) = checkpoint::open(&directory) {
            let _ = checkpoint.weights();
        }
    }
}

impl Drop for Bases {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

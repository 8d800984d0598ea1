//! What the fuzz targets do. `tools/tests/hostile.rs` runs the same functions in the ordinary tests.
//!
//! No input may make them panic, hang, allocate without bound, or touch memory that is not theirs. What they return is
//! right or an error; a little of it is looked at.

#[path = "bases.rs"]
mod bases;
#[path = "tasks.rs"]
mod tasks;

pub use bases::{Bases, JSON_FILES};

use bases::{FILES, header_end, tokenizer_json};
use bertlet::Model;
use bertlet::format::ModelFile;
use bertlet::kernels::Kernel;
use bertlet::tokenizer::{Tokenizer, Tokens, Vocabulary};
use bertlet_tools::checkpoint;
use std::fs;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// Nothing, or why an input is refused.
pub type Taken = Result<(), String>;

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
    /// The other files of a checkpoint, whole: weights, word lists, models of SentencePiece.
    Files,
    /// The `tokenizer.json` inside a model file of the BPE or Unigram kind, and a text through it.
    Pieces,
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target::Header,
    Target::Model,
    Target::Tokenizer,
    Target::Safetensors,
    Target::Pickle,
    Target::Json,
    Target::Files,
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
            Target::Files => "files",
            Target::Pieces => "pieces",
        }
    }
}

impl Bases {
    /// One run on one input.
    ///
    /// # Errors
    /// The message that refuses it, without the folder that the input was put into.
    pub fn run(&self, target: Target, data: &[u8]) -> Taken {
        let taken = match target {
            Target::Header => self.header(data),
            Target::Model => self.model(data),
            Target::Tokenizer => self.tokenizer(&String::from_utf8_lossy(data)),
            Target::Safetensors => self.safetensors(data),
            Target::Pickle => self.pickle(data),
            Target::Json => self.chosen(&JSON_FILES, data),
            Target::Files => self.chosen(&FILES, data),
            Target::Pieces => self.pieces(data),
        };
        taken.map_err(|message| message.replace(&format!("{}/", self.folder.display()), ""))
    }

    /// The first byte says whose header the rest is; if there is no such model, the rest is a whole file.
    fn header(&self, data: &[u8]) -> Taken {
        let (&which, rest) = data.split_first().ok_or(NOTHING)?;
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
        let file = ModelFile::open(&path).map_err(message)?;
        let verified = file.verify().map_err(message);
        Model::open(&path).map_err(message).and(verified)
    }

    /// Which model; how many patches (5 bits) and which kernel (3 bits); the patches (position in 24 bits, value); a text.
    /// A position counts from the header's end, or from the file's start where its top bit is set.
    fn model(&self, data: &[u8]) -> Taken {
        let [which, count, rest @ ..] = data else {
            return Err(NOTHING.into());
        };
        let mut bytes = self.models[usize::from(*which) % self.models.len()].clone();
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
        let model = Model::open(&path).map_err(message)?;
        let _ = model.verify();
        let kernels: Vec<Kernel> = Kernel::available().collect();
        let kernel = kernels[usize::from(count / 32) % kernels.len()];
        tasks::run(&model.with_kernel(kernel), &String::from_utf8_lossy(text));
        Ok(())
    }

    /// Which model's header, the length of a text, the text, and a tokenizer.json.
    fn pieces(&self, data: &[u8]) -> Taken {
        let [which, length, rest @ ..] = data else {
            return Err(NOTHING.into());
        };
        let model = &self.open[usize::from(*which) % self.open.len()];
        if tokenizer_json(model).is_none() {
            return Err("the model has no tokenizer.json".into());
        }
        let (text, json) = rest.split_at(rest.len().min(usize::from(*length)));
        let tokenizer = Tokenizer::from_json(&model.header().tokenizer, json).map_err(message)?;
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
        Ok(())
    }

    /// Our own tokenizer must give what `tokenizers` gives; all of them, ids and offsets that exist.
    fn tokenizer(&self, text: &str) -> Taken {
        // The reference takes seconds for longer ones where a sanitizer watches it.
        let end = text.char_indices().nth(4096);
        let start = &text[..end.map_or(text.len(), |(end, _)| end)];
        // A failed run poisons it, and is over.
        for both in self.tokenizers.lock().unwrap().iter_mut() {
            if let Some(difference) = both.difference(start) {
                panic!("{difference}");
            }
        }
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
        Ok(())
    }

    fn safetensors(&self, header: &[u8]) -> Taken {
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length, header, &self.weights].concat();
        self.convert("safetensors", "model.safetensors", &file)
    }

    fn pickle(&self, pickle: &[u8]) -> Taken {
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

    /// The first byte chooses a file, the rest is what it holds.
    fn chosen(&self, files: &[(&str, &str)], data: &[u8]) -> Taken {
        let (&which, bytes) = data.split_first().ok_or(NOTHING)?;
        let (folder, name) = files[usize::from(which) % files.len()];
        self.convert(folder, name, bytes)
    }

    /// Reads the checkpoint in a folder with other bytes in one of its files.
    fn convert(&self, folder: &str, name: &str, bytes: &[u8]) -> Taken {
        let directory = self.folder.join(folder);
        let path = directory.join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        let read = checkpoint::open(&directory).and_then(|checkpoint| checkpoint.weights());
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        read.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// Why an input without a byte is refused.
const NOTHING: &str = "the input is empty";

fn message(error: bertlet::Error) -> String {
    error.to_string()
}

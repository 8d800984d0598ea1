//! Tiny checkpoints written by hand, so that each test changes the one thing it is about.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A directory that is deleted at the end of its test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "bertlet-checkpoint-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn write_json(&self, name: &str, content: &Value) {
        self.write(name, content.to_string());
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const VOCABULARY: [&str; 12] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s", "!", "a", "e", "Hello",
];

/// Named tensors: shape and values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub fn config() -> Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 4, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 6, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8, "type_vocab_size": 2, "vocab_size": 12,
    })
}

/// All tensors of the encoder under `BertModel`'s names. Every value is a multiple of 1/16 below 16, so it is exact in
/// f16 and bf16 alike, and distinct tensors differ.
pub fn tensors() -> Tensors {
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![12, 4]),
        ("embeddings.position_embeddings.weight".into(), vec![8, 4]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, 4]),
        ("embeddings.LayerNorm.weight".into(), vec![4]),
        ("embeddings.LayerNorm.bias".into(), vec![4]),
        ("pooler.dense.weight".into(), vec![4, 4]),
        ("pooler.dense.bias".into(), vec![4]),
    ];
    for layer in 0..2 {
        for (name, output, input) in [
            ("attention.self.query", 4, 4),
            ("attention.self.key", 4, 4),
            ("attention.self.value", 4, 4),
            ("attention.output.dense", 4, 4),
            ("intermediate.dense", 6, 4),
            ("output.dense", 4, 6),
        ] {
            shapes.push((
                format!("encoder.layer.{layer}.{name}.weight"),
                vec![output, input],
            ));
            shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![output]));
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![4]));
            shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![4]));
        }
    }
    let mut next = 0_usize;
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values = (0..count)
                .map(|_| {
                    next += 1;
                    (next * 37 % 256) as f32 / 16.0 - 8.0
                })
                .collect();
            (name, (shape, values))
        })
        .collect()
}

/// Adds a classifier of `labels` labels.
pub fn with_classifier(mut tensors: Tensors, labels: usize) -> Tensors {
    tensors.insert(
        "classifier.weight".into(),
        (vec![labels, 4], vec![0.5; labels * 4]),
    );
    tensors.insert("classifier.bias".into(), (vec![labels], vec![0.25; labels]));
    tensors
}

pub fn prefixed(tensors: Tensors) -> Tensors {
    tensors
        .into_iter()
        .map(
            |(name, tensor)| match name.starts_with("classifier") || name.starts_with("cls.") {
                true => (name, tensor),
                false => (format!("bert.{name}"), tensor),
            },
        )
        .collect()
}

/// Element types to write.
#[derive(Clone, Copy, PartialEq)]
pub enum Type {
    F32,
    F16,
    Bf16,
    F64,
}

impl Type {
    pub fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Type::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Type::F16 => values
                .iter()
                .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
                .collect(),
            Type::Bf16 => values
                .iter()
                .flat_map(|&v| half::bf16::from_f32(v).to_le_bytes())
                .collect(),
            Type::F64 => values
                .iter()
                .flat_map(|&v| f64::from(v).to_le_bytes())
                .collect(),
        }
    }

    pub fn safetensors_name(self) -> &'static str {
        match self {
            Type::F32 => "F32",
            Type::F16 => "F16",
            Type::Bf16 => "BF16",
            Type::F64 => "F64",
        }
    }
}

/// A safetensors file.
pub fn safetensors(tensors: &Tensors, kind: Type) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(kind.bytes(values));
        let entry = json!({"dtype": kind.safetensors_name(), "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

pub fn tokenizer_json() -> Value {
    let vocabulary: serde_json::Map<String, Value> = VOCABULARY
        .iter()
        .enumerate()
        .map(|(id, token)| (token.to_string(), id.into()))
        .collect();
    let added: Vec<Value> = VOCABULARY[..5]
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let special = |token: &str, kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// A complete checkpoint: `BertModel`, safetensors F32, `tokenizer.json`.
pub fn checkpoint() -> TempDir {
    let directory = TempDir::new();
    directory.write_json("config.json", &config());
    directory.write_json("tokenizer.json", &tokenizer_json());
    directory.write("model.safetensors", safetensors(&tensors(), Type::F32));
    directory
}

/// The message that opening (and reading) the directory fails with.
pub fn refusal(directory: &TempDir) -> String {
    match bertlet_tools::checkpoint::open(directory.path())
        .and_then(|checkpoint| checkpoint.weights())
    {
        Ok(_) => panic!("was not refused"),
        Err(error) => format!("{error:#}"),
    }
}

/// Asserts that the message says all of these.
#[track_caller]
pub fn assert_refusal(directory: &TempDir, parts: &[&str]) {
    let message = refusal(directory);
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

//! The real binary, on a tiny model that the test makes.

use bertlet::format::header::{
    Activation, AddedToken, Config, EmbeddingConfig, HeadConfig, Header, Pooling, Precision,
    Source, TemplatePiece, TokenizerConfig, WordPieceConfig,
};
use bertlet::format::{TensorData, write};
use bertlet::tokenizer::VocabularyTables;
use half::f16;
use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

const HIDDEN: usize = 8;
const INNER: usize = 12;
const POSITIONS: usize = 16;
const WORDS: [&str; 13] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "sleep", "##s", "good", "bad", ".",
    "[MASK]",
];

/// A directory of a test's own, removed when the test is over.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("bertlet-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let directory = Directory(path);
        directory.write("model.bertlet", &model(true));
        directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The binary in this directory, with the tiny model in the environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bertlet"));
        command
            .current_dir(&self.0)
            .env("BERTLET_MODEL", self.path("model.bertlet"))
            .args(arguments);
        command
    }

    /// A shell's script in this directory, for which the binary is `$0`, with the tiny model in the environment.
    ///
    /// With one arena: glibc makes more of them when threads happen to meet in `malloc`, each with address space of its
    /// own, so that what a limit of it leaves room for would be chance.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_bertlet")])
            .env("MALLOC_ARENA_MAX", "1")
            .env("BERTLET_MODEL", self.path("model.bertlet"))
            .current_dir(&self.0);
        command
    }

    pub fn run(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut child = start(&mut self.command(arguments));
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // A program that fails early does not read its input.
        let feeder = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ran::from(output)
    }
}

/// Starts a command with pipes to all of its standard streams.
pub fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// The output of a run that must have gone well and had nothing to say.
    pub fn good(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self
    }

    /// A run that must have failed so, saying this.
    pub fn failed(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for said in said {
            assert!(self.stderr.contains(said), "{self:?} lacks {said:?}");
        }
        self
    }
}

/// Numbers between -1 and 1, always the same.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn f16(&mut self, name: &str, shape: &[usize]) -> TensorData<'static> {
        let count = shape.iter().product();
        let values: Vec<f16> = (0..count).map(|_| f16::from_f32(self.next())).collect();
        TensorData::new(name, shape, &values)
    }

    fn f32(&mut self, name: &str, shape: &[usize]) -> TensorData<'static> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.next()).collect();
        TensorData::new(name, shape, &values)
    }
}

/// Bytes of a model file with random weights, with or without a classification head.
pub fn model(head: bool) -> Vec<u8> {
    model_for(head.then(|| classifier(&["negative", "positive"])))
}

/// A sequence classification head.
pub fn classifier(labels: &[&str]) -> HeadConfig {
    HeadConfig::SequenceClassification {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        problem_type: None,
        pooler: Some(Activation::Tanh),
        cross_encoder: None,
    }
}

/// Id of `[MASK]`.
pub const MASK: u32 = 12;

/// Bytes of a model file with random weights and this head.
pub fn model_for(head: Option<HeadConfig>) -> Vec<u8> {
    let words: Vec<(&str, u32)> = WORDS.into_iter().zip(0..).collect();
    let tables = VocabularyTables::build(&words).unwrap();
    let mut noise = Noise(7);
    let mut tensors = vec![
        TensorData::new("tokenizer.trie", &[tables.trie.len()], &tables.trie),
        TensorData::new(
            "tokenizer.token_starts",
            &[tables.token_starts.len()],
            &tables.token_starts,
        ),
        TensorData::new(
            "tokenizer.token_text",
            &[tables.token_text.len()],
            &tables.token_text,
        ),
        noise.f16("embeddings.word_embeddings.weight", &[WORDS.len(), HIDDEN]),
        noise.f16("embeddings.position_table", &[2, POSITIONS, HIDDEN]),
    ];
    for (name, n, k) in [
        ("layer.0.attention.query_key_value", 3 * HIDDEN, HIDDEN),
        ("layer.0.attention.output", HIDDEN, HIDDEN),
        ("layer.0.intermediate", INNER, HIDDEN),
        ("layer.0.output", HIDDEN, INNER),
    ] {
        tensors.push(noise.f16(&format!("{name}.weight"), &[n, k]));
        tensors.push(noise.f32(&format!("{name}.bias"), &[n]));
    }
    for name in [
        "embeddings.LayerNorm",
        "layer.0.attention.LayerNorm",
        "layer.0.output.LayerNorm",
    ] {
        tensors.push(noise.f32(&format!("{name}.weight"), &[HIDDEN]));
        tensors.push(noise.f32(&format!("{name}.bias"), &[HIDDEN]));
    }
    let (pooler, outputs, next_sentence, predictions) = match &head {
        None => (false, 0, false, false),
        Some(HeadConfig::SequenceClassification { labels, pooler, .. }) => {
            (pooler.is_some(), labels.len(), false, false)
        }
        Some(HeadConfig::TokenClassification { labels }) => (false, labels.len(), false, false),
        Some(HeadConfig::QuestionAnswering {}) => (false, 2, false, false),
        Some(HeadConfig::MultipleChoice { pooler }) => (pooler.is_some(), 1, false, false),
        Some(HeadConfig::NextSentencePrediction {}) => (true, 0, true, false),
        Some(HeadConfig::MaskedLanguageModel { next_sentence, .. }) => {
            (*next_sentence, 0, *next_sentence, true)
        }
    };
    if pooler {
        tensors.push(noise.f16("pooler.weight", &[HIDDEN, HIDDEN]));
        tensors.push(noise.f32("pooler.bias", &[HIDDEN]));
    }
    if outputs > 0 {
        tensors.push(noise.f32("classifier.weight", &[outputs, HIDDEN]));
        tensors.push(noise.f32("classifier.bias", &[outputs]));
    }
    if next_sentence {
        tensors.push(noise.f32("next_sentence.weight", &[2, HIDDEN]));
        tensors.push(noise.f32("next_sentence.bias", &[2]));
    }
    if predictions {
        tensors.push(noise.f16("predictions.transform.weight", &[HIDDEN, HIDDEN]));
        tensors.push(noise.f32("predictions.transform.bias", &[HIDDEN]));
        tensors.push(noise.f32("predictions.LayerNorm.weight", &[HIDDEN]));
        tensors.push(noise.f32("predictions.LayerNorm.bias", &[HIDDEN]));
        tensors.push(noise.f32("predictions.bias", &[WORDS.len()]));
    }
    let mut bytes = Vec::new();
    write(header(head), &tensors, &mut bytes).unwrap();
    bytes
}

fn header(head: Option<HeadConfig>) -> Header {
    let special = |id, type_id| TemplatePiece::Special { id, type_id };
    let first = || TemplatePiece::First { type_id: 0 };
    // As the converter writes for a checkpoint that is no sentence encoder.
    let only_tags = matches!(head, Some(HeadConfig::TokenClassification { .. }));
    let prompts = match only_tags {
        true => Default::default(),
        false => [("query".to_owned(), "a good ".to_owned())].into(),
    };
    Header {
        producer: "tests".to_owned(),
        source: Source {
            name: "tiny".to_owned(),
            ..Source::default()
        },
        precision: Precision::F16,
        quantization_group: 0,
        config: Config {
            model_type: "bert".to_owned(),
            hidden_size: HIDDEN,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: INNER,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            max_position_embeddings: POSITIONS,
            type_vocab_size: 2,
            vocab_size: WORDS.len(),
            embedding_size: None,
            pad_token_id: None,
            num_hidden_groups: None,
            relative_attention_bias: false,
        },
        tokenizer: TokenizerConfig::WordPiece(WordPieceConfig {
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents: true,
            lowercase: true,
            unk_token: "[UNK]".to_owned(),
            continuing_subword_prefix: "##".to_owned(),
            max_input_chars_per_word: 100,
            trim_offsets: false,
            added_tokens: vec![AddedToken {
                id: MASK,
                content: "[MASK]".to_owned(),
                single_word: false,
                lstrip: true,
                rstrip: false,
                normalized: false,
                special: true,
            }],
            single: vec![special(2, 0), first(), special(3, 0)],
            pair: vec![
                special(2, 0),
                first(),
                special(3, 0),
                TemplatePiece::Second { type_id: 1 },
                special(3, 1),
            ],
        }),
        max_length: 10,
        embedding: EmbeddingConfig {
            pooling: vec![Pooling::Mean],
            dense: Vec::new(),
            normalize: !only_tags,
            prompts,
            default_prompt_name: None,
            include_prompt: true,
        },
        head,
        tensors: Vec::new(),
    }
}

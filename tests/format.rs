//! Bad files: one for each rule of the format.

use bertlet::Error;
use bertlet::format::header::{
    Activation, Config, Dtype, EmbeddingConfig, Header, Pooling, Precision, Source, TemplatePiece,
    TokenizerConfig, WordPieceConfig,
};
use bertlet::format::{FormatError, ModelFile, TensorData, write};
use std::path::PathBuf;

fn header() -> Header {
    Header {
        producer: "test".to_owned(),
        source: Source::default(),
        precision: Precision::F16,
        quantization_group: 0,
        config: Config {
            model_type: "bert".to_owned(),
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 12,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            max_position_embeddings: 16,
            type_vocab_size: 2,
            vocab_size: 10,
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
            added_tokens: Vec::new(),
            single: vec![
                TemplatePiece::Special { id: 1, type_id: 0 },
                TemplatePiece::First { type_id: 0 },
            ],
            pair: Vec::new(),
        }),
        max_length: 16,
        embedding: EmbeddingConfig {
            pooling: vec![Pooling::Mean],
            dense: Vec::new(),
            normalize: true,
            prompts: Default::default(),
            default_prompt_name: None,
            include_prompt: true,
        },
        head: None,
        tensors: Vec::new(),
    }
}

fn tensors() -> Vec<TensorData<'static>> {
    vec![
        TensorData::new("a", &[3], &[1.0f32, 2.0, 3.0]),
        TensorData::new("b", &[2, 5], &[7i8; 10]),
        TensorData::new("c", &[2], &[half::f16::ONE; 2]),
    ]
}

fn bytes_of(header: Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(header, &tensors(), &mut bytes).unwrap();
    bytes
}

fn good() -> Vec<u8> {
    bytes_of(header())
}

/// A good file whose header JSON was changed afterwards, as the writer never would.
fn with_header(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut header = header();
    // The longer name makes room for the change, so that the tensors stay where they are.
    header.source.name = "x".repeat(200);
    let mut bytes = bytes_of(header);
    let length = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let mut json: serde_json::Value = serde_json::from_slice(&bytes[24..24 + length]).unwrap();
    json["source"]["name"] = "".into();
    change(&mut json);
    let mut json = serde_json::to_vec(&json).unwrap();
    assert!(json.len() <= length);
    json.resize(length, b' ');
    bytes[24..24 + length].copy_from_slice(&json);
    bytes
}

/// A file of the test's own that goes when the value does.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> TempFile {
        let name = format!("bertlet-format-{}-{name}.bertlet", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        TempFile(path)
    }

    fn open(&self) -> bertlet::Result<ModelFile> {
        if cfg!(miri) {
            self.open_in_memory()
        } else {
            ModelFile::open(&self.0)
        }
    }

    /// Opens a copy: Miri cannot map files.
    fn open_in_memory(&self) -> bertlet::Result<ModelFile> {
        let bytes = std::fs::read(&self.0).unwrap();
        let room = vec![0; bytes.len() + 64].leak();
        let start = room.as_ptr().align_offset(64);
        room[start..start + bytes.len()].copy_from_slice(&bytes);
        let bytes: &'static [u8] = &room[start..start + bytes.len()];
        ModelFile::from_static(&self.0.to_string_lossy(), bytes)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// The rule that opening `bytes` breaks; checks that the message names the file.
fn refusal(name: &str, bytes: &[u8]) -> FormatError {
    let file = TempFile::new(name, bytes);
    let error = file.open().expect_err(name);
    let message = error.to_string();
    assert!(
        message.starts_with(&*file.0.to_string_lossy()),
        "{message} does not name the file"
    );
    match error {
        Error::Format { source, .. } => source,
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn a_good_file_opens_and_verifies() {
    let file = TempFile::new("good", &good());
    let model = file.open().unwrap();
    model.verify().unwrap();
    let locator = model.locator();
    let a = locator.tensor::<f32>("a", &[3]).unwrap();
    let b = locator.tensor::<i8>("b", &[2, 5]).unwrap();
    assert_eq!(model.get(a), [1.0, 2.0, 3.0]);
    assert_eq!(model.get(b), [7; 10]);
    assert!(model.header().tensors.iter().all(|t| t.offset % 64 == 0));
    assert_eq!(
        locator.finish(),
        Err(FormatError::UnknownTensor {
            name: "c".to_owned()
        })
    );
}

#[test]
fn a_model_in_memory_is_like_one_in_a_file() {
    let file = TempFile::new("memory", &good());
    let model = file.open_in_memory().unwrap();
    model.verify().unwrap();
    let a = model.locator().tensor::<f32>("a", &[3]).unwrap();
    assert_eq!(model.get(a), [1.0, 2.0, 3.0]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(good(), good());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = good();
    let step = if cfg!(miri) { 97 } else { 1 };
    for length in (0..bytes.len()).step_by(step) {
        let error = refusal("truncated", &bytes[..length]);
        let expected = match length {
            0..24 => matches!(error, FormatError::TooShort { .. }),
            _ => matches!(
                error,
                FormatError::HeaderLength { .. } | FormatError::Length { .. }
            ),
        };
        assert!(expected, "{length} bytes: {error}");
    }
}

#[test]
fn appended_bytes_are_refused() {
    let mut bytes = good();
    bytes.push(0);
    assert!(matches!(
        refusal("appended", &bytes),
        FormatError::Length { .. }
    ));
}

#[test]
fn prefix_rules() {
    let mut bytes = good();
    bytes[..4].copy_from_slice(b"GGUF");
    let error = refusal("magic", &bytes);
    assert!(matches!(error, FormatError::Magic { .. }));
    assert!(error.to_string().contains("GGUF file"));

    let mut bytes = good();
    bytes[8] = 2;
    let error = refusal("version", &bytes);
    assert_eq!(error, FormatError::Version { found: 2 });
    assert!(error.to_string().contains("update bertlet"));

    let mut bytes = good();
    bytes[12] = 1;
    assert_eq!(
        refusal("reserved", &bytes),
        FormatError::Reserved { found: 1 }
    );

    let mut bytes = good();
    bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(
        refusal("header length", &bytes),
        FormatError::HeaderLength {
            found: u64::MAX,
            ..
        }
    ));
}

#[test]
fn header_rules() {
    let bytes = with_header(|json| json["producex"] = "test".into());
    assert!(matches!(
        refusal("unknown field", &bytes),
        FormatError::Header { .. }
    ));

    let mut bytes = good();
    bytes[24] = 0xff;
    assert!(matches!(
        refusal("not JSON", &bytes),
        FormatError::Header { .. }
    ));
}

#[test]
fn table_rules() {
    let bytes = with_header(|json| json["tensors"][1]["name"] = "a".into());
    assert_eq!(
        refusal("duplicate", &bytes),
        FormatError::DuplicateTensor {
            name: "a".to_owned()
        }
    );

    let bytes = with_header(|json| json["tensors"][1]["shape"][0] = 99.into());
    assert!(matches!(
        refusal("overlap", &bytes),
        FormatError::Offset { name, .. } if name == "c"
    ));

    let bytes = with_header(|json| {
        let offset = &mut json["tensors"][2]["offset"];
        *offset = (offset.as_u64().unwrap() + 64).into();
    });
    assert!(matches!(
        refusal("hole", &bytes),
        FormatError::Offset { name, .. } if name == "c"
    ));

    let bytes = with_header(|json| {
        json["tensors"][1]["shape"] = serde_json::json!([usize::MAX, usize::MAX]);
    });
    assert!(matches!(
        refusal("overflow", &bytes),
        FormatError::Size { name, .. } if name == "b"
    ));
}

#[test]
fn absurd_configurations_are_refused_by_field() {
    type Change = fn(&mut Header);
    let changes: [(&str, Change); 24] = [
        ("hidden_size", |h| h.config.hidden_size = 0),
        ("hidden_size", |h| h.config.hidden_size = 1 << 31),
        ("num_hidden_layers", |h| {
            h.config.num_hidden_layers = 1_000_000_000;
        }),
        ("num_attention_heads", |h| h.config.num_attention_heads = 0),
        ("num_attention_heads", |h| h.config.num_attention_heads = 3),
        ("intermediate_size", |h| {
            h.config.intermediate_size = usize::MAX;
        }),
        ("quantization_group", |h| h.quantization_group = 64),
        ("quantization_group", |h| {
            h.precision = Precision::Int8;
            h.quantization_group = 100;
        }),
        ("vocab_size", |h| h.config.vocab_size = 0),
        ("type_vocab_size", |h| h.config.type_vocab_size = 0),
        ("max_length", |h| h.max_length = 17),
        ("max_length", |h| h.max_length = 2),
        ("max_length", |h| {
            let TokenizerConfig::WordPiece(config) = &mut h.tokenizer else {
                unreachable!("made so above");
            };
            let special = TemplatePiece::Special { id: 1, type_id: 0 };
            config.single.extend(vec![special; 300]);
        }),
        ("model_type", |h| h.config.model_type = "gpt2".to_owned()),
        ("layer_norm_eps", |h| h.config.layer_norm_eps = -1.0),
        ("embedding_size", |h| h.config.embedding_size = Some(0)),
        ("embedding_size", |h| {
            h.config.embedding_size = Some(1 << 20)
        }),
        ("pad_token_id", |h| h.config.pad_token_id = Some(10)),
        ("num_hidden_groups", |h| {
            h.config.num_hidden_groups = Some(0)
        }),
        ("num_hidden_groups", |h| {
            h.config.num_hidden_groups = Some(2)
        }),
        ("num_hidden_groups", |h| {
            h.config.num_hidden_layers = 3;
            h.config.num_hidden_groups = Some(2);
        }),
        ("embedding.pooling", |h| h.embedding.pooling.clear()),
        ("embedding.default_prompt_name", |h| {
            h.embedding.default_prompt_name = Some("query".to_owned());
        }),
        ("tokenizer.single", |h| {
            let TokenizerConfig::WordPiece(config) = &mut h.tokenizer else {
                unreachable!("made so above");
            };
            config.single = vec![TemplatePiece::Special { id: 1, type_id: 0 }];
        }),
    ];
    for (field, change) in changes {
        let mut header = header();
        change(&mut header);
        match refusal(field, &bytes_of(header)) {
            FormatError::Config { field: found, .. } => assert_eq!(found, field),
            other => panic!("{field}: {other}"),
        }
    }
}

#[test]
fn tensors_of_another_type_or_shape_are_refused() {
    let file = TempFile::new("shape", &good());
    let model = file.open().unwrap();
    let locator = model.locator();
    let error = locator.tensor::<f32>("a", &[4]).unwrap_err();
    let expected = FormatError::Shape {
        name: "a".to_owned(),
        found: (Dtype::F32, vec![3]),
        expected: (Dtype::F32, vec![4]),
    };
    assert_eq!(error, expected);
    assert!(locator.tensor::<i8>("a", &[3]).is_err());
    assert!(locator.vector::<i8>("b").is_err());
    assert_eq!(
        locator.tensor::<f32>("z", &[1]).unwrap_err(),
        FormatError::MissingTensor {
            name: "z".to_owned()
        }
    );
}

#[test]
fn verify_finds_what_a_load_does_not_read() {
    let at = |bytes: &[u8], name: &str| {
        let file = TempFile::new("offsets", bytes);
        let model = file.open().unwrap();
        let entry = model.header().tensors.iter().find(|t| t.name == name);
        entry.unwrap().offset as usize
    };
    let verify = |bytes: &[u8]| {
        let file = TempFile::new("verify", bytes);
        match file.open().unwrap().verify() {
            Err(Error::Format { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    let mut bytes = good();
    let b = at(&bytes, "b");
    bytes[b] ^= 1;
    assert!(matches!(verify(&bytes), FormatError::Checksum { name, .. } if name == "b"));

    let mut bytes = good();
    bytes[b - 1] = 1;
    assert_eq!(
        verify(&bytes),
        FormatError::Padding {
            name: "b".to_owned()
        }
    );

    let mut bytes = Vec::new();
    let tensors = [TensorData::new("a", &[2], &[1.0, f32::NAN])];
    write(header(), &tensors, &mut bytes).unwrap();
    assert_eq!(
        verify(&bytes),
        FormatError::NotFinite {
            name: "a".to_owned(),
            index: 1
        }
    );
}

#[test]
fn verify_adds_up_the_weights() {
    // Two panels, two groups of 64 inputs: ones, but for one weight of the second panel's channel 3 in the second group.
    let mut weights = [1i8; 2 * 32 * 16 * 4];
    weights[(32 + 16) * 64 + 3 * 4] = -9;
    let mut right = [64; 2 * 32];
    right[32 + 16 + 3] = 54;
    let verify = |weights: &[i8], shape: &[usize], sums: &[i32]| {
        let mut int8 = header();
        int8.precision = Precision::Int8;
        int8.quantization_group = 64;
        let tensors = [
            TensorData::new("linear.weight", shape, weights),
            TensorData::new("linear.column_sum", &[2, sums.len() / 2], sums),
        ];
        let mut bytes = Vec::new();
        write(int8, &tensors, &mut bytes).unwrap();
        let file = TempFile::new("sums", &bytes);
        file.open().unwrap().verify()
    };
    let shape = [2, 32, 16, 4];
    verify(&weights, &shape, &right).unwrap();
    for index in [0, 17, 51, 63] {
        let mut wrong = right;
        wrong[index] += 1;
        let Err(Error::Format { source, .. }) = verify(&weights, &shape, &wrong) else {
            panic!("a wrong sum at {index} is good");
        };
        let expected = FormatError::ColumnSum {
            name: "linear.column_sum".to_owned(),
            index,
            found: wrong[index],
            expected: right[index],
        };
        assert_eq!(source, expected);
    }
    for (shape, sums) in [([4, 16, 16, 4], &right[..]), (shape, &right[..32])] {
        let Err(Error::Format { source, .. }) = verify(&weights, &shape, sums) else {
            panic!("{shape:?} is good with {} sums", sums.len());
        };
        assert!(matches!(source, FormatError::Shape { .. }), "{source:?}");
    }
}

#[test]
fn a_scale_that_is_no_number_is_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = Vec::new();
        let tensors = [
            TensorData::new("a", &[1], &[1.0f32]),
            TensorData::new("linear.scale", &[3], &[1.0, 2.0, value]),
        ];
        write(header(), &tensors, &mut bytes).unwrap();
        assert_eq!(
            refusal("scale", &bytes),
            FormatError::NotFinite {
                name: "linear.scale".to_owned(),
                index: 2
            }
        );
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let missing = std::env::temp_dir().join("bertlet-no-such-file.bertlet");
    let message = ModelFile::open(&missing).unwrap_err().to_string();
    assert!(message.contains("bertlet-no-such-file.bertlet: No such file"));
    let message = ModelFile::open(std::env::temp_dir())
        .unwrap_err()
        .to_string();
    assert!(message.contains("is a directory"), "{message}");
    assert!(matches!(
        refusal("empty", b""),
        FormatError::TooShort { length: 0 }
    ));
}

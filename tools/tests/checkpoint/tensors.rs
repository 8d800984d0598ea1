//! Weights in every form that checkpoints have, and the forms that are refused.

use crate::common::{
    Tensors, Type, assert_refusal, checkpoint as tiny, config, prefixed, safetensors, tensors,
};
use crate::torch_file::{Pickle, TorchFile};
use bertlet_tools::checkpoint;
use serde_json::json;

/// Opens the checkpoint and compares each part of the weights with the tensors it was written from.
#[track_caller]
fn assert_reads(directory: &crate::common::TempDir) {
    let expected = tensors();
    let value = |name: &str| expected[name].1.clone();
    let checkpoint = checkpoint::open(directory.path()).unwrap_or_else(|error| panic!("{error:#}"));
    let weights = checkpoint
        .weights()
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(
        weights.word_embeddings,
        value("embeddings.word_embeddings.weight")
    );
    let positions = value("embeddings.position_embeddings.weight");
    let types = value("embeddings.token_type_embeddings.weight");
    for kind in 0..2 {
        for position in 0..8 {
            for channel in 0..4 {
                assert_eq!(
                    weights.position_table[(kind * 8 + position) * 4 + channel],
                    positions[position * 4 + channel] + types[kind * 4 + channel]
                );
            }
        }
    }
    assert_eq!(weights.position_table.len(), 2 * 8 * 4);
    assert_eq!(
        weights.embeddings_layer_norm.weight,
        value("embeddings.LayerNorm.weight")
    );
    assert_eq!(
        weights.embeddings_layer_norm.bias,
        value("embeddings.LayerNorm.bias")
    );
    assert_eq!(weights.layers.len(), 2);
    for (index, layer) in weights.layers.iter().enumerate() {
        let value = |name: &str| value(&format!("encoder.layer.{index}.{name}"));
        let attention = |kind: &str| {
            ["query", "key", "value"]
                .map(|part| value(&format!("attention.self.{part}.{kind}")))
                .concat()
        };
        assert_eq!(layer.query_key_value.weight, attention("weight"));
        assert_eq!(layer.query_key_value.bias, attention("bias"));
        assert_eq!(
            (
                layer.query_key_value.out_features,
                layer.query_key_value.in_features
            ),
            (12, 4)
        );
        assert_eq!(
            layer.attention_output.weight,
            value("attention.output.dense.weight")
        );
        assert_eq!(
            layer.attention_output.bias,
            value("attention.output.dense.bias")
        );
        assert_eq!(
            layer.attention_layer_norm.weight,
            value("attention.output.LayerNorm.weight")
        );
        assert_eq!(
            layer.attention_layer_norm.bias,
            value("attention.output.LayerNorm.bias")
        );
        assert_eq!(
            layer.intermediate.weight,
            value("intermediate.dense.weight")
        );
        assert_eq!(
            (
                layer.intermediate.out_features,
                layer.intermediate.in_features
            ),
            (6, 4)
        );
        assert_eq!(layer.output.weight, value("output.dense.weight"));
        assert_eq!(
            (layer.output.out_features, layer.output.in_features),
            (4, 6)
        );
        assert_eq!(layer.output.bias, value("output.dense.bias"));
        assert_eq!(
            layer.output_layer_norm.weight,
            value("output.LayerNorm.weight")
        );
        assert_eq!(layer.output_layer_norm.bias, value("output.LayerNorm.bias"));
    }
}

#[test]
fn safetensors_of_each_type() {
    for kind in [Type::F32, Type::F16, Type::Bf16] {
        let directory = tiny();
        directory.write("model.safetensors", safetensors(&tensors(), kind));
        assert_reads(&directory);
    }
}

#[test]
fn names_with_prefix_and_old_layer_norm_names() {
    let directory = tiny();
    directory.write(
        "model.safetensors",
        safetensors(&prefixed(tensors()), Type::F32),
    );
    assert_reads(&directory);
    let old: Tensors = prefixed(tensors())
        .into_iter()
        .map(|(name, tensor)| {
            let name = name
                .replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta");
            (name, tensor)
        })
        .collect();
    directory.write("model.safetensors", safetensors(&old, Type::F32));
    assert_reads(&directory);
}

fn halves() -> [Tensors; 2] {
    let (first, second) = tensors()
        .into_iter()
        .partition(|(name, _)| name.as_str() < "encoder.layer.1");
    [first, second]
}

fn index(halves: &[Tensors; 2], extension: &str) -> serde_json::Value {
    let map: serde_json::Map<_, _> = halves
        .iter()
        .enumerate()
        .flat_map(|(shard, half)| {
            half.keys()
                .map(move |name| (name.clone(), format!("part-{shard}.{extension}").into()))
        })
        .collect();
    json!({"metadata": {"total_size": 0}, "weight_map": map})
}

#[test]
fn shards_of_both_kinds() {
    let directory = tiny();
    directory.remove("model.safetensors");
    for (shard, half) in halves().iter().enumerate() {
        directory.write(
            &format!("part-{shard}.safetensors"),
            safetensors(half, Type::F32),
        );
        directory.write(
            &format!("part-{shard}.bin"),
            TorchFile::of(half, Type::F16).bytes(),
        );
    }
    directory.write_json(
        "model.safetensors.index.json",
        &index(&halves(), "safetensors"),
    );
    assert_reads(&directory);
    directory.remove("model.safetensors.index.json");
    directory.write_json("pytorch_model.bin.index.json", &index(&halves(), "bin"));
    assert_reads(&directory);
}

#[test]
fn shards_that_disagree_with_their_index() {
    let directory = tiny();
    directory.remove("model.safetensors");
    let [first, second] = halves();
    directory.write("part-0.safetensors", safetensors(&second, Type::F32));
    directory.write("part-1.safetensors", safetensors(&first, Type::F32));
    directory.write_json(
        "model.safetensors.index.json",
        &index(&halves(), "safetensors"),
    );
    assert_refusal(
        &directory,
        &["model.safetensors.index.json", "part-", "does not hold it"],
    );
    directory.write_json(
        "model.safetensors.index.json",
        &json!({"weight_map": {"a": "../other/model.safetensors"}}),
    );
    assert_refusal(&directory, &["'a'", "'../other/model.safetensors'"]);
    directory.write("part-1.safetensors", safetensors(&second, Type::F32));
    directory.write_json(
        "model.safetensors.index.json",
        &index(&halves(), "safetensors"),
    );
    assert_refusal(&directory, &["part-1.safetensors", "is also in"]);
}

/// The tiny checkpoint with a torch file in place of the safetensors.
fn torch(file: TorchFile) -> crate::common::TempDir {
    let directory = tiny();
    directory.remove("model.safetensors");
    directory.write("pytorch_model.bin", file.bytes());
    directory
}

#[test]
fn torch_files_of_each_type() {
    for kind in [Type::F32, Type::F16, Type::Bf16] {
        assert_reads(&torch(TorchFile::of(&tensors(), kind)));
    }
}

#[test]
fn torch_parameters_and_metadata() {
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.parameters = true;
    file.metadata = true;
    assert_reads(&torch(file));
}

#[test]
fn torch_shared_storage_offsets_and_strides() {
    // One storage for all tensors, matrices stored column by column.
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.shared_transposed = true;
    assert_reads(&torch(file));
}

#[test]
fn torch_strides_that_leave_the_storage() {
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.stride_factor = 1000;
    assert_refusal(&torch(file), &["tensor '", "strides", "leaves its storage"]);
}

#[test]
fn torch_storage_that_is_missing_or_short() {
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.drop_storage = true;
    assert_refusal(&torch(file), &["its storage 'archive/data/0' is missing"]);
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.cut_storage = true;
    assert_refusal(
        &torch(file),
        &["its storage 'archive/data/0' holds", "expected"],
    );
}

#[test]
fn torch_tensor_that_is_there_twice() {
    let mut file = TorchFile::of(&tensors(), Type::F32);
    file.twice = true;
    assert_refusal(
        &torch(file),
        &["pytorch_model.bin: tensor '", "the file holds it twice"],
    );
}

#[test]
fn torch_legacy_format() {
    let directory = tiny();
    directory.remove("model.safetensors");
    directory.write(
        "pytorch_model.bin",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    );
    assert_refusal(
        &directory,
        &["pytorch_model.bin", "before 1.6", "torch.save(torch.load("],
    );
}

#[test]
fn torch_file_that_is_no_archive() {
    let directory = tiny();
    directory.remove("model.safetensors");
    for bytes in [&b""[..], b"PK\x03\x04", b"not a model at all"] {
        directory.write("pytorch_model.bin", bytes);
        assert_refusal(&directory, &["pytorch_model.bin", "is not a zip archive"]);
    }
    let mut big_endian = TorchFile::of(&tensors(), Type::F32);
    big_endian.byte_order = "big";
    directory.write("pytorch_model.bin", big_endian.bytes());
    assert_refusal(&directory, &["big-endian"]);
}

#[test]
fn pickles_that_would_run_code() {
    let call = |module: &str, name: &str| {
        let mut pickle = Pickle::new();
        pickle
            .global(module, name)
            .text("echo")
            .op(&[0x85, b'R', b'.']);
        torch(TorchFile::with_pickle(pickle.0))
    };
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
    ] {
        assert_refusal(
            &call(module, name),
            &[&format!("'{module}.{name}'"), "refused"],
        );
    }
    // By stack instead of by name, and with the opcodes that make objects.
    let mut by_stack = Pickle::new();
    by_stack
        .text("posix")
        .text("system")
        .op(&[0x93])
        .text("echo")
        .op(&[0x85, b'R', b'.']);
    assert_refusal(
        &torch(TorchFile::with_pickle(by_stack.0)),
        &["'posix.system'"],
    );
    for (opcode, name) in [
        (b'i', "INST"),
        (b'o', "OBJ"),
        (0x81, "NEWOBJ"),
        (0x92, "NEWOBJ_EX"),
        (0x82, "EXT1"),
        (b'P', "PERSID"),
    ] {
        let mut pickle = Pickle::new();
        pickle.op(&[b'}', b')', opcode, b'.']);
        assert_refusal(
            &torch(TorchFile::with_pickle(pickle.0)),
            &[name, "objects of any class"],
        );
    }
}

#[test]
fn pickles_that_are_damaged() {
    let refused = |bytes: &[u8], part: &str| {
        let mut pickle = Pickle::new();
        pickle.op(bytes);
        assert_refusal(
            &torch(TorchFile::with_pickle(pickle.0)),
            &["pytorch_model.bin", part],
        );
    };
    refused(b"", "ends in the middle");
    refused(b"X\xff\xff\xff\xff", "ends in the middle");
    refused(b"cos", "ends in the middle of a name");
    refused(b"}q", "ends in the middle");
    refused(b".", "the stack is empty");
    refused(b"0.", "the stack is empty");
    refused(b"(0.", "the stack is empty");
    refused(b"t.", "no mark");
    refused(b"h\x07.", "memo 7 is not set");
    refused(b"}q\x07.", "memo 7 is set before 0");
    refused(b"}(K\x01u.", "no value");
    refused(b"NK\x01a.", "APPEND to None");
    refused(b"NK\x01K\x02s.", "SETITEM on None");
    refused(b"N}b.", "BUILD on None");
    refused(b"K\x01Q.", "a persistent id is an integer");
    refused(b"N)R.", "REDUCE of None");
    refused(b"\xff.", "opcode 0xff");
    refused(b"].", "expected a dictionary of tensors");
    refused(b"}K\x01K\x02s.", "a key is an integer");
    refused(b"}U\x05epochK\x02s.", "entry 'epoch' is an integer");
    refused(b"\x8a\x09123456789.", "an integer of 9 bytes");
    // Ten thousand nested lists, and a list that holds itself.
    let nested = [b"]".repeat(10_000), b"a".repeat(9_999), b".".to_vec()].concat();
    refused(&nested, "expected a dictionary of tensors");
    refused(b"]q\x00h\x00a.", "expected a dictionary of tensors");
    // A shape of many dimensions could be copied many times.
    let mut shape = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQK\x00(".to_vec();
    shape.extend(b"K\x01".repeat(9));
    shape.extend(b"t))tR.");
    refused(&shape, "has 9 dimensions");
}

#[test]
fn safetensors_that_are_damaged() {
    let directory = tiny();
    let good = safetensors(&tensors(), Type::F32);
    for (bytes, part) in [
        (&good[..4], "shorter than 8 bytes"),
        (&good[..100], "cut short"),
        (&good[..good.len() - 1], "download it again"),
        (&[&good[..], b"x"].concat()[..], "download it again"),
        (
            &[&7_u64.to_le_bytes()[..], b"not a h"].concat()[..],
            "header is not valid",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "git lfs pull",
        ),
    ] {
        directory.write("model.safetensors", bytes);
        assert_refusal(&directory, &["model.safetensors", part]);
    }
    directory.remove("model.safetensors");
    assert_refusal(&directory, &["no weights found", "pytorch_model.bin"]);
}

#[test]
fn element_types_and_values_that_cannot_be_used() {
    let directory = tiny();
    directory.write("model.safetensors", safetensors(&tensors(), Type::F64));
    assert_refusal(
        &directory,
        &[
            "model.safetensors: tensor '",
            "element type F64",
            "expected F32, F16 or BF16",
        ],
    );
    assert_refusal(
        &torch(TorchFile::of(&tensors(), Type::F64)),
        &["tensor '", "F64"],
    );
    let mut broken = tensors();
    broken
        .get_mut("encoder.layer.1.output.dense.bias")
        .unwrap()
        .1[2] = f32::NAN;
    directory.write("model.safetensors", safetensors(&broken, Type::F32));
    assert_refusal(
        &directory,
        &["tensor 'encoder.layer.1.output.dense.bias'", "not finite"],
    );
}

#[test]
fn tensors_against_config() {
    let directory = tiny();
    let changed = |change: &dyn Fn(&mut Tensors), parts: &[&str]| {
        let mut tensors = tensors();
        change(&mut tensors);
        directory.write("model.safetensors", safetensors(&tensors, Type::F32));
        assert_refusal(&directory, parts);
    };
    changed(
        &|tensors| {
            tensors.insert(
                "encoder.layer.0.intermediate.dense.weight".into(),
                (vec![5, 4], vec![0.0; 20]),
            );
        },
        &[
            "'encoder.layer.0.intermediate.dense.weight'",
            "found shape [5, 4]",
            "[6, 4]",
        ],
    );
    changed(
        &|tensors| {
            tensors.remove("encoder.layer.1.attention.self.key.bias");
        },
        &[
            "'encoder.layer.1.attention.self.key.bias'",
            "[4]",
            "missing",
        ],
    );
    changed(
        &|tensors| {
            tensors.insert(
                "encoder.layer.2.output.dense.bias".into(),
                (vec![4], vec![0.0; 4]),
            );
        },
        &[
            "'encoder.layer.2.output.dense.bias'",
            "not part of BertModel",
        ],
    );
    changed(
        &|tensors| {
            tensors.insert("classifier.weight".into(), (vec![2, 4], vec![0.0; 8]));
        },
        &["'classifier.weight'", "not part of BertModel"],
    );
    changed(
        &|tensors| {
            let twice = tensors["embeddings.LayerNorm.bias"].clone();
            tensors.insert("bert.embeddings.LayerNorm.beta".into(), twice);
        },
        &[
            "'embeddings.LayerNorm.bias'",
            "'bert.embeddings.LayerNorm.beta'",
            "same part",
        ],
    );
}

#[test]
fn what_is_left_out_is_said() {
    let directory = tiny();
    let mut with_heads = prefixed(tensors());
    let vector = |length: usize| (vec![length], vec![0.0; length]);
    with_heads.insert(
        "bert.embeddings.position_ids".into(),
        (vec![1, 8], vec![0.0; 8]),
    );
    with_heads.insert("cls.predictions.bias".into(), vector(12));
    with_heads.insert("cls.predictions.transform.dense.bias".into(), vector(4));
    with_heads.insert("cls.seq_relationship.bias".into(), vector(2));
    directory.write("model.safetensors", safetensors(&with_heads, Type::F32));
    let mut config = config();
    config["architectures"] = json!(["BertModel"]);
    directory.write_json("config.json", &config);
    assert_reads(&directory);
    let notices = checkpoint::open(directory.path()).unwrap().notices;
    assert_eq!(
        notices,
        [
            "left out: masked-language-model head, 2 tensors",
            "left out: next-sentence head, 1 tensors",
            "left out: pooler (this head does not use it), 2 tensors",
        ]
    );
}

#[test]
fn a_checkpoint_without_pooler() {
    let directory = tiny();
    let without: Tensors = tensors()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("pooler"))
        .collect();
    directory.write("model.safetensors", safetensors(&without, Type::F32));
    assert_reads(&directory);
    assert!(
        checkpoint::open(directory.path())
            .unwrap()
            .notices
            .is_empty()
    );
}

#[test]
fn sinusoidal_positions_are_computed() {
    let directory = tiny();
    let mut without = tensors();
    without.remove("embeddings.position_embeddings.weight");
    let types = without["embeddings.token_type_embeddings.weight"].1.clone();
    directory.write("model.safetensors", safetensors(&without, Type::F32));
    assert_refusal(
        &directory,
        &["'embeddings.position_embeddings.weight'", "missing"],
    );
    for flag in [
        ("position_embedding_type", json!("sinusoidal")),
        ("sinusoidal_pos_embds", json!(true)),
    ] {
        let mut config = config();
        config[flag.0] = flag.1;
        directory.write_json("config.json", &config);
        let table = checkpoint::open(directory.path())
            .unwrap()
            .weights()
            .unwrap()
            .position_table;
        // Position 3 of segment 1, hidden size 4: sin 3, cos 3, sin 0.03, cos 0.03.
        let row = &table[(8 + 3) * 4..][..4];
        for (channel, expected) in [0.141_120_01, -0.989_992_5, 0.029_995_5, 0.999_550_03]
            .into_iter()
            .enumerate()
        {
            assert!(
                (row[channel] - types[4 + channel] - expected).abs() < 1e-6,
                "{row:?}"
            );
        }
    }
}

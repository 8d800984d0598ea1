//! config.json, the tokenizer's files, sentence-transformers' files: each variant and each refusal.

use crate::common::{
    TempDir, Type, VOCABULARY, assert_refusal, checkpoint as tiny, config, safetensors, tensors,
    tokenizer_json, with_classifier,
};
use bertlet::format::header::{
    Activation, HeadConfig, Pooling, ProblemType, TemplatePiece, TokenizerConfig,
};
use bertlet_tools::checkpoint::{self, Checkpoint};
use serde_json::{Value, json};

#[track_caller]
fn open(directory: &TempDir) -> Checkpoint {
    checkpoint::open(directory.path()).unwrap_or_else(|error| panic!("{error:#}"))
}

fn with_config(changes: &[(&str, Value)]) -> TempDir {
    let directory = tiny();
    let mut config = config();
    for (key, value) in changes {
        config[key] = value.clone();
    }
    directory.write_json("config.json", &config);
    directory
}

#[test]
fn config_names() {
    for (name, activation) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("relu", Activation::Relu),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
    ] {
        assert_eq!(
            open(&with_config(&[("hidden_act", json!(name))]))
                .config
                .hidden_act,
            activation
        );
    }
    let read = open(&with_config(&[
        ("layer_norm_eps", json!(1e-5)),
        ("hidden_act", Value::Null),
    ]))
    .config;
    assert_eq!(
        (read.layer_norm_eps, read.hidden_act),
        (1e-5, Activation::Gelu)
    );
    assert_eq!(
        (
            read.hidden_size,
            read.num_hidden_layers,
            read.num_attention_heads
        ),
        (4, 2, 2)
    );
    assert_eq!(
        (read.intermediate_size, read.max_position_embeddings),
        (6, 8)
    );
    assert_eq!((read.type_vocab_size, read.vocab_size), (2, 12));
}

#[test]
fn config_refusals() {
    for (key, value, parts) in [
        (
            "hidden_act",
            json!("quick_gelu"),
            &["'hidden_act'", "'quick_gelu' is not known"][..],
        ),
        (
            "hidden_act",
            json!(3),
            &["'hidden_act'", "expected a string, found 3"],
        ),
        (
            "position_embedding_type",
            json!("relative_key"),
            &["'relative_key' is not known"],
        ),
        (
            "model_type",
            json!("xlnet"),
            &["'model_type'", "'xlnet' is not supported", "'roberta'"],
        ),
        (
            "is_decoder",
            json!(true),
            &["'is_decoder'", "only encoders"],
        ),
        (
            "add_cross_attention",
            json!(true),
            &["'add_cross_attention'"],
        ),
        (
            "architectures",
            json!(["BertLMHeadModel"]),
            &["'BertLMHeadModel' is not supported"],
        ),
        (
            "architectures",
            json!(["BertModel", "BertModel"]),
            &["expected one name, found 2"],
        ),
        ("pruned_heads", json!({"1": [0]}), &["'pruned_heads'"]),
        (
            "quantization_config",
            json!({"bits": 8}),
            &["'quantization_config'", "quantized already"],
        ),
        (
            "num_attention_heads",
            json!(3),
            &["3 heads do not divide hidden_size 4"],
        ),
        (
            "hidden_size",
            json!(-4),
            &["'hidden_size'", "expected a whole number, found -4"],
        ),
        ("vocab_size", Value::Null, &["'vocab_size'", "is missing"]),
        (
            "num_hidden_layers",
            json!(0),
            &["'num_hidden_layers'", "found 0"],
        ),
        (
            "num_hidden_layers",
            json!(4_000_000_000_u64),
            &["4000000000 layers", "tensors"],
        ),
        ("layer_norm_eps", json!(0.0), &["'layer_norm_eps'"]),
        (
            "vocab_size",
            json!(11),
            &["found shape [12, 4]", "config.json makes it [11, 4]"],
        ),
        (
            "type_vocab_size",
            json!(1),
            &["found shape [2, 4]", "[1, 4]"],
        ),
    ] {
        assert_refusal(&with_config(&[(key, value)]), parts);
    }
    let directory = tiny();
    directory.remove("config.json");
    assert_refusal(&directory, &["config.json", "not found"]);
    directory.write("config.json", "{");
    assert_refusal(&directory, &["config.json", "not valid JSON"]);
}

fn classifier(changes: &[(&str, Value)], labels: usize) -> TempDir {
    let directory = with_config(
        &[
            &[("architectures", json!(["BertForSequenceClassification"]))],
            changes,
        ]
        .concat(),
    );
    directory.write(
        "model.safetensors",
        safetensors(&with_classifier(tensors(), labels), Type::F32),
    );
    directory
}

#[test]
fn classification_heads() {
    let directory = classifier(
        &[
            ("id2label", json!({"1": "b", "0": "a", "2": "c"})),
            ("problem_type", json!("multi_label_classification")),
        ],
        3,
    );
    let checkpoint = open(&directory);
    assert_eq!(
        checkpoint.head,
        Some(HeadConfig::SequenceClassification {
            labels: vec!["a".into(), "b".into(), "c".into()],
            problem_type: Some(ProblemType::MultiLabelClassification),
            pooler: Some(Activation::Tanh),
            cross_encoder: None,
        })
    );
    let weights = checkpoint.weights().unwrap();
    assert_eq!(weights.classifier.unwrap().weight, vec![0.5; 12]);
    assert_eq!(
        weights.pooler.unwrap().weight,
        tensors()["pooler.dense.weight"].1
    );
    let Some(HeadConfig::SequenceClassification {
        labels,
        problem_type,
        pooler,
        ..
    }) = open(&classifier(&[], 2)).head
    else {
        panic!("no sequence classification head");
    };
    assert_eq!(
        (labels, problem_type, pooler),
        (
            vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()],
            None,
            Some(Activation::Tanh)
        )
    );
    assert_refusal(
        &classifier(&[("id2label", json!({"0": "a", "2": "c"}))], 2),
        &["'2'", "without gaps"],
    );
    assert_refusal(
        &classifier(&[("num_labels", json!(3))], 2),
        &["'classifier.", "[3"],
    );
    assert_refusal(
        &classifier(&[("problem_type", json!("ranking"))], 2),
        &["'ranking' is not known"],
    );
}

#[test]
fn a_cross_encoders_function_is_kept() {
    let stored = |changes: &[(&str, Value)]| {
        let checkpoint = open(&classifier(changes, 2));
        let Some(HeadConfig::SequenceClassification { cross_encoder, .. }) = checkpoint.head else {
            panic!("no sequence classification head");
        };
        (cross_encoder, checkpoint.notices.len())
    };
    assert_eq!(stored(&[]), (None, 0));
    let identity = json!({"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0"});
    assert_eq!(
        stored(&[("sentence_transformers", identity)]),
        (Some(Activation::Identity), 0)
    );
    let old = "sbert_ce_default_activation_function";
    let sigmoid = json!("torch.nn.modules.activation.Sigmoid");
    assert_eq!(stored(&[(old, sigmoid)]), (Some(Activation::Sigmoid), 0));
    assert_eq!(stored(&[(old, json!("mine.Special"))]), (None, 1));
}

fn with_tokenizer(pointer: &str, value: Value) -> TempDir {
    let directory = tiny();
    let mut file = tokenizer_json();
    *file.pointer_mut(pointer).unwrap() = value;
    directory.write_json("tokenizer.json", &file);
    directory
}

fn flags(checkpoint: &Checkpoint) -> [bool; 4] {
    let TokenizerConfig::WordPiece(t) = &checkpoint.tokenizer else {
        panic!("{:?}", checkpoint.tokenizer);
    };
    [
        t.clean_text,
        t.handle_chinese_chars,
        t.strip_accents,
        t.lowercase,
    ]
}

#[test]
fn tokenizer_json_variants() {
    let read = open(&tiny());
    assert_eq!(flags(&read), [true; 4]);
    assert_eq!(read.vocabulary.len(), 12);
    assert_eq!(read.vocabulary[5], ("hello".into(), 5));
    assert_eq!(read.tokenizer.added_tokens().len(), 5);
    use TemplatePiece::{First, Second, Special};
    let pair = vec![
        Special { id: 2, type_id: 0 },
        First { type_id: 0 },
        Special { id: 3, type_id: 0 },
        Second { type_id: 1 },
        Special { id: 3, type_id: 1 },
    ];
    assert_eq!(
        (read.tokenizer.single(), read.tokenizer.pair()),
        (&pair[..3], &pair[..])
    );
    let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    assert_eq!(
        open(&with_tokenizer("/post_processor", bert))
            .tokenizer
            .pair(),
        pair
    );
    assert_eq!(
        open(&with_tokenizer("/post_processor", Value::Null))
            .tokenizer
            .single(),
        [First { type_id: 0 }]
    );
    assert_eq!(
        flags(&open(&with_tokenizer("/normalizer", Value::Null))),
        [false; 4]
    );
    assert_eq!(
        flags(&open(&with_tokenizer(
            "/normalizer/lowercase",
            json!(false)
        ))),
        [true, true, false, false]
    );
    let sequence = json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "BertNormalizer",
        "clean_text": true, "handle_chinese_chars": false, "strip_accents": null, "lowercase": false}]});
    assert_eq!(
        flags(&open(&with_tokenizer("/normalizer", sequence))),
        [true, false, false, true]
    );
}

#[test]
fn tokenizer_json_refusals() {
    for (pointer, value, parts) in [
        (
            "/normalizer",
            json!({"type": "NFC"}),
            &["normalizer 'NFC' is not supported"][..],
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Whitespace"}),
            &["'Whitespace' is not supported"],
        ),
        (
            "/pre_tokenizer",
            Value::Null,
            &["'pre_tokenizer'", "is missing"],
        ),
        (
            "/post_processor",
            json!({"type": "ByteLevel"}),
            &["'ByteLevel' is not supported behind WordPiece"],
        ),
        (
            "/post_processor/single",
            json!([]),
            &["'single'", "text A once"],
        ),
        (
            "/model/type",
            json!("WordLevel"),
            &["'WordLevel' is not supported"],
        ),
        (
            "/model/unk_token",
            json!("<unk>"),
            &["'<unk>' is not in the vocabulary"],
        ),
        (
            "/model/vocab/hello",
            json!(6),
            &["'hello' and 'world' have the same id 6"],
        ),
        (
            "/model/vocab/hello",
            json!(12),
            &["'hello' has id 12", "12 rows"],
        ),
        (
            "/added_tokens/4/id",
            json!(7),
            &["'[MASK]' has id 7, the vocabulary says 4"],
        ),
    ] {
        assert_refusal(&with_tokenizer(pointer, value), parts);
    }
}

#[test]
fn tokenizer_settings_of_a_bert_class_win() {
    let directory = tiny();
    directory.write_json(
        "tokenizer_config.json",
        &json!({"tokenizer_class": "BertTokenizer", "do_lower_case": false}),
    );
    let read = open(&directory);
    assert_eq!(flags(&read), [true, true, false, false]);
    assert!(
        read.notices
            .iter()
            .any(|notice| notice.contains("do_lower_case false")),
        "{:?}",
        read.notices
    );
    directory.write_json(
        "tokenizer_config.json",
        &json!({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false}),
    );
    assert_eq!(flags(&open(&directory)), [true; 4]);
    directory.write_json(
        "tokenizer_config.json",
        &json!({"tokenizer_class": "BertJapaneseTokenizer"}),
    );
    assert_refusal(&directory, &["'BertJapaneseTokenizer' is not supported"]);
}

fn with_vocab(text: &str, settings: Value) -> TempDir {
    let directory = tiny();
    directory.remove("tokenizer.json");
    directory.write("vocab.txt", text);
    directory.write_json("tokenizer_config.json", &settings);
    directory
}

#[test]
fn vocab_txt() {
    let text = VOCABULARY.join("\n");
    for text in [
        text.clone(),
        text.clone() + "\n",
        text.replace('\n', "\r\n"),
    ] {
        let read = open(&with_vocab(&text, json!({})));
        let expected = open(&tiny());
        assert_eq!(
            (read.tokenizer, read.vocabulary),
            (expected.tokenizer, expected.vocabulary)
        );
    }
    let settings = json!({"do_lower_case": false, "strip_accents": true, "tokenize_chinese_chars": false,
        "cls_token": {"content": "[CLS]", "lstrip": true, "rstrip": false, "normalized": false}});
    let directory = with_vocab(&VOCABULARY[..11].join("\n"), settings);
    directory.write_json("added_tokens.json", &json!({"new word": 11}));
    let read = open(&directory);
    assert_eq!(flags(&read), [true, false, true, false]);
    assert!(read.tokenizer.added_tokens()[2].lstrip);
    let added = &read.tokenizer.added_tokens()[5];
    assert_eq!(
        (
            added.id,
            added.content.as_str(),
            added.special,
            added.normalized
        ),
        (11, "new word", false, true)
    );
    assert_refusal(
        &with_vocab("[PAD]\n[UNK]\n[CLS]", json!({})),
        &["vocab.txt", "sep_token '[SEP]'"],
    );
    let directory = tiny();
    directory.remove("tokenizer.json");
    assert_refusal(&directory, &["no tokenizer found", "vocab.txt"]);
}

#[test]
fn the_reference_check_finds_differences() {
    let checkpoint = open(&tiny());
    let reference = checkpoint.reference_tokenizer().clone();
    let encode = |text: &str, pair: Option<&str>| {
        let encoding = match pair {
            None => reference.encode(text, true),
            Some(pair) => reference.encode((text, pair), true),
        }
        .unwrap();
        Ok((
            encoding.get_ids().to_vec(),
            encoding.get_type_ids().to_vec(),
        ))
    };
    checkpoint.check_tokenizer(encode).unwrap();
    let error = checkpoint.check_tokenizer(|text, pair| {
        let (mut ids, types) = encode(text, pair)?;
        if text.starts_with("Hello") {
            ids[1] = 1;
        }
        Ok((ids, types))
    });
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("Hello, world!") && message.contains("refused"),
        "{message}"
    );
}

fn sentence(modules: &[(&str, &str)]) -> TempDir {
    let directory = tiny();
    let modules: Vec<Value> = modules
        .iter()
        .map(|(class, path)| json!({"type": format!("sentence_transformers.models.{class}"), "path": path}))
        .collect();
    directory.write_json("modules.json", &json!(modules));
    directory.write_json(
        "1_Pooling/config.json",
        &json!({"word_embedding_dimension": 4, "pooling_mode": "cls"}),
    );
    directory
}

const USUAL: [(&str, &str); 3] = [
    ("Transformer", ""),
    ("Pooling", "1_Pooling"),
    ("Normalize", "2_Normalize"),
];

#[test]
fn sentence_vectors() {
    let plain = open(&tiny());
    assert_eq!(
        (&plain.embedding.pooling[..], plain.embedding.normalize),
        (&[Pooling::Mean][..], false)
    );
    assert_eq!(plain.max_length, 8);
    let directory = sentence(&USUAL);
    directory.write_json(
        "sentence_bert_config.json",
        &json!({"max_seq_length": 6, "do_lower_case": true}),
    );
    directory.write_json(
        "config_sentence_transformers.json",
        &json!({"prompts": {"query": "query: ", "document": null}, "default_prompt_name": "query"}),
    );
    directory.write_json(
        "tokenizer_config.json",
        &json!({"do_lower_case": false, "model_max_length": 7}),
    );
    directory.write("README.md", "---\nlicense: mit\n---\n");
    let read = open(&directory);
    assert_eq!(
        (
            &read.embedding.pooling[..],
            read.embedding.normalize,
            read.max_length
        ),
        (&[Pooling::Cls][..], true, 6)
    );
    assert_eq!(flags(&read), [true, true, false, true]);
    assert_eq!(read.embedding.prompts["query"], "query: ");
    assert_eq!(read.embedding.default_prompt_name.as_deref(), Some("query"));
    assert_eq!(read.source.license.as_deref(), Some("mit"));
    directory.write_json(
        "sentence_bert_config.json",
        &json!({"max_seq_length": null}),
    );
    assert_eq!(open(&directory).max_length, 7);
    for (pooling, expected) in [
        (
            json!({"pooling_mode": ["mean", "cls"]}),
            vec![Pooling::Mean, Pooling::Cls],
        ),
        (
            json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true, "pooling_mode_lasttoken": true,
                   "pooling_mode_max_tokens": false}),
            vec![Pooling::Cls, Pooling::Mean, Pooling::LastToken],
        ),
        (
            json!({"pooling_mode_mean_sqrt_len_tokens": true}),
            vec![Pooling::MeanSqrtLen],
        ),
        (
            json!({"pooling_mode": "weightedmean"}),
            vec![Pooling::WeightedMean],
        ),
        (
            json!({"pooling_mode_cls_token": false}),
            vec![Pooling::Mean],
        ),
    ] {
        directory.write_json("1_Pooling/config.json", &pooling);
        assert_eq!(open(&directory).embedding.pooling, expected);
    }
}

#[test]
fn sentence_refusals() {
    for (modules, parts) in [
        (
            &[("Transformer", ""), ("WeightedLayerPooling", "1_Pooling")][..],
            &["WeightedLayerPooling' is not supported"][..],
        ),
        (&[("Transformer", "")], &[]),
        (
            &[("Pooling", "1_Pooling")],
            &["expected Transformer, then Pooling"],
        ),
        (
            &[USUAL[0], USUAL[1], USUAL[2], ("Dense", "3_Dense")],
            &["in this order"],
        ),
        (
            &[("Transformer", "../other"), USUAL[1]],
            &["leaves the checkpoint's directory"],
        ),
    ] {
        let directory = sentence(modules);
        if parts.is_empty() {
            open(&directory);
        } else {
            assert_refusal(&directory, parts);
        }
    }
    let directory = sentence(&USUAL);
    for (pooling, part) in [
        (
            json!({"pooling_mode": "attention"}),
            "'attention' is not known",
        ),
        (
            json!({"pooling_mode_attention": true}),
            "'pooling_mode_attention'",
        ),
        (json!({"pooling_mode": []}), "names no mode"),
    ] {
        directory.write_json("1_Pooling/config.json", &pooling);
        assert_refusal(&directory, &["1_Pooling", part]);
    }
}

#[test]
fn dense_layers() {
    let directory = sentence(&[
        USUAL[0],
        USUAL[1],
        ("Dense", "2_Dense"),
        ("Normalize", "3_Normalize"),
    ]);
    let tensor = |shape: Vec<usize>| (shape.clone(), vec![0.5; shape.iter().product()]);
    let weights = [
        ("linear.weight".to_owned(), tensor(vec![3, 4])),
        ("linear.bias".to_owned(), tensor(vec![3])),
    ];
    directory.write(
        "2_Dense/model.safetensors",
        safetensors(&weights.into_iter().collect(), Type::F32),
    );
    let mut settings = json!({"in_features": 4, "out_features": 3, "bias": true,
        "activation_function": "torch.nn.modules.linear.Identity"});
    directory.write_json("2_Dense/config.json", &settings);
    let read = open(&directory);
    assert_eq!(read.embedding.dense[0].activation, Activation::Identity);
    let weights = read.weights().unwrap();
    assert_eq!(
        (&weights.dense[0].weight, &weights.dense[0].bias),
        (&vec![0.5; 12], &vec![0.5; 3])
    );
    for (key, value, part) in [
        (
            "activation_function",
            json!("torch.nn.modules.activation.Mish"),
            "Mish' is not known",
        ),
        (
            "activation_function",
            json!("other.Tanh"),
            "'other.Tanh' is not known",
        ),
        (
            "in_features",
            json!(5),
            "found shape [3, 4], config.json makes it [3, 5]",
        ),
        ("bias", json!(false), "'linear.bias' is not part"),
        ("use_residual", json!(true), "residual"),
        (
            "module_input_name",
            json!("token_embeddings"),
            "'token_embeddings' is not supported",
        ),
    ] {
        let before = settings[key].take();
        settings[key] = value;
        directory.write_json("2_Dense/config.json", &settings);
        assert_refusal(&directory, &["2_Dense", part]);
        settings[key] = before;
    }
}

//! Tokenizers that have no `tokenizer.json`, against pinned transformers: `tests/golden/pieces.py` makes the models of
//! SentencePiece.

use crate::support::{Checkpoint, Golden, converted, golden_folder};
use bertlet::tokenizer::Tokens;
use bertlet::{Batch, Model, Text, TextEncoder, TextOptions};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// What transformers makes of texts with a model file and settings.
#[derive(Deserialize)]
struct Reference {
    file: String,
    model: String,
    tokenizer_config: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    texts: Vec<String>,
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
}

fn references() -> BTreeMap<String, Reference> {
    let path = golden_folder().join("pieces/golden.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The family's checkpoint with the model file for a tokenizer.
fn checkpoint(reference: &Reference, test: &str) -> Checkpoint {
    let family = format!("families/{}", reference.model);
    let checkpoint = Checkpoint::copy(&family, test).without("tokenizer.json");
    let from = golden_folder().join(format!("pieces/{}.model", reference.model));
    fs::copy(from, checkpoint.folder().join(&reference.file)).unwrap();
    let mut settings = reference.tokenizer_config.clone();
    settings["model_max_length"] = 80.into();
    let path = checkpoint.folder().join("tokenizer_config.json");
    fs::write(path, settings.to_string()).unwrap();
    checkpoint
}

#[test]
fn sentencepiece_models_give_the_tokens_of_transformers() {
    for (name, reference) in references() {
        let checkpoint = checkpoint(&reference, &format!("pieces-{name}"));
        let model = Model::open(checkpoint.convert("f16")).unwrap();
        let mut encoder = TextEncoder::new(&model, TextOptions::default()).unwrap();
        let mut tokens = Tokens::new();
        let mut offsets = Vec::new();
        for Case {
            texts,
            ids,
            offsets: expected,
        } in &reference.cases
        {
            let text = Text {
                first: &texts[0],
                second: texts.get(1).map(String::as_str),
            };
            let mut batch = Batch::new();
            encoder.encode(&text, &mut batch).unwrap();
            // Longer ones are cut, which is tested elsewhere.
            if ids.len() <= model.header().max_length {
                assert_eq!(batch.sequences().ids(), ids, "{name}: {texts:?}");
            }
            if let [text] = &texts[..] {
                model.tokenizer().tokenize(text, &mut tokens);
                tokens.char_offsets(text, &mut offsets);
                assert_eq!(tokens.ids, ids[1..ids.len() - 1], "{name}: {text:?}");
                let expected = &expected[1..expected.len() - 1];
                assert_eq!(offsets, expected, "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn damaged_models_of_sentencepiece_are_refused() {
    let all = references();
    let checkpoint = checkpoint(&all["xlm-roberta"], "pieces-damaged");
    let path = checkpoint.folder().join("sentencepiece.bpe.model");
    let whole = fs::read(&path).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap_err();
        format!("{error:#}")
    };
    for length in [1, 100, whole.len() - 1] {
        let message = refusal(&whole[..length]);
        assert!(message.contains("sentencepiece.bpe.model"), "{message}");
        assert!(message.contains("ends within a field"), "{message}");
    }
    assert!(refusal(&[]).contains("0 pieces are too few for XLMRobertaTokenizer"));
    // A later field of the same number counts: trainer_spec's model_type and byte_fallback, normalizer_spec's prefix.
    for (field, expected) in [
        (&[0x12, 2, 0x18, 2][..], "model_type 2 is not supported"),
        (&[0x12, 3, 0x98, 2, 1], "byte_fallback is not supported"),
        (&[0x1A, 2, 0x18, 0], "add_dummy_prefix: false"),
    ] {
        let message = refusal(&[&whole, field].concat());
        assert!(message.contains(expected), "{message}");
    }
    fs::remove_file(&path).unwrap();
    let error = bertlet_tools::checkpoint::open(checkpoint.folder()).unwrap_err();
    let message = format!("{error:#}");
    assert!(
        message.contains("no tokenizer found; expected tokenizer.json or sentencepiece.bpe.model"),
        "{message}"
    );
}

/// MPNet's first checkpoints have `vocab.txt` alone.
#[test]
fn vocab_txt_makes_the_tokenizer_of_mpnet() {
    let name = "families/mpnet";
    let json = fs::read(golden_folder().join(name).join("tokenizer.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let vocabulary = json["model"]["vocab"].as_object().unwrap();
    let mut words: Vec<(&String, u64)> = vocabulary
        .iter()
        .map(|(word, id)| (word, id.as_u64().unwrap()))
        .collect();
    words.sort_by_key(|(_, id)| *id);
    let lines: String = words.iter().map(|(word, _)| format!("{word}\n")).collect();
    let checkpoint = Checkpoint::copy(name, "pieces-mpnet").without("tokenizer.json");
    fs::write(checkpoint.folder().join("vocab.txt"), lines).unwrap();
    let made = Model::open(checkpoint.convert("f16")).unwrap();
    let expected = Model::open(converted(name, "f16")).unwrap();
    assert_eq!(made.header().tokenizer, expected.header().tokenizer);
    // The same without any settings: the model's type says which tokenizer it is.
    let bare = checkpoint.without("tokenizer_config.json");
    let made = Model::open(bare.convert("f16")).unwrap();
    assert_eq!(made.header().tokenizer, expected.header().tokenizer);
    let ids = |model: &Model, text: &str| {
        let mut tokens = Tokens::new();
        model.tokenizer().tokenize(text, &mut tokens);
        (tokens.ids, tokens.offsets)
    };
    for input in Golden::read(name).meta.inputs {
        for text in &input.texts {
            assert_eq!(ids(&made, text), ids(&expected, text), "{text:?}");
        }
    }
}

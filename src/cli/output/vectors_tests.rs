use super::*;
use crate::cli::input::{Fields, Place, Texts};

fn format(shape: VectorShape, element: Element) -> VectorFormat {
    VectorFormat {
        shape,
        element,
        dimensions: 2,
        model: "m".to_owned(),
        records: RecordFormat {
            shape: VectorFormat::record_shape(shape),
            field: "embedding",
            bare: false,
            columns: vec!["0".to_owned(), "1".to_owned()],
            user_columns: None,
            id_column: None,
            with_text: false,
            pairs: false,
            with_errors: true,
            delimiter: b',',
        },
    }
}

fn output(shape: VectorShape, element: Element) -> Vec<u8> {
    let format = format(shape, element);
    let mut record = Record {
        index: 0,
        place: Place {
            source: "in".into(),
            line: 1,
        },
        id: None,
        texts: Ok(Texts {
            first: "a".to_owned(),
            second: None,
        }),
        fields: Fields::None,
        replaced: false,
    };
    let note = Note {
        tokens: 3,
        truncated: true,
    };
    let (mut out, mut records) = (Vec::new(), Vec::new());
    format.begin(&mut out);
    let vector = Encoded::new(&[0.1, -1e-9], element);
    format.write(&mut records, &record, &vector, note);
    record.index = 1;
    format.error(&mut records, &record, "bad");
    out.extend_from_slice(&records[format.separator().len()..]);
    let totals = Totals {
        tokens: 3,
        ..Totals::default()
    };
    format.end(&mut out, &totals);
    out
}

fn text(shape: VectorShape, element: Element) -> String {
    String::from_utf8(output(shape, element)).unwrap()
}

#[test]
fn json_lines() {
    assert_eq!(
        text(VectorShape::Jsonl, Element::Float32),
        "{\"embedding\":[0.1,-1e-9],\"truncated\":true}\n{\"error\":\"bad\",\"place\":\"in:1\"}\n"
    );
}

#[test]
fn json_has_the_shape_of_the_openai_interface() {
    let text = text(VectorShape::Json, Element::Int8);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [127, 0]},
                {"object": "error", "index": 1, "message": "in:1: bad"},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        })
    );
}

#[test]
fn tables() {
    assert_eq!(
        text(VectorShape::Csv, Element::Float32),
        "0,1,error\n0.1,-1e-9,\n,,in:1: bad\n"
    );
}

#[test]
fn raw_bytes_keep_their_places() {
    let bytes = output(VectorShape::F32, Element::Float32);
    assert_eq!(bytes.len(), 16);
    assert_eq!(bytes[..4], 0.1f32.to_le_bytes());
    let hole: [u8; 4] = bytes[8..12].try_into().unwrap();
    assert!(f32::from_le_bytes(hole).is_nan());
    assert_eq!(output(VectorShape::Raw, Element::Ubinary), [0x80, 0]);
}

#[test]
fn base64_is_one_vector_a_line() {
    assert_eq!(text(VectorShape::Base64, Element::Ubinary), "gA==\nAA==\n");
}

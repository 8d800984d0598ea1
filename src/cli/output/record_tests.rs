use super::*;
use crate::cli::input::{JsonObject, Place, Texts};

struct Answer;

impl Value for Answer {
    fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"[\"x\"]");
    }
    fn cells(&self, row: &mut Row) {
        row.text("x,y");
        row.number(0.1);
    }
}

fn format(shape: RecordShape) -> RecordFormat {
    RecordFormat {
        shape,
        field: "labels",
        bare: true,
        columns: vec!["label".to_owned(), "score".to_owned()],
        user_columns: None,
        id_column: None,
        with_text: false,
        pairs: false,
        with_errors: false,
        delimiter: b',',
    }
}

fn record(text: &str, fields: Fields) -> Record {
    Record {
        index: 0,
        place: Place {
            source: "in".into(),
            line: 3,
        },
        id: None,
        texts: Ok(Texts {
            first: text.to_owned(),
            second: None,
        }),
        fields,
        replaced: false,
    }
}

fn columns(cells: &[&str]) -> Fields {
    Fields::Columns {
        names: ["n", "text"].map(String::from).to_vec().into(),
        cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
    }
}

fn written(format: &RecordFormat, record: &Record, truncated: bool) -> String {
    let mut out = Vec::new();
    format.write(&mut out, record, &Answer, truncated);
    String::from_utf8(out).unwrap()
}

fn framed(format: &RecordFormat, write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    format.begin(&mut out);
    write(&mut out);
    format.end(&mut out, &Totals::default());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_bare_line_gives_a_bare_value() {
    let line = record("a", Fields::None);
    assert_eq!(
        written(&format(RecordShape::Jsonl), &line, false),
        "[\"x\"]\n"
    );
    assert_eq!(
        written(&format(RecordShape::Text), &line, false),
        "x,y\t0.1\n"
    );
}

#[test]
fn a_json_record_gets_a_field_and_the_mark_of_a_cut() {
    let object = JsonObject::parse(r#"{"id": 1,"text":"a"}"#).unwrap();
    let line = record("a", Fields::Json(object));
    assert_eq!(
        written(&format(RecordShape::Jsonl), &line, true),
        "{\"id\": 1,\"text\":\"a\",\"labels\":[\"x\"],\"truncated\":true}\n"
    );
}

#[test]
fn the_text_goes_unchanged_behind_the_result() {
    let mut format = format(RecordShape::Text);
    format.with_text = true;
    let line = record("a\tb\\n \"c\"", Fields::None);
    assert_eq!(written(&format, &line, false), "x,y\t0.1\ta\tb\\n \"c\"\n");
    // A line end cannot stay in a line.
    let line = record("a\nb\rc", Fields::None);
    assert_eq!(written(&format, &line, false), "x,y\t0.1\ta\\nb\\rc\n");
}

#[test]
fn json_with_the_text_is_an_object() {
    let mut format = format(RecordShape::Jsonl);
    format.with_text = true;
    let mut line = record("a\"b", Fields::None);
    assert_eq!(
        written(&format, &line, false),
        "{\"text\":\"a\\\"b\",\"labels\":[\"x\"]}\n"
    );
    line.texts.as_mut().unwrap().second = Some("c".to_owned());
    assert_eq!(
        written(&format, &line, false),
        "{\"text\":\"a\\\"b\",\"text_pair\":\"c\",\"labels\":[\"x\"]}\n"
    );
}

#[test]
fn a_table_starts_with_the_users_columns() {
    let mut format = format(RecordShape::Csv);
    let row = record("a", columns(&["1", "say \"a\""]));
    let Fields::Columns { names, .. } = &row.fields else {
        unreachable!("made with columns");
    };
    format.user_columns = Some(names.clone());
    let text = framed(&format, |out| format.write(out, &row, &Answer, false));
    assert_eq!(
        text,
        "n,text,label,score\n1,\"say \"\"a\"\"\",\"x,y\",0.1\n"
    );
    format.shape = RecordShape::Tsv;
    let text = framed(&format, |out| format.write(out, &row, &Answer, false));
    assert_eq!(text, "n\ttext\tlabel\tscore\n1\tsay \"a\"\tx,y\t0.1\n");
    format.shape = RecordShape::Jsonl;
    assert_eq!(
        written(&format, &row, false),
        "{\"n\":\"1\",\"text\":\"say \\\"a\\\"\",\"labels\":[\"x\"]}\n"
    );
}

#[test]
fn a_users_field_with_the_name_of_the_result_is_renamed() {
    let object = JsonObject::parse(r#"{"labels":"mine","text":"a"}"#).unwrap();
    let line = record("a", Fields::Json(object));
    assert_eq!(
        written(&format(RecordShape::Jsonl), &line, false),
        "{\"input_labels\":\"mine\",\"text\":\"a\",\"labels\":[\"x\"]}\n"
    );
    let names: std::sync::Arc<[String]> = ["label", "labels", "text"].map(String::from).into();
    let cells = ["m", "n", "a"].map(String::from).to_vec();
    let row = record(
        "a",
        Fields::Columns {
            names: names.clone(),
            cells,
        },
    );
    assert_eq!(
        written(&format(RecordShape::Jsonl), &row, false),
        "{\"label\":\"m\",\"input_labels\":\"n\",\"text\":\"a\",\"labels\":[\"x\"]}\n"
    );
    let mut format = format(RecordShape::Csv);
    format.user_columns = Some(names);
    let text = framed(&format, |out| format.write(out, &row, &Answer, false));
    assert_eq!(
        text,
        "input_label,labels,text,label,score\nm,n,a,\"x,y\",0.1\n"
    );
}

#[test]
fn an_error_row_has_the_width_of_the_table() {
    let mut format = format(RecordShape::Csv);
    format.with_errors = true;
    let mut row = record("a", Fields::None);
    let good = framed(&format, |out| format.write(out, &row, &Answer, false));
    assert_eq!(good, "label,score,error\n\"x,y\",0.1,\n");
    row.texts = Err("bad".to_owned());
    let bad = framed(&format, |out| format.error(out, &row, "bad"));
    assert_eq!(bad, "label,score,error\n,,in:3: bad\n");
    format.with_text = true;
    let bad = framed(&format, |out| format.error(out, &row, "bad"));
    assert_eq!(bad, "label,score,text,error\n,,,in:3: bad\n");
}

#[test]
fn both_texts_of_a_pair_have_a_column() {
    for shape in [RecordShape::Csv, RecordShape::Tsv] {
        let mut format = format(shape);
        (format.with_text, format.pairs, format.with_errors) = (true, true, true);
        let mut row = record("a", Fields::None);
        row.texts.as_mut().unwrap().second = Some("b".to_owned());
        let good = framed(&format, |out| format.write(out, &row, &Answer, false));
        row.texts = Err("bad".to_owned());
        let bad = framed(&format, |out| format.error(out, &row, "bad"));
        let (delimiter, label) = match shape {
            RecordShape::Csv => (",", "\"x,y\""),
            _ => ("\t", "x,y"),
        };
        let line = |cells: &[&str]| cells.join(delimiter) + "\n";
        let header = line(&["label", "score", "text", "text_pair", "error"]);
        assert_eq!(good, header.clone() + &line(&[label, "0.1", "a", "b", ""]));
        assert_eq!(bad, header + &line(&["", "", "", "", "in:3: bad"]));
    }
}

#[test]
fn a_users_field_is_not_taken_for_what_became_of_the_record() {
    let object = r#"{"error":1,"place":2,"truncated":3,"labels":4,"text":"a"}"#;
    let mut line = record("a", Fields::Json(JsonObject::parse(object).unwrap()));
    let mut format = format(RecordShape::Jsonl);
    assert_eq!(
        written(&format, &line, false),
        "{\"error\":1,\"place\":2,\"input_truncated\":3,\"input_labels\":4,\"text\":\"a\",\"labels\":[\"x\"]}\n"
    );
    format.with_errors = true;
    let renamed = "{\"input_error\":1,\"input_place\":2,\"input_truncated\":3,\"input_labels\":4,\"text\":\"a\"";
    assert_eq!(
        written(&format, &line, false),
        format!("{renamed},\"labels\":[\"x\"]}}\n")
    );
    // An error record's field is no result either.
    line.texts = Err("bad".to_owned());
    let mut out = Vec::new();
    format.error(&mut out, &line, "bad");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("{renamed},\"error\":\"bad\",\"place\":\"in:3\"}}\n")
    );
}

#[test]
fn no_two_columns_of_a_table_have_one_name() {
    let mut format = format(RecordShape::Csv);
    let header = |format: &RecordFormat| framed(format, |_| {});
    let names = ["text", "label", "input_label", "error"].map(String::from);
    format.user_columns = Some(names.to_vec().into());
    assert_eq!(
        header(&format),
        "text,input_input_label,input_label,error,label,score\n"
    );
    (format.user_columns, format.id_column) = (None, Some("text".to_owned()));
    format.with_text = true;
    assert_eq!(header(&format), "input_text,label,score,text\n");
}

#[test]
fn error_records_say_where_and_why() {
    let mut row = record("a", Fields::None);
    row.texts = Err("bad \"thing\"".to_owned());
    let error = |format: &RecordFormat| {
        let mut out = Vec::new();
        format.error(&mut out, &row, "bad \"thing\"");
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        error(&format(RecordShape::Jsonl)),
        "{\"error\":\"bad \\\"thing\\\"\",\"place\":\"in:3\"}\n"
    );
    assert_eq!(
        error(&format(RecordShape::Text)),
        "ERROR\tin:3: bad \"thing\"\n"
    );
}

#[test]
fn json_is_one_array() {
    let format = format(RecordShape::Json);
    let line = record("a", Fields::None);
    let text = framed(&format, |out| {
        let mut records = Vec::new();
        format.write(&mut records, &line, &Answer, false);
        format.write(&mut records, &line, &Answer, false);
        out.extend_from_slice(&records[format.separator().len()..]);
    });
    assert_eq!(text, "[[\"x\"],\n[\"x\"]]\n");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn the_id_leads_a_line() {
    let mut format = format(RecordShape::Text);
    format.id_column = Some("id".to_owned());
    let mut line = record("a", Fields::None);
    line.id = Some("n 7".to_owned());
    assert_eq!(written(&format, &line, false), "n 7\tx,y\t0.1\n");
}

//! Shapes of records: what of the input is in the output, and what stands between.

use super::support::{Directory, Ran, classifier, model_for};
use serde_json::Value;

fn values(ran: &Ran) -> Vec<Value> {
    let lines = ran.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_ranking_hands_on_the_fields_of_its_records() {
    let directory = Directory::new();
    directory.write("model.bertlet", &model_for(Some(classifier(&["score"]))));
    directory.write(
        "in.jsonl",
        b"{\"n\":1.50,\"text\":\"cat\",\"index\":\"x\",\"score\":7}\n{\"n\":2,\"text\":1}\n",
    );
    directory.write("in.csv", b"n,text,score\n1,\"a, cat\",7\n2,good,8\n");
    let run =
        |more: &[&str], input: &[u8]| directory.run(&[&["rerank", "a"], more].concat(), input);
    let arguments = [
        "-f",
        "in.jsonl",
        "--on-error",
        "record",
        "--format",
        "jsonl",
    ];
    let ran = run(&arguments, b"");
    assert_eq!(ran.code, 3, "{ran:?}");
    let [good, bad] = &values(&ran)[..] else {
        panic!("{ran:?}");
    };
    // As it was written.
    let passed = r#"{"n":1.50,"text":"cat","input_index":"x","input_score":7,"index":0,"score":"#;
    assert!(ran.text().starts_with(passed), "{ran:?}");
    assert!(good["score"].is_f64(), "{good}");
    assert_eq!((&bad["n"], &bad["index"]), (&2.into(), &1.into()));
    let reason = bad["error"].as_str().unwrap();
    assert!(reason.starts_with("in.jsonl:2: "), "{bad}");
    let ran = run(&["-f", "in.csv", "-k", "1", "-o", "out.json"], b"").good();
    assert_eq!(ran.text(), "");
    let ranked: Value = serde_json::from_slice(&directory.read("out.json")).unwrap();
    assert_eq!(ranked.as_array().unwrap().len(), 1);
    assert!(ranked[0]["input_score"].is_string(), "{ranked}");
    // A table has the user's columns, and the text where there are none.
    run(&["-f", "in.csv", "-o", "out.csv"], b"").good();
    let table = String::from_utf8(directory.read("out.csv")).unwrap();
    let mut rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.remove(0), "n,text,input_score,index,score");
    rows.sort_unstable();
    assert!(rows[0].starts_with("1,\"a, cat\",7,0,0."), "{rows:?}");
    assert!(rows[1].starts_with("2,good,8,1,0."), "{rows:?}");
    let ran = run(&["--format", "tsv"], b"a cat\n").good();
    let [header, row] = ran.lines()[..] else {
        panic!("{ran:?}");
    };
    assert_eq!(header, "index\tscore\ttext");
    assert!(
        row.starts_with("0\t0.") && row.ends_with("\ta cat"),
        "{row}"
    );
}

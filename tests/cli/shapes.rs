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

#[test]
fn tables_may_have_other_delimiters_than_commas() {
    let directory = Directory::new();
    directory.write(
        "in.csv",
        b"n;text;more\n1,5;a cat;\"x;\"\"y\"\n2;\"good\n\";z\n",
    );
    let run = |arguments: &[&str]| directory.run(arguments, b"");
    let arguments = ["classify", "-f", "in.csv", "-o", "out", "--delimiter", ";"];
    run(&arguments).good();
    let whole = directory.read("out");
    let table = String::from_utf8(whole.clone()).unwrap();
    let begins = "n;text;more;label;score\n1,5;a cat;\"x;\"\"y\";";
    assert!(table.starts_with(begins), "{table}");
    assert!(table.contains("\n2;\"good\n\";z;"), "{table}");
    for length in 0..whole.len() {
        // A run for each third byte: the header, quotes, a line end in them.
        if length % 3 == 0 {
            directory.write("out", &whole[..length]);
            run(&[&arguments[..], &["--resume"]].concat()).good();
            assert!(directory.read("out") == whole, "broken off at {length}");
        }
    }
    // Other shapes have their own.
    directory.write("tabs.txt", b"n\ttext\n1\t\"a, cat\"\n");
    let tabs = "tokenize -f tabs.txt --input-format csv --delimiter tab";
    let tabs: Vec<&str> = tabs.split(' ').collect();
    assert_eq!(run(&tabs).good().text(), "[CLS] a [UNK] cat [SEP]\n");
    let ran = run(&[
        "classify",
        "-f",
        "in.csv",
        "--delimiter",
        ";",
        "--format",
        "tsv",
    ])
    .good();
    assert!(ran.text().starts_with("n\ttext\tmore\t"), "{ran:?}");
}

#[test]
fn a_wrong_delimiter_is_found_out() {
    let directory = Directory::new();
    let classify = |options: &[&str], input: &[u8], code, said: &[&str]| {
        let ran = directory.run(&[&["classify"], options].concat(), input);
        ran.failed(code, said)
    };
    let csv = ["--input-format", "csv"];
    for (header, argument) in [("n;text", "';'"), ("n\ttext", "tab"), ("n|text", "'|'")] {
        // Messages escape control characters.
        let shown = header.replace('\t', "\\t");
        let advice = format!(
            "has no column \"text\"; its columns are {shown}; if that is several names, give --delimiter {argument}\n"
        );
        classify(&csv, header.as_bytes(), 1, &[&advice]);
    }
    let semicolons = [&csv[..], &["--delimiter", ";"]].concat();
    classify(&semicolons, b"n,text\n", 1, &["give --delimiter ','"]);
    // What is in quotes, or has other columns beside it, is a name.
    for header in ["\"n,text\"", "n;m,x"] {
        let ran = classify(&csv, header.as_bytes(), 1, &["has no column"]);
        assert!(!ran.stderr.contains("--delimiter"), "{ran:?}");
    }
    for options in [&["good"][..], &["--input-format", "tsv"], &[]] {
        let options = [&["--delimiter", ";"], options].concat();
        classify(&options, b"", 2, &["--delimiter is for CSV input"]);
    }
    for (wrong, why) in [
        ("\"", "cannot stand between cells"),
        ("1", "cannot stand between cells"),
        (".", "cannot stand between cells"),
        (";;", "is not one ASCII character, nor the word tab"),
        ("\u{a7}", "is not one ASCII character, nor the word tab"),
        ("", "is not one ASCII character, nor the word tab"),
    ] {
        classify(
            &[&csv[..], &["--delimiter", wrong]].concat(),
            b"",
            2,
            &[why],
        );
    }
}

use super::*;
use std::io::Read;

pub(super) fn options(format: InputFormat) -> InputOptions {
    InputOptions {
        format,
        pairs: false,
        text_field: "text".to_owned(),
        pair_field: None,
        id_field: None,
        strict: false,
        max_record_bytes: 1000,
        delimiter: b',',
    }
}

pub(super) fn source(bytes: &[u8]) -> Source {
    let bytes = std::io::Cursor::new(bytes.to_vec());
    Source::new("in.txt", Box::new(bytes), ByteCounter::default()).unwrap()
}

pub(super) fn reader(source: Source, options: InputOptions) -> Box<dyn RecordReader> {
    match options.format {
        InputFormat::Lines => Box::new(lines::Lines::new(source, options)),
        InputFormat::Jsonl => Box::new(jsonl::JsonLines::new(source, options)),
        _ => Box::new(csv::Rows::new(source, options).unwrap()),
    }
}

pub(super) fn read(bytes: &[u8], options: InputOptions) -> Vec<Record> {
    let mut reader = reader(source(bytes), options);
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push(record);
    }
    records
}

/// `line|text`, `line|first/second` or `line!reason` of each record.
pub(super) fn shown(bytes: &[u8], options: InputOptions) -> Vec<String> {
    let show = |record: Record| match record.texts {
        Ok(Texts {
            first,
            second: None,
        }) => format!("{}|{first}", record.place.line),
        Ok(Texts {
            first,
            second: Some(second),
        }) => format!("{}|{first}/{second}", record.place.line),
        Err(reason) => format!("{}!{reason}", record.place.line),
    };
    read(bytes, options).into_iter().map(show).collect()
}

#[test]
fn every_line_is_a_record_however_it_ends() {
    let lines = options(InputFormat::Lines);
    assert_eq!(
        shown(b"a\n\nb\r\n\r\nc", lines.clone()),
        ["1|a", "2|", "3|b", "4|", "5|c"]
    );
    assert_eq!(shown(b"a\n", lines.clone()), ["1|a"]);
    assert_eq!(shown(b"\n", lines.clone()), ["1|"]);
    assert_eq!(shown(b"a\rb\r\r\n", lines.clone()), ["1|a\rb\r"]);
    // A CR without LF at the end of the input is text.
    assert_eq!(shown(b"a\r", lines.clone()), ["1|a\r"]);
    assert!(shown(b"", lines).is_empty());
}

#[test]
fn a_byte_order_mark_is_not_text() {
    let lines = options(InputFormat::Lines);
    assert_eq!(
        shown(b"\xef\xbb\xbfa\n\xef\xbb\xbfb", lines),
        ["1|a", "2|\u{feff}b"]
    );
    let rows = shown(b"\xef\xbb\xbftext\na\n", options(InputFormat::Csv));
    assert_eq!(rows, ["2|a"]);
}

#[test]
fn a_byte_order_mark_may_come_in_pieces() {
    let read = |pieces: [&'static [u8]; 3]| {
        let [first, second, third] = pieces;
        let inner = Box::new(first.chain(second).chain(third));
        let mut source = Source::new("in.txt", inner, ByteCounter::default())?;
        let mut text = Vec::new();
        source.reader.read_to_end(&mut text)?;
        Ok::<_, anyhow::Error>(text)
    };
    assert_eq!(read([b"\xef", b"\xbb", b"\xbfab"]).unwrap(), b"ab");
    assert_eq!(read([b"\xef\xbb", b"\xbf", b"ab"]).unwrap(), b"ab");
    // What only begins like one is text.
    assert_eq!(read([b"\xef", b"\xbb", b"a"]).unwrap(), b"\xef\xbba");
    assert_eq!(read([b"\xef", b"\xbb", b""]).unwrap(), b"\xef\xbb");
    assert_eq!(read([b"\xef", b"", b""]).unwrap(), b"\xef");
    assert!(read([b"\xff", b"\xfe", b"a\0"]).is_err());
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    let open = |first: &'static [u8], second: &'static [u8]| {
        let inner = Box::new(first.chain(second));
        Source::new("in.txt", inner, ByteCounter::default())
    };
    for (bytes, kind) in [
        (&b"\xff\xfea\0"[..], "is UTF-16"),
        (b"\xfe\xff\0a", "is UTF-16"),
        (b"\x1f\x8b\x08\0", "is compressed with gzip"),
        (b"\x28\xb5\x2f\xfd\x04", "is compressed with zstd"),
        (b"\xfd7zXZ\0\0", "is compressed with xz"),
        (b"BZh11AY&SY\x9f", "is compressed with bzip2"),
        (b"BZh91AY&SY\x9f", "is compressed with bzip2"),
        (b"PK\x03\x04\x14", "is a zip archive"),
        (b"PAR1\x15\x04", "is a Parquet file"),
    ] {
        // Whole, and in two pieces.
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let text = open(first, second).err().unwrap().to_string();
            assert!(text.starts_with(&format!("in.txt: {kind}")), "{text}");
        }
    }
    // What only begins like that is text, and whole.
    for text in [
        &b"BZh"[..],
        b"BZh0\n",
        b"BZh91AY, said pi\n",
        b"PAR1 is a file\n",
        b"PAR1\n",
        b"PK\n",
        b"(\n",
        b"\x1f\n",
        b"\xef\xbb\xbfPK\x03\x04",
    ] {
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut read = Vec::new();
            let mut source = open(first, second).unwrap();
            source.reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_marked() {
    let records = read(b"good\nb\xffd\n", options(InputFormat::Lines));
    assert!(!records[0].replaced);
    assert!(records[1].replaced);
    assert_eq!(records[1].texts.as_ref().unwrap().first, "b\u{fffd}d");
}

#[test]
fn strict_takes_bad_bytes_for_an_error() {
    for (format, bytes) in [
        (InputFormat::Lines, &b"good\nb\xffd\ngood\n"[..]),
        (
            InputFormat::Jsonl,
            b"{\"text\":\"good\"}\n\"\xff\"\n{\"text\":\"good\"}\n",
        ),
        (InputFormat::Csv, b"text\n\xff\n"),
    ] {
        let mut options = options(format);
        options.strict = true;
        let shown = shown(bytes, options);
        let bad: Vec<&String> = shown
            .iter()
            .filter(|text| text.contains("is not UTF-8 (0xff)"))
            .collect();
        assert_eq!(bad.len(), 1, "{shown:?}");
        assert!(bad[0].starts_with("2!"), "{shown:?}");
    }
}

#[test]
fn long_lines_are_bad_records_and_the_next_is_read() {
    let mut options = options(InputFormat::Lines);
    options.max_record_bytes = 3;
    let shown = shown(b"abc\nabcd\nabc\r\nabcd\r\nabc", options);
    let long = |line| format!("{line}!the line has 4 bytes, more than --max-line-bytes 3");
    assert_eq!(
        shown,
        [
            "1|abc".to_owned(),
            long(2),
            "3|abc".to_owned(),
            long(4),
            "5|abc".to_owned()
        ]
    );
}

#[test]
fn a_long_line_takes_no_memory() {
    let mut reader = line::LineReader::new(source(&b"x".repeat(1_000_000)), 10);
    let mut buffer = Vec::new();
    assert_eq!(
        reader.read(&mut buffer).unwrap(),
        line::Line::TooLong(Some(1_000_000))
    );
    assert!(buffer.capacity() < 100);
}

#[test]
fn pairs_have_one_tab() {
    let mut options = options(InputFormat::Lines);
    options.pairs = true;
    let shown = shown(b"a\tb\n\t\nab\na\tb\tc\n", options);
    assert_eq!(shown[..2], ["1|a/b", "2|/"]);
    assert!(shown[2].starts_with("3!the line has no tab"));
    assert!(shown[3].starts_with("4!the line has 2 tabs"));
}

#[test]
fn arguments_are_texts_or_pairs() {
    let texts = |pairs| {
        let texts = ["a", "b", "c"].map(Into::into).to_vec();
        let mut reader = Arguments::new(texts, pairs, false);
        std::iter::from_fn(move || reader.next().unwrap())
    };
    let singles: Vec<Record> = texts(false).collect();
    assert_eq!(singles.len(), 3);
    assert_eq!(singles[2].place.to_string(), "argument 3");
    let pairs: Vec<Record> = texts(true).collect();
    let first = pairs[0].texts.as_ref().unwrap();
    assert_eq!(
        (first.first.as_str(), first.second.as_deref()),
        ("a", Some("b"))
    );
    assert!(pairs[1].texts.is_err());
}

#[test]
fn json_fields_are_found() {
    let mut options = options(InputFormat::Jsonl);
    options.pair_field = Some("b".to_owned());
    options.id_field = Some("id".to_owned());
    let input = br#" {"id": 7, "text": "caf\u00e9\n", "b": "x"}"#;
    let records = read(input, options);
    let texts = records[0].texts.as_ref().unwrap();
    assert_eq!(texts.first, "café\n");
    assert_eq!(texts.second.as_deref(), Some("x"));
    assert_eq!(records[0].id.as_deref(), Some("7"));
}

#[test]
fn bad_json_says_what_is_wrong() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(400), "]".repeat(400));
    for (line, reason) in [
        ("", "the line is empty"),
        ("[1]", "holds an array; expected a JSON object"),
        ("text", "a boolean"),
        ("{\"text\": \"a\"", "is not valid JSON: EOF"),
        ("{\"text\": \"a\"} x", "trailing characters at column 15"),
        (
            "{\"text\": 1}",
            "field \"text\" holds a number; expected a string",
        ),
        ("{\"text\": null}", "holds null"),
        ("{\"text\": {\"a\": 1}}", "holds an object"),
        (
            "{\"txt\": \"a\", \"n\": 1}",
            "has no field \"text\"; it has txt, n",
        ),
        ("{}", "has no field \"text\"; it has none"),
        (
            "{\"text\": \"\\ud800\"}",
            "field \"text\": is not valid JSON",
        ),
        (&deep, "has no field \"text\"; it has a"),
    ] {
        let shown = shown(format!("{line}\n").as_bytes(), options(InputFormat::Jsonl));
        assert_eq!(shown.len(), 1);
        assert!(shown[0].starts_with("1!"), "{shown:?}");
        assert!(shown[0].contains(reason), "{shown:?} lacks {reason:?}");
    }
}

#[test]
fn deep_nesting_passes_through() {
    let depth = 300;
    let line = format!(
        "{{\"text\":\"a\",\"deep\":{}{}}}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert_eq!(shown(line.as_bytes(), options(InputFormat::Jsonl)), ["1|a"]);
}

#[test]
fn a_json_record_is_handed_on_as_it_was_written() {
    let with = |text: &str, added: &[(&str, &[u8])]| {
        let mut out = Vec::new();
        JsonObject::parse(text).unwrap().write_with(&mut out, added);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        with(
            r#"{"n": 1.0e5, "big":12345678901234567890123, "s":"\u00e9" }"#,
            &[("x", b"1")]
        ),
        r#"{"n": 1.0e5, "big":12345678901234567890123, "s":"\u00e9","x":1}"#
    );
    assert_eq!(with("{ }", &[("x", b"1"), ("y", b"2")]), r#"{"x":1,"y":2}"#);
    assert_eq!(
        with(r#"{"a":[1, 2],"x":0,"b":"c"}"#, &[("x", b"1")]),
        r#"{"a":[1, 2],"input_x":0,"b":"c","x":1}"#
    );
    assert_eq!(
        with(r#"{"x":0,"input_x":[]}"#, &[("x", b"1")]),
        r#"{"input_input_x":0,"input_x":[],"x":1}"#
    );
}

#[test]
fn of_two_fields_with_one_name_the_last_counts() {
    let object = JsonObject::parse(r#"{"a":1,"a":2}"#).unwrap();
    assert_eq!(object.get("a"), Some("2"));
}

#[test]
fn csv_rows_keep_quotes_and_line_ends() {
    let mut options = options(InputFormat::Csv);
    options.pair_field = Some("b".to_owned());
    options.id_field = Some("id".to_owned());
    let input = b"id,text,b\r\n1,\"a, \"\"b\"\"\r\nc\",x\r\n2,,\r\n";
    assert_eq!(shown(input, options.clone()), ["2|a, \"b\"\r\nc/x", "4|/"]);
    let records = read(input, options);
    assert_eq!(records[0].id.as_deref(), Some("1"));
    let Fields::Columns { names, cells } = &records[1].fields else {
        panic!("no columns");
    };
    assert_eq!(names[..], ["id", "text", "b"].map(String::from));
    assert_eq!(cells[..], ["2", "", ""].map(String::from));
}

#[test]
fn rows_of_the_wrong_width_are_bad_records() {
    assert_eq!(
        shown(b"text,n\na,1\nb\nc,1,2\nd,4\n", options(InputFormat::Csv)),
        [
            "2|a",
            "3!the row has 1 columns, the header has 2; quote a text that holds a line break",
            "4!the row has 3 columns, the header has 2 (beyond them: [\"2\"]); quote a text that holds the separator",
            "5|d"
        ]
    );
}

#[test]
fn a_bad_row_keeps_its_cells() {
    let records = read(b"text,n\nb\nc,1,2\n", options(InputFormat::Csv));
    let cells = |record: &Record| match &record.fields {
        Fields::Columns { cells, .. } => cells.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cells(&records[0]), ["b", ""]);
    assert_eq!(cells(&records[1]), ["c", "1"]);
}

#[test]
fn a_blank_row_is_a_record() {
    let csv = || options(InputFormat::Csv);
    assert_eq!(
        shown(b"text\n\na\r\n\r\nb\n\n", csv()),
        ["2|", "3|a", "4|", "5|b", "6|"]
    );
    assert_eq!(
        shown(b"n,text\n\n1,a\n", csv()),
        ["2!the row is blank, the header has 2 columns", "3|a"]
    );
    assert_eq!(
        shown(b"text\n\na\r\n", options(InputFormat::Tsv)),
        ["2|", "3|a"]
    );
}

#[test]
fn rows_end_with_cr_or_lf_or_both_or_the_input() {
    for input in [
        &b"n,text\n1,a\n2,\"b\"\n3,"[..],
        b"n,text\r\n1,a\r\n2,\"b\"\r\n3,\r\n",
        b"n,text\r1,a\r2,\"b\"\r3,\"\"\r",
    ] {
        let expected = ["2|a", "3|b", "4|"];
        assert_eq!(shown(input, options(InputFormat::Csv)), expected);
    }
    // Without quotes a CR inside a line is text, as it is in plain lines.
    assert_eq!(
        shown(b"text\na\rb\r\nc\r", options(InputFormat::Tsv)),
        ["2|a\rb", "3|c\r"]
    );
}

#[test]
fn quotes_in_odd_places_are_text() {
    assert_eq!(
        shown(b"text\na \"b\" c\n\"\"\"\"\n", options(InputFormat::Csv)),
        ["2|a \"b\" c", "3|\""]
    );
}

#[test]
fn text_behind_a_closing_quote_is_a_bad_record() {
    // The second row lacks its closing quote, so that the third one's opening quote closes it.
    let shown = shown(
        b"text\n\"abc\n\"def\"\nghi\n\"a\"b\"\n\"c\"\n",
        options(InputFormat::Csv),
    );
    let bad =
        "!column 1 goes on behind its closing quote; is a quote missing, or one of two in a row?";
    assert_eq!(
        shown,
        [&format!("2{bad}"), "4|ghi", &format!("5{bad}"), "6|c"]
    );
}

#[test]
fn line_ends_in_quotes_count_once_whatever_they_are() {
    for (end, quoted) in [("\n", "\n"), ("\r\n", "\r\n"), ("\r", "\r"), ("\n", "\r\n")] {
        let text = format!("text{end}\"a{quoted}b\"{end}c{end}");
        let shown = shown(text.as_bytes(), options(InputFormat::Csv));
        assert_eq!(shown[1], "4|c", "{end:?}, {quoted:?}");
    }
}

#[test]
fn a_long_row_is_a_bad_record_and_the_next_is_read() {
    for format in [InputFormat::Csv, InputFormat::Tsv] {
        let mut options = options(format);
        options.max_record_bytes = 4;
        assert_eq!(
            shown(b"text\nabcd\nabcde\nabcd\r\n", options),
            [
                "2|abcd",
                "3!the line has 5 bytes, more than --max-line-bytes 4",
                "4|abcd"
            ]
        );
    }
}

#[test]
fn a_quote_that_is_open_at_the_end_is_a_bad_record() {
    let shown = shown(b"n,text\n1,a\n2,\"b\n3,c\n", options(InputFormat::Csv));
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0], "2|a");
    assert!(shown[1].starts_with("3!the quote that opens column 2 is never closed"));
}

#[test]
fn tsv_has_no_quotes() {
    assert_eq!(
        shown(b"n\ttext\n1\t\"a\n", options(InputFormat::Tsv)),
        ["2|\"a"]
    );
}

#[test]
fn a_tsv_row_of_the_wrong_width_is_not_told_to_quote() {
    assert_eq!(
        shown(b"n\ttext\n3\tx\ty\n4\n", options(InputFormat::Tsv)),
        [
            "2!the row has 3 columns, the header has 2 (beyond them: [\"y\"]); TSV has no quotes: replace tabs in a text, or give CSV",
            "3!the row has 1 columns, the header has 2; TSV has no quotes: replace line breaks in a text, or give CSV"
        ]
    );
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    let error = csv::Rows::new(source(b"a,b\n1,2\n"), options(InputFormat::Csv)).err();
    assert_eq!(
        error.unwrap().to_string(),
        "in.txt: has no column \"text\"; its columns are a, b"
    );
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_input() {
    let mut input = b"text\n\"".to_vec();
    input.extend(b"line\n".repeat(100_000));
    let mut reader = reader(source(&input), options(InputFormat::Csv));
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the row was taken in"),
            Err(error) => break format!("{error:#}"),
        }
    };
    assert!(
        error.starts_with("in.txt:2: the row cannot be read"),
        "{error}"
    );
    assert!(error.contains("is a quote missing?"), "{error}");
}

#[test]
fn the_id_stays_with_a_bad_text() {
    let mut options = options(InputFormat::Jsonl);
    options.id_field = Some("id".to_owned());
    let records = read(
        b"{\"id\":\"5\",\"text\":1}\n{\"id\":6}\n{\"text\":\"a\"}\n",
        options,
    );
    let ids: Vec<_> = records.iter().map(|record| record.id.as_deref()).collect();
    assert_eq!(ids, [Some("5"), Some("6"), None]);
    assert!(records.iter().all(|record| record.texts.is_err()));
}

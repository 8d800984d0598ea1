//! What records cost: rows and objects that are made of nothing but separators, lines without an end.

use super::tests::{options, read, reader, source};
use super::*;
use rows::{Cells, Row, RowReader};
use std::io::Read;

#[test]
fn cells_that_nobody_wants_are_counted_and_dropped() {
    let bytes = [&b",".repeat(1_000_000)[..], b"\na,\"b\",c,d"].concat();
    let mut rows = RowReader::new(source(&bytes), b',', true, 1_000_000);
    let mut cells = Cells::new(3);
    assert_eq!(rows.read(&mut cells).unwrap(), Row::Whole);
    assert_eq!((cells.count(), cells.iter().count()), (1_000_001, 3));
    assert_eq!(rows.read(&mut cells).unwrap(), Row::Whole);
    assert_eq!(cells.count(), 4);
    assert!(cells.iter().eq([&b"a"[..], b"b", b"c"]));
}

#[test]
fn the_reason_of_a_wide_row_is_short() {
    let mut options = options(InputFormat::Csv);
    options.max_record_bytes = 2_000_000;
    let mut input = b"text,n\na,1,".to_vec();
    input.extend(b"x".repeat(500));
    input.extend(b",".repeat(1_000_000));
    let records = read(&input, options);
    let reason = records[0].texts.as_ref().unwrap_err();
    assert!(
        reason.starts_with("the row has 1000003 columns, the header has 2 (beyond them: [\"xxx"),
        "{reason}"
    );
    let end = "x…\", \"\", \"\", \"\", \"\", \"\", \"\", \"\", \"\", \"\"] and 999991 more); \
               quote a text that holds the separator";
    assert!(reason.ends_with(end), "{reason}");
    assert!(reason.len() < 500, "{reason}");
}

#[test]
fn an_empty_cell_before_many_is_no_blank_row() {
    let mut options = options(InputFormat::Csv);
    options.max_record_bytes = 200;
    let shown = tests::shown(format!("text\n{}\n\n", ",".repeat(100)).as_bytes(), options);
    assert!(
        shown[0].starts_with("2!the row has 101 columns"),
        "{shown:?}"
    );
    assert_eq!(shown[1], "3|");
}

#[test]
fn a_header_has_a_limit() {
    let mut options = options(InputFormat::Csv);
    options.max_record_bytes = 2_000_000;
    let input = [&b"text"[..], &b",".repeat(200_000)].concat();
    let error = csv::Rows::new(source(&input), options).err().unwrap();
    assert_eq!(
        error.to_string(),
        "in.txt:1: the header has 200001 columns, more than 100000; leave out those that are not needed"
    );
}

#[test]
fn the_cr_of_a_long_row_is_not_counted() {
    let mut options = options(InputFormat::Tsv);
    options.max_record_bytes = 10;
    // Once with the CR one byte behind the limit, once far beyond it, once in a cell that the table has no column for.
    let wide = "b\t".repeat(200);
    let input = format!("text\n12345678901\r\n123456789012345\r\n1234567890\r\n{wide}\r\n");
    let shown = tests::shown(input.as_bytes(), options);
    let long =
        |line, bytes| format!("{line}!the line has {bytes} bytes, more than --max-line-bytes 10");
    assert_eq!(
        shown,
        [
            long(2, 11),
            long(3, 15),
            "4|1234567890".to_owned(),
            long(5, 400)
        ]
    );
}

#[test]
fn a_cell_counts_for_what_it_takes() {
    let mut options = options(InputFormat::Csv);
    options.max_record_bytes = 200_000;
    let line = format!("text{}\n", ",".repeat(50_000));
    let records = read(line.repeat(2).as_bytes(), options);
    let Fields::Columns { cells, .. } = &records[0].fields else {
        panic!("no columns");
    };
    assert_eq!(cells.len(), 50_001);
    assert!(records[0].memory() > size_of_val(&cells[..]));
}

/// A number of collisions with which looking through all fields for each of them would take hours.
const MANY: usize = 300_000;

#[test]
fn fields_that_collide_take_linear_time() {
    let text = format!(
        "{{\"input_x\":1,\"input_input_x\":2{}}}",
        ",\"x\":0".repeat(MANY)
    );
    let mut out = Vec::new();
    let object = JsonObject::parse(&text).unwrap();
    object.write_with(&mut out, &[("x", b"3")]);
    let renamed = ",\"input_input_input_x\":0".repeat(MANY);
    let expected = format!("{{\"input_x\":1,\"input_input_x\":2{renamed},\"x\":3}}");
    assert!(out == expected.as_bytes());
}

#[test]
fn every_result_finds_a_name_that_is_free() {
    let mut out = Vec::new();
    let object = JsonObject::parse(r#"{"x":1,"\u0078":2,"input_y":3,"input_x":4}"#).unwrap();
    object.write_with(&mut out, &[("x", b"5"), ("input_y", b"6"), ("y", b"7")]);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"input_input_x":1,"input_input_x":2,"input_input_y":3,"input_x":4,"x":5,"input_y":6,"y":7}"#
    );
}

#[test]
fn endless_lines_end_where_nobody_wants_the_next() {
    let endless = |begin: &'static str| {
        let bytes = begin.as_bytes().chain(std::io::repeat(b'x'));
        Source::new("in.txt", Box::new(bytes), ByteCounter::default()).unwrap()
    };
    let too_long = "the line has more than --max-line-bytes 1000";
    for format in [
        InputFormat::Lines,
        InputFormat::Jsonl,
        InputFormat::Csv,
        InputFormat::Tsv,
    ] {
        let mut reader = reader(endless("text\ngood\n"), options(format));
        reader.stop_at_long();
        let long = std::iter::from_fn(|| reader.next().unwrap())
            .find(|record| record.place.line == 3)
            .unwrap();
        assert_eq!(long.texts.unwrap_err(), too_long, "{format:?}");
    }
    // A header is wanted in any case.
    let header = csv::Rows::new(endless("a,"), options(InputFormat::Csv));
    let error = header.err().unwrap().to_string();
    assert_eq!(error, format!("in.txt:1: {too_long}"));
}

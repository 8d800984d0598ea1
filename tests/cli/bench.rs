//! `bertlet bench`: what it prints, never how fast.

use super::support::Directory;
use serde_json::Value;

fn report(options: &[&str]) -> Value {
    let mut arguments = vec!["bench", "--json", "--seconds", "0.05"];
    arguments.extend(options);
    let ran = Directory::new().run(&arguments, b"").good();
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value > 0.0)
}

#[test]
fn figures_come_as_one_json_document() {
    let report = report(&["--threads", "2"]);
    assert_eq!(report["model"]["source"], "tiny");
    assert_eq!(report["model"]["precision"], "f16");
    assert_eq!(report["threads"], 2);
    assert!(is_positive(&report["tokenizer"]["tokens_per_second"]));
    assert!(
        report["peak_rss_bytes"]
            .as_u64()
            .is_none_or(|bytes| bytes > 1_000_000)
    );
    let [kernel] = &report["kernels"].as_array().unwrap()[..] else {
        panic!("one kernel: {report}");
    };
    assert!(kernel.get("profile").is_none());
    // The tiny model has 16 positions.
    let latency = kernel["latency"].as_array().unwrap();
    let shapes = latency.iter().map(|row| (&row["tokens"], &row["threads"]));
    assert!(shapes.eq([(&Value::from(16), &Value::from(1)), (&16.into(), &2.into())]));
    for row in latency {
        let [minimum, median, p90] =
            ["minimum_ms", "median_ms", "p90_ms"].map(|name| row[name].as_f64().unwrap());
        assert!(0.0 < minimum && minimum <= median && median <= p90, "{row}");
    }
    let bulk = kernel["bulk"].as_array().unwrap();
    assert!(
        bulk.iter()
            .map(|row| &row["texts"])
            .eq(["sentences", "passages"])
    );
    for row in bulk {
        assert!(is_positive(&row["texts_per_second"]), "{row}");
        assert!(is_positive(&row["tokens_per_second"]), "{row}");
    }
}

#[test]
fn a_profile_of_each_kernel_adds_up() {
    let report = report(&["--threads", "1", "--kernels", "--profile"]);
    let kernels = report["kernels"].as_array().unwrap();
    assert_eq!(kernels.last().unwrap()["kernel"], "generic");
    for kernel in kernels {
        let profile = kernel["profile"].as_array().unwrap();
        assert!(
            profile
                .iter()
                .map(|column| &column["texts"])
                .eq(["16 tokens", "sentences"])
        );
        for column in profile {
            let stages = column["stages"].as_array().unwrap();
            assert_eq!(stages[0]["stage"], "tokenizing");
            assert_eq!(stages[stages.len() - 1]["stage"], "other");
            let times = stages.iter().map(|stage| stage["us"].as_f64().unwrap());
            assert!(times.clone().all(|time| time >= 0.0), "{column}");
            let (sum, whole) = (times.sum::<f64>(), column["whole_us"].as_f64().unwrap());
            assert!(whole > 0.0 && (sum / whole - 1.0).abs() < 1e-9, "{column}");
        }
    }
}

#[test]
fn figures_come_as_markdown_tables() {
    let directory = Directory::new();
    let arguments = ["bench", "--seconds", "0.01", "--threads", "1", "--profile"];
    let ran = directory.run(&arguments, b"").good();
    let rows: Vec<&str> = ran
        .lines()
        .into_iter()
        .filter(|line| line.starts_with('|'))
        .collect();
    let begins = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
    assert_eq!(
        (begins("| kernel"), begins("| stage"), begins("|---")),
        (2, 1, 3),
        "{rows:?}"
    );
    assert!(rows.iter().all(|row| row.ends_with('|')), "{rows:?}");
}

#[test]
fn times_that_make_no_sense_are_refused() {
    for seconds in ["0", "-1", "nan", "1e9", "soon"] {
        let ran = Directory::new().run(&["bench", &format!("--seconds={seconds}")], b"");
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}

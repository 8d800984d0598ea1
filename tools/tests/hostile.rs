//! Files and texts that others made up: the fuzz targets' functions on their seeds and on some thousand changes of them.
//! `fuzz/run` does the same for longer, with a sanitizer.

#[path = "../../fuzz/entry.rs"]
mod entry;

use entry::{Bases, TARGETS, Target};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Bad files of each target, and what each is refused with.
const FOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/found");
const WRITE: &str = "a new input or another message: write refusals.txt with BERTLET_WRITE_CORPUS=1 and read what changed";

/// Changed inputs of each target.
fn count(target: Target) -> usize {
    match target {
        Target::Header | Target::Tokenizer => 3000,
        Target::Model => 1500,
        Target::Pieces => 1000,
        Target::Json => 600,
        Target::Safetensors | Target::Pickle | Target::Files => 300,
    }
}

/// Repeatable numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// One of the changes that break parsers: a byte, a cut, a repeated piece, a number that is too large.
fn changed(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                // Digits become a number that no size arithmetic likes.
                let digits = bytes[at..].iter().position(u8::is_ascii_digit);
                if let Some(first) = digits.map(|first| at + first) {
                    let length = bytes[first..]
                        .iter()
                        .take_while(|byte| byte.is_ascii_digit());
                    let end = first + length.count();
                    let numbers = [
                        "0",
                        "-1",
                        "4294967296",
                        "18446744073709551615",
                        "1e308",
                        "2147483648",
                    ];
                    let number = numbers[random.below(numbers.len())];
                    bytes.splice(first..end, number.bytes());
                }
            }
        }
    }
    bytes
}

/// Inputs that are kept in `fuzz/found`, by name: a bad file for each rule, and what fuzzing found.
fn found(target: Target) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(Path::new(FOUND).join(target.name()));
    let files = files.into_iter().flatten().map(|file| file.unwrap());
    let named = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, fs::read(file.path()).unwrap())
    };
    files.map(named).collect()
}

/// What an input is refused with, `None` if it is taken.
fn refusal(bases: &Bases, target: Target, input: &[u8]) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| bases.run(target, input)));
    match run {
        Ok(taken) => taken.err(),
        Err(_) => panic!("{target:?} on {:?}", input.escape_ascii().to_string()),
    }
}

#[test]
fn nothing_that_is_read_makes_a_panic() {
    let bases = Bases::new();
    let mut refusals = String::new();
    for target in TARGETS {
        let random = &mut Random(1);
        let seeds = bases.seeds(target);
        for (index, seed) in seeds.iter().enumerate() {
            // Inputs that are refused at once would have nothing to show.
            let refused = refusal(&bases, target, seed);
            let good = target != Target::Json || index < entry::JSON_FILES.len();
            assert!(
                refused.is_none() || !good,
                "a seed of {target:?}: {refused:?}"
            );
        }
        for (name, input) in found(target) {
            let refused = refusal(&bases, target, &input);
            let refused = refused.unwrap_or_else(|| panic!("{target:?} takes {name}"));
            assert!(!refused.contains('\n'), "{refused}");
            writeln!(refusals, "{}/{name}: {refused}", target.name()).unwrap();
        }
        for index in 0..count(target) {
            let input = changed(&seeds[index % seeds.len()], random);
            refusal(&bases, target, &input);
        }
    }
    let path = format!("{FOUND}/refusals.txt");
    if std::env::var_os("BERTLET_WRITE_CORPUS").is_some() {
        fs::write(&path, &refusals).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (line, expected) in refusals.lines().zip(expected.lines()) {
        assert_eq!(line, expected, "{WRITE}");
    }
    assert_eq!(
        refusals.lines().count(),
        expected.lines().count(),
        "{WRITE}"
    );
}

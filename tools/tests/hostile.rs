//! Files and texts that others made up: the fuzz targets' functions on their seeds and on some thousand changes of them.
//! `fuzz/run` does the same for longer, with a sanitizer.

#[path = "../../fuzz/entry.rs"]
mod entry;

use entry::{Bases, TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Changed inputs of each target.
fn count(target: Target) -> usize {
    match target {
        Target::Header | Target::Tokenizer => 3000,
        Target::Model => 1500,
        Target::Pieces => 1000,
        Target::Json => 600,
        Target::Safetensors | Target::Pickle => 300,
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

#[test]
fn nothing_that_is_read_makes_a_panic() {
    let bases = Bases::new();
    for target in TARGETS {
        let random = &mut Random(1);
        let seeds = bases.seeds(target);
        let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/found")
            .join(target.name());
        let found = std::fs::read_dir(kept).into_iter().flatten();
        let found = found.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let changes = (0..count(target)).map(|index| changed(&seeds[index % seeds.len()], random));
        for seed in &seeds {
            // Inputs that are refused at once would have nothing to show; JSON files are swapped between checkpoints.
            let good = bases.run(target, seed);
            assert!(good || target == Target::Json, "a seed of {target:?}");
        }
        for input in found.chain(changes) {
            let run = catch_unwind(AssertUnwindSafe(|| bases.run(target, &input)));
            assert!(
                run.is_ok(),
                "{target:?} on {:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}

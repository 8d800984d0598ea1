#![no_main]

#[path = "../entry.rs"]
mod entry;

use entry::{Bases, Target};
use std::sync::LazyLock;

static BASES: LazyLock<Bases> = LazyLock::new(Bases::new);

libfuzzer_sys::fuzz_target!(|data: &[u8]| BASES.run(Target::Header, data));

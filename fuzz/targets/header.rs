#![no_main]

use bertlet_fuzz::{Bases, Target};
use std::sync::LazyLock;

static BASES: LazyLock<Bases> = LazyLock::new(Bases::new);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = BASES.run(Target::Header, data);
});

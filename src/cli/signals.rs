//! SIGINT and SIGTERM: the first ends the run at the next boundary between records, a second one the process.

use anyhow::{Context, Result};
use signal_hook::{
    consts::signal::{SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};
use std::{
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// The signals that ask for an end, caught from now on.
pub struct Signals {
    /// Gets a byte for each signal.
    wake: UnixStream,
    /// Number of the last signal.
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Begins to catch them. A signal that the process was told to ignore (as `nohup` and shells do for work in the
    /// background) stays ignored.
    pub fn catch() -> Result<Self> {
        let setting = || "the handling of SIGINT and SIGTERM cannot be set up";
        let (wake, writer) = UnixStream::pair().with_context(setting)?;
        let number = Arc::new(AtomicUsize::new(0));
        let second = Arc::new(AtomicBool::new(false));
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM] {
            if ignored >> (signal - 1) & 1 == 1 {
                continue;
            }
            // In this order: the first signal passes this by and sets the flag, the second one ends the process here.
            flag::register_conditional_default(signal, second.clone()).with_context(setting)?;
            flag::register(signal, second.clone()).with_context(setting)?;
            flag::register_usize(signal, number.clone(), signal as usize).with_context(setting)?;
            let writer = writer.try_clone().with_context(setting)?;
            pipe::register(signal, writer).with_context(setting)?;
        }
        Ok(Signals { wake, number })
    }

    /// Waits for a signal and returns its number; `None` if none can come, because all are ignored.
    pub fn wait(mut self) -> Option<i32> {
        let mut byte = [0];
        loop {
            match self.wake.read(&mut byte) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(1) => return Some(self.number.load(Ordering::SeqCst) as i32),
                _ => return None,
            }
        }
    }
}

/// What a signal is called.
pub fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}

/// The signals that are ignored, signal 1 in the lowest bit. None where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

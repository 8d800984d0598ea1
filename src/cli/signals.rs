//! SIGINT and SIGTERM: the first ends the run at the next boundary between records, a second one the process.

use super::exit::{SIGNAL, message, no_thread};
use crate::kernels::thread_builder;
use anyhow::{Context, Result, anyhow};
use signal_hook::{
    consts::signal::{SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};
use std::{
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// The signals that ask for an end, caught from now on.
pub struct Signals(Arc<Mutex<Option<Action>>>);

/// What is done at the first signal.
type Action = Box<dyn FnOnce(i32) + Send>;

impl Signals {
    /// Begins to catch them; until [`Signals::hand_over`], while there is no output yet, the first ends the process. A signal
    /// that the process was told to ignore (as `nohup` and shells do for work in the background) stays ignored.
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
        // Or the end of the writers, where all signals are ignored, would not be seen.
        drop(writer);
        let action = Arc::new(Mutex::new(None::<Action>));
        let shared = action.clone();
        let watch = move || {
            if let Some(signal) = wait(wake, &number) {
                let action = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                match action {
                    Some(action) => action(signal),
                    None => end(signal),
                }
            }
        };
        let started = thread_builder("signals", 64 << 10).and_then(|builder| builder.spawn(watch));
        started.map_err(|error| anyhow!(no_thread(error)))?;
        Ok(Signals(action))
    }

    /// From now on, the first signal does this instead of ending the process.
    pub fn hand_over(self, action: impl FnOnce(i32) + Send + 'static) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Box::new(action));
    }
}

/// Waits for a signal and returns its number; `None` if none can come, because all are ignored. `wake` gets a byte for each.
fn wait(mut wake: UnixStream, number: &AtomicUsize) -> Option<i32> {
    let mut byte = [0];
    loop {
        match wake.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(1) => return Some(number.load(Ordering::SeqCst) as i32),
            _ => return None,
        }
    }
}

/// Ends a process that still waits for its input to begin.
fn end(signal: i32) {
    message(format_args!(
        "interrupted by {} before the first record; start it again",
        name(signal)
    ));
    process::exit(i32::from(SIGNAL) + signal);
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

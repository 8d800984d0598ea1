//! Waiting where a standard stream does not.

use std::{
    io::{ErrorKind, Result},
    thread,
    time::Duration,
};

/// How long to wait before the next try. The standard library cannot wait for a file to be ready.
const PAUSE: Duration = Duration::from_millis(5);

/// Does `work` again until it no longer finds a stream that would have to wait.
///
/// Whether a stream blocks is a property of the open file, not of this process: any program that has the same terminal or
/// pipe may have changed it (O_NONBLOCK).
pub fn patient<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

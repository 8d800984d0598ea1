//! The path of the program that runs, where /proc is not there to tell.
#![allow(unsafe_code)] // the kernel hands it over as a pointer

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The path that this process was started with, as the kernel got it: that of a file, also for a program that was found by
/// its name alone. `None` where the system does not say.
#[cfg(target_os = "linux")]
pub fn executed_path() -> Option<PathBuf> {
    // SAFETY: getauxval reads the process's own table.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if path.is_null() {
        return None;
    }
    // SAFETY: the kernel put a string that ends with 0 above the stack; nothing in this program writes there.
    let path = unsafe { CStr::from_ptr(path) };
    Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}

/// As on Linux, where others do not say.
#[cfg(not(target_os = "linux"))]
pub fn executed_path() -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_this_program() {
        let executed = super::executed_path().unwrap().canonicalize().unwrap();
        assert_eq!(
            executed,
            std::env::current_exe().unwrap().canonicalize().unwrap()
        );
    }
}

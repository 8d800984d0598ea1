//! The program that runs: its path, where /proc is not there to tell, and data that was changed in its file.
#![allow(unsafe_code)] // the kernel hands the path over as a pointer; what is changed in the file must be read as volatile

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

/// The bytes of a static as they are in the program's file, where they may be others than the compiler put there.
pub fn stored(bytes: &'static [u8; 32]) -> [u8; 32] {
    // SAFETY: a reference is valid to read; volatile, so that what the compiler knows of them is not taken instead.
    unsafe { std::ptr::read_volatile(bytes) }
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

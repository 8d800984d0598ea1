//! The kernels' tests once more, with a page behind (or before) every buffer that must not be touched: a read or write
//! past the end faults, whether it is Rust, an intrinsic or assembler.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::{Command, ExitStatus},
    sync::atomic::{AtomicU8, Ordering},
};

/// `after`: buffers end at a page that faults; `before`: they begin behind one.
const VARIABLE: &str = "BERTLET_TEST_GUARD";
const PAGE: usize = 4096;

/// Gives each buffer pages of its own between two that fault, if the variable asks for it.
struct Guard;

#[global_allocator]
static ALLOCATOR: Guard = Guard;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unknown,
    Off,
    After,
    Before,
}

static MODE: AtomicU8 = AtomicU8::new(Mode::Unknown as u8);

fn mode() -> Mode {
    let known = [Mode::Unknown, Mode::Off, Mode::After, Mode::Before];
    match known[usize::from(MODE.load(Ordering::Relaxed))] {
        Mode::Unknown => {
            // std's own look into the environment would allocate.
            // SAFETY: the name ends with a NUL; no test changes the environment.
            let value = unsafe { libc::getenv(c"BERTLET_TEST_GUARD".as_ptr()) };
            let mode = if value.is_null() {
                Mode::Off
            } else {
                // SAFETY: a value of the environment ends with a NUL, so that its first byte is there.
                match unsafe { *value } as u8 {
                    b'a' => Mode::After,
                    _ => Mode::Before,
                }
            };
            MODE.store(mode as u8, Ordering::Relaxed);
            mode
        }
        mode => mode,
    }
}

/// Bytes of the buffer up to its alignment, and of the pages that hold it.
fn sizes(layout: Layout) -> (usize, usize) {
    let size = layout.size().next_multiple_of(layout.align());
    (size, size.next_multiple_of(PAGE))
}

// SAFETY: `alloc` gives memory of its own of at least the size and with the alignment that the layout asks for, and
// `dealloc` finds the same pages by the same arithmetic. Layouts above a page's alignment go to the system.
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mode = mode();
        if mode == Mode::Off || layout.align() > PAGE {
            // SAFETY: the caller keeps `GlobalAlloc`'s contract.
            return unsafe { System.alloc(layout) };
        }
        let (size, pages) = sizes(layout);
        // SAFETY: a new map of nothing; the pages that are made accessible lie within it.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let length = pages + 2 * PAGE;
            let base = libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return std::ptr::null_mut();
            }
            let data = base.cast::<u8>().add(PAGE);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            if libc::mprotect(data.cast(), pages, access) != 0 {
                return std::ptr::null_mut();
            }
            match mode {
                Mode::After => data.add(pages - size),
                _ => data,
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if mode() == Mode::Off || layout.align() > PAGE {
            // SAFETY: the pointer came from the system's allocator, by the same condition.
            return unsafe { System.dealloc(pointer, layout) };
        }
        let (_, pages) = sizes(layout);
        // The buffer begins in its first page, in both modes.
        let base = pointer.map_addr(|address| (address & !(PAGE - 1)) - PAGE);
        // SAFETY: the whole map that `alloc` made, which nobody uses any more.
        unsafe { libc::munmap(base.cast(), pages + 2 * PAGE) };
    }
}

fn this_test_program(mode: &str, filter: &[&str]) -> (ExitStatus, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(VARIABLE, mode)
        .args(filter)
        .output()
        .unwrap();
    (
        output.status,
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn kernels_touch_nothing_outside_of_their_buffers() {
    // Not the accuracy of functions, which takes long and has no buffers to speak of.
    let suites = [
        "attention::",
        "functions::every_kernel",
        "linear::",
        "rows::",
        "tiles::products_of",
        "vector::",
    ];
    let filter = suites.map(|suite| format!("tests::{suite}"));
    let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
    for mode in ["after", "before"] {
        let (status, told) = this_test_program(mode, &filter);
        assert!(status.success(), "{mode}: {status}\n{told}");
        for suite in suites {
            let ran = told.contains(&format!("test tests::{suite}"));
            assert!(ran, "{suite} did not run:\n{told}");
        }
    }
}

/// Reads a byte beside a buffer, on purpose. Runs in a process of its own only.
#[test]
#[ignore = "faults, as it should: the next test runs it"]
fn touch_outside() {
    let buffer = Box::new([1u8; 100]);
    let offset = match mode() {
        Mode::Before => -1,
        _ => 100,
    };
    // SAFETY: there is none: the test is that this faults.
    let byte = unsafe { std::ptr::read_volatile(buffer.as_ptr().offset(offset)) };
    println!("read {byte}");
}

#[test]
fn the_guard_does_guard() {
    use std::os::unix::process::ExitStatusExt;
    for mode in ["after", "before"] {
        let filter = ["guard::touch_outside", "--ignored"];
        let (status, told) = this_test_program(mode, &filter);
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{mode}: {told}");
    }
}

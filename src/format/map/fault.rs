//! A file that shrinks under its map: reading behind its new end is the signal SIGBUS. A program may ask to have that
//! turned into a message and an exit code.
#![allow(unsafe_code)] // a signal handler is unsafe by nature; the reasons stand at the blocks

use std::{
    mem::MaybeUninit,
    path::Path,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering},
    },
};

/// A mapped file, as the handler finds it. Free while `start` is 0, being filled while it is 1.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    message: AtomicPtr<u8>,
    message_length: AtomicUsize,
}

/// Maps that are watched at a time; a program has one or two models open.
const SLOTS: usize = 16;
static MAPS: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        message: AtomicPtr::new(ptr::null_mut()),
        message_length: AtomicUsize::new(0),
    }
}; SLOTS];

/// The exit code of a fault; negative while nobody asked for one.
static CODE: AtomicI32 = AtomicI32::new(-1);
/// What SIGBUS did before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// From now on, a read that fails because a mapped model file was shortened (or its disk is gone) ends the process with
/// a message on stderr and `code`, instead of the signal SIGBUS. Other causes of SIGBUS keep their effect.
///
/// This is for programs; a library should leave the process's signals alone. Models that are open already are not
/// watched.
pub fn exit_on_fault(code: u8) {
    let first = CODE.swap(i32::from(code), Ordering::SeqCst) < 0;
    if !first {
        return;
    }
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structures are valid for the calls; zero bytes are a valid `sigaction`. The handler does only what a
    // handler may do (see there) and runs on the alternate stack where the thread has one.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr());
        let _ = PREVIOUS.set(previous.assume_init());
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

/// Loads and stores of lock-free atomics, write(2), sigaction(2) and _exit(2) only: all of them are safe in a handler.
extern "C" fn on_fault(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid structure, and for SIGBUS it has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &MAPS {
        let start = slot.start.load(Ordering::Acquire);
        if start > 1 && (start..slot.end.load(Ordering::Acquire)).contains(&address) {
            let message = slot.message.load(Ordering::Acquire);
            let length = slot.message_length.load(Ordering::Acquire);
            // SAFETY: the message is never freed, and `length` bytes long.
            unsafe {
                libc::write(2, message.cast(), length);
                libc::_exit(CODE.load(Ordering::Relaxed));
            }
        }
    }
    // Not one of ours: the instruction is tried again, and what was in force before decides.
    if let Some(previous) = PREVIOUS.get() {
        // SAFETY: `previous` is what sigaction returned.
        unsafe { libc::sigaction(libc::SIGBUS, previous, ptr::null_mut()) };
    }
}

/// A map that the handler knows, for as long as this value lives.
#[derive(Debug)]
pub(in crate::format) struct Watched(Option<usize>);

impl Watched {
    /// Tells the handler of a map, if there is a handler.
    pub(super) fn new(path: &Path, map: &[u8]) -> Watched {
        if CODE.load(Ordering::SeqCst) < 0 || map.is_empty() {
            return Watched(None);
        }
        let free = MAPS.iter().position(|slot| {
            slot.start
                .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        });
        let Some(index) = free else {
            return Watched(None);
        };
        let message = format!(
            "bertlet: {}: the model file was shortened or cannot be read any more, while it was in use; put the new \
             model beside it and rename it, never write in place\n",
            path.display()
        );
        // Never freed, because a handler may read it at any time: some bytes for each model that is opened.
        let message: &'static mut [u8] = message.into_bytes().leak();
        let slot = &MAPS[index];
        slot.message_length.store(message.len(), Ordering::SeqCst);
        slot.message.store(message.as_mut_ptr(), Ordering::SeqCst);
        let start = map.as_ptr() as usize;
        slot.end.store(start + map.len(), Ordering::SeqCst);
        slot.start.store(start, Ordering::SeqCst);
        Watched(Some(index))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(index) = self.0 {
            MAPS[index].end.store(0, Ordering::SeqCst);
            MAPS[index].start.store(0, Ordering::SeqCst);
        }
    }
}

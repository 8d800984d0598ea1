//! Threads that are started only where there is room for them, and that do not stand in each other's way.

use std::io;
use std::thread::Builder;

/// Address space in bytes that a thread takes besides its stack before it runs any code of ours: guard page, signal stack,
/// the allocator's first pages.
const BESIDES_STACK: usize = 256 << 10;

/// The builder of a thread of this name with `stack` bytes of stack.
///
/// Where address space is limited, a thread whose stack just fits would fail in its first instructions, by a panic in the
/// standard library that nobody can handle. So it is seen first whether there is room for all that it needs.
///
/// # Errors
/// If there is none.
pub fn thread_builder(name: &str, stack: usize) -> io::Result<Builder> {
    memmap2::MmapMut::map_anon(stack + BESIDES_STACK)?;
    Ok(Builder::new().name(name.to_owned()).stack_size(stack))
}

#[cfg(all(target_os = "linux", not(miri)))]
mod processors {
    use rustix::thread::{Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The calling thread's number.
    pub(crate) fn number() -> i32 {
        gettid().as_raw_nonzero().get()
    }

    /// Forbids a thread the processor that the calling one is on, for a moment: if it is there and may use another, it is moved. Afterwards
    /// it may use all that are online of those that it might use before.
    ///
    /// Linux can wake a thread on the processor that the waking one keeps busy while others are idle, and leave it there for
    /// milliseconds.
    pub(crate) fn move_off(thread: i32) {
        // Where one of these fails, the thread stays where it is, which is slow but right.
        let Some(thread) = Pid::from_raw(thread) else {
            return;
        };
        let Ok(allowed) = sched_getaffinity(Some(thread)) else {
            return;
        };
        let mut others = allowed;
        others.unset(sched_getcpu());
        if sched_setaffinity(Some(thread), &others).is_ok() {
            let _ = sched_setaffinity(Some(thread), &allowed);
        }
    }
}

/// Elsewhere threads stay where the system has them.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod processors {
    pub(crate) fn number() -> i32 {
        0
    }

    pub(crate) fn move_off(_: i32) {}
}

pub(crate) use processors::{move_off, number};

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn a_thread_is_moved_off_and_free_again() {
        use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};
        use std::time::{Duration, Instant};
        let allowed = sched_getaffinity(None).unwrap();
        // The test's thread stays where it is; the other begins there, and watches where it is.
        let here = sched_getcpu();
        let mut only_here = CpuSet::new();
        only_here.set(here);
        sched_setaffinity(None, &only_here).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            tell.send(number()).unwrap();
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if sched_getcpu() != here {
                    return true;
                }
                std::thread::yield_now();
            }
            false
        });
        let thread = told.recv().unwrap();
        let pid = Pid::from_raw(thread);
        // It may be here only, and stays.
        move_off(thread);
        assert_eq!(sched_getaffinity(pid).unwrap(), only_here);
        let mut is_moved = true;
        if allowed.count() > 1 {
            sched_setaffinity(pid, &allowed).unwrap();
            // Again and again, for the system may move it back before it has run where it was moved to.
            while !other.is_finished() {
                move_off(thread);
            }
            is_moved = other.join().unwrap();
        }
        sched_setaffinity(None, &allowed).unwrap();
        assert!(is_moved, "still on processor {here}");
        // There is no such thread.
        move_off(0);
        move_off(i32::MAX);
    }

    #[test]
    fn there_is_room_for_a_thread_but_not_for_all_memory() {
        let thread = thread_builder("small", 64 << 10).unwrap();
        let name = thread.spawn(|| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.unwrap().join().unwrap().as_deref(), Some("small"));
        // Miri takes it from the memory that it has itself.
        if !cfg!(miri) {
            assert!(thread_builder("large", 1 << 60).is_err());
        }
    }
}

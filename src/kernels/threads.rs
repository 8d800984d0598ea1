//! Threads that are started only where there is room for them.

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

#[cfg(test)]
mod tests {
    use super::*;

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

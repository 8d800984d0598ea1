//! Working memory that grows.

use std::panic::panic_any;

/// What a thread panics with where working memory cannot grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What was asked for, in bytes.
    pub bytes: usize,
}

/// Makes a buffer at least so long.
///
/// # Panics
/// With [`OutOfMemory`], where the standard library would end the process with a message that names neither cause nor remedy.
pub fn grow<T: Copy>(buffer: &mut Vec<T>, length: usize, fill: T) {
    if buffer.len() >= length {
        return;
    }
    if buffer.try_reserve(length - buffer.len()).is_err() {
        let bytes = length.saturating_mul(size_of::<T>());
        panic_any(OutOfMemory { bytes });
    }
    buffer.resize(length, fill);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_and_never_shrink() {
        let mut buffer = vec![1u8; 3];
        grow(&mut buffer, 2, 7);
        assert_eq!(buffer, [1, 1, 1]);
        grow(&mut buffer, 5, 7);
        assert_eq!(buffer, [1, 1, 1, 7, 7]);
    }

    #[test]
    fn memory_that_is_not_there_is_a_panic_with_its_size() {
        let length = usize::MAX / 16;
        let panic = std::panic::catch_unwind(|| grow(&mut Vec::new(), length, [0.0f32; 2]));
        let payload = panic.unwrap_err();
        let bytes = length * 8;
        assert_eq!(payload.downcast_ref(), Some(&OutOfMemory { bytes }));
    }
}

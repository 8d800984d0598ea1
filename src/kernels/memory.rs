//! Working memory that grows.

use super::quantized::Block;
use bytemuck::Pod;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
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
pub(crate) fn grow<T: Copy>(buffer: &mut Vec<T>, length: usize, fill: T) {
    if buffer.len() >= length {
        return;
    }
    if buffer.try_reserve(length - buffer.len()).is_err() {
        let bytes = length.saturating_mul(size_of::<T>());
        panic_any(OutOfMemory { bytes });
    }
    buffer.resize(length, fill);
}

/// Numbers, or vectors of them, whose first lies at the beginning of a cache line, so that no vector of sixteen lies in two:
/// loads and stores of such take twice as long, and `Vec` begins anywhere. Only grows.
#[derive(Debug)]
pub struct Aligned<T> {
    lines: Vec<Block>,
    of: PhantomData<T>,
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Aligned {
            lines: Vec::new(),
            of: PhantomData,
        }
    }
}

impl<T: Pod> Aligned<T> {
    /// Numbers in a line.
    const IN_LINE: usize = {
        assert!(size_of::<T>() > 0 && 64 % size_of::<T>() == 0);
        64 / size_of::<T>()
    };

    /// Without numbers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `length` at least; what is new is zero.
    ///
    /// # Panics
    /// With [`OutOfMemory`] where there is none.
    pub fn grow(&mut self, length: usize) {
        let lines = length.div_ceil(Self::IN_LINE);
        grow(&mut self.lines, lines, Block([0; 64]));
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        let length = self.lines.len() * Self::IN_LINE;
        // SAFETY: the lines are initialized bytes, and any bytes are a `Pod`; its size divides a line's, and so does its
        // alignment.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), length) }
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        let length = self.lines.len() * Self::IN_LINE;
        // SAFETY: as above, and any `Pod` is bytes.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), length) }
    }
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
    fn aligned_numbers_begin_on_a_line_and_keep_what_they_hold() {
        let mut numbers = Aligned::<f32>::new();
        assert!(numbers.is_empty());
        let mut length = 1;
        while length < 5000 {
            numbers.grow(length);
            assert_eq!(numbers.as_ptr().align_offset(64), 0);
            assert_eq!(numbers.len(), length.next_multiple_of(16));
            assert!(numbers[..length / 2].iter().all(|&x| x == 1.0));
            assert!(numbers[length / 2..].iter().all(|&x| x == 0.0));
            numbers[..length].fill(1.0);
            length *= 2;
        }
        let mut vectors = Aligned::<[i32; 16]>::new();
        vectors.grow(3);
        assert_eq!(*vectors, [[0; 16]; 3]);
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

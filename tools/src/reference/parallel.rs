//! Work for all cores whose result does not depend on how many there are: the pieces are fixed, threads only take them.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

/// Calls `work(index, piece)` for every piece of `length` elements (the last may be shorter), each on some thread.
///
/// # Panics
/// If `length` is zero and `data` is not empty, or if `work` panics.
pub fn for_each_piece<T: Send>(
    data: &mut [T],
    length: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if data.is_empty() {
        return;
    }
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(data.len().div_ceil(length));
    let pieces = Mutex::new(data.chunks_mut(length).enumerate());
    let take_pieces = || {
        loop {
            // A poisoned lock means that another thread panicked in `next`, which hands out plain slices; the scope
            // passes that panic on.
            let next = pieces.lock().map(|mut pieces| pieces.next());
            match next {
                Ok(Some((index, piece))) => work(index, piece),
                Ok(None) | Err(_) => break,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take_pieces);
        }
        take_pieces();
    });
}

#[cfg(test)]
mod tests {
    use super::for_each_piece;

    #[test]
    fn every_piece_is_visited_once_with_its_index() {
        let mut data = vec![0usize; 1003];
        for_each_piece(&mut data, 10, |index, piece| {
            for value in piece {
                *value += index + 1;
            }
        });
        for (position, value) in data.iter().enumerate() {
            assert_eq!(*value, position / 10 + 1);
        }
        for_each_piece(&mut [0u8; 0], 0, |_, _| {
            panic!("no piece in an empty slice")
        });
    }
}

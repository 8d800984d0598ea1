//! From text to an assembled sequence nothing is allocated once the buffers have grown.

use crate::support::{Both, Random, UNCASED, line, special_tokens, vocabulary};
use bertlet::tokenizer::{Tokens, truncate_pair};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting the calls of each thread.
struct Counting;

// SAFETY: every method passes its arguments on to `System` unchanged, which keeps the contract; the counter is a
// constant-initialized thread-local without a destructor, so touching it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` by the methods here, with this `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `pointer` came from `System` by the methods here, with this `layout`; `size` is the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_steady_state_allocates_nothing() {
    let tokens = vocabulary(3000);
    let both = Both::new(&tokens, UNCASED, &special_tokens(&tokens));
    let tokenizer = both.rules.with(both.tables.view().expect("valid tables"));
    let template = both.rules.template();
    let mut random = Random(21);
    let lines: Vec<String> = (0..2000).map(|_| line(&mut random)).collect();
    let (mut first, mut second) = (Tokens::new(), Tokens::new());
    let (mut ids, mut type_ids, mut characters) = (Vec::new(), Vec::new(), Vec::new());
    let mut pass = || {
        let before = ALLOCATIONS.get();
        for pair in lines.windows(2) {
            tokenizer.tokenize(&pair[0], &mut first);
            tokenizer.tokenize_pair([&pair[0], &pair[1]], 126, 125, [&mut first, &mut second]);
            first.char_offsets(&pair[0], &mut characters);
            let (n, m) = truncate_pair(first.ids.len(), second.ids.len(), 125);
            ids.clear();
            type_ids.clear();
            template.assemble(
                &first.ids[..n],
                Some(&second.ids[..m]),
                &mut ids,
                &mut type_ids,
            );
        }
        ALLOCATIONS.get() - before
    };
    assert!(
        pass() > 0,
        "the first pass grows the buffers, or the counter does not count"
    );
    assert_eq!(pass(), 0, "allocations in the second pass");
}

//! The steady state asks for no memory: neither tokenizing nor a forward pass, for vectors or labels.
//!
//! One test in a program of its own, because it counts what the whole process asks for.

#![cfg(feature = "default-model")]

use bertlet::{Batch, EmbeddingOptions, Encoder, Model, Text, TextEncoder, TextOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_second_pass_allocates_nothing() {
    let model = Model::embedded().unwrap();
    let mut text_encoder = TextEncoder::new(&model, TextOptions::default()).unwrap();
    let mut encoder = Encoder::new(&model);
    let mut batch = Batch::new();
    let options = EmbeddingOptions::default();
    let long = "a long review that says the same again and again, ".repeat(20);
    let texts = [
        "I would watch it again.",
        "",
        &long,
        "Nüchtern betrachtet: naja.",
    ];
    let (mut vectors, mut logits) = (Vec::new(), Vec::new());
    let mut pass = |threads| {
        encoder.set_threads(threads);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        batch.clear();
        vectors.clear();
        logits.clear();
        for text in texts {
            text_encoder.encode(&Text::from(text), &mut batch).unwrap();
        }
        encoder.embed(&batch, &options, &mut vectors).unwrap();
        encoder.classify(&batch, &mut logits).unwrap();
        assert_eq!((vectors.len(), logits.len()), (4 * 384, 4 * 2));
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let first = pass(1);
    assert!(first > 0, "the counter counts");
    for threads in [1, 3] {
        // The helpers start in the first pass.
        pass(threads);
        pass(threads);
        assert_eq!(pass(threads), 0, "{threads} threads");
    }
}

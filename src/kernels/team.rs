//! Threads that share one matrix operation after another, with a fork and join of less than a microsecond.
//!
//! A forward pass of one text is some fifty operations of a few microseconds each. Handing them over through a queue and a
//! condition variable, as thread pools do, costs more than they take. Here each thread has one slot, on a cache line of its
//! own: the leader writes a part of the work into it, and reads there when it is done. Threads watch their slots while a pass is
//! under way and sleep soon after it. A part that its thread has not taken yet when the leader is done with its own is
//! taken back, so that a sleeping or preempted thread costs little.

use crate::threads::{move_off, number, thread_builder};
use std::cell::UnsafeCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Most threads that share an operation: one more has nothing to gain in operations of this size.
pub const MAX_MEMBERS: usize = 16;

/// How long a thread watches its slot before it sleeps. Waking it takes about as long.
const WATCH: Duration = Duration::from_micros(100);

/// Stack of a helper in bytes. Nothing recurses; large buffers are on the heap, but for what AVX2 widens and a product's sums (some
/// 340 KiB).
const STACK: usize = 1 << 20;

/// The leader's: the thread sleeps or watches.
const IDLE: u8 = 0;
/// There is a part to take.
const READY: u8 = 1;
/// The thread works.
const TAKEN: u8 = 2;
/// The thread's part panicked; the slot is the leader's.
const FAILED: u8 = 3;
/// The thread shall end.
const END: u8 = 4;

/// A part of the work, without its types and lifetimes.
#[derive(Clone, Copy)]
struct Part {
    call: unsafe fn(*const (), *mut ()),
    work: *const (),
    part: *mut (),
}

impl Part {
    /// `work(part)` for the first of `parts`.
    fn new<T, F: Fn(&mut T), const N: usize>(work: &F, parts: &mut [T; N]) -> Self {
        /// # Safety
        /// The pointers come from a `&F` and a `&mut T` that live.
        unsafe fn call<T, F: Fn(&mut T)>(work: *const (), part: *mut ()) {
            // SAFETY: as the function's contract says.
            unsafe { (*work.cast::<F>())(&mut *part.cast::<T>()) }
        }
        Part {
            call: call::<T, F>,
            work: (&raw const *work).cast(),
            part: (&raw mut *parts).cast(),
        }
    }

    /// The one that lies so many bytes behind it.
    ///
    /// # Safety
    /// It is one of those that [`Part::new`] was given.
    unsafe fn later(mut self, bytes: usize) -> Self {
        // SAFETY: as the function's contract says.
        self.part = unsafe { self.part.byte_add(bytes) };
        self
    }

    /// Does it.
    ///
    /// # Safety
    /// What it borrows lives, nobody else uses its part, and it may be done by this thread.
    unsafe fn run(self) {
        // SAFETY: the pointers are those that `call` is for.
        unsafe { (self.call)(self.work, self.part) }
    }
}

/// What the leader and one thread share. Two cache lines, since CPUs fetch them in pairs.
#[repr(align(128))]
struct Slot {
    state: AtomicU8,
    /// The thread sleeps, or is about to.
    asleep: AtomicBool,
    /// The thread's number, once it runs; 0 before.
    number: AtomicI32,
    /// Parts that it has not taken since it took one. The leader's.
    missed: AtomicU8,
    /// The leader's, but in the state `TAKEN` the thread's.
    part: UnsafeCell<Option<Part>>,
}

// SAFETY: `part` is accessed by one side at a time, as `state` says, with acquire and release between them; the pointers in
// it come from values that `Team::share` requires to be `Send` and `Sync`.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

struct Member {
    slot: Arc<Slot>,
    thread: JoinHandle<()>,
}

/// The calling thread and its helpers.
///
/// With one member it is the calling thread alone, and costs nothing. Helpers are started by [`Team::resize`].
#[derive(Default)]
pub struct Team {
    helpers: Vec<Member>,
    /// Helpers that take part now.
    active: usize,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({})", self.members())
    }
}

impl Team {
    /// Number of threads, the calling one included.
    pub fn members(&self) -> usize {
        self.active + 1
    }

    /// Makes it a team of so many threads (at least 1, at most [`MAX_MEMBERS`]). Where the system refuses to start threads, it
    /// stays smaller.
    pub fn resize(&mut self, members: usize) {
        let wanted = members.clamp(1, MAX_MEMBERS) - 1;
        while self.helpers.len() < wanted {
            let slot = Arc::new(Slot {
                state: AtomicU8::new(IDLE),
                asleep: AtomicBool::new(false),
                number: AtomicI32::new(0),
                missed: AtomicU8::new(0),
                part: UnsafeCell::new(None),
            });
            let watched = slot.clone();
            let started = thread_builder("encoder", STACK)
                .and_then(|builder| builder.spawn(move || help(&watched)));
            match started {
                Ok(thread) => self.helpers.push(Member { slot, thread }),
                Err(_) => break,
            }
        }
        self.active = wanted.min(self.helpers.len());
    }

    /// Calls `work` once with each of `parts`, at most [`Team::members`] at a time on as many threads, and returns when all are done.
    ///
    /// # Panics
    /// If `work` does, after all parts that were under way have ended.
    pub fn share<T: Send>(&mut self, parts: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
        let work_of = |part: &mut Option<T>| {
            if let Some(part) = part.take() {
                work(part);
            }
        };
        let mut parts = parts.into_iter();
        loop {
            let mut places: [Option<T>; MAX_MEMBERS] = [const { None }; MAX_MEMBERS];
            let mut count = 0;
            for (place, part) in places[..self.members()].iter_mut().zip(&mut parts) {
                *place = Some(part);
                count += 1;
            }
            // SAFETY: so many places have a part, at most as many as members, and they are elements of one array. `places` and `work_of`,
            // and what they borrow, outlive the call and are not touched meanwhile. T is Send and `work` is Sync.
            unsafe {
                self.run(
                    Part::new(&work_of, &mut places),
                    size_of::<Option<T>>(),
                    count,
                )
            };
            if count < self.members() {
                return;
            }
        }
    }

    /// Does `first` and the parts behind it, `count` in all and `size` bytes apart, and returns when all are done. It knows nothing of
    /// types, so that the program has it once.
    ///
    /// # Safety
    /// There are so many, at most as many as members, in the array that [`Part::new`] was given, whose elements have this size. They and
    /// what they borrow live, and nobody else touches them, until it returns or unwinds. Other threads may do them.
    unsafe fn run(&mut self, first: Part, size: usize, count: usize) {
        let mut join = Join {
            helpers: &self.helpers[..0],
        };
        for index in 1..count {
            let member = &self.helpers[index - 1];
            // SAFETY: the part is there, and nobody else touches it: `join` waits for it, in its drop too, before the caller's parts and
            // what they borrow can end.
            unsafe { member.slot.hand_over(first.later(index * size)) };
            if member.slot.asleep.load(Ordering::SeqCst) {
                member.thread.thread().unpark();
            }
            join.helpers = &self.helpers[..index];
        }
        if count > 0 {
            // SAFETY: it was not handed over.
            unsafe { first.run() };
        }
        let failed = join.finish();
        std::mem::forget(join);
        assert!(!failed, "a part of a shared operation panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for member in &self.helpers {
            member.slot.state.store(END, Ordering::SeqCst);
            member.thread.thread().unpark();
        }
        for member in self.helpers.drain(..) {
            // It ends without a panic: `help` catches those of its parts.
            let _ = member.thread.join();
        }
    }
}

/// Helpers that have a part of the operation under way.
struct Join<'a> {
    helpers: &'a [Member],
}

impl Join<'_> {
    /// Waits until all parts are done, and does those that nobody has taken; whether one panicked.
    fn finish(&mut self) -> bool {
        let mut failed = false;
        for member in self.helpers {
            if let Some(part) = member.slot.take(IDLE) {
                // SAFETY: the part was handed over for one call, and is taken back for it.
                let call = || unsafe { part.run() };
                failed |= panic::catch_unwind(AssertUnwindSafe(call)).is_err();
                member.slot.miss();
                continue;
            }
            member.slot.missed.store(0, Ordering::Relaxed);
            let mut spins = 0u32;
            while member.slot.state.load(Ordering::Acquire) == TAKEN {
                spins += 1;
                // A helper that takes this long was preempted, perhaps by this thread.
                if spins.is_multiple_of(4096) {
                    thread::yield_now();
                }
                std::hint::spin_loop();
            }
            failed |= member.slot.state.swap(IDLE, Ordering::Acquire) == FAILED;
        }
        self.helpers = &[];
        failed
    }
}

impl Drop for Join<'_> {
    // The calling thread's part panicked: the others still borrow from its stack.
    fn drop(&mut self) {
        self.finish();
    }
}

impl Slot {
    /// Gives the thread a part to do.
    ///
    /// # Safety
    /// The slot is idle and the caller its leader. The part may be done by another thread, and its values live, and are used by nobody
    /// else, until the slot is idle again.
    unsafe fn hand_over(&self, part: Part) {
        // SAFETY: an idle slot's part is the leader's.
        unsafe { *self.part.get() = Some(part) };
        self.state.store(READY, Ordering::SeqCst);
    }

    /// Counts a part that the thread did not take: it may be waiting for this very processor.
    fn miss(&self) {
        let number = self.number.load(Ordering::Relaxed);
        if number == 0 {
            return;
        }
        let missed = self.missed.fetch_add(1, Ordering::Relaxed);
        // Less and less often, where there is no processor for it at all.
        if missed == 0 || missed.is_power_of_two() {
            move_off(number);
        }
    }

    /// Takes the part that is ready, if there is one, and leaves the slot in `state`.
    fn take(&self, state: u8) -> Option<Part> {
        self.state
            .compare_exchange(READY, state, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // SAFETY: who turned READY into something else has the part to itself until it changes the state again (a
        // helper), or as the only leader.
        unsafe { *self.part.get() }
    }

    /// Watches, and sleeps from time to time, until there is a part or the end.
    fn wait(&self) -> u8 {
        loop {
            let since = Instant::now();
            // It looks before it asks for the time: a thread so slow that its time is over at once must see the end too.
            loop {
                for _ in 0..256 {
                    let state = self.state.load(Ordering::Acquire);
                    if state == READY || state == END {
                        return state;
                    }
                    std::hint::spin_loop();
                }
                if since.elapsed() >= WATCH {
                    break;
                }
            }
            self.asleep.store(true, Ordering::SeqCst);
            // The leader stores READY and then reads `asleep`; one of both sees the other's. Once awake it watches again,
            // even if its part was taken back meanwhile: more follow.
            if self.state.load(Ordering::SeqCst) == IDLE {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }
}

/// A helper's life.
fn help(slot: &Slot) {
    slot.number.store(number(), Ordering::Relaxed);
    while slot.wait() != END {
        if let Some(part) = slot.take(TAKEN) {
            // SAFETY: the leader handed the part over for one call and waits for it.
            let call = || unsafe { part.run() };
            let state = match panic::catch_unwind(AssertUnwindSafe(call)) {
                Ok(()) => IDLE,
                Err(_) => FAILED,
            };
            slot.state.store(state, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;

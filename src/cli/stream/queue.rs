//! The state that reader, workers and writer share: records that wait, results that wait for their turn.
//!
//! Both are bounded. The reader stops when enough text waits; a worker starts no job that is too far ahead of the
//! writer. So memory depends on the size of a batch and of a record, never on the length of the input.

use super::Done;
use crate::cli::input::Record;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

/// Records that go through the model together, with their turn in the output.
pub struct Job {
    /// Number of the job, from 0 without gaps.
    pub turn: u64,
    /// Consecutive records; never empty.
    pub records: Vec<Record>,
}

/// What the writer finds.
pub enum Next {
    /// The result whose turn it is.
    Done(Done),
    /// Nothing is ready yet.
    Pending,
    /// Everything was read, worked and taken.
    End,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of workers.
    pub workers: usize,
    /// Weight of a full job.
    pub job_weight: usize,
    /// A job does not wait to be split among workers below this weight.
    pub split_weight: usize,
    /// Memory of records that may wait besides one, in bytes.
    pub bytes: usize,
}

/// Bytes of output that may wait for their turn, for each worker, besides what is in work.
const OUTPUT: usize = 8 << 20;

#[derive(Default)]
struct State {
    waiting: VecDeque<(Record, usize)>,
    waiting_weight: usize,
    waiting_bytes: usize,
    end_of_input: bool,
    failure: Option<anyhow::Error>,
    /// Nothing more is wanted: the writer is gone.
    stopped: bool,
    /// The signal that asked for an end: what is done is still written, nothing is begun.
    interrupted: Option<i32>,
    next_job: u64,
    next_written: u64,
    done: BTreeMap<u64, Done>,
    done_bytes: usize,
}

impl State {
    fn ending(&self) -> bool {
        self.stopped || self.interrupted.is_some()
    }
}

/// The shared state.
pub struct Queue {
    limits: Limits,
    state: Mutex<State>,
    room: Condvar,
    work: Condvar,
    ready: Condvar,
}

impl Queue {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Queue {
            limits,
            state: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
            ready: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent at every point where a panic could strike, so a poisoned lock is as good.
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        condition
            .wait(state)
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// Adds a record, waiting for room. `false` if nothing more is wanted.
    pub fn push(&self, record: Record, weight: usize) -> bool {
        let size = record.memory();
        // Two jobs for each worker wait, so that no worker ever does.
        let most = (2 * self.limits.workers).saturating_mul(self.limits.job_weight);
        let mut state = self.lock();
        while !state.ending()
            && !state.waiting.is_empty()
            && (state.waiting_weight >= most || state.waiting_bytes + size > self.limits.bytes)
        {
            state = Self::wait(&self.room, state);
        }
        if state.ending() {
            return false;
        }
        state.waiting_weight += weight;
        state.waiting_bytes += size;
        state.waiting.push_back((record, weight));
        drop(state);
        self.work.notify_one();
        true
    }

    /// Nothing more comes, because the input is over or failed.
    pub fn end_input(&self, failure: Option<anyhow::Error>) {
        let mut state = self.lock();
        state.end_of_input = true;
        if state.failure.is_none() {
            state.failure = failure;
        }
        drop(state);
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// Takes what waits, up to one job: at least one record as soon as there is one. `None` when all is done.
    pub fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.ending() {
                return None;
            }
            let ahead = state.next_job - state.next_written;
            // A single record may have megabytes of output: where that waits already, nothing is added to it.
            let room = state.done_bytes < self.limits.workers * OUTPUT;
            if room && ahead < 2 * self.limits.workers as u64 + 2 {
                if !state.waiting.is_empty() {
                    break;
                }
                if state.end_of_input {
                    return None;
                }
            } else if state.waiting.is_empty() && state.end_of_input {
                return None;
            }
            state = Self::wait(&self.work, state);
        }
        let share = state.waiting_weight / self.limits.workers;
        let most = share.clamp(
            self.limits.split_weight.min(self.limits.job_weight),
            self.limits.job_weight,
        );
        let mut records = Vec::new();
        let mut total = 0;
        while let Some((_, weight)) = state.waiting.front() {
            if !records.is_empty() && total + weight > most {
                break;
            }
            if let Some((record, weight)) = state.waiting.pop_front() {
                total += weight;
                state.waiting_bytes -= record.memory();
                records.push(record);
            }
        }
        state.waiting_weight -= total;
        let turn = state.next_job;
        state.next_job += 1;
        let more = !state.waiting.is_empty();
        drop(state);
        self.room.notify_one();
        if more {
            self.work.notify_one();
        }
        Some(Job { turn, records })
    }

    /// Hands in the result of a job.
    pub fn finish(&self, turn: u64, done: Done) {
        let mut state = self.lock();
        state.done_bytes += done.bytes.len();
        state.done.insert(turn, done);
        let is_next = turn == state.next_written;
        drop(state);
        if is_next {
            self.ready.notify_one();
        }
    }

    /// Takes the result whose turn it is; waits for it at most `patience`, or for ever.
    pub fn next(&self, patience: Option<Duration>) -> Next {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            let turn = state.next_written;
            if let Some(done) = state.done.remove(&turn) {
                state.next_written += 1;
                state.done_bytes -= done.bytes.len();
                drop(state);
                self.work.notify_one();
                return Next::Done(done);
            }
            let idle = state.waiting.is_empty() && state.next_job == state.next_written;
            if (state.end_of_input && idle) || state.ending() {
                return Next::End;
            }
            match patience {
                None => state = Self::wait(&self.ready, state),
                Some(_) if waited => return Next::Pending,
                Some(patience) if patience.is_zero() => return Next::Pending,
                Some(patience) => {
                    let result = self.ready.wait_timeout(state, patience);
                    state = result.unwrap_or_else(|poison| poison.into_inner()).0;
                    waited = true;
                }
            }
        }
    }

    /// Ends the run: everybody stops at the next opportunity.
    pub fn stop(&self, failure: Option<anyhow::Error>) {
        let mut state = self.lock();
        state.stopped = true;
        if state.failure.is_none() {
            state.failure = failure;
        }
        drop(state);
        self.room.notify_all();
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// Ends the run at the next boundary between records, for this signal.
    pub fn interrupt(&self, signal: i32) {
        self.lock().interrupted.get_or_insert(signal);
        self.room.notify_all();
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// The signal that ended the run, if one did.
    pub fn interrupted(&self) -> Option<i32> {
        self.lock().interrupted
    }

    /// Why the input ended early or a thread gave up, if so.
    pub fn failure(&self) -> Option<anyhow::Error> {
        self.lock().failure.take()
    }
}

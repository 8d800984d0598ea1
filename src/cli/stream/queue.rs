//! The state that reader, workers and writer share: records that wait, results that wait for their turn.
//!
//! Both are bounded. The reader stops when enough text waits; a worker starts no job that is too far ahead of the
//! writer. So memory depends on the size of a batch and of a record, never on the length of the input.

use super::Done;
use crate::{cli::input::Record, kernels::Team};
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
    /// The threads that may compute it together, where nothing else is to be done: to be given back with the result.
    pub team: Option<Team>,
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
    /// Threads that compute a lone job together.
    pub team: usize,
    /// Weight of a full job.
    pub job_weight: usize,
    /// A job does not wait to be split among workers below this weight.
    pub split_weight: usize,
    /// Memory of records that may wait besides one, in bytes.
    pub bytes: usize,
}

/// How long a lone record waits for another before all threads share it (and as long again where timers are as exact as
/// Linux has them). Of an input that pours in, more is read by then.
const GRACE: Duration = Duration::from_micros(50);

/// Bytes of output that may wait for their turn, for each worker, besides what is in work.
const OUTPUT: usize = 8 << 20;

#[derive(Default)]
struct State {
    waiting: VecDeque<(Record, usize)>,
    waiting_weight: usize,
    waiting_bytes: usize,
    /// The reader has another record, for which there is no room.
    reader_waits: bool,
    end_of_input: bool,
    failure: Option<anyhow::Error>,
    /// Nothing more is wanted: the writer is gone.
    stopped: bool,
    /// The signal that asked for an end: what is done is still written, nothing is begun.
    interrupted: Option<i32>,
    next_job: u64,
    next_written: u64,
    /// Jobs that were taken and are not finished.
    working: usize,
    /// The threads that share a job. While one has them, no other is begun: its threads would be in their way.
    team: Team,
    team_is_lent: bool,
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

    /// The same, for so long at most.
    fn wait_for<'a>(
        condition: &Condvar,
        state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        let waited = condition.wait_timeout(state, patience);
        waited.unwrap_or_else(|poison| poison.into_inner()).0
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
            state.reader_waits = true;
            state = Self::wait(&self.room, state);
        }
        state.reader_waits = false;
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
    ///
    /// Where it is all that there is to do and workers would be idle, it comes with a team.
    pub fn take(&self) -> Option<Job> {
        let Limits { workers, team, .. } = self.limits;
        let has_team = workers > 1 && team > 1;
        let mut was_patient = false;
        let mut state = self.lock();
        loop {
            if state.ending() {
                return None;
            }
            let ahead = state.next_job - state.next_written;
            // A single record may have megabytes of output: where that waits already, nothing is added to it.
            let room = state.done_bytes < workers * OUTPUT;
            if room && ahead < 2 * workers as u64 + 2 && !state.team_is_lent {
                if !state.waiting.is_empty() {
                    let more_may_come = state.working == 0
                        && !state.end_of_input
                        && state.waiting_weight < self.limits.split_weight;
                    if !has_team || was_patient || !more_may_come {
                        break;
                    }
                    was_patient = true;
                    state = Self::wait_for(&self.work, state, GRACE);
                    continue;
                }
                if state.end_of_input {
                    return None;
                }
            } else if state.waiting.is_empty() && state.end_of_input {
                return None;
            }
            was_patient = false;
            state = Self::wait(&self.work, state);
        }
        let share = state.waiting_weight / workers;
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
        let is_lone = !more && !state.reader_waits && state.working == 0;
        let mut lent = (has_team && is_lone).then(|| {
            state.team_is_lent = true;
            std::mem::take(&mut state.team)
        });
        state.working += 1;
        drop(state);
        self.room.notify_one();
        if more {
            self.work.notify_one();
        }
        if let Some(lent) = &mut lent {
            lent.resize(team);
        }
        Some(Job {
            turn,
            records,
            team: lent,
        })
    }

    /// Hands in the result of a job, and its team.
    pub fn finish(&self, turn: u64, done: Done, team: Option<Team>) {
        let mut state = self.lock();
        state.working -= 1;
        // Who takes a job wakes the next, if more waits.
        let wake = team.is_some() && !state.waiting.is_empty();
        if let Some(team) = team {
            (state.team, state.team_is_lent) = (team, false);
        }
        state.done_bytes += done.bytes.len();
        state.done.insert(turn, done);
        let is_next = turn == state.next_written;
        drop(state);
        if is_next {
            self.ready.notify_one();
        }
        if wake {
            self.work.notify_one();
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
                    state = Self::wait_for(&self.ready, state, patience);
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

#[cfg(test)]
mod tests {
    use super::super::{OnError, tests::numbers};
    use super::*;
    use crate::cli::input::RecordReader;
    use std::{sync::mpsc, thread};

    fn queue() -> Queue {
        Queue::new(Limits {
            workers: 2,
            team: 3,
            job_weight: 512,
            split_weight: 256,
            bytes: 1 << 20,
        })
    }

    fn push(queue: &Queue, weight: usize) {
        let record = numbers(1, &[], false).next().unwrap().unwrap();
        assert!(queue.push(record, weight));
    }

    fn finish(queue: &Queue, job: Job) {
        queue.finish(job.turn, Done::new(OnError::Stop), job.team);
    }

    #[test]
    fn a_team_computes_what_is_alone() {
        let queue = queue();
        push(&queue, 300);
        push(&queue, 300);
        let first = queue.take().unwrap();
        assert!(first.team.is_none(), "another waits");
        let second = queue.take().unwrap();
        assert!(second.team.is_none(), "another is under way");
        finish(&queue, first);
        push(&queue, 5);
        let third = queue.take().unwrap();
        assert!(third.team.is_none(), "another is under way");
        finish(&queue, second);
        finish(&queue, third);
        push(&queue, 5);
        let fourth = queue.take().unwrap();
        assert_eq!(fourth.team.map(|team| team.members()), Some(3));
    }

    #[test]
    fn what_the_reader_holds_is_not_alone() {
        let queue = queue();
        // More than all jobs that may wait.
        push(&queue, 5000);
        thread::scope(|scope| {
            let reader = scope.spawn(|| push(&queue, 5000));
            while !queue.lock().reader_waits {
                thread::yield_now();
            }
            let first = queue.take().unwrap();
            assert!(first.team.is_none(), "the reader has another");
            reader.join().unwrap();
            finish(&queue, first);
            assert!(queue.take().unwrap().team.is_some());
        });
    }

    #[test]
    fn tasks_that_cannot_share_have_no_team() {
        let limits = Limits {
            team: 1,
            ..queue().limits
        };
        let queue = Queue::new(limits);
        push(&queue, 5);
        assert!(queue.take().unwrap().team.is_none());
    }

    #[test]
    fn nothing_is_begun_beside_a_team() {
        let queue = queue();
        push(&queue, 5);
        let shared = queue.take().unwrap();
        assert!(shared.team.is_some());
        push(&queue, 300);
        push(&queue, 300);
        thread::scope(|scope| {
            let (begun, jobs) = mpsc::channel();
            for _ in 0..2 {
                let (begun, queue) = (begun.clone(), &queue);
                scope.spawn(move || begun.send(queue.take().unwrap()).unwrap());
            }
            let early = jobs.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "begun while all threads were in use");
            finish(&queue, shared);
            for job in jobs.iter().take(2) {
                assert_eq!(job.records.len(), 1);
                assert!(job.team.is_none());
            }
        });
    }
}

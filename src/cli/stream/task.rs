//! What the threads of a run work on.

use super::{
    Done, Settings,
    queue::{Job, Queue},
};
use crate::{
    cli::{input::Record, output::Format},
    kernels::Team,
};
use anyhow::Result;

/// A kind of work on records, shared by the threads.
pub trait Task: Send + Sync + 'static {
    /// How the output is framed, and how error records look.
    type Format: Format;
    /// What a thread needs for itself.
    type Worker;
    /// The threads that compute a worker's jobs together, where threads can share a job.
    const TEAM: Option<fn(&mut Self::Worker) -> &mut Team>;
    /// The format.
    fn format(&self) -> &Self::Format;
    /// Made by each worker when its first job comes; `team` threads may compute its jobs together.
    fn worker(&self, team: usize) -> Result<Self::Worker>;
    /// Estimate of the record's tokens, before it is tokenized.
    fn weight(&self, record: &Record) -> usize;
    /// Works on records and reports each of them to `done`, in order. An error ends the run.
    fn run(&self, worker: &mut Self::Worker, records: &[Record], done: &mut Done) -> Result<()>;
}

/// A [`Task`] whose kind is not known: what a run needs of it, so that there is one run for all kinds.
pub trait Work: Send + Sync {
    /// The format.
    fn format(&self) -> &dyn Format;
    /// Estimate of the record's tokens.
    fn weight(&self, record: &Record) -> usize;
    /// Whether several threads can compute a job together.
    fn shares(&self) -> bool;
    /// Works on the queue's jobs until there are no more.
    fn work(&self, queue: &Queue, settings: Settings);
}

impl<T: Task> Work for T {
    fn format(&self) -> &dyn Format {
        Task::format(self)
    }

    fn weight(&self, record: &Record) -> usize {
        Task::weight(self, record)
    }

    fn shares(&self) -> bool {
        T::TEAM.is_some()
    }

    fn work(&self, queue: &Queue, settings: Settings) {
        let mut worker = None;
        work_on(queue, settings, &mut |job, done| {
            let worker = match &mut worker {
                Some(worker) => worker,
                None => worker.insert(self.worker(settings.team)?),
            };
            job.exchange_team(T::TEAM.map(|team| team(worker)));
            let result = self.run(worker, &job.records, done);
            job.exchange_team(T::TEAM.map(|team| team(worker)));
            result
        });
    }
}

/// Lets `run` work on the queue's jobs: what is the same for all tasks, and need not be in the program for each.
fn work_on(
    queue: &Queue,
    settings: Settings,
    run: &mut dyn FnMut(&mut Job, &mut Done) -> Result<()>,
) {
    while let Some(mut job) = queue.take() {
        let mut done = Done::new(settings.on_error);
        match run(&mut job, &mut done) {
            Ok(()) => queue.finish(job.turn, done, job.team),
            Err(failure) => return queue.stop(Some(failure)),
        }
    }
}

impl Job {
    /// Puts the job's team, if it has one, in the place of a worker's own, or back.
    fn exchange_team(&mut self, own: Option<&mut Team>) {
        if let (Some(team), Some(own)) = (&mut self.team, own) {
            std::mem::swap(team, own);
        }
    }
}

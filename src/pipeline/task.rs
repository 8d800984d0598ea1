//! What all tasks have in common: records become sequences, their hidden states become answers.

use super::batch::Batch;
use super::encoder::{Encoder, States};
use super::model::Model;
use super::text_encoder::EncodedText;
use super::threads::{on_threads, physical_cores};
use crate::error::Result;
use crate::kernels::Team;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A task: from a record's texts to an answer. Shared by threads.
///
/// A record goes through four steps. [`Task::encode`] appends its sequences to a batch; when the batch has been computed,
/// [`Task::read`] sees the states of each of them; [`Task::settle`] sees all records of the batch; [`Task::finish`] makes the
/// answer.
pub trait Task: Send + Sync {
    /// What a record holds.
    type Input<'a>: Send + Sync;
    /// Memory of one thread, reused from record to record.
    type Room;
    /// What is known of a record whose sequences are not computed yet, or not all.
    type Pending;
    /// What a record gives.
    type Answer: Send;

    /// The model.
    fn model(&self) -> &Model;

    /// The memory of one more thread.
    fn room(&self) -> Self::Room;

    /// The states that [`Task::read`] wants.
    fn states(&self) -> States<'_> {
        States::Last
    }

    /// Appends the sequences of a record to the batch, without its end.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the record cannot be answered; what the batch holds of it is then dropped.
    fn encode(
        &self,
        input: &Self::Input<'_>,
        room: &mut Self::Room,
        batch: &mut Batch,
    ) -> Result<(Self::Pending, EncodedText)>;

    /// Sees the states of the record's sequence `index`; they come in order.
    fn read(
        &self,
        pending: &mut Self::Pending,
        room: &mut Self::Room,
        index: usize,
        states: &[f32],
    );

    /// Computes what is cheaper for all records of a batch together, when all of their sequences have been read. `team` has
    /// the threads that shared them.
    fn settle(&self, _: &mut [Self::Pending], _: &mut Self::Room, _: &mut Team) {}

    /// The answer.
    fn finish(&self, pending: Self::Pending, room: &mut Self::Room) -> Self::Answer;

    /// One answer for each input, in order.
    ///
    /// # Errors
    /// The error of the first input that cannot be answered.
    fn run(&self, inputs: &[Self::Input<'_>], run: RunOptions) -> Result<Vec<Self::Answer>> {
        run_all(self, inputs, run)
    }
}

/// How work is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOptions {
    /// Threads; `None` for the physical cores that this process may use.
    pub threads: Option<usize>,
    /// Tokens that one thread computes at a time, about. Bounds the working memory.
    pub batch_tokens: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            threads: None,
            batch_tokens: super::DEFAULT_BATCH_TOKENS,
        }
    }
}

/// One thread's side of a task: a batch that fills with records, and then gives their answers.
pub(crate) struct TaskLane<T: Task + ?Sized> {
    encoder: Encoder,
    batch: Batch,
    room: T::Room,
    pending: Vec<T::Pending>,
}

impl<T: Task + ?Sized> TaskLane<T> {
    /// A lane whose batches `team` threads compute together.
    pub(crate) fn new(task: &T, team: usize) -> Self {
        let mut encoder = Encoder::new(task.model());
        encoder.set_threads(team);
        TaskLane {
            encoder,
            batch: Batch::new(),
            room: task.room(),
            pending: Vec::new(),
        }
    }

    /// The threads that compute a batch together.
    pub(crate) fn team(&mut self) -> &mut Team {
        self.encoder.team()
    }

    /// Tokens that wait.
    pub(crate) fn tokens(&self) -> usize {
        self.batch.tokens()
    }

    /// Takes a record in; on an error it leaves nothing behind.
    pub(crate) fn add(&mut self, task: &T, input: &T::Input<'_>) -> Result<EncodedText> {
        let encoded = task.encode(input, &mut self.room, &mut self.batch);
        match encoded {
            Ok((pending, encoded)) => {
                self.batch.end_record();
                self.pending.push(pending);
                Ok(encoded)
            }
            Err(error) => {
                self.batch.drop_unfinished();
                Err(error)
            }
        }
    }

    /// Computes what waits; one answer for each record that was taken in, in order.
    pub(crate) fn flush(&mut self, task: &T) -> Result<impl Iterator<Item = T::Answer>> {
        let TaskLane {
            encoder,
            batch,
            room,
            pending,
        } = self;
        let (mut current, mut first) = (usize::MAX, 0);
        let computed = encoder.visit(batch, task.states(), |record, sequence, states| {
            if record != current {
                (current, first) = (record, sequence);
            }
            task.read(&mut pending[record], room, sequence - first, states);
        });
        batch.clear();
        match &computed {
            Ok(()) => task.settle(pending, room, encoder.team()),
            Err(_) => pending.clear(),
        }
        computed.map(|()| pending.drain(..).map(|pending| task.finish(pending, room)))
    }
}

fn run_all<T: Task + ?Sized>(
    task: &T,
    inputs: &[T::Input<'_>],
    run: RunOptions,
) -> Result<Vec<T::Answer>> {
    let threads = run.threads.unwrap_or_else(physical_cores);
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(inputs.len()));
    let failure = Mutex::new(None);
    let lanes = threads.min(inputs.len()).max(1);
    let work = || {
        let mut lane = TaskLane::new(task, threads / lanes);
        let mut taken = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let input = inputs.get(index);
            let added = input.map_or(Ok(()), |input| {
                lane.add(task, input).map(|_| taken.push(index))
            });
            let full = input.is_none() || lane.tokens() >= run.batch_tokens;
            let flushed = added.and_then(|()| match full {
                true => {
                    let new: Vec<_> = taken.drain(..).zip(lane.flush(task)?).collect();
                    lock(&answers).extend(new);
                    Ok(())
                }
                false => Ok(()),
            });
            if let Err(error) = flushed {
                // What comes before this record is with other threads, which go on to the end of what they have.
                next.store(inputs.len(), Ordering::Relaxed);
                let mut failure = lock(&failure);
                if failure.as_ref().is_none_or(|(before, _)| index < *before) {
                    *failure = Some((index, error));
                }
                return;
            }
            if input.is_none() {
                return;
            }
        }
    };
    on_threads(lanes, work);
    if let Some((_, error)) = lock(&failure).take() {
        return Err(error);
    }
    let mut answers = std::mem::take(&mut *lock(&answers));
    answers.sort_unstable_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// What a panicking thread leaves behind is still a list of whole values.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

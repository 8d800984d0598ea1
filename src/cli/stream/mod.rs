//! Reader → workers → ordered writer: an endless input in bounded memory, the output in the input's order.
//!
//! A worker takes whatever waits, up to a batch. While input trickles in (`tail -f`), that is one record, which all threads
//! compute together and which is answered at once; when it pours in, batches fill by themselves, a thread for each.

mod done;
mod queue;
mod task;

pub use done::{Done, OnError};
pub use task::{Task, Work};

use super::{
    exit::{message, no_thread},
    input::{Place, RecordReader},
    output::{
        Format, Totals,
        sink::{Sink, Written},
    },
    progress::Progress,
    signals::Signals,
};
use crate::kernels::thread_builder;
use anyhow::{Result, anyhow};
use queue::{Limits, Next, Queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Settings of a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Number of workers, at least 1.
    pub workers: usize,
    /// Threads of each worker, at least 1.
    pub team: usize,
    /// Weight of a full job, in tokens.
    pub batch_tokens: usize,
    /// What a bad record does.
    pub on_error: OnError,
    /// Records up to this many bytes come from the reader.
    pub max_record_bytes: usize,
    /// Where the run begins.
    pub before: Before,
}

/// What an earlier run has done already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    /// Records of the input that have their answer: they are read and passed over.
    pub records: u64,
    /// Records that the output holds.
    pub rows: u64,
    /// Whether the output has its beginning.
    pub begun: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// The counts.
    pub totals: Totals,
    /// The first record that was cut.
    pub first_truncated: Option<Place>,
    /// The first record with bytes that were not UTF-8.
    pub first_replaced: Option<Place>,
    /// Nobody read the output to its end.
    pub closed: bool,
    /// The signal that ended the run before the input was over.
    pub interrupted: Option<i32>,
}

/// Bad records that are reported on stderr one by one where the output has them too; the others are only counted.
const MOST_REPORTS: u64 = 100;

/// Memory of records that may wait, for each worker and in bytes, also where single records are short: two jobs are in it.
const WAITING: usize = 1 << 20;

/// Runs `task` over all records into `sink`. On an error everything before it has been written.
pub fn run(
    reader: Box<dyn RecordReader>,
    task: Arc<dyn Work>,
    mut sink: Sink,
    settings: Settings,
    mut progress: Option<Progress>,
    signals: Option<Signals>,
) -> Result<Summary> {
    let queue = Arc::new(Queue::new(Limits {
        workers: settings.workers,
        team: match task.shares() {
            true => settings.workers * settings.team,
            false => 1,
        },
        job_weight: settings.batch_tokens,
        split_weight: 256,
        bytes: settings.max_record_bytes.max(settings.workers * WAITING),
    }));
    if let Some(signals) = signals {
        let queue = queue.clone();
        signals.hand_over(move |signal| queue.interrupt(signal));
    }
    start(&queue, &task, reader, settings)?;
    let mut summary = Summary::default();
    let result = write_all(
        &queue,
        task.format(),
        &mut sink,
        settings.before,
        &mut summary,
        &mut progress,
    );
    summary.interrupted = queue.interrupted();
    if let Some(progress) = &mut progress {
        progress.clear();
    }
    // Threads that still run (the reader may wait for input for ever) end with the process.
    queue.stop(None);
    result.map(|()| summary)
}

/// Tells the writer when a thread dies, so that it does not wait for it.
struct Watch(Arc<Queue>);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            let failure = anyhow!("a thread failed; this is a bug in bertlet, please report it");
            self.0.stop(Some(failure));
        }
    }
}

/// Starts a thread with `stack` bytes of stack.
fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<Thread> {
    let started = thread_builder(name, stack).and_then(|builder| builder.spawn(body));
    match started {
        Ok(handle) => Ok(handle.thread().clone()),
        Err(error) => Err(anyhow!(no_thread(error))),
    }
}

/// Stack of the reader and the workers in bytes. Nothing recurses; large buffers are on the heap.
const STACK: usize = 1 << 20;

fn start(
    queue: &Arc<Queue>,
    task: &Arc<dyn Work>,
    mut reader: Box<dyn RecordReader>,
    settings: Settings,
) -> Result<()> {
    let (watch, reading_task) = (Watch(queue.clone()), task.clone());
    let read = move || {
        let Watch(queue) = &watch;
        let mut index = settings.before.records;
        if let Err(failure) = pass_over(&mut *reader, index, queue) {
            return queue.end_input(Some(failure));
        }
        // Those that were passed over may have been too long, and ended somewhere.
        if settings.on_error == OnError::Stop {
            reader.stop_at_long();
        }
        loop {
            match reader.next() {
                Err(failure) => return queue.end_input(Some(failure)),
                Ok(None) => return queue.end_input(None),
                Ok(Some(mut record)) => {
                    record.index = index;
                    index += 1;
                    let weight = reading_task.weight(&record);
                    if !queue.push(record, weight) {
                        return;
                    }
                }
            }
        }
    };
    // One after the other, and all of them before there is work: where memory is limited, a thread that cannot be started
    // must be the first thing that fails, with a message, rather than an allocation of one that could. (A team's are started when a
    // job is alone for the first time; it does with those that there is room for.)
    let started = Arc::new(AtomicUsize::new(0));
    let starter = thread::current();
    let mut waiting = Vec::with_capacity(settings.workers);
    for worker in 1..=settings.workers {
        let (watch, task) = (Watch(queue.clone()), task.clone());
        let (gate, starter) = (started.clone(), starter.clone());
        let all = settings.workers;
        let work = move || {
            let Watch(queue) = &watch;
            gate.fetch_add(1, Ordering::AcqRel);
            starter.unpark();
            while gate.load(Ordering::Acquire) <= all {
                thread::park();
            }
            task.work(queue, settings);
        };
        let thread = spawn("worker", STACK, work)?;
        while started.load(Ordering::Acquire) < worker {
            thread::park();
        }
        waiting.push(thread);
    }
    spawn("reader", STACK, read)?;
    started.fetch_add(1, Ordering::AcqRel);
    waiting.iter().for_each(Thread::unpark);
    Ok(())
}

/// Reads the records that an earlier run has answered.
fn pass_over(reader: &mut dyn RecordReader, records: u64, queue: &Queue) -> Result<()> {
    for passed in 0..records {
        if passed % 1024 == 0 && queue.interrupted().is_some() {
            return Ok(());
        }
        if reader.next()?.is_none() {
            anyhow::bail!(
                "{records} records are answered already, but the input has only {passed}; is it the same input?"
            );
        }
    }
    Ok(())
}

/// Writes results in order. Flushes whenever nothing more is ready, so that nobody waits for a full buffer.
fn write_all(
    queue: &Queue,
    format: &dyn Format,
    sink: &mut Sink,
    before: Before,
    summary: &mut Summary,
    progress: &mut Option<Progress>,
) -> Result<()> {
    let mut frame = Vec::new();
    if !before.begun {
        format.begin(&mut frame);
    }
    let mut state = sink.write(&frame)?;
    let mut unflushed = true;
    let mut rows = before.rows;
    while state == Written::All {
        let patience = if unflushed {
            Some(Duration::ZERO)
        } else {
            progress.as_ref().map(Progress::interval)
        };
        match queue.next(patience) {
            Next::Pending => {
                if std::mem::take(&mut unflushed) {
                    state = sink.flush()?;
                }
                if let Some(progress) = progress {
                    progress.show(&summary.totals);
                }
            }
            Next::Done(done) => {
                // The first record goes without a separator.
                let skipped = if rows == 0 {
                    format.separator().len()
                } else {
                    0
                };
                state = sink.write(done.bytes.get(skipped..).unwrap_or_default())?;
                rows += done.written;
                unflushed = true;
                if let Some(stop) = report(done, summary, progress) {
                    end_output(format, sink, summary, rows)?;
                    return Err(anyhow!(stop));
                }
                if let Some(progress) = progress {
                    progress.show(&summary.totals);
                }
            }
            Next::End => {
                state = end_output(format, sink, summary, rows)?;
                if let Some(failure) = queue.failure() {
                    return Err(failure);
                }
                break;
            }
        }
    }
    summary.closed = state == Written::Closed;
    Ok(())
}

/// Ends the output properly, so that what was written can be read.
fn end_output(
    format: &dyn Format,
    sink: &mut Sink,
    summary: &Summary,
    rows: u64,
) -> Result<Written> {
    let mut frame = Vec::new();
    format.end(&mut frame, &summary.totals);
    if sink.write(&frame)? == Written::Closed {
        return Ok(Written::Closed);
    }
    sink.finish(rows)
}

/// Adds a result to the summary and shows its bad records; returns why the run has to stop, if so.
fn report(done: Done, summary: &mut Summary, progress: &mut Option<Progress>) -> Option<String> {
    let totals = &mut summary.totals;
    for text in &done.reports {
        if let Some(progress) = progress {
            progress.clear();
        }
        match totals.failed {
            _ if done.on_error == OnError::Skip => message(text),
            0..MOST_REPORTS => message(text),
            MOST_REPORTS => message("more bad records follow; they are only counted"),
            _ => {}
        }
        totals.failed += 1;
    }
    totals.records += done.totals.records;
    totals.replaced += done.totals.replaced;
    totals.truncated += done.totals.truncated;
    totals.tokens += done.totals.tokens;
    if summary.first_truncated.is_none() {
        summary.first_truncated = done.first_truncated;
    }
    if summary.first_replaced.is_none() {
        summary.first_replaced = done.first_replaced;
    }
    done.stop
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;

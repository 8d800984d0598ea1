//! What the commands of the library's tasks share: records through a [`Task`] on several threads.

use super::{Input, Limit, run};
use crate::{
    Task, TaskLane,
    cli::{
        args::{InputArgs, OutputArgs, RunArgs},
        engine,
        exit::Failure,
        input::{Record, Texts},
        output::{Format, sink::Array},
        stream::{self, Done},
    },
    kernels::Team,
};
use anyhow::Result;

/// How a task's records come from the input and go to the output.
pub trait Show<T: Task>: Send + Sync + 'static {
    /// How the output is framed.
    type Format: Format;
    /// The format.
    fn format(&self) -> &Self::Format;
    /// What the task gets of a record, or why it is bad.
    fn input<'a>(&'a self, record: &'a Record, texts: &'a Texts) -> Result<T::Input<'a>, String>;
    /// Writes a record's answer; `truncated` if its text was cut.
    fn write(&self, out: &mut Vec<u8>, record: &Record, answer: T::Answer, truncated: bool);
    /// Whether `--long window` takes all of a text.
    fn windows(&self) -> bool {
        false
    }
    /// Estimate of the record's tokens.
    fn weight(&self, record: &Record) -> usize {
        engine::weight(record, usize::MAX, true)
    }
}

/// A task as a command runs it.
pub struct TaskCommand<T, S> {
    /// What is computed.
    pub task: T,
    /// How it looks.
    pub show: S,
}

impl<T: Task + 'static, S: Show<T>> TaskCommand<T, S> {
    /// Runs the command; returns the exit code.
    pub fn run(
        self,
        input: Input,
        args: (&InputArgs, &OutputArgs, &RunArgs),
        array: Option<Array>,
        max_length: Option<usize>,
    ) -> Result<u8, Failure> {
        let limit = Limit {
            max_length: max_length.unwrap_or(self.task.model().header().max_length),
            windows: self.show.windows(),
        };
        let batch_tokens = args.2.batch_tokens;
        let stream = Stream {
            command: self,
            batch_tokens,
        };
        run(stream, input, args, array, limit)
    }
}

struct Stream<T, S> {
    command: TaskCommand<T, S>,
    batch_tokens: usize,
}

impl<T: Task + 'static, S: Show<T>> stream::Task for Stream<T, S> {
    type Format = S::Format;
    type Worker = TaskLane<T>;
    const TEAM: Option<fn(&mut TaskLane<T>) -> &mut Team> = Some(TaskLane::team);

    fn format(&self) -> &S::Format {
        self.command.show.format()
    }

    fn worker(&self, team: usize) -> Result<TaskLane<T>> {
        Ok(TaskLane::new(&self.command.task, team))
    }

    fn weight(&self, record: &Record) -> usize {
        self.command.show.weight(record)
    }

    fn run(&self, lane: &mut TaskLane<T>, records: &[Record], done: &mut Done) -> Result<()> {
        let TaskCommand { task, show } = &self.command;
        // Records since the last computation, and what became of them: tokens and truncation, or why they are bad.
        let mut waiting = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let added = record.texts.as_ref().map_err(Clone::clone);
            let added = added.and_then(|texts| {
                let input = show.input(record, texts)?;
                lane.add(task, &input).map_err(|error| error.to_string())
            });
            waiting.push((record, added));
            if lane.tokens() < self.batch_tokens && index + 1 < records.len() {
                continue;
            }
            let mut answers = lane.flush(task)?;
            for (record, added) in waiting.drain(..) {
                match added {
                    Err(reason) => done.bad(record, &reason, show.format()),
                    Ok(encoded) => {
                        if let Some(answer) = answers.next() {
                            done.good(record, encoded.tokens as u64, encoded.truncated, |out| {
                                show.write(out, record, answer, encoded.truncated);
                            });
                        }
                    }
                }
            }
            drop(answers);
            if done.stopped() {
                return Ok(());
            }
        }
        Ok(())
    }
}

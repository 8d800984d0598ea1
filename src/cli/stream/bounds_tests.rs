//! What waits for its turn in the output.

use super::tests::{numbers, settings};
use super::*;
use crate::{cli::input::Record, kernels::Team};
use std::{fs, os::fd::OwnedFd, sync::atomic::AtomicUsize};

/// Output of a record: more than may wait for a worker.
const LENGTH: usize = 9 << 20;

/// Writes much for each record, and counts them.
struct Loud {
    format: Plain,
    begun: Arc<AtomicUsize>,
}

struct Plain;

impl Format for Plain {
    fn begin(&self, _: &mut Vec<u8>) {}
    fn error(&self, _: &mut Vec<u8>, _: &Record, _: &str) {}
    fn end(&self, _: &mut Vec<u8>, _: &Totals) {}
    fn separator(&self) -> &'static [u8] {
        b""
    }
}

impl Task for Loud {
    type Format = Plain;
    type Worker = ();
    const TEAM: Option<fn(&mut ()) -> &mut Team> = None;
    fn format(&self) -> &Plain {
        &self.format
    }
    fn worker(&self, _: usize) -> Result<()> {
        Ok(())
    }
    fn weight(&self, _: &Record) -> usize {
        8
    }
    fn run(&self, (): &mut (), records: &[Record], done: &mut Done) -> Result<()> {
        for record in records {
            self.begun.fetch_add(1, Ordering::SeqCst);
            done.good(record, 1, false, |out| out.resize(out.len() + LENGTH, b'x'));
        }
        Ok(())
    }
}

#[test]
fn long_answers_do_not_pile_up() {
    let (mut answers, writer) = std::io::pipe().unwrap();
    let sink = Sink::to_file("pipe", fs::File::from(OwnedFd::from(writer)));
    let begun = Arc::new(AtomicUsize::new(0));
    let task = Loud {
        format: Plain,
        begun: begun.clone(),
    };
    let running = thread::spawn(move || {
        let settings = settings(1, OnError::Stop);
        run(
            numbers(10, &[], false),
            Arc::new(task),
            sink,
            settings,
            None,
            None,
        )
    });
    // Nobody reads. One answer is being written, and one waits.
    let mut before = usize::MAX;
    while begun.load(Ordering::SeqCst) != before {
        before = begun.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(200));
    }
    assert!(before <= 2, "{before} records were answered ahead");
    let length = std::io::copy(&mut answers, &mut std::io::sink()).unwrap();
    assert_eq!(length, 10 * LENGTH as u64);
    assert_eq!(running.join().unwrap().unwrap().totals.records, 10);
}

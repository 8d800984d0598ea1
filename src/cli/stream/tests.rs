use super::*;
use crate::cli::{
    input::{Fields, Record, Texts},
    output::Totals,
};
use crate::kernels::Team;
use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Hands out numbered records; `bad` ones are bad; fails at the end if asked to.
pub(super) struct Numbers {
    next: u64,
    end: u64,
    bad: Vec<u64>,
    fail: bool,
    /// Records that were handed out.
    given: Arc<AtomicUsize>,
}

impl RecordReader for Numbers {
    fn next(&mut self) -> Result<Option<Record>> {
        if self.next == self.end {
            return if self.fail {
                Err(anyhow!("cable cut"))
            } else {
                Ok(None)
            };
        }
        self.next += 1;
        self.given.fetch_add(1, Ordering::SeqCst);
        let texts = match self.bad.contains(&self.next) {
            true => Err("bad".to_owned()),
            false => Ok(Texts {
                first: self.next.to_string(),
                second: None,
            }),
        };
        Ok(Some(Record {
            index: 0,
            place: Place {
                source: "in".into(),
                line: self.next,
            },
            id: None,
            texts,
            fields: Fields::None,
            replaced: false,
        }))
    }
}

pub(super) fn numbers(end: u64, bad: &[u64], fail: bool) -> Box<Numbers> {
    Box::new(Numbers {
        next: 0,
        end,
        bad: bad.to_vec(),
        fail,
        given: Arc::default(),
    })
}

/// Writes texts with commas between them, slowly now and then, so that jobs finish out of turn.
#[derive(Default)]
struct Echo {
    format: EchoFormat,
    panic_at: Option<&'static str>,
    fail_at: Option<&'static str>,
    jobs: Mutex<Vec<Seen>>,
    /// Jobs under way that several threads share.
    shared: AtomicUsize,
}

/// A job: its records, and the threads that may share it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    records: usize,
    threads: usize,
}

#[derive(Default)]
struct EchoFormat;

impl Format for EchoFormat {
    fn begin(&self, out: &mut Vec<u8>) {
        out.push(b'<');
    }
    fn error(&self, out: &mut Vec<u8>, record: &Record, _: &str) {
        out.extend_from_slice(format!(",!{}", record.place.line).as_bytes());
    }
    fn end(&self, out: &mut Vec<u8>, totals: &Totals) {
        out.extend_from_slice(format!("> {}", totals.records).as_bytes());
    }
    fn separator(&self) -> &'static [u8] {
        b","
    }
}

impl Task for Echo {
    type Format = EchoFormat;
    type Worker = Team;
    const TEAM: Option<fn(&mut Team) -> &mut Team> = Some(|team| team);
    fn format(&self) -> &EchoFormat {
        &self.format
    }
    fn worker(&self, _: usize) -> Result<Team> {
        Ok(Team::default())
    }
    fn weight(&self, _: &Record) -> usize {
        1
    }
    fn run(&self, team: &mut Team, records: &[Record], done: &mut Done) -> Result<()> {
        let seen = Seen {
            records: records.len(),
            threads: team.members(),
        };
        self.jobs.lock().unwrap().push(seen);
        let shared = self.shared.load(Ordering::SeqCst);
        assert_eq!(shared, 0, "all threads share another job");
        let is_shared = usize::from(seen.threads > 1);
        self.shared.fetch_add(is_shared, Ordering::SeqCst);
        for record in records {
            match &record.texts {
                Err(reason) => done.bad(record, reason, &self.format),
                Ok(texts) => {
                    let text = texts.first.as_str();
                    assert_ne!(Some(text), self.panic_at, "asked for");
                    anyhow::ensure!(Some(text) != self.fail_at, "asked to fail");
                    if record.index % 97 == 0 {
                        thread::sleep(Duration::from_millis(2));
                    }
                    done.good(record, 1, false, |out| {
                        out.extend_from_slice(format!(",{text}").as_bytes());
                    });
                }
            }
        }
        self.shared.fetch_sub(is_shared, Ordering::SeqCst);
        Ok(())
    }
}

pub(super) fn settings(workers: usize, on_error: OnError) -> Settings {
    Settings {
        workers,
        team: 1,
        batch_tokens: 8,
        on_error,
        max_record_bytes: 100,
        before: Before::default(),
    }
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("bertlet-stream-{}-{number}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run_echo(reader: Box<Numbers>, echo: Echo, settings: Settings) -> (Result<Summary>, String) {
    let file = Scratch::new();
    let sink = Sink::open(Some(&file.0), &[]).unwrap();
    let result = run(reader, Arc::new(echo), sink, settings, None, None);
    (result, fs::read_to_string(&file.0).unwrap())
}

fn list(numbers: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    numbers.join(",")
}

#[test]
fn the_output_has_the_order_of_the_input() {
    for threads in [1, 2, 7] {
        let settings = settings(threads, OnError::Stop);
        let (result, text) = run_echo(numbers(1000, &[], false), Echo::default(), settings);
        assert_eq!(text, format!("<{}> 1000", list(1..=1000)));
        assert_eq!(result.unwrap().totals.records, 1000);
    }
}

#[test]
fn an_empty_input_gives_an_empty_frame() {
    let (result, text) = run_echo(
        numbers(0, &[], false),
        Echo::default(),
        settings(2, OnError::Stop),
    );
    assert_eq!(text, "<> 0");
    assert_eq!(result.unwrap().totals, Totals::default());
}

#[test]
fn a_bad_record_stops_skips_or_is_recorded() {
    for threads in [1, 3] {
        let run = |on_error| {
            run_echo(
                numbers(50, &[1, 20], false),
                Echo::default(),
                settings(threads, on_error),
            )
        };
        let (result, text) = run(OnError::Stop);
        assert_eq!(result.unwrap_err().to_string(), "in:1: bad");
        assert!(text.starts_with("<>"), "{text}");
        let (result, text) = run(OnError::Skip);
        assert_eq!(result.unwrap().totals.failed, 2);
        let rest = list((2..=50).filter(|number| *number != 20));
        assert_eq!(text, format!("<{rest}> 50"));
        let (result, text) = run(OnError::Record);
        assert_eq!(result.unwrap().totals.failed, 2);
        assert_eq!(
            text,
            format!("<!1,{},!20,{}> 50", list(2..20), list(21..=50))
        );
    }
}

#[test]
fn what_stands_before_a_stop_is_written() {
    let (result, text) = run_echo(
        numbers(500, &[300], false),
        Echo::default(),
        settings(3, OnError::Stop),
    );
    assert_eq!(result.unwrap_err().to_string(), "in:300: bad");
    assert!(text.starts_with(&format!("<{}>", list(1..300))), "{text}");
}

#[test]
fn what_was_read_before_a_failing_input_is_written() {
    let (result, text) = run_echo(
        numbers(100, &[], true),
        Echo::default(),
        settings(2, OnError::Stop),
    );
    assert_eq!(result.unwrap_err().to_string(), "cable cut");
    assert_eq!(text, format!("<{}> 100", list(1..=100)));
}

#[test]
fn a_failing_or_panicking_worker_ends_the_run() {
    let echo = Echo {
        fail_at: Some("40"),
        ..Echo::default()
    };
    let (result, _) = run_echo(numbers(1000, &[], false), echo, settings(2, OnError::Stop));
    assert_eq!(result.unwrap_err().to_string(), "asked to fail");
    let echo = Echo {
        panic_at: Some("40"),
        ..Echo::default()
    };
    let (result, _) = run_echo(numbers(1000, &[], false), echo, settings(2, OnError::Stop));
    assert!(result.unwrap_err().to_string().contains("a bug in bertlet"));
}

#[test]
fn a_closed_output_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let sink = Sink::to_file("pipe", fs::File::from(std::os::fd::OwnedFd::from(writer)));
    let settings = settings(2, OnError::Stop);
    let endless = numbers(u64::MAX, &[], false);
    let summary = run(
        endless,
        Arc::new(Echo::default()),
        sink,
        settings,
        None,
        None,
    )
    .unwrap();
    assert!(summary.closed);
}

/// Gives records only when they are asked for one by one.
struct Trickle {
    records: VecDeque<Record>,
    turns: std::sync::mpsc::Receiver<()>,
}

impl RecordReader for Trickle {
    fn next(&mut self) -> Result<Option<Record>> {
        if self.turns.recv().is_err() {
            return Ok(None);
        }
        Ok(self.records.pop_front())
    }
}

#[test]
fn a_trickle_is_answered_record_by_record_by_all_threads() {
    use std::io::Read;
    let echo = Arc::new(Echo::default());
    let task = echo.clone();
    let mut source = numbers(3, &[], false);
    let records = std::iter::from_fn(|| source.next().unwrap()).collect();
    let (turn, turns) = std::sync::mpsc::channel();
    let (mut answers, writer) = std::io::pipe().unwrap();
    let sink = Sink::to_file("pipe", fs::File::from(std::os::fd::OwnedFd::from(writer)));
    let running = thread::spawn(move || {
        let reader = Box::new(Trickle { records, turns });
        run(reader, task, sink, settings(3, OnError::Stop), None, None)
    });
    for expected in ["<1", ",2", ",3"] {
        turn.send(()).unwrap();
        // Would wait for ever if the answer were held back.
        let mut answer = vec![0; expected.len()];
        answers.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
    drop(turn);
    assert_eq!(running.join().unwrap().unwrap().totals.records, 3);
    let seen = Seen {
        records: 1,
        threads: 3,
    };
    assert_eq!(*echo.jobs.lock().unwrap(), [seen; 3]);
}

#[test]
fn the_reader_waits_for_a_slow_output() {
    let (mut answers, writer) = std::io::pipe().unwrap();
    let sink = Sink::to_file("pipe", fs::File::from(std::os::fd::OwnedFd::from(writer)));
    let source = numbers(200_000, &[], false);
    let given = source.given.clone();
    let running = thread::spawn(move || {
        run(
            source,
            Arc::new(Echo::default()),
            sink,
            settings(2, OnError::Stop),
            None,
            None,
        )
    });
    // Nobody reads: the pipe fills up, and then the queue.
    let mut before = usize::MAX;
    while given.load(Ordering::SeqCst) != before {
        before = given.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(200));
    }
    // 64 KiB in the pipe and as much in the buffer are about 20,000 records; a few jobs more wait.
    assert!(before < 50_000, "{before} records were read ahead");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut answers, &mut text).unwrap();
    assert_eq!(text, format!("<{}> 200000", list(1..=200_000)));
    assert_eq!(running.join().unwrap().unwrap().totals.records, 200_000);
}

#[test]
fn jobs_are_no_larger_than_a_batch() {
    let echo = Arc::new(Echo::default());
    let file = Scratch::new();
    let sink = Sink::open(Some(&file.0), &[]).unwrap();
    run(
        numbers(300, &[], false),
        echo.clone(),
        sink,
        settings(1, OnError::Stop),
        None,
        None,
    )
    .unwrap();
    let jobs = echo.jobs.lock().unwrap();
    assert_eq!(jobs.iter().map(|job| job.records).sum::<usize>(), 300);
    assert!(jobs.iter().all(|job| job.records <= 8), "{jobs:?}");
    assert!(jobs.iter().all(|job| job.threads == 1), "{jobs:?}");
}

#[test]
fn what_was_answered_before_is_passed_over() {
    let mut settings = settings(2, OnError::Stop);
    settings.before = Before {
        records: 40,
        rows: 40,
        begun: true,
    };
    let (result, text) = run_echo(numbers(100, &[3], false), Echo::default(), settings);
    assert_eq!(text, format!(",{}> 60", list(41..=100)));
    assert_eq!(result.unwrap().totals.records, 60);
    let (result, _) = run_echo(numbers(39, &[], false), Echo::default(), settings);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("the input has only 39"), "{error}");
}

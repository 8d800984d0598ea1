//! How many threads a process should use: the physical cores that it may run on.

use crate::kernels::thread_builder;
use std::{collections::BTreeSet, fs, num::NonZero, thread};

/// Physical cores allowed to this process: its CPU affinity and cgroup quota are honoured, and two hardware threads of
/// one core count once, since they share the units that matrix products need.
pub fn physical_cores() -> usize {
    let allowed = thread::available_parallelism().map_or(1, NonZero::get);
    if allowed == 1 {
        return 1;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| parse_list(list.trim()))
        .and_then(|cpus| {
            distinct_cores(&cpus, |cpu| {
                let path =
                    format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
                fs::read_to_string(path).ok()
            })
        });
    cores.map_or(allowed, |cores| cores.clamp(1, allowed))
}

/// Number of different sibling sets; `None` if the system does not tell.
fn distinct_cores(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let cores: Option<BTreeSet<String>> = cpus.iter().map(|cpu| siblings(*cpu)).collect();
    Some(cores?.len()).filter(|cores| *cores > 0)
}

/// A kernel list such as `0-3,8,10-11`.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // A sane bound against a nonsensical list.
        if last.checked_sub(first)? > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Stack of a thread in bytes. Nothing recurses; large buffers are on the heap.
const STACK: usize = 1 << 20;

/// Does `work` on this thread and up to `threads` − 1 others at once, and returns when all have ended. Where no more can
/// be started, fewer do the same work.
pub(super) fn on_threads(threads: usize, work: impl Fn() + Copy + Send) {
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let started = thread_builder("texts", STACK)
                .and_then(|builder| builder.spawn_scoped(scope, work));
            if started.is_err() {
                break;
            }
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(parse_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list("5"), Some(vec![5]));
        assert_eq!(parse_list(""), None);
        assert_eq!(parse_list("3-1"), None);
        assert_eq!(parse_list("0-99999999"), None);
    }

    #[test]
    fn hardware_threads_of_a_core_count_once() {
        let siblings = |cpu: usize| Some(format!("{}-{}", cpu / 2 * 2, cpu / 2 * 2 + 1));
        assert_eq!(distinct_cores(&[0, 1, 2, 3], siblings), Some(2));
        assert_eq!(distinct_cores(&[1, 2], siblings), Some(2));
        assert_eq!(distinct_cores(&[0, 1], |_| None), None);
    }

    #[test]
    fn there_is_always_one() {
        let cores = physical_cores();
        assert!(cores >= 1);
        assert!(cores <= thread::available_parallelism().map_or(1, NonZero::get));
    }
}

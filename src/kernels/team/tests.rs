use super::*;
use std::sync::atomic::AtomicUsize;

fn team(members: usize) -> Team {
    let mut team = Team::default();
    team.resize(members);
    team
}

/// Sizes of teams; Miri runs threads in turns, and those that watch take theirs.
fn sizes<'a>(all: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let most = if cfg!(miri) { 3 } else { usize::MAX };
    all.iter().copied().filter(move |size| *size <= most)
}

#[test]
fn every_part_is_done_once() {
    for members in sizes(&[1, 2, 3, 5, MAX_MEMBERS]) {
        let mut team = team(members);
        assert_eq!(team.members(), members);
        for round in 0..if cfg!(miri) { 12 } else { 200 } {
            let mut values = vec![0usize; 97];
            let count = 1 + round % (members + 3);
            let parts = values.chunks_mut(97usize.div_ceil(count)).enumerate();
            team.share(parts, |(index, values)| {
                for value in values {
                    *value += index + round;
                }
            });
            let size = 97usize.div_ceil(count);
            let expected = (0..97).map(|i| i / size + round);
            assert!(values.iter().copied().eq(expected));
            if round % 50 == 0 {
                // Long enough for the helpers to fall asleep.
                thread::sleep(WATCH * 3);
            }
        }
        team.share([0usize; 0], |_| unreachable!("there is no part"));
    }
}

#[test]
fn teams_grow_and_shrink() {
    let mut team = team(3);
    let calls = AtomicUsize::new(0);
    for members in sizes(&[2, 4, 1, 3, 99, 0]) {
        team.resize(members);
        assert_eq!(team.members(), members.clamp(1, MAX_MEMBERS));
        calls.store(0, Ordering::Relaxed);
        team.share(0..team.members(), |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.load(Ordering::Relaxed), team.members());
    }
}

#[test]
fn a_panic_reaches_the_caller_after_all_parts_have_ended() {
    let mut team = team(3);
    for failing in 0..3 {
        let ended = AtomicUsize::new(0);
        let run = || {
            team.share(0..3, |part| {
                assert_ne!(part, failing, "as it should");
                thread::sleep(Duration::from_millis(5));
                ended.fetch_add(1, Ordering::Relaxed);
            });
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }
    let sum = AtomicUsize::new(0);
    team.share([1, 2, 3], |part| {
        sum.fetch_add(part, Ordering::Relaxed);
    });
    assert_eq!(sum.load(Ordering::Relaxed), 6);
}

#[test]
fn what_is_not_done_is_dropped() {
    /// Counts itself where it is dropped.
    struct Counted<'a>(usize, &'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut team = team(2);
    for failing in 0..5 {
        let (done, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let made = AtomicUsize::new(0);
        let parts = (0..5).map(|part| {
            made.fetch_add(1, Ordering::Relaxed);
            Counted(part, &dropped)
        });
        let run = || {
            team.share(parts, |part| {
                assert_ne!(part.0, failing, "as it should");
                done.fetch_add(1, Ordering::Relaxed);
            });
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
        // Two at a time: those of the pass that fails are done, later ones are not made.
        let made = made.into_inner();
        assert_eq!(made, (failing / 2 * 2 + 2).min(5));
        assert_eq!((done.into_inner(), dropped.into_inner()), (made - 1, made));
    }
    // Nothing is under way when the parts themselves fail, and what has no size is done as often.
    let parts = (0..3).map(|part| assert_ne!(part, 1, "as it should"));
    let run = || team.share(parts, |()| unreachable!("the second part is not there"));
    assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
    let done = AtomicUsize::new(0);
    team.share([(); 5], |()| {
        done.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(done.into_inner(), 5);
}

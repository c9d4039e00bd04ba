//! Work on many things whose time goes in waiting for a store: some of it side by side, with the outcome that one after
//! another has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::report::Result;

/// What `work` makes of each item, in the order of the items, in at most `lanes` threads, this one among them.
///
/// # Errors
/// That of the earliest item which has one, whichever came first in time. After an error no further item is begun.
pub fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    lanes: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let lane = || {
        // Items are taken in their order and each that is taken is worked on, so all before the first error that
        // anybody meets have an outcome: the earliest is among them.
        while !failed.load(Ordering::SeqCst) {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(item) = items.get(index) else { break };
            let outcome = work(item);
            if outcome.is_err() {
                failed.store(true, Ordering::SeqCst);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 1..lanes.min(items.len()) {
            // Where the system gives no thread, those that are there do the work.
            let _ = thread::Builder::new().spawn_scoped(scope, lane);
        }
        lane();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::report::{Failure, Kind};

    /// What comes of it, if it does not hang.
    fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, outcome) = channel();
        let thread = thread::spawn(move || done.send(work()).unwrap());
        let outcome = outcome.recv_timeout(Duration::from_secs(60)).expect("an outcome within a minute");
        thread.join().unwrap();
        outcome
    }

    #[test]
    fn what_comes_back_is_in_order_whoever_is_done_first() {
        let items: Vec<usize> = (0..100).collect();
        for lanes in [0, 1, 3, 8, 1000] {
            assert_eq!(side_by_side(&items, lanes, |item| Ok(2 * item)).unwrap(), {
                let doubled: Vec<usize> = items.iter().map(|item| 2 * item).collect();
                doubled
            });
        }
        assert_eq!(side_by_side(&[0_u8; 0], 8, |_| Ok(())).unwrap(), []);
        // Nobody comes past before four are there, so four are under way; the last of them ends first.
        let order = bounded(|| {
            let (meeting, last) = (Barrier::new(4), Barrier::new(2));
            side_by_side(&[0, 1, 2, 3], 4, |item| {
                meeting.wait();
                if matches!(item, 0 | 3) {
                    last.wait();
                }
                Ok(*item)
            })
        });
        assert_eq!(order.unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn no_more_lanes_than_asked_for() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        side_by_side(&[(); 200], 3, |()| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn the_earliest_error_counts_and_ends_it() {
        let (refused, begun) = bounded(|| {
            let failure = |item: &usize| Err(Failure::new(Kind::Files, format!("item {item}")));
            let (both, later, begun) = (Barrier::new(2), Barrier::new(2), AtomicUsize::new(0));
            let items: Vec<usize> = (0..1000).collect();
            let refused = side_by_side(&items, 2, |item| {
                begun.fetch_add(1, Ordering::SeqCst);
                match item {
                    5 => {
                        both.wait();
                        later.wait();
                        failure(item)
                    }
                    // The later one fails first in time.
                    6 => {
                        both.wait();
                        let failed = failure(item);
                        later.wait();
                        failed
                    }
                    _ => Ok(()),
                }
            });
            (refused.unwrap_err(), begun.load(Ordering::SeqCst))
        });
        assert_eq!(refused.facts, ["item 5"]);
        assert_eq!(begun, 7, "no item is begun after an error");
    }
}

//! Worker threads that give their results back in the order in which they were given work.
//!
//! Each worker has a queue in and a queue out; jobs go round the workers, and so do results, which
//! keeps the order without sorting. A job is a buffer that the worker changes in place: what goes in
//! comes out, so the caller owns every buffer again and can use it anew. How many jobs are under way
//! is the caller's decision, [`Pool::is_full`] its measure.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// How many jobs each worker may have before the oldest must be taken back: one at work, one waiting.
const DEPTH: usize = 2;

pub(super) struct Pool<J> {
    workers: Vec<Worker<J>>,
    /// The worker that gets the next job.
    next: usize,
    /// The workers of the jobs under way, oldest first.
    under_way: VecDeque<usize>,
}

struct Worker<J> {
    /// Dropped first, which ends the thread.
    jobs: Option<Sender<J>>,
    done: Receiver<J>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `threads` workers, at least one, that apply `work` to each job.
    pub(super) fn start(
        threads: usize,
        work: impl Fn(&mut J) + Send + Sync + 'static,
    ) -> io::Result<Pool<J>> {
        let work = Arc::new(work);
        let mut workers = Vec::new();
        for number in 0..threads.max(1) {
            let (jobs, inbox) = channel::<J>();
            let (outbox, done) = channel();
            let work = Arc::clone(&work);
            let thread =
                std::thread::Builder::new().name(format!("keyward-age-{number}")).spawn(move || {
                    for mut job in inbox {
                        work(&mut job);
                        if outbox.send(job).is_err() {
                            break;
                        }
                    }
                })?;
            workers.push(Worker { jobs: Some(jobs), done, thread: Some(thread) });
        }
        Ok(Pool { workers, next: 0, under_way: VecDeque::new() })
    }

    /// Whether [`Pool::take`] should come before the next [`Pool::give`].
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= self.workers.len() * DEPTH
    }

    pub(super) fn give(&mut self, job: J) -> io::Result<()> {
        let worker = self.workers.get(self.next).and_then(|worker| worker.jobs.as_ref());
        worker.ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        self.under_way.push_back(self.next);
        self.next = (self.next + 1) % self.workers.len();
        Ok(())
    }

    /// Waits for the oldest job; `None` if none is under way.
    pub(super) fn take(&mut self) -> io::Result<Option<J>> {
        let Some(number) = self.under_way.pop_front() else { return Ok(None) };
        let worker = self.workers.get(number).ok_or_else(stopped)?;
        worker.done.recv().map(Some).map_err(|_| stopped())
    }
}

impl<J> Drop for Pool<J> {
    /// Ends the threads. They compute and never wait for anything but jobs, so this takes no longer
    /// than the jobs under way.
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.jobs = None;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A worker that panicked has reported so by hanging up.
                let _ = thread.join();
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("a worker thread stopped")
}

//! The threads of a run. Idle threads are kept and reused, because starting one takes as long as a small stage.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

type Work<'env> = Box<dyn FnOnce() + Send + 'env>;

/// A thread pool that grows to the largest number of jobs that were ever started at a time; its threads end when it is
/// dropped.
pub(super) struct ThreadPool<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Work<'env>>,
    queue: Arc<Queue<'env>>,
}

struct Queue<'env> {
    receiver: Mutex<Receiver<Work<'env>>>,
    /// How many threads wait, or soon will, less the work that is on its way to them.
    idle: AtomicUsize,
}

impl<'scope, 'env> ThreadPool<'scope, 'env> {
    pub fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { scope, sender, queue: Arc::new(Queue { receiver: Mutex::new(receiver), idle: AtomicUsize::new(0) }) }
    }

    /// Runs a job on an idle thread, or on a new one.
    ///
    /// # Errors
    /// No thread is idle, and the system does not start another.
    pub fn start(&self, work: impl FnOnce() + Send + 'env) -> io::Result<()> {
        let one_less = |idle: usize| idle.checked_sub(1);
        if self.queue.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err() {
            let queue = Arc::clone(&self.queue);
            Builder::new().spawn_scoped(self.scope, move || queue.serve())?;
        }
        // The queue has its receiver for as long as this lives.
        drop(self.sender.send(Box::new(work)));
        Ok(())
    }
}

impl Queue<'_> {
    fn serve(&self) {
        loop {
            // The lock is given back before the work begins.
            let next = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(work) = next else { return };
            work();
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
    }
}

//! Threads for file operations that block, behind a bounded queue.
//!
//! Reads, writes and syncs each have threads of their own, so that an append that waits for the
//! device never delays a read that the page cache could answer.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The most operations that wait for one kind of thread; further callers wait for their turn
/// without occupying a thread.
const QUEUED_OPERATIONS: usize = 1024;

/// Stack of an I/O thread, in bytes: they run shallow code only.
const STACK_BYTES: usize = 256 * 1024;

type Operation = Box<dyn FnOnce() + Send>;

/// A set of threads that run operations in the order of their arrival.
#[derive(Clone)]
pub(super) struct IoThreads {
    gate: Arc<Gate>,
    permits: Arc<Semaphore>,
}

struct Gate {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
}

struct QueueState {
    operations: VecDeque<(Operation, OwnedSemaphorePermit)>,
    closed: bool,
}

impl IoThreads {
    /// Starts `count` threads that carry `name`. They end when the last clone is dropped.
    pub(super) fn start(name: &str, count: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::new(QueueState { operations: VecDeque::new(), closed: false }),
            ready: Condvar::new(),
        });
        let threads = Self {
            gate: Arc::new(Gate { queue: queue.clone() }),
            permits: Arc::new(Semaphore::new(QUEUED_OPERATIONS)),
        };
        for index in 0..count {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || queue.serve())?;
        }
        Ok(threads)
    }

    /// Runs an operation on one of the threads and waits for its result. The operation runs to its
    /// end even when the returned future is dropped, once it has been queued.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let stopped = || io::Error::other("the I/O thread has stopped");
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| stopped())?;
        let (done, result) = oneshot::channel();
        let operation = Box::new(move || {
            // The caller may have gone away; the operation has happened all the same.
            let _ = done.send(operation());
        });
        self.gate.queue.push(operation, permit);
        result.await.map_err(|_| stopped())?
    }
}

impl Queue {
    fn push(&self, operation: Operation, permit: OwnedSemaphorePermit) {
        self.lock().operations.push_back((operation, permit));
        self.ready.notify_one();
    }

    fn serve(&self) {
        loop {
            let (operation, permit) = {
                let mut state = self.lock();
                loop {
                    if let Some(next) = state.operations.pop_front() {
                        break next;
                    }
                    if state.closed {
                        return;
                    }
                    state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            drop(permit);
            operation();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.ready.notify_all();
    }
}

//! The one place where the node spawns a task, so that every task has a name.
//!
//! A panicking task is one of our own bugs: the binary's panic hook ends the process, and the
//! simulator ends the run. Nothing goes on with a partition whose driver has died.

use std::future::Future;
use tracing::Instrument;

/// Spawns named tasks on the current runtime.
#[derive(Clone, Debug, Default)]
pub struct Tasks {}

/// A running task. Dropping it lets the task go on; [`TaskHandle::abort`] ends it.
#[derive(Debug)]
pub struct TaskHandle<T>(tokio::task::JoinHandle<T>);

impl Tasks {
    /// Starts a task under a name that its log lines carry.
    #[expect(clippy::disallowed_methods, reason = "the one door through which tasks are spawned")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        TaskHandle(tokio::spawn(future.instrument(tracing::info_span!(parent: None, "task", name))))
    }
}

impl<T> TaskHandle<T> {
    /// Ends the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Waits for the task's end. `None` when it was aborted.
    pub async fn join(self) -> Option<T> {
        self.0.await.ok()
    }
}

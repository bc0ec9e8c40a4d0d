//! The consensus crate's view of the runtime: tasks, time and randomness come from our doors.
//!
//! The crate asks for all three through functions without an argument. What they answer from is
//! the [`World`] of the quorum whose code is running: every task of a quorum, and every call into
//! one, is a [`Scoped`] future, which puts its world in place while it is polled. Several nodes in
//! one process, each with a clock of its own, so never meet.

use super::{channels, watch};
use crate::{
    env::{BoxFuture, Clock, Entropy},
    tasks::Tasks,
};
use highwater_core::time::Instant;
use openraft::async_runtime::{AsyncRuntime, Instant as RaftInstant};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::{
    cell::RefCell,
    fmt,
    future::Future,
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// Added to the clock door's instants, so that "an election timeout ago" exists at its start too.
const START_NANOS: u64 = 1 << 60;

thread_local! {
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// What one node's quorum runs on.
pub(super) struct World {
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    seeds: Mutex<ChaCha8Rng>,
}

impl World {
    pub(super) fn new(tasks: Tasks, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Arc<Self> {
        let seeds = Mutex::new(ChaCha8Rng::seed_from_u64(entropy.next_u64()));
        Arc::new(Self { tasks, clock, seeds })
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now().monotonic
    }

    pub(super) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.now().after(duration))
    }

    /// The output of a future, unless it takes longer than `limit`.
    pub(super) async fn within<F: Future + Send>(
        &self,
        limit: Duration,
        future: F,
    ) -> Option<F::Output> {
        Timeout { future: Box::pin(future), sleep: self.sleep(limit) }.await.ok()
    }

    /// A future that runs in this world.
    pub(super) fn scope<F: Future>(self: &Arc<Self>, future: F) -> Scoped<F> {
        Scoped { world: self.clone(), future: Some(Box::pin(future)) }
    }

    pub(super) fn spawn<F>(self: &Arc<Self>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn("quorum", self.scope(future));
    }

    fn enter<T>(self: &Arc<Self>, inside: impl FnOnce() -> T) -> T {
        struct Restore(Option<Arc<World>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        inside()
    }

    fn current() -> Arc<Self> {
        CURRENT.with_borrow(|current| {
            current.clone().expect("the consensus crate is only called inside a world")
        })
    }
}

/// A future that is polled, and dropped, inside a [`World`].
pub(super) struct Scoped<F> {
    world: Arc<World>,
    /// Invariant: `None` only while it is being dropped.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { world, future } = &mut *self;
        let future = future.as_mut().expect("it is not polled while it is dropped");
        world.enter(|| future.as_mut().poll(context))
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        self.world.enter(|| drop(future));
    }
}

/// The runtime of the consensus crate.
#[derive(Debug)]
pub(super) struct QuorumRuntime;

impl AsyncRuntime for QuorumRuntime {
    type JoinError = TaskLost;
    type JoinHandle<T: Send + 'static> = JoinHandle<T>;
    type Sleep = BoxFuture<'static, ()>;
    type Instant = QuorumInstant;
    type TimeoutError = TimedOut;
    type Timeout<R, T: Future<Output = R> + Send> = Timeout<T>;
    type ThreadLocalRng = ChaCha8Rng;
    type Mpsc = channels::Mpsc;
    type Watch = watch::Channels;
    type Oneshot = channels::Oneshot;
    type Mutex<T: Send + 'static> = channels::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (finished, output) = tokio::sync::oneshot::channel();
        World::current().spawn(async move {
            // Nobody may be waiting for it.
            let _ = finished.send(future.await);
        });
        JoinHandle(output)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        World::current().sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        World::current().clock.sleep_until(deadline.to_clock())
    }

    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
    }

    fn is_panic(_error: &Self::JoinError) -> bool {
        true
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let world = World::current();
        let seed = world.seeds.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn new(_threads: usize) -> Self {
        panic!("a quorum runs on the node's runtime and never makes one")
    }

    fn block_on<F, T>(&mut self, _future: F) -> T
    where
        F: Future<Output = T>,
    {
        panic!("a quorum runs on the node's runtime and never blocks on it")
    }
}

/// A point on the clock door's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QuorumInstant(u64);

impl QuorumInstant {
    /// The same point as the clock door has it.
    pub(super) fn to_clock(self) -> Instant {
        Instant(self.0.saturating_sub(START_NANOS))
    }
}

impl RaftInstant for QuorumInstant {
    fn now() -> Self {
        Self(World::current().now().0.saturating_add(START_NANOS))
    }
}

impl Add<Duration> for QuorumInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for QuorumInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for QuorumInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for QuorumInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for QuorumInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The output of a task. Dropping it lets the task go on.
pub(super) struct JoinHandle<T>(tokio::sync::oneshot::Receiver<T>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, TaskLost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| TaskLost)
    }
}

/// A task has panicked, or the runtime has ended.
#[derive(Debug)]
pub(super) struct TaskLost;

impl fmt::Display for TaskLost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the task ended without an output")
    }
}

/// A future with a limit.
pub(super) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: BoxFuture<'static, ()>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimedOut>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        self.sleep.as_mut().poll(context).map(|()| Err(TimedOut))
    }
}

/// The limit of a [`Timeout`] was reached.
#[derive(Debug)]
pub(super) struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it took too long")
    }
}

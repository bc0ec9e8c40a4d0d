//! The driver of one partition: it steps the machine and performs its effects in order.
//!
//! A step is synchronous and holds the partition's mutex; nothing awaits under it. Appends are
//! queued on the log inside the step, so their order is the machine's order.

use super::{
    Bell, IsrChanges, TopicPartition,
    moves::{Moves, Place},
    touch::Lease,
};
use crate::{
    env::{BoxFuture, Clock},
    log::{Log, LogError, LogEvent},
    metrics::TopicMetrics,
    tasks::Tasks,
};
use highwater_core::{
    mutant::Mutant,
    partition::{Effect, Effects, Input, Partition, PartitionError, Response},
    sometimes,
    time::Now,
    types::{LeaderEpoch, RequestId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};
use tokio::sync::{Notify, oneshot};

/// A replica of a partition on this broker.
pub struct PartitionDriver {
    /// Which partition it is.
    pub id: TopicPartition,
    /// What its topic counts.
    pub metrics: Arc<TopicMetrics>,
    log: Log,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    isr_changes: Arc<IsrChanges>,
    lease: Arc<Lease>,
    state: Mutex<State>,
    this: Weak<PartitionDriver>,
}

struct State {
    machine: Partition,
    /// Reused between steps; empty outside of one.
    effects: Effects,
    waiters: BTreeMap<RequestId, Waiter>,
    next_request: u64,
    checkpoint: CheckpointTurn,
    /// Told of flushes and of every move while this replica follows.
    moves: Option<Arc<Moves>>,
    /// Told of flushes and of what is committed: the coordinator whose state this is.
    coordinator: Option<Arc<Notify>>,
}

/// What a driver is made of.
pub struct DriverParts {
    /// Which partition it is.
    pub id: TopicPartition,
    /// What its topic counts.
    pub metrics: Arc<TopicMetrics>,
    /// Decides.
    pub machine: Partition,
    /// Stores.
    pub log: Log,
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Spawns.
    pub tasks: Tasks,
    /// Takes proposals for the ISR.
    pub isr_changes: Arc<IsrChanges>,
    /// Ends when another broker may have been elected.
    pub lease: Arc<Lease>,
}

/// Whether a checkpoint is being written: one at a time, and the log asks only once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckpointTurn {
    Idle,
    Writing,
    /// One was asked for while another was written.
    WritingAndAsked,
}

/// Who hears of a request's outcome.
enum Waiter {
    Answer(oneshot::Sender<Response>),
    Wake(Arc<Notify>),
    /// A follower's session.
    Ring(Arc<Bell>),
}

/// Where the events of a log go once its driver exists. A log reports nothing before its first
/// append, which only the driver makes.
#[derive(Clone, Default)]
pub struct EventRoute(Arc<OnceLock<Weak<PartitionDriver>>>);

impl EventRoute {
    /// The callback for [`Log::open`].
    pub fn callback(&self) -> Arc<dyn Fn(LogEvent) + Send + Sync> {
        let route = self.0.clone();
        Arc::new(move |event| {
            if let Some(driver) = route.get().and_then(Weak::upgrade) {
                driver.on_log_event(event);
            }
        })
    }
}

impl PartitionDriver {
    /// Drives a machine over a log, whose events come by `route`.
    pub fn new(parts: DriverParts, route: &EventRoute) -> Arc<Self> {
        let DriverParts { id, metrics, machine, log, clock, tasks, isr_changes, lease } = parts;
        let state = State {
            machine,
            effects: Effects::new(),
            waiters: BTreeMap::new(),
            next_request: 0,
            checkpoint: CheckpointTurn::Idle,
            moves: None,
            coordinator: None,
        };
        let driver = Arc::new_cyclic(|this: &Weak<Self>| Self {
            id,
            metrics,
            log,
            clock,
            tasks,
            isr_changes,
            lease,
            state: Mutex::new(state),
            this: this.clone(),
        });
        assert!(route.0.set(driver.this.clone()).is_ok(), "one driver per log");
        driver
    }

    /// The partition's log, for reads.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Looks at the machine.
    pub fn inspect<T>(&self, look: impl FnOnce(&Partition) -> T) -> T {
        look(&self.lock().machine)
    }

    /// Puts a request to the machine. The receiver yields its answer, perhaps at once; it fails
    /// only when the partition is closed.
    pub fn request(&self, input: impl FnOnce(RequestId) -> Input) -> oneshot::Receiver<Response> {
        self.start(input).1
    }

    /// As [`PartitionDriver::request`], with the id by which the request can be cancelled.
    pub fn start(
        &self,
        input: impl FnOnce(RequestId) -> Input,
    ) -> (RequestId, oneshot::Receiver<Response>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let request = state.next_request();
        state.waiters.insert(request, Waiter::Answer(sender));
        self.step(&mut state, input(request));
        (request, receiver)
    }

    /// Puts a request that the machine answers within the step.
    pub fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Response {
        self.request(input).try_recv().expect("the machine answers such a request within the step")
    }

    /// Puts a fetch that stays parked behind its first answer: `wake` is notified when the answer
    /// may have changed. The request is to be cancelled when it is no longer wanted.
    pub fn park(
        &self,
        wake: Arc<Notify>,
        input: impl FnOnce(RequestId) -> Input,
    ) -> (RequestId, Response) {
        let (sender, mut receiver) = oneshot::channel();
        let mut state = self.lock();
        let request = state.next_request();
        state.waiters.insert(request, Waiter::Answer(sender));
        self.step(&mut state, input(request));
        let answer = receiver.try_recv().expect("the machine answers a fetch within the step");
        state.waiters.insert(request, Waiter::Wake(wake));
        (request, answer)
    }

    /// As [`PartitionDriver::park`] for a follower's session, whose earlier request is forgotten.
    pub fn park_for_follower(
        &self,
        earlier: Option<RequestId>,
        bell: Arc<Bell>,
        input: impl FnOnce(RequestId) -> Input,
    ) -> (RequestId, Response) {
        let (sender, mut receiver) = oneshot::channel();
        let mut state = self.lock();
        if let Some(request) = earlier {
            state.waiters.remove(&request);
            self.step(&mut state, Input::Cancel { request });
        }
        let request = state.next_request();
        state.waiters.insert(request, Waiter::Answer(sender));
        self.step(&mut state, input(request));
        let answer = receiver.try_recv().expect("the machine answers a fetch within the step");
        state.waiters.insert(request, Waiter::Ring(bell));
        (request, answer)
    }

    /// Forgets a request that is no longer wanted. Nothing happens if it was answered.
    pub fn cancel(&self, request: RequestId) {
        let mut state = self.lock();
        state.waiters.remove(&request);
        self.step(&mut state, Input::Cancel { request });
    }

    /// Tells the machine something that nobody waits for.
    pub fn tell(&self, input: Input) {
        let mut state = self.lock();
        self.step(&mut state, input);
    }

    /// Tells the machine whether another broker may lead by now. The coordinator whose state this
    /// partition holds, if there is one, is notified, too.
    pub fn tell_touch(&self) {
        let mut state = self.lock();
        self.feed(&mut state, self.clock.now(), self.lease.touch());
        state.notify_coordinator();
    }

    /// Whether the leadership of this epoch is the newest, as far as can be known by now.
    pub fn stands(&self, epoch: LeaderEpoch) -> bool {
        let mut state = self.lock();
        let now = self.clock.now();
        self.look_at_lease(&mut state, now);
        state.machine.stands(now.monotonic, epoch)
    }

    /// Lets `moves` hear from now on of flushes, and whenever this replica is to be fetched from
    /// elsewhere.
    pub fn report_moves_to(&self, moves: Arc<Moves>) {
        self.lock().moves = Some(moves);
    }

    /// Lets `coordinator` be notified from now on whenever more is flushed or committed, and while the
    /// controller is not heard. A notification is all that happens under the partition's lock: what is
    /// new has to be asked.
    pub fn report_commits_to(&self, coordinator: Arc<Notify>) {
        self.lock().coordinator = Some(coordinator);
    }

    /// Closes the log with a checkpoint of everything flushed. Produces that came too late for it
    /// fail.
    pub async fn close(&self) -> Result<(), LogError> {
        let closed = self.log.close(|| self.lock().machine.side_state()).await;
        self.tell(Input::LogFailed { readable: true });
        closed
    }

    fn on_log_event(&self, event: LogEvent) {
        match event {
            LogEvent::Written(through) => self.tell(Input::Written { through }),
            LogEvent::Flushed(through) => {
                let mut state = self.lock();
                self.step(&mut state, Input::Flushed { through });
                if let Some(moves) = &state.moves
                    && !state.machine.is_leader()
                {
                    moves.flushed(&self.id);
                }
                state.notify_coordinator();
            }
            LogEvent::Failed(error) => {
                tracing::error!(
                    partition = %self.id, %error,
                    "the partition takes no more records: its log failed; free or repair the disk \
                     and restart the broker"
                );
                self.tell(Input::LogFailed { readable: true });
                self.isr_changes.fail(&self.id);
            }
            LogEvent::CheckpointDue => self.start_checkpoint(),
        }
    }

    /// Writes a checkpoint beside the append path; one at a time.
    fn start_checkpoint(&self) {
        if !self.lock().checkpoint.ask() {
            sometimes!(CheckpointAskedMeanwhile);
            return;
        }
        self.run("checkpoint", move |driver| async move {
            loop {
                let side = driver.inspect(Partition::side_state);
                if let Err(error) = driver.log.checkpoint(side).await {
                    // The last good checkpoint stays: the next recovery only scans further.
                    tracing::warn!(partition = %driver.id, %error, "checkpoint not written");
                }
                if !driver.lock().checkpoint.goes_on() {
                    return;
                }
            }
        });
    }

    fn step(&self, state: &mut State, input: Input) {
        // Read before the lease is looked at: what is decided as of now was decided while it held.
        let now = self.clock.now();
        self.look_at_lease(state, now);
        self.feed(state, now, input);
    }

    /// Tells the machine before anything else that the lease has ended, or holds again, if it does not
    /// know.
    fn look_at_lease(&self, state: &mut State, now: Now) {
        let knows = state.machine.doubt();
        if knows.is_some_and(|doubt| doubt != self.lease.doubt())
            && !Mutant::DoubtComesLate.is_planted()
        {
            self.feed(state, now, self.lease.touch());
            state.notify_coordinator();
        }
    }

    fn feed(&self, state: &mut State, now: Now, input: Input) {
        let mut effects = std::mem::take(&mut state.effects);
        let before = state.moves.is_some().then(|| Place::of(&state.machine));
        state.machine.step(now, input, &mut effects);
        if let (Some(moves), Some(before)) = (&state.moves, before) {
            before.tell_moves(&state.machine, (moves, &self.id));
        }
        for effect in effects.drain(..) {
            self.perform(now, state, effect);
        }
        state.effects = effects;
    }

    fn perform(&self, now: Now, state: &mut State, effect: Effect) {
        match effect {
            Effect::Append { write, batch } => self.log.append(now, write, batch),
            Effect::Respond { request, response } => match state.waiters.remove(&request) {
                // The requester may have gone away: its connection was closed.
                Some(Waiter::Answer(sender)) => drop(sender.send(response)),
                Some(Waiter::Wake(wake)) => wake.notify_one(),
                Some(Waiter::Ring(bell)) => bell.wake(&self.id),
                None => {}
            },
            Effect::Wake { request } => match state.waiters.get(&request) {
                Some(Waiter::Wake(wake)) => wake.notify_one(),
                Some(Waiter::Ring(bell)) => bell.wake(&self.id),
                Some(Waiter::Answer(_)) | None => {}
            },
            Effect::Mention { request } => {
                if let Some(Waiter::Ring(bell)) = state.waiters.get(&request) {
                    bell.mention(&self.id);
                }
            }
            Effect::FindByTimestamp { request, timestamp, before } => {
                self.run("find-by-timestamp", move |driver| async move {
                    let found = match timestamp {
                        Some(timestamp) => driver.log.find_by_timestamp(timestamp, before).await,
                        None => driver.log.max_timestamp(before).await,
                    };
                    match found {
                        Ok(found) => driver.tell(Input::Found { request, found }),
                        Err(error) => {
                            tracing::error!(partition = %driver.id, %error, "lookup failed");
                            driver.tell(Input::FindFailed { request });
                        }
                    }
                });
            }
            Effect::AdvanceLogStart { to } => {
                let side = state.machine.side_state();
                self.run("advance-log-start", move |driver| async move {
                    match driver.log.advance_start(to, side).await {
                        Ok(()) => driver.tell(Input::LogStartPersisted { to }),
                        Err(error) => {
                            tracing::error!(
                                partition = %driver.id, %error,
                                "log start not stored: no records were deleted"
                            );
                            driver.tell(Input::LogStartNotPersisted { to });
                        }
                    }
                });
            }
            Effect::RollSegment => self.log.roll(),
            Effect::Truncate { write, to } => {
                tracing::info!(partition = %self.id, %to, "truncating to where the leader agrees");
                self.log.truncate(now, write, to, state.machine.side_state());
            }
            Effect::Reset { write, to, producers } => {
                tracing::warn!(partition = %self.id, %to, "starting over: the leader begins later");
                self.log.reset(now, write, to, producers);
            }
            Effect::ProposeIsr { leader_epoch, proposal } => {
                if let Some(driver) = self.this.upgrade() {
                    self.isr_changes.propose(driver, leader_epoch, proposal);
                }
            }
            Effect::HighWatermarkAdvanced { .. } => state.notify_coordinator(),
        }
    }

    fn run<F>(&self, name: &'static str, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(driver) = self.this.upgrade() {
            self.tasks.spawn(name, work(driver));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn notify_coordinator(&self) {
        if let Some(coordinator) = &self.coordinator {
            coordinator.notify_one();
        }
    }
}

impl CheckpointTurn {
    /// Asks for a checkpoint. Whether the asker has to begin.
    fn ask(&mut self) -> bool {
        let begins = *self == Self::Idle;
        *self = if begins { Self::Writing } else { Self::WritingAndAsked };
        begins
    }

    /// A checkpoint is over. Whether another one follows.
    fn goes_on(&mut self) -> bool {
        let again = *self == Self::WritingAndAsked;
        *self = if again { Self::Writing } else { Self::Idle };
        again
    }
}

/// Requests parked on partitions, forgotten when this is dropped.
#[derive(Default)]
pub struct ParkedRequests<'a> {
    requests: Vec<(&'a PartitionDriver, RequestId)>,
}

impl<'a> ParkedRequests<'a> {
    /// Forgets this request too in the end.
    pub fn add(&mut self, driver: &'a PartitionDriver, request: RequestId) {
        self.requests.push((driver, request));
    }
}

impl Drop for ParkedRequests<'_> {
    fn drop(&mut self) {
        for (driver, request) in &self.requests {
            driver.cancel(*request);
        }
    }
}

/// Completes with the answer, or with `StorageFailed` when the partition was closed meanwhile.
pub fn answered(receiver: oneshot::Receiver<Response>) -> BoxFuture<'static, Response> {
    Box::pin(
        async move { receiver.await.unwrap_or(Response::Error(PartitionError::StorageFailed)) },
    )
}

#[cfg(test)]
mod tests {
    use super::CheckpointTurn;

    #[test]
    fn a_checkpoint_asked_for_while_another_is_written_follows_it() {
        let mut turn = CheckpointTurn::Idle;
        assert!(turn.ask(), "the first one begins");
        assert!(!turn.ask() && !turn.ask(), "one at a time");
        assert!(turn.goes_on(), "what was asked for meanwhile is not lost");
        assert!(!turn.goes_on(), "and is done once");
        assert!(turn.ask());
    }
}

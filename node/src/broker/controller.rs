//! The driver of the controller: it runs the machine while this node leads the metadata quorum.

use crate::{
    env::{self, Clock, Doors, Transport, TransportError},
    peer::messages::{Heartbeat, HeartbeatReply, PeerReply, PeerRequest, ReplicaFlushed},
    quorum::Quorum,
    tasks::Tasks,
};
use highwater_core::{
    controller::{Controller, ControllerConfig, Effect, Effects, HeartbeatError, Input},
    mutant::Mutant,
    time::Instant,
    types::{BrokerId, MetadataOffset, RequestId},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// The pause before leading is tried again after the quorum could not confirm it.
const CONFIRM_AGAIN: Duration = Duration::from_millis(50);

/// The quorum is asked at most so often in one interval between signs of life whether this node leads
/// it: each question goes to every broker.
const CONFIRMATIONS: u32 = 4;

/// The controller of this node and what it needs.
pub struct ControllerDriver {
    node: BrokerId,
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    quorum: Arc<dyn Quorum>,
    tasks: Tasks,
    /// How often a broker gives a sign of life.
    interval: Duration,
    state: Mutex<State>,
    /// Counts what is to be confirmed.
    asked: AtomicU64,
    confirming: tokio::sync::Mutex<Confirmed>,
    /// The machine's deadline may be an earlier one.
    stepped: Notify,
}

struct State {
    machine: Controller,
    next_request: u64,
    answers: BTreeMap<RequestId, PeerReply>,
    /// When each broker was last heard by this leader.
    heard: BTreeMap<BrokerId, Instant>,
}

/// What the quorum said last about this node's leadership.
#[derive(Default)]
struct Confirmed {
    /// When it was asked.
    at: Option<Instant>,
    /// The newest that was asked before the quorum was.
    up_to: u64,
    /// What the quorum had decided by then, if this node led it.
    decided: Option<MetadataOffset>,
}

impl ControllerDriver {
    /// A controller that does not lead yet.
    pub fn new(
        node: BrokerId,
        (config, interval): (ControllerConfig, Duration),
        doors: &Doors,
        quorum: Arc<dyn Quorum>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let machine = Controller::new(config);
        let (answers, heard) = (BTreeMap::new(), BTreeMap::new());
        let state = Mutex::new(State { machine, next_request: 0, answers, heard });
        let clock = env::timers(doors.clock.clone(), Mutant::BrokerSessionsByWallClock);
        let transport = doors.transport.clone();
        Arc::new(Self {
            node,
            clock,
            transport,
            quorum,
            tasks,
            interval,
            state,
            asked: AtomicU64::new(0),
            confirming: tokio::sync::Mutex::default(),
            stepped: Notify::new(),
        })
    }

    /// Follows the leadership of the quorum, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            let leadership = self.quorum.leadership();
            if leadership.leader != Some(self.node) {
                self.quorum.leadership_changed(leadership).await;
                continue;
            }
            // The image must hold what the leaders before this one have decided.
            if let Err(error) = self.quorum.read_barrier().await {
                tracing::debug!(%error, "leading is not confirmed");
                let until = self.clock.now().monotonic.after(CONFIRM_AGAIN);
                self.clock.sleep_until(until).await;
                continue;
            }
            if self.quorum.leadership() != leadership {
                continue;
            }
            tracing::info!(term = leadership.term, "this node is the controller");
            self.step(Input::Led);
            self.lead(leadership).await;
            tracing::info!(term = leadership.term, "this node is the controller no more");
            self.step(Input::Resigned);
        }
    }

    /// Answers a broker's sign of life, once the quorum has confirmed that this node leads it. Who is
    /// cut off does not know that it no longer does, and would keep those who are cut off with it from
    /// doubting that they lead still what others were elected to lead.
    pub async fn heartbeat(self: &Arc<Self>, heartbeat: Heartbeat) -> PeerReply {
        // The next one must not come later for this one.
        let by = self.clock.now().monotonic.after(self.interval);
        let reply = self.take_heartbeat(heartbeat);
        if Mutant::HeartbeatUnconfirmed.is_planted() {
            return reply;
        }
        let confirmed = tokio::select! {
            biased;
            confirmed = self.confirmed() => confirmed,
            () = self.clock.sleep_until(by) => None,
        };
        match (confirmed, reply) {
            (None, _) => PeerReply::Unavailable("the quorum does not confirm it".into()),
            (
                Some(decided),
                PeerReply::Heartbeat(HeartbeatReply::Known { fenced, may_shut_down, .. }),
            ) => PeerReply::Heartbeat(HeartbeatReply::Known { fenced, may_shut_down, decided }),
            (Some(_), reply) => reply,
        }
    }

    /// Below which offset lies what was decided by some moment since this was asked, at which this node
    /// led the quorum. Those who ask while the quorum is asked share the next question.
    async fn confirmed(&self) -> Option<MetadataOffset> {
        let ours = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut confirmed = self.confirming.lock().await;
        if confirmed.up_to < ours {
            if let Some(at) = confirmed.at {
                self.clock.sleep_until(at.after(self.interval / CONFIRMATIONS)).await;
            }
            let up_to = self.asked.load(Ordering::Acquire);
            confirmed.at = Some(self.clock.now().monotonic);
            let decided = self.quorum.read_barrier().await.ok();
            (confirmed.up_to, confirmed.decided) = (up_to, decided);
        }
        confirmed.decided
    }

    fn take_heartbeat(self: &Arc<Self>, heartbeat: Heartbeat) -> PeerReply {
        let Heartbeat { broker, epoch, applied, wants_shutdown } = heartbeat;
        let mut state = self.lock();
        state.heard.insert(broker, self.clock.now().monotonic);
        state.next_request += 1;
        let request = RequestId(state.next_request);
        let input = Input::Heartbeat { request, broker, epoch, applied, wants_shutdown };
        self.step_locked(&mut state, input);
        let answer = state.answers.remove(&request);
        answer.expect("the machine answers a heartbeat within the step")
    }

    /// Steps the machine when time has come or the image has changed, while the leadership lasts.
    async fn lead(self: &Arc<Self>, leadership: crate::quorum::Leadership) {
        let ended = self.quorum.leadership_changed(leadership);
        tokio::pin!(ended);
        let mut probe_at = self.clock.now().monotonic.after(self.interval);
        self.lock().heard.clear();
        // One that died with the leader before this one need not be waited for.
        self.probe_the_silent();
        loop {
            let deadline = self.lock().machine.next_deadline();
            let image = self.quorum.image().applied();
            tokio::select! {
                biased;
                () = &mut ended => return,
                () = self.quorum.changed(image) => {}
                () = self.stepped.notified() => continue,
                () = sleep_until(&self.clock, deadline) => {}
                () = self.clock.sleep_until(probe_at) => {
                    probe_at = self.clock.now().monotonic.after(self.interval);
                    self.probe_the_silent();
                    continue;
                }
            }
            self.step(Input::Tick);
        }
    }

    /// Asks the brokers that missed a sign of life whether they are still there. Only a refused
    /// connection tells something: their process is gone, and waiting for the end of the session
    /// would only keep their partitions without a leader.
    fn probe_the_silent(self: &Arc<Self>) {
        let (now, image) = (self.clock.now().monotonic, self.quorum.image());
        let live = image.brokers().filter(|(id, known)| !known.fenced && *id != self.node);
        for (broker, registration) in live {
            let epoch = registration.epoch;
            let heard = self.lock().heard.get(&broker).copied();
            if heard.is_some_and(|heard| now.since(heard) < self.interval * 2) {
                continue;
            }
            let (this, deadline) = (self.clone(), now.after(self.interval * 2));
            self.tasks.spawn("broker-probe", async move {
                let nothing = ReplicaFlushed { broker_epoch: epoch, partitions: Vec::new() };
                let probe = PeerRequest::Flushed(nothing);
                if let Err(error @ TransportError::Refused { .. }) =
                    this.transport.call(broker, probe, deadline).await
                {
                    tracing::debug!(%broker, %error, "a broker is gone");
                    this.step(Input::Gone { broker, epoch });
                }
            });
        }
    }

    fn step(self: &Arc<Self>, input: Input) {
        self.step_locked(&mut self.lock(), input);
    }

    fn step_locked(self: &Arc<Self>, state: &mut State, input: Input) {
        let mut effects = Effects::new();
        let image = self.quorum.image();
        let before = state.machine.next_deadline();
        state.machine.step(self.clock.now(), &image, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Propose(command) => {
                    let quorum = self.quorum.clone();
                    self.tasks.spawn("controller-proposal", async move {
                        // The machine proposes again what the image does not show in time.
                        if let Err(error) = quorum.propose(command).await {
                            tracing::debug!(%error, "proposal of the controller failed");
                        }
                    });
                }
                Effect::Respond { request, answer } => {
                    let reply = match answer {
                        Ok(answer) => PeerReply::Heartbeat(HeartbeatReply::Known {
                            fenced: answer.fenced,
                            may_shut_down: answer.may_shut_down,
                            decided: image.applied(),
                        }),
                        Err(HeartbeatError::NotController) => {
                            PeerReply::NotLeader { leader: self.quorum.leadership().leader }
                        }
                        Err(HeartbeatError::StaleBrokerEpoch | HeartbeatError::NotRegistered) => {
                            PeerReply::Heartbeat(HeartbeatReply::Stale)
                        }
                    };
                    state.answers.insert(request, reply);
                }
            }
        }
        if state.machine.next_deadline() != before {
            self.stepped.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(clock: &Arc<dyn Clock>, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! The driver of the controller: it runs the machine while this node leads the metadata quorum.

use crate::{
    env::Clock,
    peer::messages::{Heartbeat, HeartbeatReply, PeerReply},
    quorum::Quorum,
    tasks::Tasks,
};
use highwater_core::{
    controller::{Controller, ControllerConfig, Effect, Effects, HeartbeatError, Input},
    types::{BrokerId, RequestId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// The pause before leading is tried again after the quorum could not confirm it.
const CONFIRM_AGAIN: Duration = Duration::from_millis(50);

/// The controller of this node and what it needs.
pub struct ControllerDriver {
    node: BrokerId,
    clock: Arc<dyn Clock>,
    quorum: Arc<dyn Quorum>,
    tasks: Tasks,
    state: Mutex<State>,
    /// The machine's deadline may be an earlier one.
    stepped: Notify,
}

struct State {
    machine: Controller,
    next_request: u64,
    answers: BTreeMap<RequestId, PeerReply>,
}

impl ControllerDriver {
    /// A controller that does not lead yet.
    pub fn new(
        node: BrokerId,
        config: ControllerConfig,
        clock: Arc<dyn Clock>,
        quorum: Arc<dyn Quorum>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let machine = Controller::new(config);
        let state = State { machine, next_request: 0, answers: BTreeMap::new() };
        let state = Mutex::new(state);
        Arc::new(Self { node, clock, quorum, tasks, state, stepped: Notify::new() })
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

    /// Answers a broker's sign of life.
    pub fn heartbeat(self: &Arc<Self>, heartbeat: Heartbeat) -> PeerReply {
        let Heartbeat { broker, epoch, applied, wants_shutdown } = heartbeat;
        let mut state = self.lock();
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
        loop {
            let deadline = self.lock().machine.next_deadline();
            let image = self.quorum.image().applied();
            tokio::select! {
                biased;
                () = &mut ended => return,
                () = self.quorum.changed(image) => {}
                () = self.stepped.notified() => continue,
                () = sleep_until(&self.clock, deadline) => {}
            }
            self.step(Input::Tick);
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

async fn sleep_until(clock: &Arc<dyn Clock>, deadline: Option<highwater_core::time::Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

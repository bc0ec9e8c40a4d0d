//! The controller: what the leader of the metadata quorum knows beside the metadata, which are the
//! sessions of the brokers, and the commands that follow from it (KIP-631).
//!
//! All of it is soft: a new leader starts with nothing, and what the controller proposes is decided
//! when it is applied.

mod messages;
mod session;
#[cfg(test)]
mod tests;

pub use messages::{Effect, Effects, HeartbeatAnswer, HeartbeatError, Input};

use crate::{
    metadata::{Command, ElectionKind, Image},
    mutant::Mutant,
    sometimes,
    time::{Instant, Now},
    types::{BrokerEpoch, BrokerId, PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;
use session::Session;

/// After this long without an effect on the image, a command is proposed again.
pub const PROPOSAL_RETRY: Duration = Duration::from_secs(1);
/// The most preferred leaders that one command elects; the rest follows after [`PROPOSAL_RETRY`].
pub const MAX_ELECTIONS_PER_REBALANCE: usize = 1_000;

/// How the controller keeps its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// `broker.session.timeout.ms`: the silence after which a broker is fenced.
    pub session_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` when `auto.leader.rebalance.enable` is
    /// off.
    pub rebalance_interval: Option<Duration>,
}

/// The controller of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    config: ControllerConfig,
    /// While this node leads the quorum.
    leading: Option<Leading>,
}

/// What a controller knows while it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leading {
    /// Invariant: after every step, exactly the brokers that are registered.
    sessions: BTreeMap<BrokerId, Session>,
    next_rebalance: Option<Instant>,
}

impl Controller {
    /// A controller that does not lead.
    #[must_use]
    pub fn new(config: ControllerConfig) -> Self {
        Self { config, leading: None }
    }

    /// Takes one input. `image` is the node's newest.
    pub fn step(&mut self, now: Now, image: &Image, input: Input, effects: &mut Effects) {
        let now = now.monotonic;
        match input {
            Input::Led => {
                let next_rebalance = self.config.rebalance_interval.map(|wait| now.after(wait));
                self.leading = Some(Leading { sessions: BTreeMap::new(), next_rebalance });
            }
            Input::Resigned => self.leading = None,
            Input::Heartbeat { .. } | Input::Gone { .. } | Input::Tick => {}
        }
        if let Some(leading) = &mut self.leading {
            leading.follow(now, image);
        }
        if let Input::Gone { broker, epoch } = input
            && let Some(leading) = &mut self.leading
            && let Some(session) = leading.sessions.get_mut(&broker)
            && session.epoch() == epoch
        {
            sometimes!(BrokerFoundGone);
            session.end();
        }
        if let Input::Heartbeat { request, broker, epoch, applied, wants_shutdown } = input {
            let answer = self.check(image, broker, epoch).map(|leading| {
                let session = leading.session(broker);
                session.hear(now, applied, wants_shutdown);
                leading.answer(image, broker)
            });
            effects.push(Effect::Respond { request, answer });
        }
        if let Some(leading) = &mut self.leading {
            for (broker, session) in &mut leading.sessions {
                let proposal = session.propose(now, self.config.session_timeout, *broker);
                effects.extend(proposal.map(Effect::Propose));
            }
            leading.rebalance(now, image, self.config.rebalance_interval, effects);
        }
    }

    /// When [`Input::Tick`] is due at the latest, if nothing else happens; `None` while this node
    /// does not lead, or has nothing to wait for. A change of the image wants a tick, too.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let leading = self.leading.as_ref()?;
        let sessions = leading.sessions.values();
        let deadlines =
            sessions.filter_map(|session| session.deadline(self.config.session_timeout));
        deadlines.chain(leading.next_rebalance).min()
    }

    /// Whether a heartbeat counts.
    fn check(
        &mut self,
        image: &Image,
        broker: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<&mut Leading, HeartbeatError> {
        // A registration that this node has not applied yet was made where a newer leader is.
        let is_newer = epoch.0 > image.applied().0;
        let leading = self.leading.as_mut().filter(|_| !is_newer);
        let leading = leading.ok_or(HeartbeatError::NotController)?;
        match image.broker(broker) {
            None => Err(HeartbeatError::NotRegistered),
            Some(known) if known.epoch != epoch => Err(HeartbeatError::StaleBrokerEpoch),
            Some(_) => Ok(leading),
        }
    }
}

impl Leading {
    /// Brings the sessions in line with the registrations. A registration that is new to this
    /// leader gets a full session, however long ago it was made: before, its broker sent its
    /// heartbeats elsewhere.
    fn follow(&mut self, now: Instant, image: &Image) {
        self.sessions.retain(|broker, session| {
            image.broker(*broker).is_some_and(|known| {
                known.epoch == session.epoch() || Mutant::SessionOutlivesRegistration.is_planted()
            })
        });
        for (broker, registration) in image.brokers() {
            let session = self.sessions.entry(broker);
            session.or_insert_with(|| Session::new(now, registration)).follow(registration);
        }
    }

    fn session(&mut self, broker: BrokerId) -> &mut Session {
        self.sessions.get_mut(&broker).expect("every registered broker has a session")
    }

    fn answer(&mut self, image: &Image, broker: BrokerId) -> HeartbeatAnswer {
        let registration = image.broker(broker).expect("checked before");
        let caught_up = self.session(broker).is_caught_up();
        let may_shut_down = self.may_shut_down(image, broker);
        HeartbeatAnswer { fenced: registration.fenced, caught_up, may_shut_down }
    }

    /// A broker may stop once it leads nothing, and all that can lead know that: so nobody fetches
    /// from it or sends clients to it any more.
    fn may_shut_down(&mut self, image: &Image, broker: BrokerId) -> bool {
        let registration = image.broker(broker).expect("checked before");
        if !self.session(broker).wants_shutdown() {
            return false;
        }
        if registration.fenced {
            return true;
        }
        if !registration.in_controlled_shutdown || image.leads_any(broker) {
            return false;
        }
        let handed_over = self.session(broker).hand_over(image.applied());
        let mut active = self.sessions.iter().filter(|(other, _)| image.is_active(**other));
        let all_know = active.all(|(_, session)| session.applied() >= handed_over);
        sometimes!(HandOverNotYetKnown, !all_know);
        all_know
    }

    /// Proposes leaders where the preferred one does not lead but could.
    fn rebalance(
        &mut self,
        now: Instant,
        image: &Image,
        interval: Option<Duration>,
        effects: &mut Effects,
    ) {
        let (Some(due), Some(interval)) = (self.next_rebalance, interval) else { return };
        if now < due {
            return;
        }
        let unbalanced: Vec<_> = unbalanced(image).take(MAX_ELECTIONS_PER_REBALANCE).collect();
        let has_more = unbalanced.len() == MAX_ELECTIONS_PER_REBALANCE;
        self.next_rebalance = Some(now.after(if has_more { PROPOSAL_RETRY } else { interval }));
        if !unbalanced.is_empty() {
            let partitions = Some(unbalanced);
            let kind = ElectionKind::Preferred;
            effects.push(Effect::Propose(Command::ElectLeaders { partitions, kind }));
        }
    }
}

/// The partitions that another broker leads although the preferred one is in sync.
fn unbalanced(image: &Image) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
    image.partitions().filter_map(|(topic, index, partition)| {
        let preferred = *partition.replicas.first()?;
        let could_lead = partition.isr.contains(&preferred) && image.is_active(preferred);
        (could_lead && partition.leader != Some(preferred)).then_some((topic, index))
    })
}

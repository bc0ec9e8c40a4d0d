//! Looks at what should have happened by now. Only where faults do nothing but stop processes, and so
//! everybody who runs is quick: a controller that has had its quorum for a while has fenced who does
//! not run, and a replica of the workload's topics does what its broker knows from the metadata that it
//! is to do. What a broker does not know, and that nobody is the controller, others judge.

use crate::{
    cluster::Cluster,
    history::{Overdue, Partition, Undone},
    machine::Machine,
    recorder::now_nanos,
};
use highwater_core::{
    metadata::PartitionRegistration,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId},
};
use highwater_node::server::{Broker, ReplicaHealth, ReplicaState};
use std::collections::{BTreeMap, BTreeSet};

/// How long a controller may take to fence somebody, from when the one does not run and the other has
/// a quorum: a session of 1,000 ms, which a new controller lets everybody begin anew, as much until it
/// proposes again what was not decided, and half of it for being sure of itself.
const FENCED_WITHIN_NANOS: u64 = 2_500_000_000;
/// How long a replica may take to do what its broker was told. It opens a log first.
const FOLLOWED_WITHIN_NANOS: u64 = 1_000_000_000;

/// What is waited for, and since when, in simulated nanoseconds.
#[derive(Default)]
pub(super) struct Vigil {
    /// Who leads the metadata quorum in which term, as far as it knows itself.
    controller: Option<((BrokerId, u64), u64)>,
    /// A majority of the voters runs.
    has_quorum: Option<u64>,
    /// Whose process has ended, and as which registration it is waited for.
    absent: BTreeMap<BrokerId, (BrokerEpoch, u64)>,
    /// Which replica does not do what it was told, in which life of its broker and which epoch.
    idle: BTreeMap<(Partition, BrokerId), ((u64, LeaderEpoch), u64)>,
    /// What was overdue, so that it is said once.
    said: BTreeSet<(BrokerId, Option<Partition>, u64)>,
}

/// What a broker knows that its replica is to do.
struct Told {
    is_replica: bool,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
}

/// A replica that does something else.
struct Idle {
    partition: Partition,
    broker: BrokerId,
    life: u64,
    told: Told,
    found: String,
}

impl Cluster {
    /// Looks at whether everything has happened that should have.
    pub(super) fn keep_vigil(&self) {
        if !self.recorder.history().promise.is_brisk {
            return;
        }
        let mut overdue = self.fencing_overdue();
        overdue.extend(self.roles_overdue());
        for (broker, millis, what) in overdue {
            self.recorder.note(format_args!("broker {broker} is {millis} ms late: {what:?}"));
            let mut history = self.recorder.history();
            let at = history.tick();
            history.overdue.push(Overdue { at, broker: broker.0, millis, what });
        }
    }

    fn fencing_overdue(&self) -> Vec<(BrokerId, u64, Undone)> {
        let now = now_nanos();
        let mut witness = self.witness();
        let vigil = &mut witness.vigil;
        let reign = self.reign();
        vigil.controller = reign.map(|reign| since(vigil.controller, reign, now));
        vigil.has_quorum = self.has_quorum().then(|| vigil.has_quorum.unwrap_or(now));
        let Some(((controller, _), leads_since)) = vigil.controller else { return Vec::new() };
        self.await_fencing(controller, vigil, now);
        let Some(quorum_since) = vigil.has_quorum else { return Vec::new() };
        let mut overdue = Vec::new();
        for (id, (epoch, absent_since)) in &vigil.absent {
            let could_since = leads_since.max(quorum_since).max(*absent_since);
            let waited = now.saturating_sub(could_since);
            if waited > FENCED_WITHIN_NANOS && vigil.said.insert((*id, None, epoch.0)) {
                overdue.push((controller, waited / 1_000_000, Undone::Fences(id.0)));
            }
        }
        overdue
    }

    /// Who leads the metadata quorum in which term, by its own account and nobody else's.
    fn reign(&self) -> Option<(BrokerId, u64)> {
        let mut reigns = self.machines.iter().filter_map(|machine| {
            let known = machine.broker()?.leadership();
            (known.leader == Some(machine.id)).then_some((machine.id, known.term))
        });
        reigns.next().filter(|_| reigns.next().is_none())
    }

    fn has_quorum(&self) -> bool {
        let voters = self.machines.iter().filter(|machine| machine.votes);
        voters.clone().filter(|machine| machine.is_ready()).count() * 2 > voters.count()
    }

    /// Waits for the fencing of those whose processes have ended, until they have started again: who is
    /// about to is heard by the controller already.
    fn await_fencing(&self, controller: BrokerId, vigil: &mut Vigil, now: u64) {
        let broker = self.machine(controller).and_then(Machine::broker);
        let Some(image) = broker.map(|broker| broker.image()) else { return };
        let before = std::mem::take(&mut vigil.absent);
        for (id, registration) in image.brokers().filter(|(_, registration)| !registration.fenced) {
            let Some(machine) = self.machine(id) else { continue };
            let known = before.get(&id).copied().filter(|(epoch, _)| *epoch == registration.epoch);
            if machine.is_ready() || machine.is_running() && known.is_none() {
                continue;
            }
            vigil.absent.insert(id, since(known, registration.epoch, now));
        }
    }

    fn roles_overdue(&self) -> Vec<(BrokerId, u64, Undone)> {
        let topics: Vec<(usize, TopicId)> = {
            let history = self.recorder.history();
            history.topics.iter().enumerate().map(|(at, topic)| (at, TopicId(topic.id))).collect()
        };
        let now = now_nanos();
        let idle = self.machines.iter().flat_map(|machine| idle_replicas(machine, &topics));
        let idle: Vec<Idle> = idle.collect();
        let mut witness = self.witness();
        let vigil = &mut witness.vigil;
        let before = std::mem::take(&mut vigil.idle);
        let mut overdue = Vec::new();
        for Idle { partition, broker, life, told, found } in idle {
            let key = (partition, broker);
            let (what, began) = since(before.get(&key).copied(), (life, told.leader_epoch), now);
            vigil.idle.insert(key, (what, began));
            let (waited, epoch) = (now.saturating_sub(began), u64::from(told.leader_epoch.0));
            if waited > FOLLOWED_WITHIN_NANOS && vigil.said.insert((broker, Some(partition), epoch))
            {
                let what = Undone::Follows { partition, told: told.in_words(), found };
                overdue.push((broker, waited / 1_000_000, what));
            }
        }
        overdue
    }
}

/// The replicas of a machine that do not do what its broker knows. What has failed does nothing.
fn idle_replicas(machine: &Machine, topics: &[(usize, TopicId)]) -> Vec<Idle> {
    let Some(broker) = machine.broker() else { return Vec::new() };
    let (image, life) = (broker.image(), machine.disk.model().incarnation());
    let mut idle = Vec::new();
    for (topic, id) in topics {
        let partitions = image.topic(*id).map_or(&[][..], |topic| &topic.partitions);
        for (index, registration) in partitions.iter().enumerate() {
            let partition = Partition { topic: *topic, index: index as i32 };
            let told = Told::of(registration, machine.id);
            let Some(found) = found_idle(&broker, (*id, index), &told, machine.id) else {
                continue;
            };
            idle.push(Idle { partition, broker: machine.id, life, told, found });
        }
    }
    idle
}

fn found_idle(
    broker: &Broker,
    (topic, index): (TopicId, usize),
    told: &Told,
    id: BrokerId,
) -> Option<String> {
    let index = PartitionIndex(index as u32);
    if broker.replica_health(topic, index) == ReplicaHealth::Failed {
        return None;
    }
    let does = broker.replica(topic, index).map(|replica| does(&replica));
    told.not_done_by(id, does)
}

/// Whether a replica leads, in which leader epoch, and by which version of the registration.
type Does = (bool, LeaderEpoch, Option<PartitionEpoch>);

fn does(replica: &ReplicaState) -> Does {
    (replica.is_leader, replica.leader_epoch, replica.partition_epoch)
}

impl Told {
    fn of(registration: &PartitionRegistration, broker: BrokerId) -> Self {
        Self {
            is_replica: registration.replicas.contains(&broker),
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
        }
    }

    fn in_words(&self) -> String {
        let leader = self.leader.map_or("nobody".to_owned(), |leader| format!("broker {leader}"));
        format!("{leader} leads in epoch {}", self.leader_epoch.0)
    }

    /// What a replica does instead, if it does something else.
    fn not_done_by(&self, broker: BrokerId, does: Option<Does>) -> Option<String> {
        let Some((leads, leader_epoch, partition_epoch)) = does else {
            return self.is_replica.then(|| "no open log".to_owned());
        };
        if !self.is_replica {
            return Some("a log of what it is no replica of".to_owned());
        }
        let is_told_to_lead = self.leader == Some(broker);
        let role = if leads { "leads" } else { "follows" };
        if (leads, leader_epoch) != (is_told_to_lead, self.leader_epoch) {
            return Some(format!("{role} in epoch {}", leader_epoch.0));
        }
        let is_behind = partition_epoch.is_none_or(|known| known < self.partition_epoch);
        is_behind.then(|| format!("{role} by an older version than {}", self.partition_epoch.0))
    }
}

/// Since when it is so: from before, where it was the same, or from now on.
fn since<T: PartialEq>(before: Option<(T, u64)>, what: T, now: u64) -> (T, u64) {
    match before {
        Some((same, began)) if same == what => (what, began),
        _ => (what, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let leader = Some(BrokerId(2));
        let (leader_epoch, partition_epoch) = (LeaderEpoch(3), PartitionEpoch(7));
        Told { is_replica: true, leader, leader_epoch, partition_epoch }
    }

    fn found(broker: i32, does: Option<(bool, u32, u32)>) -> Option<String> {
        let does = does.map(|(leads, leader_epoch, partition_epoch)| {
            (leads, LeaderEpoch(leader_epoch), Some(PartitionEpoch(partition_epoch)))
        });
        told().not_done_by(BrokerId(broker), does)
    }

    #[test]
    fn a_replica_that_does_something_else_is_found() {
        assert_eq!(found(2, Some((true, 3, 7))), None);
        assert_eq!(found(2, Some((true, 3, 8))), None, "it was answered before the metadata came");
        assert_eq!(found(1, Some((false, 3, 7))), None);
        assert_eq!(found(1, None).as_deref(), Some("no open log"));
        assert_eq!(found(1, Some((true, 3, 7))).as_deref(), Some("leads in epoch 3"));
        assert_eq!(found(1, Some((false, 2, 7))).as_deref(), Some("follows in epoch 2"));
        let behind = found(2, Some((true, 3, 6)));
        assert_eq!(behind.as_deref(), Some("leads by an older version than 7"));
        let elsewhere = Told { is_replica: false, ..told() };
        assert_eq!(elsewhere.not_done_by(BrokerId(4), None), None);
        let does = Some((false, LeaderEpoch(3), None));
        assert!(elsewhere.not_done_by(BrokerId(4), does).is_some());
    }

    #[test]
    fn time_counts_from_when_it_became_so() {
        assert_eq!(since(None, 'a', 5), ('a', 5));
        assert_eq!(since(Some(('a', 5)), 'a', 9), ('a', 5));
        assert_eq!(since(Some(('a', 5)), 'b', 9), ('b', 9));
    }
}

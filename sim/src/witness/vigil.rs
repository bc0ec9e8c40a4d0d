//! Looks at what should have happened by now. Only where faults do nothing but stop processes, and so
//! everybody who runs is quick: a controller that has had its quorum for a while has fenced who does
//! not run, and a replica does what its broker knows from the metadata that it is to do.

use super::Sight;
use crate::{
    cluster::Cluster,
    history::{Overdue, Partition, Undone},
    machine::Machine,
    recorder::now_nanos,
};
use highwater_core::{
    metadata::PartitionRegistration,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicId},
};
use highwater_node::server::{ReplicaHealth, ReplicaState};
use std::collections::{BTreeMap, BTreeSet};

/// How long a controller may take to fence somebody, from when both the one does not run and the other
/// has a quorum: a session of 500 ms, which a new controller lets everybody begin anew, and a second.
const FENCED_WITHIN_NANOS: u64 = 1_500_000_000;
/// How long a replica may take to do what its broker was told. It opens a log first.
const FOLLOWED_WITHIN_NANOS: u64 = 1_000_000_000;

/// What is waited for, and since when, in simulated nanoseconds.
#[derive(Default)]
pub(super) struct Vigil {
    /// Who leads the metadata quorum, as far as it knows itself.
    controller: Option<(BrokerId, u64)>,
    /// A majority of the voters runs.
    has_quorum: Option<u64>,
    /// Who does not run, and as which registration it is waited for.
    absent: BTreeMap<BrokerId, (BrokerEpoch, u64)>,
    /// Which replica does not do what it was told in which epoch.
    idle: BTreeMap<(Partition, BrokerId), (LeaderEpoch, u64)>,
    /// What was overdue, so that it is said once.
    said: BTreeSet<(BrokerId, Option<Partition>, u64)>,
}

impl Cluster {
    /// Looks at whether everything has happened that should have.
    pub(super) fn keep_vigil(&self) {
        if !self.recorder.history().promise.is_brisk {
            return;
        }
        let mut overdue = Vec::new();
        self.look_at_fencing(&mut overdue);
        self.look_at_roles(&mut overdue);
        for (broker, millis, what) in overdue {
            self.recorder.note(format_args!("broker {broker} is {millis} ms late: {what:?}"));
            let mut history = self.recorder.history();
            let at = history.tick();
            history.overdue.push(Overdue { at, broker: broker.0, millis, what });
        }
    }

    fn look_at_fencing(&self, overdue: &mut Vec<(BrokerId, u64, Undone)>) {
        let now = now_nanos();
        let mut witness = self.witness();
        let vigil = &mut witness.vigil;
        let leads = |machine: &&Machine| {
            machine.broker().is_some_and(|it| it.leadership().leader == Some(machine.id))
        };
        let mut leading = self.machines.iter().filter(leads);
        let controller = leading.next().filter(|_| leading.next().is_none());
        vigil.controller = controller.map(|it| since(vigil.controller, it.id, now));
        let voters = self.machines.iter().filter(|machine| machine.votes);
        let running = voters.clone().filter(|machine| machine.is_ready()).count();
        let has_quorum = running * 2 > voters.count();
        vigil.has_quorum = has_quorum.then(|| vigil.has_quorum.unwrap_or(now));
        let Some(image) = controller.and_then(|it| Some(it.broker()?.image())) else { return };
        let unfenced: BTreeMap<BrokerId, BrokerEpoch> =
            image.brokers().filter(|(_, it)| !it.fenced).map(|(id, it)| (id, it.epoch)).collect();
        let is_absent = |id: &BrokerId| self.machine(*id).is_some_and(|it| !it.is_ready());
        let absent = unfenced.into_iter().filter(|(id, _)| is_absent(id));
        vigil.absent = absent
            .map(|(id, epoch)| {
                let known = vigil.absent.get(&id).copied();
                (id, since(known, epoch, now))
            })
            .collect();
        let (Some((controller, leads_since)), Some(quorum_since)) =
            (vigil.controller, vigil.has_quorum)
        else {
            return;
        };
        for (id, (epoch, absent_since)) in &vigil.absent {
            let waited = now - leads_since.max(quorum_since).max(*absent_since);
            if waited > FENCED_WITHIN_NANOS && vigil.said.insert((*id, None, epoch.0)) {
                overdue.push((controller, waited / 1_000_000, Undone::Fences(id.0)));
            }
        }
    }

    fn look_at_roles(&self, overdue: &mut Vec<(BrokerId, u64, Undone)>) {
        let topics: Vec<(usize, TopicId)> = {
            let history = self.recorder.history();
            history.topics.iter().enumerate().map(|(at, topic)| (at, TopicId(topic.id))).collect()
        };
        let mut idle = BTreeMap::new();
        for machine in self.machines.iter() {
            let Some(broker) = machine.broker() else { continue };
            let image = broker.image();
            for (topic, id) in &topics {
                let partitions = image.topic(*id).map_or(0, |topic| topic.partitions.len());
                for index in 0..partitions as i32 {
                    let partition = Partition { topic: *topic, index };
                    let Some(sight) = Sight::of(&image, partition, *id) else { continue };
                    let index = PartitionIndex(index as u32);
                    if broker.replica_health(*id, index) == ReplicaHealth::Failed {
                        continue;
                    }
                    let replica = broker.replica(*id, index);
                    let Some(found) = not_done(&sight, machine.id, replica.as_ref()) else {
                        continue;
                    };
                    idle.insert((partition, machine.id), (sight.registration.clone(), found));
                }
            }
        }
        self.wait_for_roles(idle, overdue);
    }

    fn wait_for_roles(
        &self,
        idle: BTreeMap<(Partition, BrokerId), (PartitionRegistration, String)>,
        overdue: &mut Vec<(BrokerId, u64, Undone)>,
    ) {
        let now = now_nanos();
        let mut witness = self.witness();
        let vigil = &mut witness.vigil;
        let before = std::mem::take(&mut vigil.idle);
        for ((partition, broker), (told, found)) in idle {
            let key = (partition, broker);
            let (epoch, began) = since(before.get(&key).copied(), told.leader_epoch, now);
            vigil.idle.insert(key, (epoch, began));
            let (waited, epoch) = (now - began, u64::from(epoch.0));
            if waited > FOLLOWED_WITHIN_NANOS && vigil.said.insert((broker, Some(partition), epoch))
            {
                let told = format!("leader {:?} in epoch {epoch}", told.leader.map(|it| it.0));
                let what = Undone::Follows { partition, told, found };
                overdue.push((broker, waited / 1_000_000, what));
            }
        }
    }
}

/// Since when it is so: from before, where it was the same, or from now on.
fn since<T: PartialEq>(before: Option<(T, u64)>, what: T, now: u64) -> (T, u64) {
    match before {
        Some((same, began)) if same == what => (what, began),
        _ => (what, now),
    }
}

/// What a broker's replica does instead of what the broker knows that it should.
fn not_done(sight: &Sight<'_>, broker: BrokerId, replica: Option<&ReplicaState>) -> Option<String> {
    let told = sight.registration;
    let Some(replica) = replica else {
        return told.replicas.contains(&broker).then(|| "no open log".to_owned());
    };
    if !told.replicas.contains(&broker) {
        return Some("a log of what it is no replica of".to_owned());
    }
    let leads = told.leader == Some(broker);
    let does = (replica.leader_epoch, replica.is_leader) == (told.leader_epoch, leads);
    let role = if replica.is_leader { "leads" } else { "follows" };
    (!does).then(|| format!("{role} in epoch {}", replica.leader_epoch.0))
}

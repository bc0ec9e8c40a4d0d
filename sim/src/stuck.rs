//! Why a healed cluster cannot serve a partition. Where the faults exceed what a cluster promises to
//! survive, a partition may stay without a leader, or under `min.insync.replicas`; but only for a
//! reason that can be told: which replicas are left, and why none of them may lead, or why they are
//! too few. Without one, a cluster that is stuck is a cluster that could have gone on.
//!
//! A replica is missing only where its broker said why it does not start, or where its log rotted on
//! the disk and was taken out of service for that. One that is slow, hangs, or gave its log up without
//! such a reason counts as one that could serve.

use crate::{
    cluster::Cluster,
    history::{History, MarkKind, MetadataSeen, Partition},
    machine::Machine,
};
use highwater_core::{
    metadata::PartitionRegistration,
    types::{BrokerId, PartitionIndex, TopicId},
};
use highwater_node::server::ReplicaHealth;
use std::collections::BTreeMap;

/// What nobody can serve, each with its proof. The error is the first that has none, and why: it
/// could be served.
pub fn excuses(
    unserved: Vec<(Partition, String)>,
    is_unlimited: bool,
    proof: impl Fn(Partition) -> Result<String, String>,
) -> Result<BTreeMap<Partition, String>, String> {
    let mut excuses = BTreeMap::new();
    for (partition, message) in unserved {
        if !is_unlimited {
            return Err(message);
        }
        let proof = proof(partition);
        let proof = proof.map_err(|why| format!("{message}; and yet it could be: {why}"))?;
        excuses.insert(partition, proof);
    }
    Ok(excuses)
}

/// Whether nobody who is left can serve this partition: the proof, or why there is none.
pub fn proof(cluster: &Cluster, partition: Partition) -> Result<String, String> {
    let states = |machine: &Machine| (machine.id, State::of(machine, partition, cluster));
    let brokers: BTreeMap<BrokerId, State> = cluster.machines.iter().map(states).collect();
    let Some(image) = cluster.image() else { return nobody_runs(&brokers) };
    let name = cluster.recorder.name(partition);
    let id = TopicId(cluster.recorder.history().topics[partition.topic].id);
    let index = PartitionIndex(partition.index as u32);
    let Some(known) = image.partition(id, index) else {
        return Err(format!("{name} is not in the metadata"));
    };
    let left = Left {
        known,
        brokers: &brokers,
        needed: image.min_insync_replicas(id, index) as usize,
        any_may_lead: image.allows_unclean_election(id),
        lost_nothing: lost_nothing(&cluster.recorder.history(), partition),
    };
    Ok(format!("{name}: {}. {}", left.why()?, left.replicas()))
}

/// Why a partition that takes records cannot be read to its end: a bit of its leader's log has
/// flipped, or nobody can serve it any more.
pub fn unreadable(cluster: &Cluster, partition: Partition) -> Result<String, String> {
    let leader = cluster.leader_of(partition);
    let machine = cluster.machines.iter().find(|machine| Some(machine.id) == leader);
    let is_rotten = |machine: &&Machine| is_rotten(machine, partition);
    match machine.filter(is_rotten) {
        Some(machine) => {
            let (name, leader) = (cluster.recorder.name(partition), machine.id);
            Ok(format!("{name}: broker {leader} leads, and a bit of its log has flipped"))
        }
        None => proof(cluster, partition),
    }
}

fn is_rotten(machine: &Machine, partition: Partition) -> bool {
    machine.images().get(&partition).is_some_and(|log| log.rotten)
}

/// Of those who were seen last to have every acknowledged record one that has no reason not to have
/// them any more: its disk was not lost, nor has it crashed where records count before they are
/// flushed.
fn lost_nothing(history: &History, partition: Partition) -> Option<BrokerId> {
    let of_partition = |look: &'_ MetadataSeen| {
        let seen = look.partitions.get(&partition)?;
        let whole: Vec<i32> = seen.isr.iter().chain(&seen.elr).copied().collect();
        (!whole.is_empty()).then_some((look.offset, whole))
    };
    let (_, whole) = history.metadata.iter().filter_map(of_partition).max()?;
    let counts_received = history.topics[partition.topic].replicated;
    let has_lost = |broker: &i32| {
        history.marks.iter().filter(|mark| mark.machine == *broker).any(|mark| match mark.kind {
            MarkKind::Wiped => true,
            MarkKind::Stopped => counts_received,
            _ => false,
        })
    };
    whole.into_iter().find(|broker| !has_lost(broker)).map(BrokerId)
}

fn nobody_runs(brokers: &BTreeMap<BrokerId, State>) -> Result<String, String> {
    if let Some((broker, state)) = brokers.iter().find(|(_, state)| state.could_serve()) {
        return Err(format!("no broker runs, and broker {broker} {state}"));
    }
    let all: Vec<String> =
        brokers.iter().map(|(broker, state)| format!("broker {broker} {state}")).collect();
    Ok(format!("no broker runs: {}", all.join(", ")))
}

/// How it stands with a broker's replica of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    InService,
    /// In service, and a bit of its log has flipped: nobody can copy it beyond that.
    Flipped,
    /// The broker failed at its start, with what it said.
    DoesNotStart(String),
    /// The broker runs, and the log on its disk is rotten and out of service.
    Rotten,
    /// Neither in service nor with a reason not to be.
    Unexplained(&'static str),
}

impl State {
    fn of(machine: &Machine, partition: Partition, cluster: &Cluster) -> Self {
        let id = TopicId(cluster.recorder.history().topics[partition.topic].id);
        let index = PartitionIndex(partition.index as u32);
        let broker = machine.broker();
        match broker.map(|broker| broker.replica_health(id, index)) {
            Some(ReplicaHealth::InService) if is_rotten(machine, partition) => Self::Flipped,
            Some(ReplicaHealth::InService) => Self::InService,
            Some(ReplicaHealth::Failed) => {
                let sound = Self::Unexplained("is alive, and its log failed and is not rotten");
                if is_rotten(machine, partition) { Self::Rotten } else { sound }
            }
            Some(ReplicaHealth::Missing) => Self::Unexplained("is alive and has not opened it"),
            None => machine
                .start_failure()
                .map_or(Self::Unexplained("neither gets ready nor says why"), Self::DoesNotStart),
        }
    }

    const fn could_serve(&self) -> bool {
        matches!(self, Self::InService | Self::Flipped | Self::Unexplained(_))
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InService => formatter.write_str("is alive"),
            Self::Flipped => formatter.write_str("is alive, and a bit of its log has flipped"),
            Self::DoesNotStart(why) => write!(formatter, "does not start ({why})"),
            Self::Rotten => formatter.write_str("is alive, and its log is rotten"),
            Self::Unexplained(what) => formatter.write_str(what),
        }
    }
}

/// What is left of a partition.
struct Left<'a> {
    known: &'a PartitionRegistration,
    brokers: &'a BTreeMap<BrokerId, State>,
    /// `min.insync.replicas`.
    needed: usize,
    /// Whether the topic lets a replica lead that is not in sync.
    any_may_lead: bool,
    /// One who was seen last to have everything, and can have lost nothing.
    lost_nothing: Option<BrokerId>,
}

impl Left<'_> {
    fn why(&self) -> Result<String, String> {
        match self.known.leader {
            Some(leader) if self.could_serve(leader) => self.too_few_are_in_sync(leader),
            _ => self.nobody_may_lead(),
        }
    }

    /// In the order in which leaders are elected: of the ISR, of the eligible replicas (KIP-966), the
    /// last leader where there is neither, any replica where the topic allows that.
    fn nobody_may_lead(&self) -> Result<String, String> {
        let PartitionRegistration { leader, isr, elr, last_known_leader, replicas, .. } =
            self.known;
        let nobody_has_all = isr.is_empty() && elr.is_empty();
        let last = last_known_leader.filter(|_| nobody_has_all);
        let others: &[BrokerId] = if self.any_may_lead { replicas } else { &[] };
        let mut may_lead = isr.iter().chain(elr).copied().chain(last).chain(others.iter().copied());
        let leads = match leader {
            Some(leader) => format!("broker {leader} leads and cannot"),
            None => "nobody leads".into(),
        };
        if let Some(broker) = may_lead.find(|broker| self.could_serve(*broker)) {
            return Err(format!("{leads}, and broker {broker} may, which {}", self.state(broker)));
        }
        if let Some(broker) = self.lost_nothing.filter(|_| nobody_has_all) {
            return Err(format!(
                "{leads}, and broker {broker} had everything and has lost nothing"
            ));
        }
        let last = last.map_or("nobody".into(), |last| format!("broker {last}"));
        Ok(format!(
            "{leads}: in sync are {}, eligible {}, last without either led {last}, and others may \
             {}lead",
            ids(isr),
            ids(elr),
            if self.any_may_lead { "" } else { "not " }
        ))
    }

    fn too_few_are_in_sync(&self, leader: BrokerId) -> Result<String, String> {
        let PartitionRegistration { isr, replicas, .. } = self.known;
        let needed = self.needed;
        // Whoever is not in sync has to copy the leader's log.
        let can_copy = self.brokers.get(&leader) != Some(&State::Flipped);
        let counts = |replica: &&BrokerId| {
            self.could_serve(**replica) && (can_copy || isr.contains(replica))
        };
        let left = replicas.iter().filter(counts).count();
        if left >= needed {
            return Err(format!(
                "broker {leader} leads and {left} replicas are left, of which {needed} have to be \
                 in sync. {}",
                self.replicas()
            ));
        }
        Ok(format!(
            "broker {leader} leads, {} are in sync, {needed} have to be, and {left} are left",
            ids(isr)
        ))
    }

    fn could_serve(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_none_or(State::could_serve)
    }

    fn state(&self, broker: BrokerId) -> String {
        self.brokers.get(&broker).map_or_else(|| "is unknown".into(), ToString::to_string)
    }

    fn replicas(&self) -> String {
        let of = |replica: &BrokerId| format!("broker {replica} {}", self.state(*replica));
        let replicas: Vec<String> = self.known.replicas.iter().map(of).collect();
        format!("Of its replicas, {}", replicas.join("; "))
    }
}

fn ids(brokers: &[BrokerId]) -> String {
    let all: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

#[cfg(test)]
mod tests;

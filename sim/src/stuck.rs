//! Why a healed cluster cannot serve a partition. Where the faults exceed what a cluster promises to
//! survive, a partition may stay without a leader, or under `min.insync.replicas`; but only for a
//! reason that can be told: which replicas are left, and why none of them may lead, or why they are
//! too few. Without one, a cluster that is stuck is a cluster that could have gone on.

use crate::{cluster::Cluster, history::Partition, machine::Machine};
use highwater_core::{
    metadata::{Image, PartitionRegistration},
    types::{BrokerId, PartitionIndex, TopicId},
};

/// Whether nobody who is left can serve this partition: the proof, or why there is none.
pub fn proof(cluster: &Cluster, partition: Partition) -> Result<String, String> {
    let Some(image) = cluster.image() else { return Ok(nobody_runs(cluster)) };
    let name = cluster.recorder.name(partition);
    let id = TopicId(cluster.recorder.history().topics[partition.topic].id);
    let index = PartitionIndex(partition.index as u32);
    let Some(known) = image.partition(id, index) else {
        return Err(format!("{name} is not in the metadata"));
    };
    let left = Left { cluster, image: &image, known };
    let needed = image.min_insync_replicas(id, index) as usize;
    let why = match known.leader {
        None => left.nobody_may_lead(image.allows_unclean_election(id)),
        Some(leader) => left.too_few_are_in_sync(leader, needed),
    }?;
    Ok(format!("{name}: {why}. {}", left.replicas()))
}

fn nobody_runs(cluster: &Cluster) -> String {
    let machines: Vec<String> = cluster.machines.iter().map(state_of).collect();
    format!("no broker runs: {}", machines.join(", "))
}

/// What is left of a partition.
struct Left<'a> {
    cluster: &'a Cluster,
    image: &'a Image,
    known: &'a PartitionRegistration,
}

impl Left<'_> {
    /// In the order in which leaders are elected: of the ISR, of the eligible replicas (KIP-966), the
    /// last leader where there is neither, any replica where the topic allows that.
    fn nobody_may_lead(&self, any_may: bool) -> Result<String, String> {
        let PartitionRegistration { isr, elr, last_known_leader, replicas, .. } = self.known;
        let nobody_has_all = isr.is_empty() && elr.is_empty();
        let last = last_known_leader.filter(|_| nobody_has_all);
        let others: &[BrokerId] = if any_may { replicas } else { &[] };
        let may_lead = || isr.iter().chain(elr).copied().chain(last).chain(others.iter().copied());
        if let Some(alive) = may_lead().find(|broker| self.is_alive(*broker)) {
            return Err(format!("nobody leads, and broker {alive} is alive and may"));
        }
        let last = last.map_or("nobody".into(), |last| format!("broker {last}"));
        Ok(format!(
            "nobody leads: in sync are {}, eligible {}, last without either led {last}, and others \
             may {}lead",
            ids(isr),
            ids(elr),
            if any_may { "" } else { "not " }
        ))
    }

    fn too_few_are_in_sync(&self, leader: BrokerId, needed: usize) -> Result<String, String> {
        let alive = self.known.replicas.iter().filter(|replica| self.is_alive(**replica)).count();
        if alive >= needed {
            return Err(format!(
                "broker {leader} leads and {alive} replicas are alive, of which {needed} have to be \
                 in sync"
            ));
        }
        Ok(format!(
            "broker {leader} leads, {} are in sync, {needed} have to be, and {alive} are alive",
            ids(&self.known.isr)
        ))
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.cluster.machines.iter().any(|machine| machine.id == broker && machine.is_ready())
    }

    fn replicas(&self) -> String {
        let of = |replica: &BrokerId| {
            let fenced = self.image.broker(*replica).is_none_or(|known| known.fenced);
            let machine = self.cluster.machines.iter().find(|machine| machine.id == *replica);
            let state = machine.map_or_else(|| format!("broker {replica} is unknown"), state_of);
            if fenced { format!("{state} and is fenced") } else { state }
        };
        let replicas: Vec<String> = self.known.replicas.iter().map(of).collect();
        format!("Of its replicas, {}", replicas.join("; "))
    }
}

fn state_of(machine: &Machine) -> String {
    match (machine.is_ready(), machine.start_failure()) {
        (true, _) => format!("broker {} is alive", machine.id),
        (_, Some(why)) => format!("broker {} does not start ({why})", machine.id),
        _ => format!("broker {} does not get ready", machine.id),
    }
}

fn ids(brokers: &[BrokerId]) -> String {
    let all: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

//! What brokers know of the metadata, written into the history.

use crate::{
    history::{MetadataSeen, Moment, Partition, PartitionSeen, TermSeen, Topic},
    machine::Machine,
    recorder::now_nanos,
    trace::Fnv128,
};
use highwater_core::{
    metadata::Image,
    types::{BrokerId, PartitionIndex, TopicId},
};
use std::collections::BTreeMap;

/// Notes what metadata a machine's broker has applied, and who leads the quorum as far as it knows.
pub fn note(machine: &Machine) {
    let Some(broker) = machine.broker() else {
        // Who does not run applies nothing.
        machine.recorder.history().look_at(machine.id.0);
        return;
    };
    let image = broker.image();
    let known = broker.leadership();
    let mut history = machine.recorder.history();
    let unknown_at = history.look_at(machine.id.0);
    if let Some(leader) = known.leader {
        let (machine, term, leader) = (machine.id.0, known.term, leader.0);
        let is_it =
            |seen: &TermSeen| (seen.machine, seen.term, seen.leader) == (machine, term, leader);
        if !history.terms.iter().any(is_it) {
            let at = history.tick();
            history.terms.push(TermSeen { at, machine, term, leader });
        }
    }
    let of_machine = |seen: &&MetadataSeen| seen.machine == machine.id.0;
    let last = history.metadata.iter().rev().find(of_machine);
    if last.is_none_or(|last| last.offset != image.applied().0) {
        let (at, nanos) = (history.tick(), now_nanos());
        let seen = metadata_seen((at, machine.id), &image, &history.topics);
        history.metadata.push(MetadataSeen { nanos, unknown_at, ..seen });
    }
}

fn metadata_seen(
    (at, machine): (Moment, BrokerId),
    image: &Image,
    topics: &[Topic],
) -> MetadataSeen {
    let mut hash = Fnv128::default();
    hash.update(format!("{image:?}").as_bytes());
    let brokers = image.brokers().map(|(id, broker)| (id.0, broker.epoch.0)).collect();
    let fenced = image.brokers().filter(|(_, broker)| broker.fenced).map(|(id, _)| id.0).collect();
    MetadataSeen {
        at,
        nanos: 0,
        unknown_at: 0,
        machine: machine.0,
        offset: image.applied().0,
        digest: format!("{:032x}", hash.value()),
        topics: image.topics().map(|topic| topic.id.0).collect(),
        partitions: partitions_of(image, topics),
        brokers,
        fenced,
    }
}

/// The place of the partitions of known topics.
pub fn partitions_of(image: &Image, topics: &[Topic]) -> BTreeMap<Partition, PartitionSeen> {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<i32>>();
    let mut partitions = BTreeMap::new();
    for (topic, known) in topics.iter().enumerate() {
        let described = image.topic(TopicId(known.id));
        for (index, of) in described.iter().flat_map(|topic| &topic.partitions).enumerate() {
            let seen = PartitionSeen {
                leader: of.leader.map(|leader| leader.0),
                leader_epoch: of.leader_epoch.0 as i32,
                partition_epoch: of.partition_epoch.0 as i32,
                isr: ids(&of.isr),
                replicas: ids(&of.replicas),
                elr: ids(&of.elr),
                adding: ids(&of.adding),
                removing: ids(&of.removing),
                min_insync: image
                    .min_insync_replicas(TopicId(known.id), PartitionIndex(index as u32)),
            };
            partitions.insert(Partition { topic, index: index as i32 }, seen);
        }
    }
    partitions
}

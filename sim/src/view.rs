//! The cluster as conditions see it.

use crate::{
    cluster::Cluster,
    condition::{PartitionName, PartitionView, ReplicaView, View},
    history::Partition,
    recorder::now_nanos,
};
use highwater_core::{
    metadata::{OFFSETS_TOPIC, PartitionRegistration},
    types::{BrokerId, Offset, PartitionIndex, TopicId},
};
use highwater_node::coordinator::partition_of;

impl Cluster {
    /// The id of a partition, as the newest metadata has it.
    #[must_use]
    pub fn id_of(&self, name: &PartitionName) -> Option<(TopicId, PartitionIndex)> {
        let image = self.image()?;
        Some((image.topic_named(&name.topic)?.id, PartitionIndex(name.index)))
    }
}

fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

impl View for Cluster {
    fn brokers(&self) -> Vec<i32> {
        self.machines.iter().map(|machine| machine.id.0).collect()
    }

    fn partition(&self, name: &PartitionName) -> Option<PartitionView> {
        let image = self.image()?;
        let of: &PartitionRegistration =
            image.topic_named(&name.topic)?.partitions.get(name.index as usize)?;
        Some(PartitionView {
            leader: of.leader.map(|leader| leader.0),
            leader_epoch: i64::from(of.leader_epoch.0),
            partition_epoch: i64::from(of.partition_epoch.0),
            isr: ids(&of.isr),
            elr: ids(&of.elr),
            replicas: ids(&of.replicas),
        })
    }

    fn replica(&self, name: &PartitionName, broker: i32) -> Option<ReplicaView> {
        let (topic, index) = self.id_of(name)?;
        let machine = self.machines.iter().find(|machine| machine.id.0 == broker)?;
        let known = machine.broker()?.replica(topic, index)?;
        Some(ReplicaView {
            leader_epoch: i64::from(known.leader_epoch.0),
            log_start_offset: number(known.log_start_offset),
            high_watermark: number(known.high_watermark),
            flushed_offset: number(known.flushed_offset),
            log_end_offset: number(known.log_end_offset),
        })
    }

    fn acknowledged(&self, name: &PartitionName) -> i64 {
        let history = self.recorder.history();
        let is_it = |topic: &crate::history::Topic| topic.name == name.topic && !topic.deleted;
        let Some(topic) = history.topics.iter().position(is_it) else { return 0 };
        let partition = Partition { topic, index: name.index as i32 };
        history.acknowledged_ends.get(&partition).copied().unwrap_or(0)
    }

    fn controller(&self) -> Option<i32> {
        Cluster::controller(self).map(|leader| leader.0)
    }

    fn term(&self) -> Option<i64> {
        let known = self.machines.iter().filter_map(|machine| Some(machine.broker()?.leadership()));
        known.map(|known| i64::try_from(known.term).unwrap_or(i64::MAX)).max()
    }

    fn coordinator(&self, group: &str) -> Option<i32> {
        let image = self.image()?;
        let partitions = &image.topic_named(OFFSETS_TOPIC)?.partitions;
        let index = partition_of(group, partitions.len());
        partitions.get(index.0 as usize)?.leader.map(|leader| leader.0)
    }

    fn generation(&self, group: &str) -> Option<i64> {
        self.recorder.history().generations.get(group).map(|generation| i64::from(*generation))
    }

    fn is_alive(&self, broker: i32) -> bool {
        self.machines.iter().any(|machine| machine.id.0 == broker && machine.is_ready())
    }

    fn is_fenced(&self, broker: i32) -> Option<bool> {
        Some(self.image()?.broker(BrokerId(broker))?.fenced)
    }

    fn broker_epoch(&self, broker: i32) -> Option<i64> {
        let epoch = self.image()?.broker(BrokerId(broker))?.epoch;
        Some(i64::try_from(epoch.0).unwrap_or(i64::MAX))
    }

    fn held_messages(&self) -> i64 {
        i64::try_from(self.network.held()).unwrap_or(i64::MAX)
    }

    fn now(&self) -> i64 {
        (now_nanos() / 1_000_000) as i64
    }
}

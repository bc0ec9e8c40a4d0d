//! What the broker knows of its replicas, for those who watch it from inside of the same process.

use super::Broker;
use crate::broker::{Lookup, PartitionDriver, TopicPartition};
use highwater_core::{
    partition::Partition,
    types::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, TopicId},
};

/// What a replica knows of itself at one moment.
#[derive(Clone, Debug)]
pub struct ReplicaState {
    /// Of which partition.
    pub id: TopicPartition,
    /// Whether it leads.
    pub is_leader: bool,
    /// The newest leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The version of the registration by which it goes; `None` before it heard of one.
    pub partition_epoch: Option<PartitionEpoch>,
    /// Who is in sync, as a leader counts without what it has proposed; `None` where it does not lead.
    pub isr: Option<Vec<BrokerId>>,
    /// The first offset that can be read, inclusive.
    pub log_start_offset: Offset,
    /// The end of what consumers may read, exclusive.
    pub high_watermark: Offset,
    /// The end of what survives a power cut, exclusive.
    pub flushed_offset: Offset,
    /// The end of what was appended, exclusive.
    pub log_end_offset: Offset,
}

/// Whether a replica takes part in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaHealth {
    /// Its log is open and takes appends.
    InService,
    /// Its log could not be opened, or has failed since; the reason was logged.
    Failed,
    /// There is none, or its log is being opened.
    Missing,
}

impl Broker {
    /// How it stands with this broker's replica of a partition.
    pub fn replica_health(&self, topic: TopicId, index: PartitionIndex) -> ReplicaHealth {
        match self.shared.partitions.get(topic, index) {
            Lookup::Open(driver) if driver.inspect(Partition::is_writable) => {
                ReplicaHealth::InService
            }
            Lookup::Open(_) | Lookup::Offline => ReplicaHealth::Failed,
            Lookup::Opening | Lookup::Unknown => ReplicaHealth::Missing,
        }
    }

    /// What this broker's replica of a partition knows; `None` when it has none that is open.
    pub fn replica(&self, topic: TopicId, index: PartitionIndex) -> Option<ReplicaState> {
        let Lookup::Open(driver) = self.shared.partitions.get(topic, index) else { return None };
        Some(state_of(&driver))
    }

    /// What every replica knows whose log is open.
    pub fn replicas(&self) -> Vec<ReplicaState> {
        self.shared.partitions.open().iter().map(|driver| state_of(driver)).collect()
    }
}

fn state_of(driver: &PartitionDriver) -> ReplicaState {
    driver.inspect(|partition| ReplicaState {
        id: driver.id.clone(),
        is_leader: partition.is_leader(),
        leader_epoch: partition.leader_epoch(),
        partition_epoch: partition.partition_epoch(),
        isr: partition.isr(),
        log_start_offset: partition.log_start_offset(),
        high_watermark: partition.high_watermark(),
        flushed_offset: partition.flushed_offset(),
        log_end_offset: partition.log_end_offset(),
    })
}

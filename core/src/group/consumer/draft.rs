//! A decision in the making: what was decided so far, and the group as it will be by that.

use super::group::ConsumerGroup;
use crate::{
    group::{
        ConsumerGroupValue, GROUP_DECISION_BYTES_MAX, GroupError, GroupId, Record,
        limits::record_size,
    },
    metadata::{Fnv, Image},
    mutant::Mutant,
};
use alloc::{borrow::Cow, vec::Vec};
use core::hash::Hasher;

/// Records that are to be appended, and the group after them.
pub(super) struct Draft<'a> {
    pub id: GroupId,
    group: Cow<'a, ConsumerGroup>,
    records: Vec<Record>,
    /// What the records take, in bytes, at the most.
    bytes: usize,
}

impl<'a> Draft<'a> {
    /// Nothing is decided about this group yet.
    pub(super) fn new(id: GroupId, group: &'a ConsumerGroup) -> Self {
        Self { id, group: Cow::Borrowed(group), records: Vec::new(), bytes: 0 }
    }

    /// The group as it will be.
    pub(super) fn group(&self) -> &ConsumerGroup {
        &self.group
    }

    /// Decides on a record.
    pub(super) fn push(&mut self, record: Record) {
        self.group.to_mut().apply(&record);
        self.bytes += record_size(&record);
        self.records.push(record);
    }

    /// Decides on a record after which nobody looks at the group any more; all of it is what is to be
    /// written.
    ///
    /// # Errors
    /// It is more than one decision may write: nothing is.
    pub(super) fn finish(mut self, last: Option<Record>) -> Result<Vec<Record>, GroupError> {
        self.bytes += last.as_ref().map_or(0, record_size);
        self.records.extend(last);
        self.check_size()?;
        Ok(self.records)
    }

    /// What is to be written, of which whoever drew it up knows that it is not too much.
    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// What the records so far take, in bytes, at the most.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Refuses more than one decision may write.
    pub(super) fn check_size(&self) -> Result<(), GroupError> {
        let too_large = self.bytes > GROUP_DECISION_BYTES_MAX;
        match too_large && !Mutant::DecisionUnbounded.is_planted() {
            true => Err(GroupError::GroupMaxSizeReached),
            false => Ok(()),
        }
    }

    /// Begins a new group epoch.
    pub(super) fn bump(&mut self, metadata_hash: u64) {
        let epoch = self.group.value.epoch + 1;
        let value = Some(ConsumerGroupValue { epoch, metadata_hash });
        self.push(Record::ConsumerGroup { group: self.id.clone(), value });
    }

    /// The hash of what assignments depend on (KIP-1101): ids, names and sizes of the topics that
    /// the group subscribes to, and the racks of their replicas. Zero when none exists.
    pub(super) fn metadata_hash(&self, image: &Image) -> u64 {
        let mut hasher = Fnv::default();
        let mut any = false;
        for name in self.group.subscribed_topics() {
            let Some(topic) = image.topic_named(name) else { continue };
            any = true;
            hasher.write(&topic.id.0);
            hasher.write(topic.name.as_bytes());
            hasher.write_usize(topic.partitions.len());
            for partition in &topic.partitions {
                let replicas = partition.replicas.iter();
                let mut racks: Vec<&str> = replicas
                    .filter_map(|replica| image.broker(*replica)?.rack.as_deref())
                    .collect();
                racks.sort_unstable();
                racks.dedup();
                for rack in racks {
                    hasher.write(rack.as_bytes());
                    hasher.write(&[0xff]);
                }
                hasher.write(&[0xfe]);
            }
        }
        if any { hasher.finish() } else { 0 }
    }
}

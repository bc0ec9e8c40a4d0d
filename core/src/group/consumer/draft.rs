//! A decision in the making: what was decided so far, and the group as it will be by that.

use super::group::ConsumerGroup;
use crate::{
    group::{ConsumerGroupValue, GroupId, Record},
    metadata::{Fnv, Image},
};
use alloc::{borrow::Cow, vec::Vec};
use core::hash::Hasher;

/// Records that are to be appended, and the group after them.
pub(super) struct Draft<'a> {
    pub id: GroupId,
    group: Cow<'a, ConsumerGroup>,
    records: Vec<Record>,
}

impl<'a> Draft<'a> {
    /// Nothing is decided about this group yet.
    pub(super) fn new(id: GroupId, group: &'a ConsumerGroup) -> Self {
        Self { id, group: Cow::Borrowed(group), records: Vec::new() }
    }

    /// The group as it will be.
    pub(super) fn group(&self) -> &ConsumerGroup {
        &self.group
    }

    /// Decides on a record.
    pub(super) fn push(&mut self, record: Record) {
        self.group.to_mut().apply(&record);
        self.records.push(record);
    }

    /// Decides on a record after which nobody looks at the group any more.
    pub(super) fn finish(mut self, last: Option<Record>) -> Vec<Record> {
        self.records.extend(last);
        self.records
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

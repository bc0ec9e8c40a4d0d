//! A member of a consumer group.

use crate::{
    group::{
        ConsumerMemberValue, CurrentAssignmentValue, MemberState, TopicPartitions,
        limits::member_size,
    },
    types::{PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, sync::Arc};

/// Partitions by topic, with the epoch in which each was assigned (KIP-1251). Invariant: no map of
/// a topic is empty.
pub type EpochsByPartition = BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>;

/// A member: hard state, as its records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it says of itself.
    pub about: Arc<ConsumerMemberValue>,
    /// What it owns.
    pub current: Arc<CurrentAssignmentValue>,
}

impl Default for Member {
    fn default() -> Self {
        Self { about: Arc::default(), current: Arc::new(nothing_owned()) }
    }
}

/// The state of a member that has just joined.
#[must_use]
pub fn nothing_owned() -> CurrentAssignmentValue {
    CurrentAssignmentValue {
        epoch: Some(0),
        previous_epoch: 0,
        state: MemberState::Stable,
        assigned: BTreeMap::new(),
        pending_revocation: BTreeMap::new(),
    }
}

impl Member {
    /// Whether it has what the target of that epoch gives it.
    #[must_use]
    pub fn is_reconciled_to(&self, target_epoch: u32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == Some(target_epoch)
    }

    /// Whether it speaks the classic protocol.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        self.about.classic.is_some()
    }

    /// How many bytes it takes as a member of a classic group, at the most; zero if it is none.
    #[must_use]
    pub fn classic_size(&self) -> usize {
        let about = &self.about;
        about.classic.as_ref().map_or(0, |classic| {
            let instance = about.instance.as_deref();
            member_size(&about.client_id, &about.client_host, instance, &classic.protocols)
        })
    }

    /// Its epoch as answers tell it: 0 while a static member is away.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.current.epoch.unwrap_or(0)
    }

    /// When a partition was assigned to it, while it owns it or has yet to give it up.
    #[must_use]
    pub fn assigned_in(&self, topic: TopicId, partition: PartitionIndex) -> Option<u32> {
        let of = |partitions: &EpochsByPartition| partitions.get(&topic)?.get(&partition).copied();
        of(&self.current.assigned).or_else(|| of(&self.current.pending_revocation))
    }

    /// Everything that nobody else may get: what it owns, and what it has yet to give up.
    pub fn held(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
        pairs(&self.current.assigned).chain(pairs(&self.current.pending_revocation))
    }
}

/// Every partition, one by one.
pub fn pairs(
    partitions: &EpochsByPartition,
) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
    partitions
        .iter()
        .flat_map(|(topic, of_topic)| of_topic.keys().map(move |partition| (*topic, *partition)))
}

/// The partitions without their epochs.
#[must_use]
pub fn without_epochs(partitions: &EpochsByPartition) -> TopicPartitions {
    let names = |of_topic: &BTreeMap<PartitionIndex, u32>| of_topic.keys().copied().collect();
    partitions.iter().map(|(topic, of_topic)| (*topic, names(of_topic))).collect()
}

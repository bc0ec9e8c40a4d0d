//! Consumer groups: the coordinator assigns, and members reconcile one by one (KIP-848).
//!
//! # The protocol
//!
//! Three epochs count up. The *group epoch* is bumped when a member joins, leaves or subscribes to
//! something else, and when what assignments depend on changes in the metadata (KIP-1101). The
//! *target epoch* is the group epoch that the target assignment was computed for. A *member epoch*
//! is the target epoch that the member has come to.
//!
//! * **Heartbeats.** Everything a member wants it says with heartbeats, and everything it has to
//!   do it is told with their answers. Epoch 0 joins, -1 leaves, -2 leaves for a while; any other
//!   has to be the member's own, or the one before if the member owns nothing that is not
//!   assigned to it: it has missed an answer then. Otherwise it is *fenced*: it gives up
//!   everything and joins again.
//! * **Assignment.** The heartbeat that finds the group epoch ahead of the target epoch computes
//!   the target, by the assignor that most members prefer.
//! * **Reconciliation.** A member first gives up what the target does not give it, and stays in its
//!   epoch until it has said so; then it moves to the target epoch and gets what it is to have,
//!   except for what others still hold. So no two members ever hold a partition, though nobody
//!   waits for anybody who is not in the way.
//! * **Time.** A member that is silent for its session, or takes longer than its rebalance timeout
//!   to give partitions up, is removed. A member that may be alive for all that, and goes on with
//!   its old epoch, is refused.
//! * **Static members** (KIP-345) have an instance id. One that leaves with -2 keeps its partitions
//!   until its session is over; whoever comes with the instance id meanwhile takes its place.
//! * **Regular expressions** are resolved by the coordinator, when a member brings a new one and
//!   when topics may have come or gone.
//! * **Offsets** are committed with the member epoch, or with an older one if the partition was
//!   assigned to the member by then and still is (KIP-1251).
//!
//! * **Migration.** A group may have members of both protocols. A classic group becomes a consumer
//!   group with the first member that joins it so, a consumer group becomes a classic one with the
//!   last one that leaves, if `group.consumer.migration.policy` allows it; nobody loses partitions
//!   for that.
//!
//! # Decisions
//!
//! A heartbeat may decide on several records of which each follows from those before: a member, a
//! group epoch, a target, a member's new state. They are drawn up over a copy of the group to
//! which the records so far are applied, by the same function that applies them in earnest.

pub mod assignor;
mod census;
mod classic;
mod describe;
mod downgrade;
mod draft;
mod expressions;
mod group;
mod heartbeat;
mod leave;
mod member;
mod offsets;
mod protocol;
mod reconcile;
mod soft;
mod target;
#[cfg(test)]
mod tests;
mod timers;
mod upgrade;
mod validate;

pub use expressions::{EXPRESSIONS_PER_GROUP_MAX, MAX_EXPRESSION_BYTES};
pub use group::ConsumerGroup;
pub use upgrade::{ClassicSnapshot, ClassicSnapshotMember};

use crate::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, GroupConfig, GroupError, GroupId, GroupState,
        MemberEpoch, MemberState, Record,
    },
    metadata::Image,
    sometimes,
    time::{Instant, Now},
    types::Offset,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use draft::Draft;
use soft::Soft;
use timers::{Duty, Timers};

/// The consumer groups of one shard.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroups {
    /// Hard state: written by [`ConsumerGroups::replay`] alone.
    groups: BTreeMap<GroupId, ConsumerGroup>,
    soft: BTreeMap<GroupId, Soft>,
    timers: Timers,
    /// Groups that have been decided to become classic ones.
    downgraded: BTreeSet<GroupId>,
}

impl ConsumerGroups {
    /// A member joins, stays or leaves (ConsumerGroupHeartbeat). Appends to `records` what has to
    /// be written before the answer holds; nothing if it is refused.
    pub fn heartbeat(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        request: &ConsumerHeartbeat,
        records: &mut Vec<Record>,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        validate::validate(request)?;
        if matches!(request.epoch, MemberEpoch::Leave | MemberEpoch::LeaveForNow) {
            let (decided, answer) = self.leave(now, image, config, request)?;
            records.extend(decided);
            return Ok(answer);
        }
        let new = ConsumerGroup::default();
        let group = match self.groups.get(&request.group) {
            Some(group) => group,
            None if request.epoch == MemberEpoch::Join => &new,
            None => return Err(GroupError::GroupIdNotFound),
        };
        let soft = self.soft.get(&request.group).copied().unwrap_or_default();
        let draft = Draft::new(request.group.clone(), group);
        let stayed = heartbeat::stay(now, image, config, request, soft, draft)?;
        self.heard_of(now, config, &request.group, &stayed);
        records.extend(stayed.records);
        Ok(stayed.answer)
    }

    /// Removes the members that are late.
    pub fn tick(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        records: &mut Vec<Record>,
    ) {
        self.fence_late(now, image, config, records);
    }

    /// Takes the groups whose records make them classic ones, when those have been replayed.
    #[must_use]
    pub fn take_downgraded(&mut self) -> BTreeSet<GroupId> {
        core::mem::take(&mut self.downgraded)
    }

    /// What the log says of every group.
    pub fn values(&self) -> impl Iterator<Item = (&GroupId, &ConsumerGroup)> {
        self.groups.iter()
    }

    /// Members of all groups.
    pub fn members(&self) -> usize {
        self.groups.values().map(|group| group.members.len()).sum()
    }

    /// Groups that have no members.
    pub fn idle(&self) -> impl Iterator<Item = &GroupId> {
        let idle = |(_, group): &(&GroupId, &ConsumerGroup)| group.members.is_empty();
        self.groups.iter().filter(idle).map(|(id, _)| id)
    }

    /// When [`ConsumerGroups::tick`] is due, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Applies a record; one that is not about consumer groups is passed over.
    pub fn replay(&mut self, _offset: Offset, record: &Record) {
        let group = match record {
            Record::OffsetCommit { .. } | Record::Group { .. } => return,
            Record::ConsumerGroup { group, value: None } => {
                self.groups.remove(group);
                self.soft.remove(group);
                return;
            }
            _ => record.group(),
        };
        match self.groups.get_mut(group) {
            Some(known) => known.apply(record),
            None if is_tombstone(record) => {}
            None => self.groups.entry(group.clone()).or_default().apply(record),
        }
    }

    /// Everything has been replayed: every session begins anew.
    pub fn loaded(&mut self, now: Now, config: &GroupConfig) {
        for (id, group) in &self.groups {
            for (member_id, member) in &group.members {
                let session = match &member.about.classic {
                    Some(classic) => classic.session_timeout,
                    None => config.consumer_session_timeout,
                };
                self.timers.set(id, member_id, Duty::Session, now.monotonic.after(session));
                if member.current.state == MemberState::UnrevokedPartitions {
                    sometimes!(MovedWhileRevoking);
                    let at = now.monotonic.after(member.about.rebalance_timeout);
                    self.timers.set(id, member_id, Duty::Revoke, at);
                }
            }
        }
    }

    /// Whether there is a consumer group of that name.
    #[must_use]
    pub fn contains(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// The state of a group. Looks at every member, at worst.
    pub(crate) fn state(&self, group: &str) -> Option<GroupState> {
        Some(self.groups.get(group)?.state())
    }

    /// Whether a group has no members; so has one that does not exist.
    #[must_use]
    pub fn is_empty(&self, group: &str) -> bool {
        self.groups.get(group).is_none_or(|group| group.members.is_empty())
    }

    /// Whether a member of the group subscribes to a topic, by name or by regular expression.
    #[must_use]
    pub fn is_subscribed(&self, group: &str, topic: &str) -> bool {
        self.groups.get(group).is_some_and(|group| group.is_subscribed(topic))
    }

    /// Deletes a group that has no members.
    pub fn delete(&self, group: &GroupId, records: &mut Vec<Record>) -> Result<(), GroupError> {
        let known = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        if !known.members.is_empty() {
            return Err(GroupError::NonEmptyGroup);
        }
        records.extend(known.tombstones(group));
        Ok(())
    }
}

/// Whether a record takes something away.
fn is_tombstone(record: &Record) -> bool {
    match record {
        Record::OffsetCommit { value, .. } => value.is_none(),
        Record::Group { value, .. } => value.is_none(),
        Record::ConsumerGroup { value, .. } => value.is_none(),
        Record::ConsumerMember { value, .. } => value.is_none(),
        Record::TargetAssignmentEpoch { value, .. } => value.is_none(),
        Record::TargetAssignment { value, .. } => value.is_none(),
        Record::CurrentAssignment { value, .. } => value.is_none(),
        Record::RegularExpression { value, .. } => value.is_none(),
    }
}

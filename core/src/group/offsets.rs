//! Committed offsets: how far groups have come, and how long that is remembered.
//!
//! **Expiry** (KIP-211). The offsets of a group go when the group has had no members for the whole
//! retention; those of consumers that have members, when no member has subscribed to their topic
//! for as long; those of a group that never had members (a simple group), each when it was not
//! committed for as long. A commit counts as use in each case. A commit that asks for a retention of
//! its own is kept for that long, and not longer.
//!
//! *For the whole retention* is judged by two clocks, and an offset goes only when both say so: the
//! monotonic clock of this coordinator must have seen the condition for that long without a break,
//! and the wall clock must be that far ahead of the stamps in the log. A wall clock that jumps ahead
//! expires nothing, and one that goes back only delays. Nothing in the log tells how long earlier
//! coordinators have watched, that a wrong clock could not have written; so each begins anew when it
//! has loaded. A move of the coordinator may delay the expiry, by one retention, and never hastens
//! it. A stamp of the future counts as the time of loading.
//!
//! **Topics.** A commit names the topic's id, so that a topic that was created again does not inherit
//! anything. Offsets are dropped when their topic has gone from the metadata. A coordinator that
//! has just been elected may not know a topic yet that its predecessor knew: one that it has never
//! seen counts as deleted only when it is still unknown one check of retention later.

use super::{
    CommittedOffset, GroupConfig, GroupId, Record,
    classic::Expiry,
    limits::{DECISION_BYTES_MAX, offset_size},
};
use crate::{
    metadata::Image,
    mutant::Mutant,
    sometimes,
    time::{Instant, Now, Timestamp},
    types::{Offset, PartitionIndex, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

/// The most tombstones that one check of retention appends at once.
pub const MAX_TOMBSTONES: usize = 1000;

/// The committed offsets of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    /// Invariant: no group without topics, no topic without partitions.
    groups: BTreeMap<GroupId, BTreeMap<Arc<str>, Topic>>,
    /// Which topics the offsets are of. Invariant: exactly those of `groups`, with their number.
    topics: BTreeMap<Arc<str>, BTreeMap<Option<TopicId>, Known>>,
    /// When the log had been read.
    loaded: Option<Now>,
    /// What was replayed since the last [`Offsets::replayed`]. Invariant: empty before the log has
    /// been read, and between steps.
    fresh: Vec<(GroupId, Arc<str>, PartitionIndex)>,
}

/// A group's offsets of one topic.
#[derive(Clone, Debug, Default)]
struct Topic {
    partitions: BTreeMap<PartitionIndex, Stored>,
    /// When a member was last seen to subscribe to it.
    used: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Stored {
    committed: CommittedOffset,
    /// Where the log says so.
    position: Offset,
    /// When it was committed, by the clocks of this coordinator; `None` for one that was loaded.
    seen: Option<Now>,
}

/// What is known of a topic that offsets are of.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// How many offsets.
    offsets: usize,
    /// Whether this coordinator has seen it in the metadata.
    seen: bool,
}

impl Offsets {
    /// Applies a record; a value of `None` removes the offset.
    pub(super) fn replay(
        &mut self,
        position: Offset,
        group: &GroupId,
        topic: &Arc<str>,
        partition: PartitionIndex,
        value: Option<&CommittedOffset>,
    ) {
        let Some(committed) = value else {
            self.remove(group, topic, partition);
            return;
        };
        let known = self.topics.entry(topic.clone()).or_default();
        let known = known.entry(committed.topic_id).or_default();
        known.offsets += 1;
        known.seen |= self.loaded.is_some();
        if self.loaded.is_some() {
            self.fresh.push((group.clone(), topic.clone(), partition));
        }
        let stored = Stored { committed: committed.clone(), position, seen: None };
        let topics = self.groups.entry(group.clone()).or_default();
        let partitions = &mut topics.entry(topic.clone()).or_default().partitions;
        if let Some(before) = partitions.insert(partition, stored) {
            self.forget(topic, before.committed.topic_id);
        }
    }

    fn remove(&mut self, group: &GroupId, topic: &Arc<str>, partition: PartitionIndex) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Some(known) = topics.get_mut(topic) else { return };
        let Some(removed) = known.partitions.remove(&partition) else { return };
        if known.partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
        self.forget(topic, removed.committed.topic_id);
    }

    fn forget(&mut self, topic: &Arc<str>, id: Option<TopicId>) {
        let Some(ids) = self.topics.get_mut(topic) else { return };
        if let Some(known) = ids.get_mut(&id) {
            known.offsets -= 1;
            if known.offsets == 0 {
                ids.remove(&id);
            }
        }
        if ids.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// The log has been read.
    pub(super) fn loaded(&mut self, now: Now) {
        self.loaded = Some(now);
    }

    /// What was decided has been replayed.
    pub(super) fn replayed(&mut self, now: Now) {
        for (group, topic, partition) in core::mem::take(&mut self.fresh) {
            let topics = self.groups.get_mut(&group);
            let known = topics.and_then(|topics| topics.get_mut(&topic));
            if let Some(stored) = known.and_then(|known| known.partitions.get_mut(&partition)) {
                stored.seen = Some(now);
            }
        }
    }

    /// Notes that members of a group subscribe to topics, as they stop doing so.
    pub(super) fn used(&mut self, now: Now, group: &str, is_subscribed: impl Fn(&str) -> bool) {
        for (name, topic) in self.groups.get_mut(group).into_iter().flatten() {
            if is_subscribed(name) {
                topic.used = Some(now.monotonic);
            }
        }
    }

    /// Whether a group has committed anything.
    pub(super) fn contains(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Every group that has committed something.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.groups.keys()
    }

    /// Whether something is committed, for the topic as it is or as it was.
    pub(super) fn has(&self, group: &str, topic: &str, partition: PartitionIndex) -> bool {
        self.stored(group, topic, partition).is_some()
    }

    fn stored(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&Stored> {
        self.groups.get(group)?.get(topic)?.partitions.get(&partition)
    }

    /// What a group has committed for a partition of the topic as it is now.
    pub(super) fn committed(
        &self,
        image: &Image,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        let committed = &self.stored(group, topic, partition)?.committed;
        (!is_of_predecessor(image, topic, committed.topic_id)).then_some(committed)
    }

    /// Everything that a group has committed for topics as they are now.
    pub(super) fn of_group<'a>(
        &'a self,
        image: &'a Image,
        group: &str,
    ) -> impl Iterator<Item = (&'a Arc<str>, Vec<(PartitionIndex, &'a CommittedOffset)>)> {
        let topics = self.groups.get(group).into_iter().flatten();
        topics.filter_map(move |(name, topic)| {
            let partitions = topic.partitions.iter().map(|(index, stored)| (*index, stored));
            let current = partitions.filter_map(|(index, Stored { committed, .. })| {
                let stale = is_of_predecessor(image, name, committed.topic_id);
                (!stale).then_some((index, committed))
            });
            let current: Vec<_> = current.collect();
            (!current.is_empty()).then_some((name, current))
        })
    }

    /// Deletes what a group has committed: everything, or as much as one decision may write.
    /// Whether it was everything.
    pub(super) fn delete_group(&self, group: &GroupId, records: &mut Vec<Record>) -> bool {
        let mut left = DECISION_BYTES_MAX;
        for (name, topic) in self.groups.get(group).into_iter().flatten() {
            for partition in topic.partitions.keys() {
                let Some(rest) = left.checked_sub(offset_size(group, name, 0)) else {
                    return false;
                };
                left = rest;
                records.push(tombstone(group, name, *partition));
            }
        }
        true
    }

    /// Drops offsets of topics that were deleted; at most [`MAX_TOMBSTONES`].
    pub(super) fn drop_deleted_topics(
        &mut self,
        now: Now,
        image: &Image,
        config: &GroupConfig,
        records: &mut Vec<Record>,
    ) {
        let grace = config.offsets_retention_check_interval;
        let grace_is_over =
            self.loaded.is_some_and(|loaded| loaded.monotonic.after(grace) <= now.monotonic);
        let mut deleted = BTreeSet::new();
        for (name, ids) in &mut self.topics {
            let topic = image.topic_named(name);
            for (id, known) in ids {
                let exists = topic.is_some_and(|topic| id.is_none_or(|id| id == topic.id));
                if exists {
                    known.seen = true;
                } else if (known.seen || grace_is_over) && !Mutant::OffsetsOutliveTopic.is_planted()
                {
                    deleted.insert((name.clone(), *id));
                }
                sometimes!(TopicUnknownAfterLoad, !exists && !known.seen && !grace_is_over);
            }
        }
        if deleted.is_empty() {
            return;
        }
        sometimes!(OffsetsOfDeletedTopic);
        let all = self.iter().filter(|(_, name, _, _, stored)| {
            deleted.contains(&((*name).clone(), stored.committed.topic_id))
        });
        let tombstones =
            all.map(|(group, name, _, partition, _)| tombstone(group, name, partition));
        records.extend(tombstones.take(MAX_TOMBSTONES));
    }

    /// Drops offsets that have expired; at most [`MAX_TOMBSTONES`].
    pub(super) fn expire(
        &self,
        now: Now,
        config: &GroupConfig,
        expiry: impl Fn(&GroupId) -> Expiry,
        is_subscribed: impl Fn(&GroupId, &str) -> bool,
        records: &mut Vec<Record>,
    ) {
        let Some(loaded) = self.loaded else { return };
        let expired = self.iter().filter(|(group, name, topic, _, stored)| {
            let (since, since_wall) = match expiry(group) {
                Expiry::Never => return false,
                Expiry::Simple => (None, None),
                Expiry::Empty { since, since_wall } => {
                    let wall = since_wall.map_or(since.wall, |stamp| stamp.min(since.wall));
                    (Some(since.monotonic), Some(wall))
                }
                Expiry::Unsubscribed if is_subscribed(group, name) => return false,
                Expiry::Unsubscribed => (topic.used, None),
            };
            let watched = Watched { since, since_wall, committed: stored.seen.unwrap_or(loaded) };
            watched.has_expired(now, &stored.committed, config.offsets_retention)
        });
        let tombstones =
            expired.map(|(group, name, _, partition, _)| tombstone(group, name, partition));
        records.extend(tombstones.take(MAX_TOMBSTONES));
    }

    fn iter(&self) -> impl Iterator<Item = (&GroupId, &Arc<str>, &Topic, PartitionIndex, &Stored)> {
        self.groups.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(name, topic)| {
                let partitions = topic.partitions.iter();
                partitions.map(move |(index, stored)| (group, name, topic, *index, stored))
            })
        })
    }

    /// Everything that the log says, with its position.
    pub(super) fn hard_state(
        &self,
    ) -> BTreeMap<(GroupId, Arc<str>, PartitionIndex), (Offset, CommittedOffset)> {
        let all = self.iter().map(|(group, name, _, partition, stored)| {
            let key = (group.clone(), name.clone(), partition);
            (key, (stored.position, stored.committed.clone()))
        });
        all.collect()
    }
}

/// How long the condition of an offset's expiry has been seen to hold.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// Since when, where it is not the offset's own; by this coordinator's monotonic clock.
    since: Option<Instant>,
    /// Likewise by the log's stamps.
    since_wall: Option<Timestamp>,
    /// When this coordinator saw the commit, or loaded it.
    committed: Now,
}

impl Watched {
    fn has_expired(&self, now: Now, offset: &CommittedOffset, retention: Duration) -> bool {
        // A stamp that lies in the future of the moment when it was loaded is a mistake.
        let committed_at = offset.committed_at.min(self.committed.wall);
        let (since, since_wall, retention) = match offset.expires_at {
            Some(end) => {
                (self.committed.monotonic, committed_at, between(offset.committed_at, end))
            }
            None => {
                let since = self.since.unwrap_or(self.committed.monotonic);
                let since_wall = self.since_wall.unwrap_or(committed_at);
                (since.max(self.committed.monotonic), since_wall.max(committed_at), retention)
            }
        };
        let seen_for_long = now.monotonic.since(since) >= retention
            || Mutant::OffsetsExpireByWallClock.is_planted();
        let stamped_for_long = || between(since_wall, now.wall) >= retention;
        sometimes!(WallClockAheadOfExpiry, !seen_for_long && stamped_for_long());
        seen_for_long && stamped_for_long()
    }
}

/// How far the wall clock went; zero when it went back.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    let millis = u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or_default();
    Duration::from_millis(millis)
}

/// Whether another topic has the name now than the one that an offset is of.
fn is_of_predecessor(image: &Image, name: &str, id: Option<TopicId>) -> bool {
    let current = image.topic_named(name).map(|topic| topic.id);
    let is_other = current.zip(id).is_some_and(|(current, id)| current != id);
    sometimes!(OffsetOfPredecessor, is_other);
    is_other && !Mutant::OffsetsOutliveTopic.is_planted()
}

/// The record that removes an offset.
pub(super) fn tombstone(group: &GroupId, topic: &Arc<str>, partition: PartitionIndex) -> Record {
    Record::OffsetCommit { group: group.clone(), topic: topic.clone(), partition, value: None }
}

//! What a log says, read without the coordinator's help, and what no log may say.

use crate::wire::{self, Named};
use highwater_core::{
    group::{
        ClassicGroupValue, CommittedOffset, ConsumerMemberValue, CurrentAssignmentValue, GroupId,
        InstanceId, MemberId, MemberState, Record, RegularExpressionValue, Request,
        TopicPartitions,
    },
    metadata::Image,
    types::{PartitionIndex, TopicId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub type Key = (GroupId, Arc<str>, PartitionIndex);
type Held = BTreeSet<(TopicId, PartitionIndex)>;

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct ConsumerView {
    pub epoch: u32,
    pub members: BTreeMap<MemberId, ConsumerMemberValue>,
    pub current: BTreeMap<MemberId, CurrentAssignmentValue>,
    /// When each was last written, in true time.
    pub since: BTreeMap<MemberId, u64>,
    pub target_epoch: u32,
    pub target: BTreeMap<MemberId, TopicPartitions>,
    expressions: BTreeMap<Arc<str>, RegularExpressionValue>,
}

/// A committed offset.
#[derive(Clone, Debug)]
pub struct Commit {
    pub position: u64,
    pub value: CommittedOffset,
    pub at: u64,
}

#[derive(Clone, Debug, Default)]
pub struct View {
    pub classic: BTreeMap<GroupId, ClassicGroupValue>,
    pub consumer: BTreeMap<GroupId, ConsumerView>,
    pub offsets: BTreeMap<Key, Commit>,
    /// Where offsets were last removed.
    pub removed: BTreeMap<Key, u64>,
    empty_since: BTreeMap<GroupId, u64>,
    /// When a member last subscribed to a topic, of those that no member does any more.
    used: BTreeMap<(GroupId, Arc<str>), u64>,
}

/// Why a batch was appended, by whom.
pub struct Live<'a> {
    pub image: &'a Image,
    /// What was asked; `None` for what was due by time.
    pub request: Option<&'a Request>,
    /// The least true time that the retention of offsets can take on any clock.
    pub retention: u64,
    /// Thousandths by which clocks may be fast.
    pub fast: u64,
}

pub struct Batch<'a> {
    pub base: u64,
    pub records: Vec<&'a Record>,
    /// In true time.
    pub at: u64,
    /// `None` for one that is loaded.
    pub live: Option<Live<'a>>,
}

pub fn held(current: &CurrentAssignmentValue) -> Held {
    let both = [&current.assigned, &current.pending_revocation].into_iter().flatten();
    both.flat_map(|(topic, of)| of.keys().map(|partition| (*topic, *partition))).collect()
}

pub fn flat(partitions: &TopicPartitions) -> Held {
    let all = partitions.iter();
    all.flat_map(|(topic, of)| of.iter().map(|partition| (*topic, *partition))).collect()
}

fn assigned(current: &CurrentAssignmentValue) -> Held {
    let all = current.assigned.iter();
    all.flat_map(|(topic, of)| of.keys().map(|partition| (*topic, *partition))).collect()
}

impl ConsumerView {
    /// The topics that a member subscribes to.
    pub fn topics(&self, about: &ConsumerMemberValue) -> BTreeSet<Arc<str>> {
        let expression = about.regular_expression.as_ref();
        let matched = expression.and_then(|expression| self.expressions.get(expression));
        let matched = matched.into_iter().flat_map(|value| &value.topics);
        about.topics.iter().chain(matched).cloned().collect()
    }

    /// G10: whether every member has what it is to have.
    pub fn is_stable(&self) -> bool {
        let is_there = |current: &CurrentAssignmentValue| {
            current.state == MemberState::Stable && current.epoch == Some(self.epoch)
        };
        self.target_epoch == self.epoch && self.current.values().all(is_there)
    }

    pub fn instance(&self, instance: &str) -> Option<&MemberId> {
        let is = |about: &ConsumerMemberValue| about.instance.as_deref() == Some(instance);
        self.members.iter().find(|(_, about)| is(about)).map(|(id, _)| id)
    }

    fn check(&self, group: &str) {
        let mut owners: BTreeMap<(TopicId, PartitionIndex), &MemberId> = BTreeMap::new();
        assert!(self.target_epoch <= self.epoch, "G11: the target of {group} is ahead of it");
        for (id, current) in &self.current {
            for partition in held(current) {
                let other = owners.insert(partition, id);
                assert!(other.is_none(), "G7, G9: {id} and {other:?} both have {partition:?}");
            }
            let epoch = current.epoch.unwrap_or(0);
            assert!(epoch <= self.epoch, "G11: {id} is ahead of {group}");
        }
        for (id, current) in &self.current {
            if current.epoch != Some(self.target_epoch) {
                continue;
            }
            let own = held(current);
            for (other, target) in self.target.iter().filter(|(other, _)| *other != id) {
                let both: Vec<_> = flat(target).intersection(&own).copied().collect();
                assert!(both.is_empty(), "G8: {id} has come to the target and has {other}'s");
            }
            if current.state == MemberState::Stable {
                let target = self.target.get(id).map(flat).unwrap_or_default();
                let more: Vec<_> = own.difference(&target).collect();
                assert!(more.is_empty(), "G10: {id} is stable and has more than its target");
            }
        }
    }

    /// G6: the target gives every partition that is subscribed to to one that subscribes to it.
    fn check_target(&self, group: &str, image: &Image) {
        let mut all = Held::new();
        let mut given = Held::new();
        for (id, about) in &self.members {
            let mut wanted = Held::new();
            for name in self.topics(about) {
                let Some(topic) = image.topic_named(&name) else { continue };
                let partitions = (0..topic.partitions.len() as u32).map(PartitionIndex);
                wanted.extend(partitions.map(|partition| (topic.id, partition)));
            }
            let target = self.target.get(id).map(flat).unwrap_or_default();
            assert!(
                target.is_subset(&wanted),
                "G6: {id} of {group} is to have what it does not want"
            );
            for partition in target {
                assert!(given.insert(partition), "G6: two of {group} are to have {partition:?}");
            }
            all.extend(wanted);
        }
        assert!(given == all, "G6: the target of {group} misses partitions: {given:?} of {all:?}");
        let strangers = self.target.keys().filter(|id| !self.members.contains_key(*id));
        assert_eq!(strangers.count(), 0, "G6: somebody who is no member is to have partitions");
    }
}

impl View {
    fn has_members(&self, group: &str) -> bool {
        self.classic.get(group).is_some_and(|value| !value.members.is_empty())
            || self.consumer.get(group).is_some_and(|group| !group.members.is_empty())
    }

    fn epoch(&self, group: &str) -> Option<u32> {
        let classic = self.classic.get(group).map(|value| value.generation);
        classic.max(self.consumer.get(group).map(|group| group.epoch))
    }

    fn is_subscribed(&self, group: &str, topic: &str) -> bool {
        let classic = self.classic.get(group).into_iter().flat_map(|value| &value.members);
        let mut classic = classic.map(|member| wire::read_topics(&member.subscription));
        let consumer = self.consumer.get(group);
        classic.any(|topics| topics.contains(topic))
            || consumer.is_some_and(|consumer| {
                consumer.members.values().any(|about| consumer.topics(about).contains(topic))
            })
    }

    /// Who has which instance, and owns what.
    fn statics(&self, group: &str) -> BTreeMap<InstanceId, (MemberId, Held)> {
        let Some(group) = self.consumer.get(group) else { return BTreeMap::new() };
        let statics = group.members.iter().filter_map(|(id, about)| {
            let held = group.current.get(id).map(assigned).unwrap_or_default();
            Some((about.instance.clone()?, (id.clone(), held)))
        });
        statics.collect()
    }

    /// Takes a batch in, and checks that it may follow what was before.
    pub fn apply(&mut self, batch: &Batch<'_>) {
        let groups: BTreeSet<GroupId> =
            batch.records.iter().map(|record| record.group().clone()).collect();
        let mut before = BTreeMap::new();
        for group in &groups {
            let kinds = (self.classic.contains_key(group), self.consumer.contains_key(group));
            let standing = (self.has_members(group), self.epoch(group), kinds);
            before.insert(group.clone(), (standing, self.statics(group)));
            self.note_use(group, batch.at);
        }
        for (position, record) in (batch.base..).zip(&batch.records) {
            self.replay(position, record, batch);
        }
        for (group, ((had_members, epoch, kinds), statics)) in before {
            if !self.has_members(&group) {
                self.empty_since.entry(group.clone()).or_insert(batch.at);
            } else {
                self.empty_since.remove(&group);
            }
            let now = (self.classic.contains_key(&group), self.consumer.contains_key(&group));
            assert!(now != (true, true), "{group} is both a classic and a consumer group");
            if let (Some(before), Some(after)) = (epoch, self.epoch(&group))
                && (had_members || now == kinds)
            {
                assert!(after >= before, "G2, G11: {group} goes from {before} to {after}");
            }
            let Some(consumer) = self.consumer.get(&group) else { continue };
            consumer.check(&group);
            self.check_statics(&group, statics, batch);
            let of_target = |record: &&Record| {
                matches!(record, Record::TargetAssignmentEpoch { group: of, value: Some(_) }
                    if *of == group)
            };
            if let Some(live) = &batch.live
                && batch.records.iter().any(of_target)
                && !matches!(kinds, (true, false))
            {
                consumer.check_target(&group, live.image);
            }
        }
    }

    fn note_use(&mut self, group: &GroupId, at: u64) {
        let topics: BTreeSet<Arc<str>> = self
            .offsets
            .range((group.clone(), Arc::from(""), PartitionIndex(0))..)
            .take_while(|((of, _, _), _)| of == group)
            .map(|((_, topic, _), _)| topic.clone())
            .collect();
        for topic in topics {
            if self.is_subscribed(group, &topic) {
                self.used.insert((group.clone(), topic), at);
            }
        }
    }

    /// G3: a static member that comes back under another id has what it had.
    fn check_statics(
        &self,
        group: &GroupId,
        before: BTreeMap<InstanceId, (MemberId, Held)>,
        batch: &Batch<'_>,
    ) {
        let consumer = &self.consumer[group];
        for (instance, (old, had)) in before {
            let Some(new) = consumer.instance(&instance).filter(|new| **new != old) else {
                continue;
            };
            let first = batch.records.iter().find_map(|record| match record {
                Record::CurrentAssignment { group: of, member, value: Some(value) }
                    if of == group && member == new =>
                {
                    Some(assigned(value))
                }
                _ => None,
            });
            assert_eq!(first, Some(had), "G3: {instance} comes back to {group} and has lost some");
        }
    }

    fn replay(&mut self, position: u64, record: &Record, batch: &Batch<'_>) {
        let group = record.group();
        match record {
            Record::OffsetCommit { topic, partition, value, .. } => {
                let key = (group.clone(), topic.clone(), *partition);
                match value {
                    Some(value) => {
                        let (value, at) = (value.clone(), batch.at);
                        self.offsets.insert(key, Commit { position, value, at });
                    }
                    None => {
                        if let Some(live) = &batch.live {
                            self.check_removal(&key, live, batch.at);
                        }
                        self.offsets.remove(&key);
                        self.removed.insert(key, position);
                    }
                }
            }
            Record::Group { value: Some(value), .. } => {
                self.check_generation(group, value);
                self.classic.insert(group.clone(), value.clone());
            }
            Record::Group { value: None, .. } => {
                self.classic.remove(group);
            }
            Record::ConsumerGroup { value: None, .. } => {
                self.consumer.remove(group);
            }
            _ => self.replay_consumer(record, batch.at),
        }
    }

    fn replay_consumer(&mut self, record: &Record, at: u64) {
        let id = record.group();
        if crate::log::is_tombstone(record) && !self.consumer.contains_key(id) {
            return;
        }
        let group = self.consumer.entry(id.clone()).or_default();
        match record {
            Record::ConsumerGroup { value: Some(value), .. } => {
                assert!(value.epoch >= group.epoch, "G11: the epoch of {id} goes back");
                group.epoch = value.epoch;
            }
            Record::ConsumerMember { member, value, .. } => match value {
                Some(value) => drop(group.members.insert(member.clone(), value.clone())),
                None => {
                    group.members.remove(member);
                    group.current.remove(member);
                }
            },
            Record::TargetAssignmentEpoch { value, .. } => {
                group.target_epoch = value.unwrap_or(0);
            }
            Record::TargetAssignment { member, value, .. } => match value {
                Some(value) => drop(group.target.insert(member.clone(), value.clone())),
                None => drop(group.target.remove(member)),
            },
            Record::CurrentAssignment { member, value: Some(value), .. } => {
                group.since.insert(member.clone(), at);
                let before = group.current.insert(member.clone(), value.clone());
                if let (Some(old), Some(new)) = (before.and_then(|old| old.epoch), value.epoch) {
                    assert!(new >= old || new == 0, "G11: {member} goes from {old} to {new}");
                }
            }
            Record::CurrentAssignment { member, value: None, .. } => {
                group.current.remove(member);
            }
            Record::RegularExpression { expression, value, .. } => match value {
                Some(value) => drop(group.expressions.insert(expression.clone(), value.clone())),
                None => drop(group.expressions.remove(expression)),
            },
            _ => {}
        }
    }

    /// G1, G2, G4: generations grow, and nobody's assignment changes in one.
    fn check_generation(&self, group: &GroupId, value: &ClassicGroupValue) {
        let mut given = Named::new();
        for member in &value.members {
            for partition in wire::read_assignment(&member.assignment) {
                let is_only = given.insert(partition.clone());
                assert!(is_only, "G1: two members of {group} are assigned {partition:?}");
            }
        }
        let Some(before) = self.classic.get(group) else { return };
        let (old, new) = (before.generation, value.generation);
        if value.leader.is_none() {
            assert!(new > old, "G2: generation {new} of {group} comes after {old}");
            return;
        }
        assert_eq!(new, old, "G4: {group} is assigned in another generation");
        if before.leader.is_some() {
            for member in &value.members {
                let was = before.members.iter().find(|known| known.member == member.member);
                let same = was.is_none_or(|was| was.assignment == member.assignment);
                assert!(same, "G4: {} is assigned twice in generation {new}", member.member);
            }
        }
    }

    /// O3, O5: whether an offset may go.
    fn check_removal(&self, key: &Key, live: &Live<'_>, at: u64) {
        let (group, topic, _) = key;
        let Some(commit) = self.offsets.get(key) else { return };
        match live.request {
            Some(Request::DeleteOffsets { .. } | Request::DeleteGroup { .. }) => return,
            Some(other) => panic!("O3: an offset is removed by {other:?}"),
            None => {}
        }
        let topic_id = live.image.topic_named(topic).map(|topic| topic.id);
        if topic_id.is_none() || topic_id != commit.value.topic_id {
            return;
        }
        let mut since = commit.at;
        let mut needed = live.retention;
        if let Some(expires_at) = commit.value.expires_at {
            let own = (expires_at.0 - commit.value.committed_at.0) as u64;
            needed = own * 1_000_000_000 / live.fast;
        } else if self.has_members(group) || self.consumer.contains_key(group) {
            assert!(!self.is_subscribed(group, topic), "O5: offsets expire that members use");
            since = since.max(self.used.get(&(group.clone(), topic.clone())).copied().unwrap_or(0));
        } else if self.classic.contains_key(group) {
            since = since.max(self.empty_since.get(group).copied().unwrap_or(0));
        }
        let passed = at.saturating_sub(since);
        assert!(passed >= needed, "O5: {key:?} expires after {passed} of {needed} ns");
    }
}

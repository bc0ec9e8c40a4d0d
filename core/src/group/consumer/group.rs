//! A consumer group as its records say: the hard state, and [`ConsumerGroup::apply`], which alone
//! writes it.

use super::{
    assignor::Assignor,
    census::Census,
    member::{Member, nothing_owned},
};
use crate::{
    group::{
        ConsumerGroupValue, GroupId, GroupState, InstanceId, MemberId, Record,
        RegularExpressionValue, TopicPartitions,
    },
    types::{PartitionIndex, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConsumerGroup {
    /// Its epoch and the hash of its topics' metadata.
    pub(super) value: ConsumerGroupValue,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// The group epoch that the target was computed for.
    pub(super) target_epoch: u32,
    /// What each member is to own.
    pub(super) target: BTreeMap<MemberId, Arc<TopicPartitions>>,
    /// The topics that each regular expression matches.
    pub(super) expressions: BTreeMap<Arc<str>, Arc<RegularExpressionValue>>,
    /// The member that holds each partition. Invariant: follows from `members`.
    owners: BTreeMap<TopicId, Arc<BTreeMap<PartitionIndex, MemberId>>>,
    /// The static members. Invariant: follows from `members`.
    instances: BTreeMap<InstanceId, MemberId>,
    /// Invariant: follows from `members`.
    pub(super) census: Census,
}

impl ConsumerGroup {
    /// Applies a record of this group that is not the group's own tombstone. Total: what makes no
    /// sense is passed over.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::ConsumerGroup { value, .. } => self.value = value.unwrap_or_default(),
            Record::ConsumerMember { member, value: Some(value), .. } => {
                let about = Arc::new(value.clone());
                self.change_member(member, |member| member.about = about);
            }
            Record::ConsumerMember { member, value: None, .. } => self.remove_member(member),
            Record::CurrentAssignment { member, value: Some(value), .. } => {
                let current = Arc::new(value.clone());
                self.change_member(member, |member| member.current = current);
            }
            Record::CurrentAssignment { member, value: None, .. } => {
                if self.members.contains_key(member) {
                    let current = Arc::new(nothing_owned());
                    self.change_member(member, |member| member.current = current);
                }
            }
            Record::TargetAssignmentEpoch { value, .. } => {
                self.target_epoch = value.unwrap_or_default();
            }
            Record::TargetAssignment { member, value: Some(value), .. } => {
                self.target.insert(member.clone(), Arc::new(value.clone()));
            }
            Record::TargetAssignment { member, value: None, .. } => {
                self.target.remove(member);
            }
            Record::RegularExpression { expression, value: Some(value), .. } => {
                self.expressions.insert(expression.clone(), Arc::new(value.clone()));
            }
            Record::RegularExpression { expression, value: None, .. } => {
                self.expressions.remove(expression);
            }
            Record::OffsetCommit { .. } | Record::Group { .. } => {}
        }
    }

    fn change_member(&mut self, id: &MemberId, change: impl FnOnce(&mut Member)) {
        let mut member = self.members.remove(id).unwrap_or_default();
        self.forget(id, &member);
        change(&mut member);
        self.census.add(&member);
        for (topic, partition) in member.held() {
            let of_topic = Arc::make_mut(self.owners.entry(topic).or_default());
            of_topic.insert(partition, id.clone());
        }
        if let Some(instance) = &member.about.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), member);
    }

    fn remove_member(&mut self, id: &MemberId) {
        if let Some(member) = self.members.remove(id) {
            self.forget(id, &member);
        }
    }

    /// Takes what follows from a member out of what follows from all.
    fn forget(&mut self, id: &MemberId, member: &Member) {
        self.census.remove(member);
        for (topic, partition) in member.held() {
            let Some(of_topic) = self.owners.get_mut(&topic) else { continue };
            if of_topic.get(&partition) == Some(id) {
                let of_topic = Arc::make_mut(of_topic);
                of_topic.remove(&partition);
                if of_topic.is_empty() {
                    self.owners.remove(&topic);
                }
            }
        }
        if let Some(instance) = &member.about.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
    }

    /// The member of that id.
    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The static member of that instance.
    pub(super) fn static_member(&self, instance: &str) -> Option<(&MemberId, &Member)> {
        self.members.get_key_value(self.instances.get(instance)?)
    }

    /// The member that holds a partition: it owns it, or has yet to give it up.
    pub(super) fn owner(&self, topic: TopicId, partition: PartitionIndex) -> Option<&MemberId> {
        self.owners.get(&topic)?.get(&partition)
    }

    /// What a member is to own; nothing for one that the target does not know.
    pub(super) fn target_of(&self, member: &str) -> Arc<TopicPartitions> {
        self.target.get(member).cloned().unwrap_or_default()
    }

    /// Whether all members speak the classic protocol.
    pub(super) fn is_all_classic(&self) -> bool {
        self.census.classic == self.members.len()
    }

    /// The assignor that most members prefer, of several the last by name; uniform when nobody
    /// prefers any.
    pub(super) fn assignor(&self) -> Assignor {
        let most = self.census.assignors.iter().max_by_key(|(_, count)| **count);
        most.and_then(|(name, _)| Assignor::named(name)).unwrap_or(Assignor::Uniform)
    }

    /// Every topic that a member subscribes to, by name or with an expression that is resolved.
    pub(super) fn subscribed_topics(&self) -> BTreeSet<&Arc<str>> {
        let by_expression = self.census.expressions.keys().filter_map(|e| self.expressions.get(e));
        self.census.topics.keys().chain(by_expression.flat_map(|value| &value.topics)).collect()
    }

    /// Whether a member subscribes to a topic.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        let matched = |expression| {
            let value: Option<&Arc<RegularExpressionValue>> = self.expressions.get(expression);
            value.is_some_and(|value| value.topics.iter().any(|name| **name == *topic))
        };
        self.census.topics.contains_key(topic) || self.census.expressions.keys().any(matched)
    }

    /// What deletes the group, in Kafka's order.
    pub(super) fn tombstones(&self, id: &GroupId) -> Vec<Record> {
        let mut records = Vec::new();
        let group = || id.clone();
        let members = || self.members.keys().cloned();
        records.extend(members().map(|member| Record::CurrentAssignment {
            group: group(),
            member,
            value: None,
        }));
        records.extend(members().map(|member| Record::TargetAssignment {
            group: group(),
            member,
            value: None,
        }));
        records.push(Record::TargetAssignmentEpoch { group: group(), value: None });
        records.extend(members().map(|member| Record::ConsumerMember {
            group: group(),
            member,
            value: None,
        }));
        records.extend(self.expressions.keys().cloned().map(|expression| {
            Record::RegularExpression { group: group(), expression, value: None }
        }));
        records.push(Record::ConsumerGroup { group: group(), value: None });
        records
    }

    /// Where the group is.
    pub(super) fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.value.epoch > self.target_epoch {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }
}

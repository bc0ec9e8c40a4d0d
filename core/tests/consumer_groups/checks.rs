//! What the log says of the group, followed record by record by other code than the coordinator's,
//! and what has to hold of it.

use highwater_core::{
    group::{
        ConsumerMemberValue, CurrentAssignmentValue, MemberId, MemberState, Record, TopicPartitions,
    },
    metadata::Image,
    types::{PartitionIndex, TopicId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The group, as its records say.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    pub epoch: u32,
    pub target_epoch: u32,
    pub about: BTreeMap<MemberId, ConsumerMemberValue>,
    pub current: BTreeMap<MemberId, CurrentAssignmentValue>,
    pub target: BTreeMap<MemberId, TopicPartitions>,
    pub expressions: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Ghost {
    /// Follows a record. G9 and G11 are about what one record does to what there was before.
    pub fn follow(&mut self, record: &Record, image: &Image) {
        match record.clone() {
            Record::ConsumerGroup { value, .. } => {
                let value = value.expect("nobody deletes the group");
                assert!(value.epoch > self.epoch, "G11: the group epoch goes back");
                self.epoch = value.epoch;
            }
            Record::ConsumerMember { member, value: Some(value), .. } => {
                self.about.insert(member, value);
            }
            Record::ConsumerMember { member, value: None, .. } => {
                assert!(!self.current.contains_key(&member), "tombstones come in order");
                assert!(!self.target.contains_key(&member), "tombstones come in order");
                self.about.remove(&member);
            }
            Record::TargetAssignmentEpoch { value, .. } => {
                self.target_epoch = value.expect("nobody deletes the group");
                assert_eq!(self.target_epoch, self.epoch);
                self.check_target(image);
            }
            Record::TargetAssignment { member, value: Some(value), .. } => {
                self.target.insert(member, value);
            }
            Record::TargetAssignment { member, value: None, .. } => {
                self.target.remove(&member);
            }
            Record::CurrentAssignment { member, value: Some(value), .. } => {
                self.check_step(&member, &value);
                self.current.insert(member, value);
            }
            Record::CurrentAssignment { member, value: None, .. } => {
                self.current.remove(&member);
            }
            Record::RegularExpression { expression, value: Some(value), .. } => {
                self.expressions.insert(expression, value.topics);
            }
            Record::RegularExpression { expression, value: None, .. } => {
                self.expressions.remove(&expression);
            }
            Record::Group { .. } | Record::OffsetCommit { .. } => panic!("not asked for"),
        }
    }

    fn check_step(&self, member: &MemberId, next: &CurrentAssignmentValue) {
        for (other, current) in self.current.iter().filter(|(other, _)| *other != member) {
            let taken: BTreeSet<_> = held(current).collect();
            for partition in held(next) {
                assert!(
                    !taken.contains(&partition),
                    "G9: {member} gets {partition:?} while {other} holds it"
                );
            }
        }
        let Some(before) = self.current.get(member) else { return };
        if let (Some(before), Some(next)) = (before.epoch, next.epoch) {
            assert!(next >= before, "G11: the epoch of {member} goes back");
        }
    }

    /// G6: everything that is subscribed to is to belong to one subscriber.
    fn check_target(&self, image: &Image) {
        let mut expected = BTreeSet::new();
        for member in self.about.keys() {
            for topic in self.subscribed(member, image) {
                let count = image.topic(topic).expect("exists").partitions.len() as u32;
                expected.extend((0..count).map(|index| (topic, PartitionIndex(index))));
            }
        }
        let mut found = BTreeSet::new();
        for (member, target) in &self.target {
            let subscribed = self.subscribed(member, image);
            for (topic, partitions) in target {
                assert!(subscribed.contains(topic), "G6: {member} does not subscribe to {topic}");
                for partition in partitions {
                    assert!(found.insert((*topic, *partition)), "G6: two are to own {partition}");
                }
            }
        }
        assert_eq!(found, expected, "G6: the target covers what is subscribed to");
    }

    /// The topics that exist and that a member subscribes to.
    pub fn subscribed(&self, member: &MemberId, image: &Image) -> BTreeSet<TopicId> {
        let about = &self.about[member];
        let expression = about.regular_expression.as_ref();
        let matched = expression.and_then(|expression| self.expressions.get(expression));
        let names = about.topics.iter().chain(matched.into_iter().flatten());
        names.filter_map(|name| Some(image.topic_named(name)?.id)).collect()
    }

    /// What holds after every decision.
    pub fn check(&self) {
        for (member, current) in &self.current {
            assert!(self.about.contains_key(member), "a member says something of itself");
            let target = self.target.get(member).cloned().unwrap_or_default();
            let is_targeted = |(topic, partition): &(TopicId, PartitionIndex)| {
                target.get(topic).is_some_and(|of_topic| of_topic.contains(partition))
            };
            if current.epoch == Some(self.target_epoch) {
                let assigned = current.assigned.iter().flat_map(pairs);
                for partition in assigned {
                    assert!(is_targeted(&partition), "G8: {member} has what it is not to have");
                }
            }
            if let (MemberState::UnrevokedPartitions, Some(epoch)) = (current.state, current.epoch)
            {
                assert!(epoch < self.target_epoch, "G8: {member} has partitions to give up");
                assert!(!current.pending_revocation.is_empty());
            }
            if current.state == MemberState::Stable && current.epoch == Some(self.target_epoch) {
                let all: usize = target.values().map(BTreeSet::len).sum();
                let has = current.assigned.values().map(BTreeMap::len).sum::<usize>();
                assert_eq!(has, all, "G10: {member} is stable without its partitions");
            }
        }
        let mut expressions = BTreeSet::new();
        for about in self.about.values() {
            expressions.extend(about.regular_expression.clone());
        }
        assert!(self.expressions.keys().eq(expressions.iter()), "every expression is resolved");
    }
}

/// What nobody else may get.
fn held(current: &CurrentAssignmentValue) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
    current.assigned.iter().chain(&current.pending_revocation).flat_map(pairs)
}

fn pairs<'a>(
    (topic, of_topic): (&'a TopicId, &'a BTreeMap<PartitionIndex, u32>),
) -> impl Iterator<Item = (TopicId, PartitionIndex)> + 'a {
    of_topic.keys().map(|partition| (*topic, *partition))
}

//! The target assignment of a group epoch.

use super::{
    assignor::{Input, Subscriber},
    draft::Draft,
    group::ConsumerGroup,
    member::Member,
};
use crate::{group::Record, metadata::Image, mutant::Mutant, types::TopicId};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Computes the target for the draft's group epoch: a record for each member whose target changes,
/// then one for the epoch.
pub(super) fn compute(draft: &mut Draft<'_>, image: &Image) {
    let group = draft.group();
    let epoch = group.value.epoch;
    let assigned = group.assignor().assign(&input(group, image));
    let changed: BTreeMap<_, _> = assigned
        .into_iter()
        .filter(|(member, target)| group.target.get(member).is_none_or(|now| **now != *target))
        .collect();
    for (member, target) in changed {
        let group = draft.id.clone();
        draft.push(Record::TargetAssignment { group, member, value: Some(target) });
    }
    let group = draft.id.clone();
    draft.push(Record::TargetAssignmentEpoch { group, value: Some(epoch) });
}

/// What the assignor goes by. Members that subscribe to the same share one set of topics.
fn input(group: &ConsumerGroup, image: &Image) -> Input {
    let mut input = Input::default();
    let mut sets = BTreeMap::new();
    for (id, member) in &group.members {
        let about = &member.about;
        let subscription = (&about.topics, &about.regular_expression);
        let topics: &Arc<BTreeSet<TopicId>> =
            sets.entry(subscription).or_insert_with(|| Arc::new(topics(group, image, member)));
        let subscriber = Subscriber {
            instance: about.instance.clone(),
            topics: topics.clone(),
            target: group.target_of(id),
        };
        input.members.insert(id.clone(), subscriber);
    }
    let subscribed: BTreeSet<TopicId> =
        sets.values().flat_map(|topics| topics.iter()).copied().collect();
    for topic in subscribed {
        let partitions = image.topic(topic).map_or(0, |topic| topic.partitions.len());
        input.topics.insert(topic, u32::try_from(partitions).unwrap_or(u32::MAX));
    }
    input
}

/// The topics that exist and that a member subscribes to.
fn topics(group: &ConsumerGroup, image: &Image, member: &Member) -> BTreeSet<TopicId> {
    let about = &member.about;
    let expression = about.regular_expression.as_ref();
    let matched = expression
        .filter(|_| !Mutant::TargetIgnoresExpressions.is_planted())
        .and_then(|expression| group.expressions.get(expression));
    let names = about.topics.iter().chain(matched.into_iter().flat_map(|value| &value.topics));
    names.filter_map(|name| Some(image.topic_named(name)?.id)).collect()
}

//! The target assignment of a group epoch.

use super::{
    assignor::{Input, Rack, Subscriber},
    draft::Draft,
    group::ConsumerGroup,
    member::Member,
};
use crate::{
    group::Record,
    metadata::{Image, PartitionRegistration},
    mutant::Mutant,
    types::{BrokerId, TopicId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
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
    let racks = common_racks(group, image);
    let mut sets = BTreeMap::new();
    for (id, member) in &group.members {
        let about = &member.about;
        let subscription = (&about.topics, &about.regular_expression);
        let topics: &Arc<BTreeSet<TopicId>> =
            sets.entry(subscription).or_insert_with(|| Arc::new(topics(group, image, member)));
        let subscriber = Subscriber {
            instance: about.instance.clone(),
            rack: about.rack.as_deref().and_then(|rack| racks.get(rack)).copied(),
            topics: topics.clone(),
            target: group.target_of(id),
        };
        input.members.insert(id.clone(), subscriber);
    }
    let subscribed: BTreeSet<TopicId> =
        sets.values().flat_map(|topics| topics.iter()).copied().collect();
    let brokers = image.brokers();
    let rack_of: BTreeMap<BrokerId, Rack> = brokers
        .filter_map(|(id, broker)| Some((id, *racks.get(broker.rack.as_deref()?)?)))
        .collect();
    for id in subscribed {
        let partitions = image.topic(id).map_or(&[][..], |topic| &topic.partitions);
        input.topics.insert(id, u32::try_from(partitions.len()).unwrap_or(u32::MAX));
        if !rack_of.is_empty() {
            input.racks.insert(id, partitions.iter().map(|it| racks_of(it, &rack_of)).collect());
        }
    }
    input
}

/// The racks in which there are brokers and members: both may name what the other does not.
fn common_racks<'a>(group: &ConsumerGroup, image: &'a Image) -> BTreeMap<&'a str, Rack> {
    let of_members = group.members.values().filter_map(|member| member.about.rack.as_deref());
    let of_members: BTreeSet<&str> = of_members.collect();
    let of_brokers = image.brokers().filter_map(|(_, broker)| broker.rack.as_deref());
    let racks: BTreeSet<&str> = of_brokers.filter(|rack| of_members.contains(rack)).collect();
    racks.into_iter().zip((0..).map(Rack)).collect()
}

/// The racks in which a partition has a replica, and somebody to read it.
fn racks_of(partition: &PartitionRegistration, racks: &BTreeMap<BrokerId, Rack>) -> Vec<Rack> {
    let mut racks: Vec<Rack> =
        partition.replicas.iter().filter_map(|replica| racks.get(replica)).copied().collect();
    racks.sort_unstable();
    racks.dedup();
    racks
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

//! ListPartitionReassignments (key 46): the moves of partitions that are under way (KIP-455).

use super::{Context, metadata::broker_ids};
use crate::wire::{
    Str,
    generated::list_partition_reassignments::{
        ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
        OngoingPartitionReassignment, OngoingTopicReassignment,
    },
};
use highwater_core::metadata::{Image, Topic};
use std::collections::{BTreeMap, BTreeSet};

/// Lists those of the partitions asked for, or of all.
pub async fn handle(
    context: Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = context.shared.quorum.image();
    let topics = match request.topics {
        None => image.topics().filter_map(|topic| ongoing(topic, |_| true)).collect(),
        Some(topics) => {
            let mut wanted = BTreeMap::<Str, BTreeSet<i32>>::new();
            for topic in topics {
                wanted.entry(topic.name).or_default().extend(topic.partition_indexes);
            }
            named(&image, &wanted)
        }
    };
    ListPartitionReassignmentsResponse { topics, ..Default::default() }
}

fn named(image: &Image, wanted: &BTreeMap<Str, BTreeSet<i32>>) -> Vec<OngoingTopicReassignment> {
    let found = wanted.iter().filter_map(|(name, indexes)| {
        let topic = image.topic_named(name)?;
        ongoing(topic, |index| indexes.contains(&index))
    });
    found.collect()
}

fn ongoing(topic: &Topic, is_wanted: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment> {
    let moving = topic
        .partitions
        .iter()
        .zip(0..)
        .filter(|(partition, index)| partition.is_being_reassigned() && is_wanted(*index));
    let partitions: Vec<_> = moving
        .map(|(partition, partition_index)| OngoingPartitionReassignment {
            partition_index,
            replicas: broker_ids(&partition.replicas),
            adding_replicas: broker_ids(&partition.adding),
            removing_replicas: broker_ids(&partition.removing),
        })
        .collect();
    let name = Str::from(topic.name.as_str());
    (!partitions.is_empty()).then_some(OngoingTopicReassignment { name, partitions })
}

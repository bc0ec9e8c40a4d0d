//! DescribeTopicPartitions (key 75): topics by pages of partitions (KIP-966).

use super::{Context, authorized_operations::OF_TOPIC, errors, leader_hints, metadata::broker_ids};
use crate::wire::{
    ErrorCode, Str,
    generated::describe_topic_partitions::{
        Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    },
};
use highwater_core::metadata::{Image, Topic, is_internal_topic};
use std::collections::BTreeSet;

/// The most partitions in one answer, whatever the request asks for
/// (`max.request.partition.size.limit` in Kafka).
const PARTITIONS_MAX: usize = 2_000;

/// Describes the topics asked for, or all, in the order of their names, from the cursor on.
pub async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = context.shared.quorum.image();
    let names: BTreeSet<String> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.clone()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    let (from, first) = request.cursor.map_or((String::new(), 0), |cursor| {
        (cursor.topic_name.to_string(), usize::try_from(cursor.partition_index).unwrap_or(0))
    });
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut room = limit.clamp(1, PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.range(from.clone()..) {
        let start = if *name == from { first } else { 0 };
        let Some(topic) = image.topic_named(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        if room == 0 {
            response.next_cursor = Some(cursor(name, start));
            break;
        }
        let described = describe(&image, topic, start, room);
        room -= described.partitions.len();
        let end = start + described.partitions.len();
        response.topics.push(described);
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, end));
            break;
        }
    }
    response
}

fn cursor(name: &str, partition: usize) -> Cursor {
    let partition_index = i32::try_from(partition).expect("a topic's partitions fit an i32");
    Cursor { topic_name: Str::from(name), partition_index }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::UnknownTopicOrPartition as i16,
        name: Some(Str::from(name)),
        ..Default::default()
    }
}

fn describe(
    image: &Image,
    topic: &Topic,
    start: usize,
    room: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).skip(start).take(room);
    let partitions =
        partitions.map(|(partition, partition_index)| DescribeTopicPartitionsResponsePartition {
            error_code: match partition.leader {
                Some(_) => ErrorCode::None as i16,
                None => ErrorCode::LeaderNotAvailable as i16,
            },
            partition_index,
            leader_id: partition.leader.map_or(-1, |leader| leader.0),
            leader_epoch: errors::epoch_number(partition.leader_epoch),
            replica_nodes: broker_ids(&partition.replicas),
            isr_nodes: broker_ids(&partition.isr),
            eligible_leader_replicas: Some(broker_ids(&partition.elr)),
            last_known_elr: Some(broker_ids(partition.last_known_leader.as_slice())),
            offline_replicas: leader_hints::offline(image, partition),
        });
    DescribeTopicPartitionsResponseTopic {
        name: Some(Str::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: is_internal_topic(&topic.name),
        partitions: partitions.collect(),
        topic_authorized_operations: OF_TOPIC,
        ..Default::default()
    }
}

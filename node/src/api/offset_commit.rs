//! OffsetCommit (key 8): a group remembers how far it has come. Answered when that is committed.

use super::{
    Context, errors,
    groups::{self, group_id, identity},
};
use crate::wire::{
    ErrorCode,
    generated::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    },
};
use highwater_core::{
    group::{CommitOffsets, OffsetToCommit, Request, Response},
    metadata::{Image, Topic},
    types::{Offset, PartitionIndex},
};
use std::{sync::Arc, time::Duration};

/// Commits the offset of each partition on its own, where it exists.
pub async fn handle(context: Context, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let image = context.shared.quorum.image();
    let checked: Vec<Vec<Result<OffsetToCommit, ErrorCode>>> = request
        .topics
        .iter()
        .map(|topic| {
            let found = find(&image, &context, topic);
            topic.partitions.iter().map(|partition| check(&context, found, partition)).collect()
        })
        .collect();
    let offsets: Vec<_> = checked.iter().flatten().filter_map(|one| one.clone().ok()).collect();
    let mut outcomes = match offsets.is_empty() {
        true => Vec::new(),
        false => commit(&context, &request, offsets).await,
    }
    .into_iter();
    let mut response = OffsetCommitResponse::default();
    for (topic, checked) in request.topics.into_iter().zip(checked) {
        let partitions = topic.partitions.iter().zip(checked).map(|(partition, checked)| {
            let code = match checked {
                Ok(_) => outcomes.next().expect("one outcome for each offset"),
                Err(code) => code,
            };
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code as i16,
            }
        });
        response.topics.push(OffsetCommitResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        });
    }
    response
}

/// From version 10 on a topic is named by its id.
fn find<'a>(
    image: &'a Image,
    context: &Context,
    topic: &OffsetCommitRequestTopic,
) -> Result<&'a Topic, ErrorCode> {
    if context.version >= 10 {
        image.topic(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic_named(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

fn check(
    context: &Context,
    topic: Result<&Topic, ErrorCode>,
    partition: &OffsetCommitRequestPartition,
) -> Result<OffsetToCommit, ErrorCode> {
    let topic = topic?;
    let index = u32::try_from(partition.partition_index).ok();
    let index = index.filter(|index| (*index as usize) < topic.partitions.len());
    let index = PartitionIndex(index.ok_or(ErrorCode::UnknownTopicOrPartition)?);
    // Kafka would keep it, and tell it as one that was never committed.
    let offset =
        u64::try_from(partition.committed_offset).map_err(|_| ErrorCode::InvalidRequest)?;
    Ok(OffsetToCommit {
        topic: Arc::from(topic.name.as_str()),
        topic_id: (context.version >= 10).then_some(topic.id),
        partition: index,
        offset: Offset(offset),
        leader_epoch: errors::epoch(partition.committed_leader_epoch),
        metadata: partition.committed_metadata.as_deref().unwrap_or_default().into(),
    })
}

/// One outcome for each offset.
async fn commit(
    context: &Context,
    request: &OffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> Vec<ErrorCode> {
    let count = offsets.len();
    let body = CommitOffsets {
        group: group_id(&request.group_id),
        identity: identity(
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id_or_member_epoch,
        ),
        // -1 leaves it to the broker.
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        offsets,
    };
    match groups::ask(context, &request.group_id, Request::CommitOffsets(body)).await {
        Ok(Response::Committed(Ok(outcomes))) => outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map_or_else(errors::of_group, |()| ErrorCode::None))
            .collect(),
        Ok(Response::Committed(Err(error))) => vec![errors::of_group(&error); count],
        Ok(other) => groups::mismatch(&other),
        Err(code) => vec![code; count],
    }
}

//! OffsetDelete (key 47, KIP-496): forgets committed offsets of partitions that the group does not
//! subscribe to.

use super::{
    Context, errors,
    groups::{self, group_id},
};
use crate::wire::{
    ErrorCode,
    generated::offset_delete::{
        OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
        OffsetDeleteResponseTopic,
    },
};
use highwater_core::{
    group::{Request, Response},
    types::PartitionIndex,
};
use std::sync::Arc;

/// Deletes the offset of each partition on its own.
pub async fn handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let image = context.shared.quorum.image();
    // Known partitions go to the coordinator; the others are answered here.
    let known = |topic: &str, index: i32| {
        let index = PartitionIndex(u32::try_from(index).ok()?);
        let exists = image.topic_named(topic)?.partitions.len() > index.0 as usize;
        exists.then_some(index)
    };
    let topics: Vec<(Arc<str>, Vec<PartitionIndex>)> = request
        .topics
        .iter()
        .map(|topic| {
            let indexes = topic.partitions.iter().map(|one| one.partition_index);
            (
                Arc::from(&*topic.name),
                indexes.filter_map(|index| known(&topic.name, index)).collect(),
            )
        })
        .collect();
    let body = Request::DeleteOffsets { group: group_id(&request.group_id), topics };
    let outcomes = match groups::ask(&context, &request.group_id, body).await {
        Ok(Response::OffsetsDeleted(Ok(outcomes))) => outcomes,
        Ok(Response::OffsetsDeleted(Err(error))) => return refusal(errors::of_group(&error)),
        Ok(other) => groups::mismatch(&other),
        Err(code) => return refusal(code),
    };
    let mut outcomes = outcomes.into_iter();
    let mut code_of = |topic: &str, index: i32| match known(topic, index) {
        None => ErrorCode::UnknownTopicOrPartition,
        Some(_) => match outcomes.next().expect("one outcome for each partition") {
            Ok(()) => ErrorCode::None,
            Err(error) => errors::of_group(&error),
        },
    };
    let mut response = OffsetDeleteResponse::default();
    for topic in request.topics {
        let partitions = topic.partitions.iter().map(|one| OffsetDeleteResponsePartition {
            partition_index: one.partition_index,
            error_code: code_of(&topic.name, one.partition_index) as i16,
        });
        let partitions = partitions.collect();
        response.topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    response
}

fn refusal(code: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code: code as i16, ..Default::default() }
}

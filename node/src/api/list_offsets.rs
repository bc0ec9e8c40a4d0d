//! ListOffsets (key 2): the start, the end, or the offset at a time.

use super::{Context, errors, resolve};
use crate::{
    broker::answered,
    wire::{
        ErrorCode,
        generated::list_offsets::{
            ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
            ListOffsetsResponse, ListOffsetsTopicResponse,
        },
    },
};
use highwater_core::{
    partition::{Input, OffsetSpec, Response},
    time::Timestamp,
};

/// The first version whose answer has the leader epoch.
const LEADER_EPOCH_SINCE: i16 = 4;

/// Looks up each partition's offset.
pub async fn handle(context: Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    for topic in request.topics {
        let named = resolve::Topic::named(&context, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let looked_up = look_up(&context, &named, partition).await;
            partitions.push(looked_up.unwrap_or_else(|code| ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: code as i16,
                ..Default::default()
            }));
        }
        response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    response
}

async fn look_up(
    context: &Context,
    topic: &resolve::Topic,
    wanted: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let driver = topic.partition(context, wanted.partition_index)?;
    let spec = spec_of(context.version, wanted.timestamp)?;
    let current_leader_epoch = errors::epoch(wanted.current_leader_epoch);
    let parked =
        driver.request(|request| Input::ListOffsets { request, spec, current_leader_epoch });
    match answered(parked).await {
        Response::Offset { timestamp, offset, leader_epoch } => Ok(ListOffsetsPartitionResponse {
            partition_index: wanted.partition_index,
            timestamp: timestamp.map_or(-1, |timestamp| timestamp.0),
            offset: offset.map_or(-1, errors::offset),
            leader_epoch: leader_epoch
                .filter(|_| context.version >= LEADER_EPOCH_SINCE)
                .map_or(-1, errors::epoch_number),
            ..Default::default()
        }),
        Response::Error(error) => Err(errors::of_partition(&error)),
        other => unreachable!("a list of offsets was answered with {other:?}"),
    }
}

/// What a timestamp asks for; the negative ones came with later versions.
fn spec_of(version: i16, timestamp: i64) -> Result<OffsetSpec, ErrorCode> {
    match timestamp {
        -1 => Ok(OffsetSpec::Latest),
        -2 => Ok(OffsetSpec::Earliest),
        -3 if version >= 7 => Ok(OffsetSpec::MaxTimestamp),
        -4 if version >= 8 => Ok(OffsetSpec::EarliestLocal),
        -5 if version >= 9 => Ok(OffsetSpec::LatestTiered),
        ..=-3 => Err(ErrorCode::UnsupportedVersion),
        at => Ok(OffsetSpec::At(Timestamp(at))),
    }
}

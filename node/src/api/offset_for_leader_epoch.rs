//! OffsetForLeaderEpoch (key 23): where a leader epoch ends (KIP-101, KIP-279, KIP-320).

use super::{Context, errors, resolve};
use crate::wire::{
    ErrorCode,
    generated::offset_for_leader_epoch::{
        EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        OffsetForLeaderPartition, OffsetForLeaderTopicResult,
    },
};
use highwater_core::{
    partition::{Input, Response},
    types::LeaderEpoch,
};

/// Answers with the largest epoch at or below the one asked for, and its end offset.
pub async fn handle(
    context: Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let named = resolve::Topic::named(&context, &topic.topic);
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| {
                epoch_end(&context, &named, wanted).unwrap_or_else(|code| EpochEndOffset {
                    partition: wanted.partition,
                    error_code: code as i16,
                    ..Default::default()
                })
            })
            .collect();
        response.topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    response
}

fn epoch_end(
    context: &Context,
    topic: &resolve::Topic,
    wanted: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let driver = topic.partition(context, wanted.partition)?;
    let current_leader_epoch = errors::epoch(wanted.current_leader_epoch);
    let unknown = EpochEndOffset { partition: wanted.partition, ..Default::default() };
    let Ok(epoch) = u32::try_from(wanted.leader_epoch).map(LeaderEpoch) else {
        return Ok(unknown);
    };
    match driver.ask(|request| Input::EpochEnd { request, epoch, current_leader_epoch }) {
        Response::EpochEnd(Some(end)) => Ok(EpochEndOffset {
            partition: wanted.partition,
            leader_epoch: errors::epoch_number(end.epoch),
            end_offset: errors::offset(end.end_offset),
            ..Default::default()
        }),
        Response::EpochEnd(None) => Ok(unknown),
        Response::Error(error) => Err(errors::of_partition(&error)),
        other => unreachable!("an epoch's end was answered with {other:?}"),
    }
}

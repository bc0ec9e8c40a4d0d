//! ConsumerGroupHeartbeat (key 68, KIP-848): a member of a consumer group joins, stays or leaves,
//! and hears what it is to own.

use super::{
    Context, errors,
    groups::{self, fresh_member, generation_number, group_id, instance_id, member_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::consumer_group_heartbeat::{
        Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
    },
};
use highwater_core::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, MemberEpoch, Request, Response,
        TopicPartitions as Owned,
    },
    types::PartitionIndex,
};
use std::{sync::Arc, time::Duration};

const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

/// Answers a member.
pub async fn handle(
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !groups::consumer_groups_are_in_use(&context) {
        return refusal(ErrorCode::UnsupportedVersion, groups::NOT_IN_USE);
    }
    let body = match heartbeat(&context, &request) {
        Ok(body) => Request::ConsumerHeartbeat(body),
        Err(reason) => return refusal(ErrorCode::InvalidRequest, reason),
    };
    match groups::ask(&context, &request.group_id, body).await {
        Ok(Response::ConsumerHeartbeat(Ok(answer))) => respond(answer),
        Ok(Response::ConsumerHeartbeat(Err(error))) => {
            refusal(errors::of_group(&error), error.to_string())
        }
        Ok(other) => groups::mismatch(&other),
        Err(code) => {
            ConsumerGroupHeartbeatResponse { error_code: code as i16, ..Default::default() }
        }
    }
}

fn heartbeat(
    context: &Context,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerHeartbeat, &'static str> {
    // From version 1 on clients make their ids (KIP-1082).
    if context.version >= 1 && request.member_id.trim().is_empty() {
        return Err("the member id is missing");
    }
    let epoch = match request.member_epoch {
        JOIN => MemberEpoch::Join,
        LEAVE => MemberEpoch::Leave,
        LEAVE_FOR_NOW => MemberEpoch::LeaveForNow,
        epoch => MemberEpoch::Stay(
            u32::try_from(epoch)
                .map_err(|_| "the member epoch is below every one that there is")?,
        ),
    };
    let owned = request.topic_partitions.as_deref().map(owned).transpose()?;
    let names = request.subscribed_topic_names.as_ref();
    Ok(ConsumerHeartbeat {
        group: group_id(&request.group_id),
        member: member_id(&request.member_id),
        fresh_member: fresh_member(context, None),
        epoch,
        instance: instance_id(request.instance_id.as_ref()),
        rack: request.rack_id.as_ref().map(Str::to_string),
        client_id: context.client_id.to_string(),
        client_host: groups::client_host(context),
        // -1 is unchanged.
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms)
            .ok()
            .map(Duration::from_millis),
        topics: names.map(|names| names.iter().map(|name| Arc::from(&**name)).collect()),
        regular_expression: request.subscribed_topic_regex.as_deref().map(Arc::from),
        assignor: request.server_assignor.as_ref().map(Str::to_string),
        owned,
    })
}

fn owned(topics: &[TopicPartitions]) -> Result<Owned, &'static str> {
    let mut owned = Owned::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = owned.entry(topic.topic_id).or_default();
        for index in &topic.partitions {
            let index = u32::try_from(*index).map_err(|_| "a partition's index is negative")?;
            partitions.insert(PartitionIndex(index));
        }
    }
    Ok(owned)
}

fn respond(answer: ConsumerHeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let interval = answer.heartbeat_interval.as_millis();
    ConsumerGroupHeartbeatResponse {
        member_id: Some(Str::from(&*answer.member)),
        member_epoch: match answer.epoch {
            MemberEpoch::Join => JOIN,
            MemberEpoch::Leave => LEAVE,
            MemberEpoch::LeaveForNow => LEAVE_FOR_NOW,
            MemberEpoch::Stay(epoch) => generation_number(epoch),
        },
        heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
        assignment: answer.assignment.map(|assigned| Assignment {
            topic_partitions: assigned
                .into_iter()
                .map(|(topic_id, partitions)| TopicPartitions {
                    topic_id,
                    partitions: partitions
                        .iter()
                        .map(|index| groups::index_number(*index))
                        .collect(),
                })
                .collect(),
        }),
        ..Default::default()
    }
}

fn refusal(code: ErrorCode, reason: impl Into<String>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: code as i16,
        error_message: Some(errors::text(reason)),
        ..Default::default()
    }
}

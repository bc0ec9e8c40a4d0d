//! FindCoordinator (key 10): which broker coordinates a group. The first question about any group
//! creates the topic in which they are kept.

use super::{Context, creation, groups, leader_hints};
use crate::wire::{
    ErrorCode, Str,
    generated::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse},
};
use highwater_core::metadata::OFFSETS_TOPIC;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Names the coordinator of each key; before version 4 there is one.
pub async fn handle(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let key_type = request.key_type;
    if context.version >= 4 {
        let mut response = FindCoordinatorResponse::default();
        for key in request.coordinator_keys {
            response.coordinators.push(find(&context, key_type, key).await);
        }
        return response;
    }
    let found = find(&context, key_type, request.key).await;
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

async fn find(context: &Context, key_type: i8, key: Str) -> Coordinator {
    let found = match key_type {
        GROUP => find_group(context, &key).await,
        TRANSACTION => Err((ErrorCode::CoordinatorNotAvailable, "transactions are not served")),
        _ => Err((ErrorCode::InvalidRequest, "the key's type is neither 0 nor 1")),
    };
    match found {
        Ok(node) => Coordinator {
            key,
            node_id: node.id,
            host: node.host,
            port: node.port,
            error_message: Some(Str::EMPTY),
            ..Default::default()
        },
        Err((code, reason)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code as i16,
            error_message: Some(Str::from_static(reason)),
            ..Default::default()
        },
    }
}

async fn find_group(
    context: &Context,
    group: &str,
) -> Result<leader_hints::Node, (ErrorCode, &'static str)> {
    if groups::partition_of(context, group).is_none()
        && let Err(code) = creation::create_offsets_topic(context).await
    {
        tracing::warn!(?code, peer = %context.peer, "{OFFSETS_TOPIC} was not created");
        let reason = "the topic of group coordinators cannot be created yet";
        return Err((ErrorCode::CoordinatorNotAvailable, reason));
    }
    let image = context.shared.quorum.image();
    let node = groups::partition_of(context, group).and_then(|index| {
        let topic = image.topic_named(OFFSETS_TOPIC)?;
        let leader = topic.partitions.get(index.0 as usize)?.leader?;
        Some(leader_hints::node(leader, image.broker(leader)?))
    });
    node.ok_or((ErrorCode::CoordinatorNotAvailable, "nobody leads the group's partition now"))
}

//! SyncGroup (key 14): a member asks what it was assigned, and the leader says it. Answered when
//! the leader has.

use super::{
    Context, errors,
    groups::{self, group_id, identity, member_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::sync_group::{SyncGroupRequest, SyncGroupResponse},
};
use highwater_core::group::{Request, Response, Sync};

/// Takes the leader's assignments, and tells the client its own.
pub async fn handle(context: Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let names = (&request.protocol_type, &request.protocol_name);
    if context.version >= 5 && !matches!(names, (Some(_), Some(_))) {
        return refusal(ErrorCode::InconsistentGroupProtocol);
    }
    let assignments = request.assignments.iter();
    let sync = Sync {
        group: group_id(&request.group_id),
        identity: identity(
            &request.member_id,
            request.group_instance_id.as_ref(),
            request.generation_id,
        ),
        protocol_type: request.protocol_type.as_ref().map(Str::to_string),
        protocol: request.protocol_name.as_ref().map(Str::to_string),
        assignments: assignments
            .map(|one| (member_id(&one.member_id), one.assignment.clone()))
            .collect(),
    };
    let group = sync.group.clone();
    // The answer may be long in coming: the frame must not be kept in memory until then.
    drop(request);
    match groups::ask(&context, &group, Request::Sync(sync)).await {
        Ok(Response::Synced(Ok(synced))) => SyncGroupResponse {
            protocol_type: Some(Str::from(synced.protocol_type)),
            protocol_name: Some(Str::from(synced.protocol)),
            assignment: synced.assignment,
            ..Default::default()
        },
        Ok(Response::Synced(Err(error))) => refusal(errors::of_group(&error)),
        Ok(other) => groups::mismatch(&other),
        Err(code) => refusal(code),
    }
}

fn refusal(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code as i16, ..Default::default() }
}

//! LeaveGroup (key 13): members leave a classic group without waiting for their sessions to end.

use super::{
    Context, errors,
    groups::{self, group_id, instance_id, member_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::leave_group::{
        LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
    },
};
use highwater_core::group::{Leaver, Request, Response};

/// Removes each member on its own.
pub async fn handle(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    // Before version 3 (KIP-345) one member leaves.
    let members = if context.version >= 3 {
        request.members
    } else {
        vec![MemberIdentity { member_id: request.member_id, ..Default::default() }]
    };
    let leavers = members.iter().map(|member| Leaver {
        member: member_id(&member.member_id),
        instance: instance_id(member.group_instance_id.as_ref()),
        reason: member.reason.as_ref().map(Str::to_string),
    });
    let group = group_id(&request.group_id);
    let body = Request::Leave { group, members: leavers.collect() };
    let outcomes = match groups::ask(&context, &request.group_id, body).await {
        Ok(Response::Left(Ok(outcomes))) => outcomes,
        Ok(Response::Left(Err(error))) => return refusal(errors::of_group(&error)),
        Ok(other) => groups::mismatch(&other),
        Err(code) => return refusal(code),
    };
    let code_of = |outcome: &Result<(), _>| match outcome {
        Ok(()) => ErrorCode::None,
        Err(error) => errors::of_group(error),
    };
    if context.version < 3 {
        return refusal(outcomes.first().map_or(ErrorCode::None, code_of));
    }
    let members = members.into_iter().zip(&outcomes).map(|(member, outcome)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code_of(outcome) as i16,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}

fn refusal(code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: code as i16, ..Default::default() }
}

//! JoinGroup (key 11): a member joins its group's next generation. Answered when all have joined,
//! or the group has waited for them for long enough.

use super::{
    Context, errors,
    groups::{self, fresh_member, generation_number, group_id, instance_id, member_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember},
};
use highwater_core::group::{Join, JoinRefused, Joined, Request, Response};

/// Lets the client join.
pub async fn handle(context: Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let (group, member) = (group_id(&request.group_id), member_id(&request.member_id));
    let body = Request::Join(join(&context, &request));
    // The answer may be long in coming: the frame must not be kept in memory until then.
    drop(request);
    let mut response = match groups::ask(&context, &group, body).await {
        Ok(Response::Joined(Ok(joined))) => answer(joined),
        Ok(Response::Joined(Err(JoinRefused { error, member }))) => {
            refusal(errors::of_group(&error), Str::from(&*member))
        }
        Ok(other) => groups::mismatch(&other),
        Err(code) => refusal(code, Str::from(&*member)),
    };
    // Null where nothing was agreed on, once the version has it.
    response.protocol_name = match response.protocol_name.take().filter(|name| !name.is_empty()) {
        None if context.version < 7 => Some(Str::EMPTY),
        name => name,
    };
    response
}

fn join(context: &Context, request: &JoinGroupRequest) -> Join {
    // Version 0 has one timeout for both.
    let rebalance_timeout_ms = match request.rebalance_timeout_ms {
        none if none < 0 => request.session_timeout_ms,
        given => given,
    };
    let protocols = request.protocols.iter();
    Join {
        group: group_id(&request.group_id),
        member: member_id(&request.member_id),
        fresh_member: fresh_member(context, request.group_instance_id.as_ref()),
        instance: instance_id(request.group_instance_id.as_ref()),
        client_id: context.client_id.to_string(),
        client_host: groups::client_host(context),
        session_timeout: groups::millis(request.session_timeout_ms),
        rebalance_timeout: groups::millis(rebalance_timeout_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|one| (one.name.to_string(), one.metadata.clone())).collect(),
        must_know_its_id: context.version >= 4,
        can_skip_assignment: context.version >= 9,
        reason: request.reason.as_ref().map(Str::to_string),
    }
}

fn answer(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: Str::from(&*member.member),
        group_instance_id: member.instance.map(|id| Str::from(&*id)),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: generation_number(joined.generation),
        protocol_type: Some(Str::from(joined.protocol_type)),
        protocol_name: Some(Str::from(joined.protocol)),
        leader: Str::from(&*joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: Str::from(&*joined.member),
        members: members.collect(),
        ..Default::default()
    }
}

fn refusal(code: ErrorCode, member_id: Str) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code as i16,
        generation_id: -1,
        member_id,
        ..Default::default()
    }
}

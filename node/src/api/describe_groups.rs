//! DescribeGroups (key 15): groups and their members, in terms of the classic protocol.

use super::{
    Context, errors,
    groups::{self, group_id},
};
use crate::wire::{
    ErrorCode, Str,
    generated::describe_groups::{
        DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
    },
};
use highwater_core::group::{Described, GroupError, GroupState, Request, Response};

/// Describes each group on its own.
pub async fn handle(context: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    for group in request.groups {
        let body = Request::Describe { group: group_id(&group) };
        let described = match groups::ask(&context, &group, body).await {
            Ok(Response::Described(Ok(described))) => describe(described),
            Ok(Response::Described(Err(error))) => unknown(&context, &error),
            Ok(other) => groups::mismatch(&other),
            Err(code) => DescribedGroup { error_code: code as i16, ..Default::default() },
        };
        response.groups.push(DescribedGroup { group_id: group, ..described });
    }
    response
}

fn describe(described: Described) -> DescribedGroup {
    let members = described.members.into_iter().map(|member| DescribedGroupMember {
        member_id: Str::from(&*member.member),
        group_instance_id: member.instance.map(|id| Str::from(&*id)),
        client_id: Str::from(member.client_id),
        client_host: Str::from(member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_state: Str::from_static(described.state.name()),
        protocol_type: Str::from(described.protocol_type),
        protocol_data: Str::from(described.protocol),
        members: members.collect(),
        ..Default::default()
    }
}

/// A group that does not exist is dead without an error before version 6 (KIP-1043).
fn unknown(context: &Context, error: &GroupError) -> DescribedGroup {
    match error {
        GroupError::GroupIdNotFound if context.version < 6 => DescribedGroup {
            group_state: Str::from_static(GroupState::Dead.name()),
            ..Default::default()
        },
        GroupError::GroupIdNotFound => DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound as i16,
            error_message: Some(errors::text(error.to_string())),
            group_state: Str::from_static(GroupState::Dead.name()),
            ..Default::default()
        },
        error => DescribedGroup {
            error_code: errors::of_group(error) as i16,
            error_message: (context.version >= 6).then(|| errors::text(error.to_string())),
            ..Default::default()
        },
    }
}

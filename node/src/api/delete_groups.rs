//! DeleteGroups (key 42): forgets groups that have no members, with their offsets.

use super::{
    Context, errors,
    groups::{self, group_id},
};
use crate::wire::{
    ErrorCode,
    generated::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse},
};
use highwater_core::group::{Request, Response};
use std::collections::BTreeSet;

/// Deletes each group on its own.
pub async fn handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let mut seen = BTreeSet::new();
    for group in request.groups_names {
        // Each group once, however often it is named.
        if !seen.insert(group.clone()) {
            continue;
        }
        let body = Request::DeleteGroup { group: group_id(&group) };
        let code = match groups::ask(&context, &group, body).await {
            Ok(Response::GroupDeleted(Ok(()))) => ErrorCode::None,
            Ok(Response::GroupDeleted(Err(error))) => errors::of_group(&error),
            Ok(other) => groups::mismatch(&other),
            Err(code) => code,
        };
        response.results.push(DeletableGroupResult { group_id: group, error_code: code as i16 });
    }
    response
}

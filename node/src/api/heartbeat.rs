//! Heartbeat (key 12): a member of a classic group is alive.

use super::{
    Context, errors,
    groups::{self, group_id, identity},
};
use crate::wire::{
    ErrorCode,
    generated::heartbeat::{HeartbeatRequest, HeartbeatResponse},
};
use highwater_core::group::{Request, Response};

/// Prolongs the member's session.
pub async fn handle(context: Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let identity =
        identity(&request.member_id, request.group_instance_id.as_ref(), request.generation_id);
    let body = Request::Heartbeat { group: group_id(&request.group_id), identity };
    let code = match groups::ask(&context, &request.group_id, body).await {
        Ok(Response::Heartbeat(Ok(()))) => ErrorCode::None,
        Ok(Response::Heartbeat(Err(error))) => errors::of_group(&error),
        Ok(other) => groups::mismatch(&other),
        // The sessions begin anew when the group is loaded, so nothing is lost until then.
        Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(code) => code,
    };
    HeartbeatResponse { error_code: code as i16, ..Default::default() }
}

//! ListGroups (key 16): the groups whose coordinator this broker is.

use super::{Context, errors, groups};
use crate::wire::{
    ErrorCode, Str,
    generated::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup},
};
use highwater_core::group::{Request, Response};

/// Lists groups, filtered by state (KIP-518) and by type (KIP-848). While one coordinator loads the
/// list would not be whole, and the client is to ask again.
pub async fn handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let texts = |filter: &[Str]| filter.iter().map(Str::to_string).collect::<Vec<_>>();
    let (states, types) = (texts(&request.states_filter), texts(&request.types_filter));
    let coordinators = &context.shared.coordinators;
    let mut response = ListGroupsResponse::default();
    for index in coordinators.led() {
        let body = Request::List { states: states.clone(), types: types.clone() };
        let listed = match coordinators.ask(index, body).await.map_err(errors::of_coordinator) {
            Ok(Response::Listed(listed)) => listed,
            Ok(other) => groups::mismatch(&other),
            // It has moved since: its new broker lists what it has.
            Err(ErrorCode::NotCoordinator) => continue,
            Err(code) => {
                return ListGroupsResponse { error_code: code as i16, ..Default::default() };
            }
        };
        response.groups.extend(listed.into_iter().map(|group| ListedGroup {
            group_id: Str::from(&*group.group),
            protocol_type: Str::from(group.protocol_type),
            group_state: Str::from_static(group.state.name()),
            group_type: Str::from_static(group.kind.name()),
        }));
    }
    response
}

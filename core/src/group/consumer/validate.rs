//! Heartbeats that are refused for what they say, whatever the group is like.

use super::assignor::Assignor;
use crate::group::{ConsumerHeartbeat, GroupError, MemberEpoch, limits::check_instance};
use alloc::string::ToString;

/// Checks a heartbeat by itself, in Kafka's order.
pub(super) fn validate(request: &ConsumerHeartbeat) -> Result<(), GroupError> {
    let blank = |value: Option<&str>| value.is_some_and(|value| value.trim().is_empty());
    let stays_or_leaves = matches!(request.epoch, MemberEpoch::Stay(_) | MemberEpoch::Leave);
    if stays_or_leaves && blank(Some(&request.member)) {
        return invalid("the member id is missing");
    }
    if blank(Some(&request.group)) {
        return invalid("the group id is missing");
    }
    if blank(request.instance.as_deref()) {
        return invalid("the instance id is empty");
    }
    check_instance(request.instance.as_deref())?;
    if blank(request.rack.as_deref()) {
        return invalid("the rack is empty");
    }
    match request.epoch {
        MemberEpoch::Join => {
            if request.rebalance_timeout.is_none() {
                return invalid("who joins has to give its rebalance timeout");
            }
            if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("who joins has to say that it owns no partition");
            }
            // Either may be empty: a member may subscribe to nothing.
            if request.topics.is_none() && request.regular_expression.is_none() {
                return invalid("who joins has to subscribe to topics or a regular expression");
            }
        }
        MemberEpoch::LeaveForNow if request.instance.is_none() => {
            return invalid("only a member with an instance id can leave for now");
        }
        MemberEpoch::Stay(0) => return invalid("a member that stays has an epoch above zero"),
        MemberEpoch::LeaveForNow | MemberEpoch::Leave | MemberEpoch::Stay(_) => {}
    }
    match &request.assignor {
        Some(name) if Assignor::named(name).is_none() => Err(GroupError::UnsupportedAssignor),
        Some(_) | None => Ok(()),
    }
}

fn invalid(what: &str) -> Result<(), GroupError> {
    Err(GroupError::InvalidRequest(what.to_string()))
}

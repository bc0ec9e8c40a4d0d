//! AddRaftVoter (key 80) and RemoveRaftVoter (key 81): who votes on the metadata (KIP-853).
//!
//! Only the quorum's leader changes that, whom every node asks: it may be no broker that clients
//! could turn to.

use super::{Context, errors, timeout};
use crate::{
    quorum::ChangeError,
    wire::{
        ErrorCode, Str,
        generated::{
            add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse},
            remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse},
        },
    },
};
use highwater_core::{metadata::Endpoint, types::BrokerId};

type Refusal = (ErrorCode, String);

/// Makes a node a voter, once it has caught up. Directory ids are not kept: a node that has lost its
/// log is recognised by the log itself.
pub async fn add(context: Context, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let (error_code, error_message) = answer(try_add(&context, request).await);
    AddRaftVoterResponse { error_code, error_message, ..Default::default() }
}

/// Takes a node's vote away.
pub async fn remove(context: Context, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let (error_code, error_message) = answer(try_remove(&context, request).await);
    RemoveRaftVoterResponse { error_code, error_message, ..Default::default() }
}

async fn try_add(context: &Context, request: AddRaftVoterRequest) -> Result<(), Refusal> {
    check_cluster(context, request.cluster_id.as_ref())?;
    let quorum = &context.shared.quorum;
    let voter = BrokerId(request.voter_id);
    if quorum.status_of_leader().await.voters.contains_key(&voter) {
        return Err((ErrorCode::DuplicateVoter, format!("node {voter} is a voter already")));
    }
    let Some(listener) = request.listeners.first() else {
        let reason = "the voter needs a listener that the other nodes can reach";
        return Err((ErrorCode::InvalidRequest, reason.to_string()));
    };
    let endpoint = Endpoint { host: listener.host.to_string(), port: listener.port };
    let adding = quorum.add_voter(voter, endpoint);
    match timeout::within(context, request.timeout_ms, adding).await {
        Some(outcome) => outcome.map_err(refusal),
        None => {
            let reason = "the voter has not caught up in time; it may still become one";
            Err((ErrorCode::RequestTimedOut, reason.to_string()))
        }
    }
}

async fn try_remove(context: &Context, request: RemoveRaftVoterRequest) -> Result<(), Refusal> {
    check_cluster(context, request.cluster_id.as_ref())?;
    let quorum = &context.shared.quorum;
    let voter = BrokerId(request.voter_id);
    if !quorum.status_of_leader().await.voters.contains_key(&voter) {
        return Err((ErrorCode::VoterNotFound, format!("node {voter} is no voter")));
    }
    quorum.remove_voter(voter).await.map_err(refusal)
}

fn check_cluster(context: &Context, named: Option<&Str>) -> Result<(), Refusal> {
    let own = &context.shared.cluster_id;
    match named.filter(|named| named.as_str() != own) {
        Some(_) => Err((ErrorCode::InconsistentClusterId, format!("this is cluster {own}"))),
        None => Ok(()),
    }
}

fn refusal(error: ChangeError) -> Refusal {
    let code = match error {
        ChangeError::NotLeader { .. } => ErrorCode::NotController,
        ChangeError::Refused(_) => ErrorCode::InvalidRequest,
        ChangeError::Unknown(_) => ErrorCode::RequestTimedOut,
    };
    (code, error.to_string())
}

fn answer(outcome: Result<(), Refusal>) -> (i16, Option<Str>) {
    match outcome {
        Ok(()) => (ErrorCode::None as i16, None),
        Err((code, reason)) => (code as i16, Some(errors::text(reason))),
    }
}

//! Proposing commands, here or to the leader, and asking the leader where the log ends.

use super::{
    Shared,
    types::{Proposal, Types, offset_behind},
};
use crate::{
    env::TransportError,
    internal,
    peer::messages::{PeerReply, PeerRequest},
    quorum::ProposeError,
};
use highwater_core::{
    metadata::{Command, Reply},
    mutant::Mutant,
    sometimes,
    types::{BrokerId, MetadataOffset},
};
use openraft::{
    ReadPolicy,
    errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError},
};
use std::{sync::Arc, time::Duration};

/// The most bytes of one encoded command.
pub(super) const COMMAND_BYTES_MAX: u64 = 2 << 20;
/// How long a proposer waits for the quorum to agree; afterwards the outcome is unknown.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer is waited for once its leader has been replaced: it may be on its way. One
/// that is cut off would be waited for in vain until [`PROPOSAL_TIMEOUT`].
const REPLACED_PATIENCE: Duration = Duration::from_millis(500);

type Proposed = Result<(MetadataOffset, Reply), ProposeError>;

impl Shared {
    /// Proposes a command, here or once at the leader. Never tries again.
    pub(super) async fn propose(&self, command: Command) -> Proposed {
        match self.leadership().leader {
            Some(leader) if leader != self.node => self.forward(leader, command).await,
            None => Err(self.no_leader()),
            Some(_) => match self.propose_here(command.clone()).await {
                Err(ProposeError::NotLeader { leader: Some(leader) }) if leader != self.node => {
                    self.forward(leader, command).await
                }
                outcome => outcome,
            },
        }
    }

    /// Serves a proposal of another node: as the leader or not at all.
    pub(super) async fn serve_proposal(&self, command: Command) -> PeerReply {
        match self.propose_here(command).await {
            Ok((offset, reply)) => PeerReply::Proposed(offset, reply),
            Err(ProposeError::Refused(error)) => PeerReply::Refused(error),
            Err(ProposeError::NotLeader { leader }) => PeerReply::NotLeader { leader },
            Err(ProposeError::Unknown(reason)) => PeerReply::Unknown(reason),
            Err(error @ (ProposeError::NotStored(_) | ProposeError::Stopped)) => {
                PeerReply::Unavailable(error.to_string())
            }
        }
    }

    /// An offset whose image holds every command that was answered before the call.
    pub(super) async fn read_barrier(&self) -> Result<MetadataOffset, ProposeError> {
        let asking = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match self.world.within(PROPOSAL_TIMEOUT, asking).await {
            Some(Ok(last)) => Ok(offset_behind(last.index())),
            Some(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Some(Err(RaftError::Fatal(_))) => Err(ProposeError::Stopped),
            // No quorum confirms that this node leads.
            Some(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | None => {
                Err(ProposeError::NotLeader { leader: None })
            }
        }
    }

    async fn propose_here(&self, command: Command) -> Proposed {
        let size = internal::encoded_size(&command);
        if size > COMMAND_BYTES_MAX {
            let reason = format!("it has {size} bytes, and {COMMAND_BYTES_MAX} at most are taken");
            return Err(ProposeError::NotStored(reason));
        }
        let writing = self.raft.client_write(Proposal(Arc::new(command)));
        let Some(written) = self.world.within(PROPOSAL_TIMEOUT, writing).await else {
            return Err(ProposeError::Unknown("the quorum did not agree in time".into()));
        };
        match written {
            Ok(response) => {
                let outcome = response.data.expect("a command has an outcome");
                let reply = outcome.map_err(ProposeError::Refused)?;
                Ok((offset_behind(response.log_id.index), reply))
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn forward(&self, leader: BrokerId, command: Command) -> Proposed {
        self.locate(leader);
        let deadline = self.world.now().after(PROPOSAL_TIMEOUT);
        let request = PeerRequest::Propose(command);
        let answer = tokio::select! {
            biased;
            answer = self.transport.call(leader, request, deadline) => answer,
            () = self.replaced(leader) => {
                sometimes!(LeaderReplacedUnderProposal);
                if Mutant::LostAnswerIsRefusal.is_planted() {
                    return Err(ProposeError::NotLeader { leader: self.leadership().leader });
                }
                return Err(ProposeError::Unknown("the quorum has another leader".into()));
            }
        };
        match answer {
            Ok(PeerReply::Proposed(offset, reply)) => Ok((offset, reply)),
            Ok(PeerReply::Refused(error)) => Err(ProposeError::Refused(error)),
            Ok(PeerReply::NotLeader { leader }) => Err(ProposeError::NotLeader { leader }),
            Ok(PeerReply::Unavailable(reason)) => Err(ProposeError::NotStored(reason)),
            Ok(PeerReply::Unknown(reason)) => Err(ProposeError::Unknown(reason)),
            Ok(other) => Err(ProposeError::Unknown(format!("an unexpected answer: {other:?}"))),
            Err(TransportError::NoAnswer { .. }) if Mutant::LostAnswerIsRefusal.is_planted() => {
                Err(ProposeError::NotLeader { leader: Some(leader) })
            }
            Err(error @ TransportError::NoAnswer { .. }) => {
                Err(ProposeError::Unknown(error.to_string()))
            }
            Err(
                TransportError::UnknownBroker(_)
                | TransportError::Unreachable { .. }
                | TransportError::Refused { .. },
            ) => Err(ProposeError::NotLeader { leader: Some(leader) }),
        }
    }

    /// Completes when another node has led for [`REPLACED_PATIENCE`].
    async fn replaced(&self, leader: BrokerId) {
        let mut known = self.leadership();
        while known.leader.is_none_or(|now| now == leader) {
            self.leadership_changed(known).await;
            known = self.leadership();
        }
        self.world.sleep(REPLACED_PATIENCE).await;
    }

    fn no_leader(&self) -> ProposeError {
        use openraft::async_runtime::WatchReceiver;
        match self.raft.metrics().borrow_watched().running_state {
            Ok(()) => ProposeError::NotLeader { leader: None },
            Err(_) => ProposeError::Stopped,
        }
    }
}

fn refusal(error: &RaftError<Types, ClientWriteError<Types>>) -> ProposeError {
    match error {
        // It was turned away before it got a place in the log.
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id }
        }
        // Whether the entry was lost with the leadership is not known here.
        RaftError::APIError(_) | RaftError::Fatal(Fatal::StorageError(_) | Fatal::Panicked) => {
            ProposeError::Unknown(error.to_string())
        }
        RaftError::Fatal(Fatal::Stopped) => ProposeError::Unknown("the node is stopping".into()),
    }
}

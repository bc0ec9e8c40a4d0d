//! What only the quorum's leader can do or tell, beside proposals, asked of it by any node: who
//! votes, and how far each node is. Clients reach the leader through the brokers: it may be none.

use super::{RaftQuorum, Shared, members::CHANGE_TIMEOUT};
use crate::{
    env::TransportError,
    peer::messages::{Endpoint, PeerReply, PeerRequest, ProgressTold, QuorumTold, VoterChange},
    quorum::{ChangeError, Leadership, PeerProgress, QuorumStatus},
};
use highwater_core::{time::Instant, types::BrokerId};
use std::time::Duration;

/// How long the leader is waited for that changes who votes: for a new voter to catch up, and for
/// the changes before and after.
const FORWARD_TIMEOUT: Duration = CHANGE_TIMEOUT.saturating_mul(3);
/// How long the leader is waited for that tells how far everybody is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

impl RaftQuorum {
    /// Makes a node a voter, once it has caught up.
    pub async fn add_voter(&self, node: BrokerId, endpoint: Endpoint) -> Result<(), ChangeError> {
        let shared = &self.shared;
        shared.world.scope(shared.change_voters(VoterChange::Add { node, endpoint })).await
    }

    /// Takes a node's vote away; it goes on as a learner. A leader may remove itself.
    pub async fn remove_voter(&self, node: BrokerId) -> Result<(), ChangeError> {
        let shared = &self.shared;
        shared.world.scope(shared.change_voters(VoterChange::Remove { node })).await
    }
}

impl Shared {
    /// Changes who votes, here or once at the leader. Never tries again.
    pub(super) async fn change_voters(&self, change: VoterChange) -> Result<(), ChangeError> {
        match self.leadership().leader {
            Some(leader) if leader != self.node => self.forward_change(leader, change).await,
            _ => self.change_voters_here(change).await,
        }
    }

    /// Serves such a change of another node: as the leader or not at all.
    pub(super) async fn serve_change(&self, change: VoterChange) -> PeerReply {
        match self.change_voters_here(change).await {
            Ok(()) => PeerReply::VotersChanged,
            Err(ChangeError::NotLeader { leader }) => PeerReply::NotLeader { leader },
            Err(ChangeError::Refused(reason)) => PeerReply::Unavailable(reason),
            Err(ChangeError::Unknown(reason)) => PeerReply::Unknown(reason),
        }
    }

    /// The quorum as its leader sees it, or as this node does when the leader does not say.
    pub(super) async fn status_of_leader(&self) -> QuorumStatus {
        let own = self.status();
        let Some(leader) = own.leadership.leader.filter(|leader| *leader != self.node) else {
            return own;
        };
        self.locate(leader);
        let deadline = self.world.now().after(STATUS_TIMEOUT);
        match self.transport.call(leader, PeerRequest::DescribeQuorum, deadline).await {
            Ok(PeerReply::QuorumTold(told)) => heard(told, leader, self.world.now()),
            _ => own,
        }
    }

    /// Tells another node what this one knows as the leader.
    pub(super) fn tell_status(&self) -> PeerReply {
        let status = self.status();
        let leader = status.leadership.leader;
        if leader != Some(self.node) {
            return PeerReply::NotLeader { leader };
        }
        PeerReply::QuorumTold(told(status, self.world.now()))
    }

    async fn change_voters_here(&self, change: VoterChange) -> Result<(), ChangeError> {
        match change {
            VoterChange::Add { node, endpoint } => self.add_voter(node, endpoint).await,
            VoterChange::Remove { node } => self.remove_voter(node).await,
        }
    }

    async fn forward_change(
        &self,
        leader: BrokerId,
        change: VoterChange,
    ) -> Result<(), ChangeError> {
        self.locate(leader);
        let deadline = self.world.now().after(FORWARD_TIMEOUT);
        let request = PeerRequest::ChangeVoters(change);
        match self.transport.call(leader, request, deadline).await {
            Ok(PeerReply::VotersChanged) => Ok(()),
            Ok(PeerReply::NotLeader { leader }) => Err(ChangeError::NotLeader { leader }),
            Ok(PeerReply::Unavailable(reason)) => Err(ChangeError::Refused(reason)),
            Ok(PeerReply::Unknown(reason)) => Err(ChangeError::Unknown(reason)),
            Ok(other) => Err(ChangeError::Unknown(format!("an unexpected answer: {other:?}"))),
            Err(error @ TransportError::NoAnswer { .. }) => {
                Err(ChangeError::Unknown(error.to_string()))
            }
            Err(
                TransportError::UnknownBroker(_)
                | TransportError::Unreachable { .. }
                | TransportError::Refused { .. },
            ) => Err(ChangeError::NotLeader { leader: Some(leader) }),
        }
    }
}

/// A status for another node, whose clock is another one.
fn told(status: QuorumStatus, now: Instant) -> QuorumTold {
    let ago = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    let peers = status.peers.into_iter().map(|(node, peer)| {
        let heard_millis_ago = peer.last_contact.map(ago);
        (node, ProgressTold { matched: peer.matched, heard_millis_ago })
    });
    QuorumTold {
        term: status.leadership.term,
        voters: status.voters,
        learners: status.learners,
        last_log_offset: status.last_log_offset,
        committed_offset: status.committed_offset,
        peers: peers.collect(),
    }
}

fn heard(told: QuorumTold, leader: BrokerId, now: Instant) -> QuorumStatus {
    let at = |millis: u64| Instant(now.0.saturating_sub(millis.saturating_mul(1_000_000)));
    let peers = told.peers.into_iter().map(|(node, peer)| {
        let last_contact = peer.heard_millis_ago.map(at);
        (node, PeerProgress { matched: peer.matched, last_contact })
    });
    QuorumStatus {
        seen_by: leader,
        leadership: Leadership { term: told.term, leader: Some(leader) },
        voters: told.voters,
        learners: told.learners,
        last_log_offset: told.last_log_offset,
        committed_offset: told.committed_offset,
        peers: peers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::types::MetadataOffset;
    use std::collections::BTreeMap;

    #[test]
    fn a_status_is_heard_as_it_was_told_whatever_the_clocks_show() {
        let leader = BrokerId(3);
        let endpoint = Endpoint { host: "h".into(), port: 9_093 };
        let peer = |last_contact| PeerProgress { matched: MetadataOffset(7), last_contact };
        let status = |contact| QuorumStatus {
            seen_by: leader,
            leadership: Leadership { term: 4, leader: Some(leader) },
            voters: BTreeMap::from([(leader, endpoint.clone())]),
            learners: BTreeMap::from([(BrokerId(1), endpoint.clone())]),
            last_log_offset: MetadataOffset(9),
            committed_offset: MetadataOffset(8),
            peers: BTreeMap::from([(leader, peer(None)), (BrokerId(1), peer(Some(contact)))]),
        };
        let sent = told(status(Instant(7_000_000_000)), Instant(9_000_000_000));
        let here = Instant(50_000_000_000);
        assert_eq!(heard(sent, leader, here), status(Instant(48_000_000_000)));
    }
}

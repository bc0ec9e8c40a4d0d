//! Who belongs to the quorum: learners that join, voters that come and go, and the status.

use super::{
    ENTRIES_AT_ONCE, RaftQuorum, Shared,
    types::{Members, Types, offset_behind},
};
use crate::{
    peer::messages::{JoinAs, PeerReply},
    quorum::{ChangeError, PeerProgress, QuorumStatus},
};
use highwater_core::{
    metadata::Endpoint,
    types::{BrokerId, MetadataOffset},
};
use openraft::{
    ChangeMembers,
    async_runtime::WatchReceiver,
    errors::{ClientWriteError, RaftError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

/// How long a new voter may take to catch up, and a change to be agreed on.
pub(super) const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a new voter is looked at.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

impl RaftQuorum {
    /// The quorum as this node sees it.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        self.shared.status()
    }

    /// Lets a learner go, which comes back by itself if it is still there. Leader only.
    pub async fn remove_learner(&self, node: BrokerId) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let removed = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        shared.world.scope(shared.alone(shared.change(removed))).await
    }
}

impl Shared {
    pub(super) fn status(&self) -> QuorumStatus {
        let leadership = self.leadership();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let voters: BTreeSet<_> = members.voter_ids().collect();
        let nodes = members.nodes().map(|(node, endpoint)| (*node, endpoint.clone()));
        let (voters, learners) = nodes.partition(|(node, _)| voters.contains(node));
        let offset = |index: Option<u64>| index.map_or(MetadataOffset(0), offset_behind);
        let contacts = metrics.heartbeat.as_ref();
        let contact = |node| contacts?.get(node)?.map(|instant| instant.into_inner().to_clock());
        let matched = metrics.replication.iter().flatten();
        QuorumStatus {
            seen_by: self.node,
            leadership,
            voters,
            learners,
            last_log_offset: offset(metrics.last_log_index),
            committed_offset: offset(metrics.local_committed.map(|at| at.index)),
            peers: matched
                .map(|(node, at)| {
                    let matched = offset(at.map(|at| at.index));
                    (*node, PeerProgress { matched, last_contact: contact(node) })
                })
                .collect(),
        }
    }

    /// Serves a node that wants to belong to the quorum: one step, which the node asks for again
    /// when it fails.
    pub(super) async fn let_join(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
        join_as: JoinAs,
    ) -> PeerReply {
        let leader = self.leadership().leader;
        if leader != Some(self.node) {
            return PeerReply::NotLeader { leader };
        }
        let Ok(_changing) = self.changing.try_lock() else {
            return PeerReply::Unavailable("another change of the members is under way".into());
        };
        self.transport.learn(node, endpoint.clone());
        let joined = match join_as {
            JoinAs::Follower => self.learn(node, endpoint).await.map(|()| PeerReply::Joined),
            JoinAs::LostLog => self.let_in(node, endpoint).await.map(PeerReply::LetIn),
            JoinAs::Voter => self.let_vote(node, endpoint).await.map(|()| PeerReply::Joined),
        };
        match joined {
            Ok(reply) => reply,
            Err(ChangeError::NotLeader { leader }) => PeerReply::NotLeader { leader },
            Err(error) => PeerReply::Unavailable(error.to_string()),
        }
    }

    /// Makes sure that a node belongs to the quorum, as a learner at least, at this endpoint.
    pub(super) async fn learn(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> Result<(), ChangeError> {
        let known = self.with_members(|members| members.get_node(&node).cloned());
        let nodes = BTreeMap::from([(node, endpoint.clone())]);
        match known {
            Some(known) if known == endpoint => Ok(()),
            Some(_) => self.change(ChangeMembers::SetNodes(nodes)).await,
            None => self.change(ChangeMembers::AddNodes(nodes)).await,
        }
    }

    pub(super) async fn add_voter(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> Result<(), ChangeError> {
        self.transport.learn(node, endpoint.clone());
        self.alone(self.learn(node, endpoint)).await?;
        // Nothing is held meanwhile: a node without a log has to be let in before it follows.
        let caught_up = self.world.within(CHANGE_TIMEOUT, self.until_caught_up(node)).await;
        caught_up.unwrap_or_else(|| {
            Err(ChangeError::Refused("the node did not catch up in time".into()))
        })?;
        self.alone(self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node])))).await
    }

    /// Makes a change while nobody else makes one.
    async fn alone<T: Send>(
        &self,
        changing: impl Future<Output = Result<T, ChangeError>> + Send,
    ) -> Result<T, ChangeError> {
        match self.world.within(CHANGE_TIMEOUT, self.changing.lock()).await {
            Some(_changing) => changing.await,
            None => Err(ChangeError::Refused("another change is under way".into())),
        }
    }

    async fn until_caught_up(&self, node: BrokerId) -> Result<(), ChangeError> {
        while !self.has_caught_up(node) {
            let leader = self.leadership().leader;
            if leader != Some(self.node) {
                return Err(ChangeError::NotLeader { leader });
            }
            self.world.sleep(CATCH_UP_PAUSE).await;
        }
        Ok(())
    }

    /// The last entry that the leader knows a node to have.
    pub(super) fn matched(&self, node: BrokerId) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref()?.get(&node)?.as_ref()?.index;
        Some(matched)
    }

    /// Whether a node lacks no more of the leader's log than one message holds.
    pub(super) fn has_caught_up(&self, node: BrokerId) -> bool {
        let last = self.raft.metrics().borrow_watched().last_log_index;
        let matched = self.matched(node);
        matched.is_some_and(|matched| matched + ENTRIES_AT_ONCE >= last.unwrap_or(0))
    }

    pub(super) fn is_voter(&self, node: BrokerId) -> bool {
        self.with_members(|members| members.voter_ids().any(|voter| voter == node))
    }

    pub(super) async fn change(
        &self,
        change: ChangeMembers<BrokerId, Endpoint>,
    ) -> Result<(), ChangeError> {
        self.agreed(self.raft.change_membership(change, true)).await.map(|_| ())
    }

    pub(super) async fn remove_voter(&self, node: BrokerId) -> Result<(), ChangeError> {
        let removed = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
        // A leader that is gone altogether steps down, and joins again as a learner.
        let retain = node != self.node;
        self.alone(self.agreed(self.raft.change_membership(removed, retain))).await.map(|_| ())
    }

    pub(super) async fn agreed<T: Send>(
        &self,
        changing: impl Future<Output = Result<T, RaftError<Types, ClientWriteError<Types>>>> + Send,
    ) -> Result<T, ChangeError> {
        match self.world.within(CHANGE_TIMEOUT, changing).await {
            None => Err(ChangeError::Unknown("the quorum did not agree in time".into())),
            Some(Ok(agreed)) => Ok(agreed),
            Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ChangeError::NotLeader { leader: forward.leader_id })
            }
            Some(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Some(Err(error)) => Err(ChangeError::Unknown(error.to_string())),
        }
    }

    pub(super) fn with_members<T>(&self, look: impl FnOnce(&Members) -> T) -> T {
        look(self.raft.metrics().borrow_watched().membership_config.membership())
    }

    /// Tells the transport where a node is, which only the log may have said so far.
    pub(super) fn locate(&self, node: BrokerId) {
        let known = self.configured.get(&node).cloned();
        let known = known.or_else(|| self.with_members(|members| members.get_node(&node).cloned()));
        if let Some(endpoint) = known {
            self.transport.learn(node, endpoint);
        }
    }

    /// Whether the quorum knows this node, and where it is.
    pub(super) fn belongs(&self) -> bool {
        self.with_members(|members| members.get_node(&self.node) == Some(&self.endpoint))
    }
}

//! Who belongs to the quorum: learners that join, voters that come and go, and the status.

use super::{
    RaftQuorum, Shared,
    types::{Members, Types, offset_behind},
};
use crate::{
    peer::messages::{PeerReply, PeerRequest},
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
    sync::Weak,
    time::Duration,
};

/// How long a new voter may take to catch up, and a change to be agreed on.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

impl RaftQuorum {
    /// The quorum as this node sees it.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        self.shared.status()
    }

    /// Makes a node a voter, once it has caught up. Leader only.
    pub async fn add_voter(&self, node: BrokerId, endpoint: Endpoint) -> Result<(), ChangeError> {
        let shared = &self.shared;
        shared.world.scope(shared.add_voter(node, endpoint)).await
    }

    /// Takes a node's vote away; it goes on as a learner. Leader only; a leader may remove itself.
    pub async fn remove_voter(&self, node: BrokerId) -> Result<(), ChangeError> {
        let shared = &self.shared;
        shared.world.scope(shared.remove_voter(node)).await
    }

    /// Lets a learner go, which comes back by itself if it is still there. Leader only.
    pub async fn remove_learner(&self, node: BrokerId) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let removed = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        shared.world.scope(shared.change(removed)).await
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

    /// Serves a node that wants the metadata log.
    pub(super) async fn let_join(&self, node: BrokerId, endpoint: Endpoint) -> PeerReply {
        let leader = self.leadership().leader;
        if leader != Some(self.node) {
            return PeerReply::NotLeader { leader };
        }
        self.transport.learn(node, endpoint.clone());
        match self.learn(node, endpoint).await {
            Ok(()) => PeerReply::Joined,
            Err(ChangeError::NotLeader { leader }) => PeerReply::NotLeader { leader },
            Err(error) => PeerReply::Unavailable(error.to_string()),
        }
    }

    /// Makes sure that a node belongs to the quorum, as a learner at least, at this endpoint.
    async fn learn(&self, node: BrokerId, endpoint: Endpoint) -> Result<(), ChangeError> {
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
        self.learn(node, endpoint.clone()).await?;
        // Only this variant of the call waits for the learner to catch up.
        self.agreed(self.raft.add_learner(node, endpoint, true)).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node]))).await
    }

    async fn change(&self, change: ChangeMembers<BrokerId, Endpoint>) -> Result<(), ChangeError> {
        self.agreed(self.raft.change_membership(change, true)).await
    }

    pub(super) async fn remove_voter(&self, node: BrokerId) -> Result<(), ChangeError> {
        let removed = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
        // A leader that is gone altogether steps down, and joins again as a learner.
        let retain = node != self.node;
        self.agreed(self.raft.change_membership(removed, retain)).await
    }

    async fn agreed<T>(
        &self,
        changing: impl Future<Output = Result<T, RaftError<Types, ClientWriteError<Types>>>> + Send,
    ) -> Result<(), ChangeError> {
        match self.world.within(CHANGE_TIMEOUT, changing).await {
            None => Err(ChangeError::Unknown("the quorum did not agree in time".into())),
            Some(Ok(_)) => Ok(()),
            Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ChangeError::NotLeader { leader: forward.leader_id })
            }
            Some(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Some(Err(error)) => Err(ChangeError::Unknown(error.to_string())),
        }
    }

    fn with_members<T>(&self, look: impl FnOnce(&Members) -> T) -> T {
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
    fn belongs(&self) -> bool {
        self.with_members(|members| members.get_node(&self.node) == Some(&self.endpoint))
    }

    async fn ask_to_join(&self, leader: BrokerId) -> Option<BrokerId> {
        self.locate(leader);
        let request = PeerRequest::Join { node: self.node, endpoint: self.endpoint.clone() };
        let deadline = self.world.now().after(CHANGE_TIMEOUT);
        match self.transport.call(leader, request, deadline).await {
            Ok(PeerReply::NotLeader { leader }) => leader,
            Ok(PeerReply::Joined) => Some(leader),
            answer => {
                tracing::debug!(%leader, ?answer, "not joined to the metadata quorum yet");
                None
            }
        }
    }
}

/// Asks to join for as long as the node does not belong to the quorum, until it is dropped.
pub(super) async fn join(quorum: Weak<Shared>) {
    let mut asked: Option<BrokerId> = None;
    let mut hint: Option<BrokerId> = None;
    loop {
        let Some(shared) = quorum.upgrade() else { return };
        if !shared.belongs() {
            let others = || shared.configured.keys().copied().filter(|id| *id != shared.node);
            let following = others().find(|id| Some(*id) > asked).or_else(|| others().next());
            let known = shared.leadership().leader.filter(|id| *id != shared.node);
            if let Some(leader) = hint.take().or(known).or(following) {
                asked = Some(leader);
                hint = shared.ask_to_join(leader).await.filter(|id| *id != shared.node);
            }
        }
        let pause = shared.world.sleep(shared.retry_interval);
        drop(shared);
        pause.await;
    }
}

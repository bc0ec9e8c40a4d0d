//! How a node comes to take part: by founding the quorum, or by being let in without a log.
//!
//! A voter that has lost its log has lost what it had promised: an acknowledgement of it may have
//! committed an entry, and a vote of it may elect a leader without that entry. So a node with an
//! empty log serves no Raft call. It asks the leader to be let in ([`JoinAs::LostLog`]); the leader
//! takes its vote away, which the others alone have to agree on, and adds it as a learner. From
//! then on it follows, in no term before that leader's. Its vote counts again when its log gives it
//! one behind the entry that took the old one away; a node whose vote was taken asks for that
//! ([`JoinAs::Voter`]).
//!
//! Every step is asked for by the node, again and again until it sees the outcome in its own log.
//! So it does not matter which of the two dies meanwhile. That it was let in is in its file, as a
//! part of a log is no proof that it has the rest.

use super::{
    Shared, founding::Founding, log_state::LetInRecord, members::CHANGE_TIMEOUT, storage::Standing,
    types::offset_behind,
};
use crate::{
    peer::messages::{JoinAs, LetIn, PeerReply, PeerRequest},
    quorum::ChangeError,
};
use highwater_core::{
    metadata::Endpoint,
    sometimes,
    types::{BrokerId, MetadataOffset},
};
use openraft::{ChangeMembers, async_runtime::WatchReceiver};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Weak, atomic::Ordering},
};

/// How often, in questions, a node says that it still waits to be let in.
const REPORT_EVERY: u32 = 50;

/// Whom the node asks.
#[derive(Default)]
struct Asking {
    last: Option<BrokerId>,
    hint: Option<BrokerId>,
    unheard: u32,
}

/// Founds the quorum or asks for what the node lacks in it, until the quorum is dropped.
pub(super) async fn take_part(quorum: Weak<Shared>) {
    let mut founding = Founding::default();
    let mut asking = Asking::default();
    loop {
        let Some(shared) = quorum.upgrade() else { return };
        let pause = match shared.may_found() {
            true => shared.found_together(&mut founding).await,
            false => {
                shared.follow_own_log().await;
                shared.ask(&mut asking).await;
                shared.retry_interval
            }
        };
        let pause = shared.world.sleep(pause);
        drop(shared);
        pause.await;
    }
}

impl Shared {
    /// Whether the log gives a vote to this node, which was let in without a log.
    pub(super) fn has_vote_again(&self) -> bool {
        match self.store.standing() {
            Standing::LetIn(let_in) => self.has_vote_behind(let_in),
            Standing::Outside | Standing::Full => false,
        }
    }

    fn has_vote_behind(&self, let_in: LetInRecord) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.membership_config;
        members.log_id().is_some_and(|at| at.index >= let_in.without_vote)
            && members.membership().voter_ids().any(|voter| voter == self.node)
    }

    /// Whether the vote can be lost no more, and the change that gave it is over.
    fn keeps_vote(&self, let_in: LetInRecord) -> bool {
        let settled = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let members = &metrics.membership_config;
            metrics.last_applied >= *members.log_id()
                && members.membership().get_joint_config().len() == 1
        };
        settled && self.has_vote_behind(let_in)
    }

    /// Stands for election only while the log gives this node a vote.
    async fn follow_own_log(&self) {
        let Standing::LetIn(let_in) = self.store.standing() else { return };
        self.raft.runtime_config().elect(self.has_vote_behind(let_in));
        if !self.keeps_vote(let_in) {
            return;
        }
        match self.store.save_let_in(None).await {
            Ok(()) => tracing::info!("this node is a voter of the metadata quorum again"),
            Err(error) => tracing::error!(%error, "this node's vote was not stored"),
        }
    }

    fn lacks(&self) -> Option<JoinAs> {
        match self.store.standing() {
            Standing::Outside => Some(JoinAs::LostLog),
            Standing::LetIn(let_in) if let_in.wants_vote => Some(JoinAs::Voter),
            Standing::LetIn(_) | Standing::Full => (!self.belongs()).then_some(JoinAs::Follower),
        }
    }

    async fn ask(&self, asking: &mut Asking) {
        let Some(join_as) = self.lacks() else { return };
        let others = || self.configured.keys().copied().filter(|id| *id != self.node);
        let following = others().find(|id| Some(*id) > asking.last).or_else(|| others().next());
        let known = self.leadership().leader.filter(|id| *id != self.node);
        let Some(leader) = asking.hint.take().or(known).or(following) else { return };
        asking.last = Some(leader);
        let hint = self.ask_to_join(leader, join_as).await;
        asking.hint = hint.filter(|id| *id != self.node);
        asking.unheard =
            if self.store.standing() == Standing::Outside { asking.unheard + 1 } else { 0 };
        if asking.unheard.is_multiple_of(REPORT_EVERY) && asking.unheard > 0 {
            tracing::warn!(
                "still waiting to be let into the metadata quorum: it needs a leader, and a \
                 majority of the voters that have their logs; if a majority has lost them, restore \
                 their data directories"
            );
        }
    }

    /// Asks once. The answer is who leads, as far as that is known now.
    async fn ask_to_join(&self, leader: BrokerId, join_as: JoinAs) -> Option<BrokerId> {
        self.locate(leader);
        let (node, endpoint) = (self.node, self.endpoint.clone());
        let request = PeerRequest::Join { node, endpoint, join_as };
        let deadline = self.world.now().after(CHANGE_TIMEOUT);
        match self.transport.call(leader, request, deadline).await {
            Ok(PeerReply::NotLeader { leader }) => leader,
            Ok(PeerReply::Joined) => Some(leader),
            Ok(PeerReply::LetIn(let_in)) if join_as == JoinAs::LostLog => {
                self.enter(leader, let_in).await;
                Some(leader)
            }
            Ok(PeerReply::Unavailable(reason)) => {
                tracing::debug!(%leader, ?join_as, reason, "not joined to the metadata quorum yet");
                Some(leader)
            }
            answer => {
                tracing::debug!(%leader, ?join_as, ?answer, "the leader did not let this node join");
                None
            }
        }
    }

    async fn enter(&self, leader: BrokerId, let_in: LetIn) {
        let wants_vote = let_in.had_vote || self.configured.contains_key(&self.node);
        let without_vote = let_in.without_vote.0;
        let record = LetInRecord { term: let_in.term, without_vote, wants_vote };
        self.knows_quorum.store(true, Ordering::Release);
        match self.store.save_let_in(Some(record)).await {
            Ok(()) => tracing::info!(
                %leader, term = let_in.term, behind = without_vote, wants_vote,
                "let into the metadata quorum without a log: catching up"
            ),
            Err(error) => tracing::error!(%error, "that this node was let in was not stored"),
        }
    }

    /// Lets a node in whose log is empty: as a learner that nothing is expected of. Leader only.
    pub(super) async fn let_in(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> Result<LetIn, ChangeError> {
        let had_vote = self.is_voter(node);
        if had_vote {
            self.check_others_suffice(node).await?;
            sometimes!(VoterLostLog);
            tracing::info!(voter = %node, "a voter has lost its log: taking its vote away");
            let removed = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
            self.agreed(self.raft.change_membership(removed, false)).await?;
        } else if self.matched(node).is_some() {
            // What it had acknowledged is gone: it is followed from its start again.
            let removed = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
            self.agreed(self.raft.change_membership(removed, true)).await?;
        }
        if self.is_voter(node) {
            return Err(ChangeError::Refused("the node's vote is not taken away yet".into()));
        }
        // That this is agreed on shows too that this node leads now, and not only thinks so.
        let added = ChangeMembers::SetNodes(BTreeMap::from([(node, endpoint)]));
        let agreed = self.agreed(self.raft.change_membership(added, true)).await?;
        let (term, index) = (agreed.log_id.leader_id.term, agreed.log_id.index);
        let without_vote: MetadataOffset = offset_behind(index);
        tracing::info!(%node, term, had_vote, "let a node in that has no log");
        Ok(LetIn { term, without_vote, had_vote })
    }

    /// Gives its vote back to a node that was let in, once it has caught up. Leader only.
    pub(super) async fn let_vote(
        &self,
        node: BrokerId,
        endpoint: Endpoint,
    ) -> Result<(), ChangeError> {
        let settled = self.with_members(|members| members.get_joint_config().len() == 1);
        if settled && self.is_voter(node) {
            return Ok(());
        }
        self.learn(node, endpoint).await?;
        if !self.has_caught_up(node) {
            return Err(ChangeError::Refused("the node has not caught up yet".into()));
        }
        sometimes!(VoteGivenBack);
        tracing::info!(voter = %node, "giving its vote back to a node that has caught up");
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node]))).await
    }

    /// A change that cannot be agreed on would stay in the log and keep every later one out.
    async fn check_others_suffice(&self, node: BrokerId) -> Result<(), ChangeError> {
        let suffice = self.with_members(|members| {
            let mut sets = members.get_joint_config().iter();
            sets.all(|voters| !voters.contains(&node) || voters.len() > 2)
        });
        if !suffice {
            tracing::error!(
                voter = %node,
                "a voter has lost its log, and the other one is no majority: restore its data \
                 directory, or start a new cluster"
            );
            return Err(ChangeError::Refused("the other voters are no majority".into()));
        }
        match self.read_barrier().await {
            Ok(_) => Ok(()),
            Err(error) => Err(ChangeError::Refused(error.to_string())),
        }
    }
}

//! Successors of a leader that is known to be gone, or that goes.
//!
//! Silence proves nothing: a voter that hears no leader waits for the end of its lease and for an
//! election timeout. A refused connection does prove something: nobody listens where the leader's
//! process was. A voter that finds this waits no longer, and its vote is not bound by the lease of
//! a leader that is gone.
//!
//! Each voter acts on its own finding only. One whose way to a living leader is refused for another
//! reason so gets no pre-vote of the others, who find the leader alive, and changes nothing. Were a
//! majority deceived, the price would be a term: what is committed hangs on votes and logs, and no
//! read hangs on the lease.

use super::{Shared, storage::Standing, types::Types};
use crate::{
    env::TransportError,
    peer::messages::PeerRequest,
    quorum::{Leadership, PeerProgress},
};
use highwater_core::{sometimes, time::Instant, types::BrokerId};
use openraft::{async_runtime::WatchReceiver, raft::TransferLeaderRequest};
use std::{
    collections::BTreeSet,
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

/// Looks after the leader that this node follows, until the quorum is dropped.
pub(super) async fn watch_leader(quorum: Weak<Shared>) {
    loop {
        let Some(shared) = quorum.upgrade() else { return };
        let pause = shared.look_after_leader().await;
        let pause = shared.world.sleep(pause);
        drop(shared);
        pause.await;
    }
}

impl Shared {
    /// The leader was heard just now.
    pub(super) fn note_leader_heard(&self) {
        self.leader_heard.store(self.world.now().0, Ordering::Relaxed);
    }

    /// A leader that is silent for longer is asked whether it is there.
    fn patience(&self) -> Duration {
        self.heartbeat_interval + self.heartbeat_interval / 2
    }

    fn leader_silent_for(&self) -> Duration {
        self.world.now().since(Instant(self.leader_heard.load(Ordering::Relaxed)))
    }

    /// Answers when to look again.
    async fn look_after_leader(&self) -> Duration {
        let (known, patience) = (self.leadership(), self.patience());
        let Some(leader) = known.leader.filter(|leader| *leader != self.node) else {
            return patience;
        };
        let silent_for = self.leader_silent_for();
        if silent_for < patience {
            return patience.saturating_sub(silent_for);
        }
        if self.may_vote() && self.is_gone(leader).await {
            self.succeed(known, leader).await;
        }
        self.heartbeat_interval
    }

    fn may_vote(&self) -> bool {
        let votes = self.store.standing() == Standing::Full || self.has_vote_again();
        votes && self.is_voter(self.node)
    }

    /// Whether a node's process certainly does not run.
    async fn is_gone(&self, node: BrokerId) -> bool {
        self.locate(node);
        let deadline = self.world.now().after(self.heartbeat_interval);
        let answer = self.transport.call(node, PeerRequest::QuorumProbe, deadline).await;
        matches!(answer, Err(TransportError::Refused { .. }))
    }

    /// Stands for election, the voters one after the other: at once they would split the votes.
    async fn succeed(&self, known: Leadership, leader: BrokerId) {
        tracing::info!(%leader, term = known.term, "the quorum's leader is gone");
        self.end_lease(known).await;
        let is_before = |voter: &BrokerId| *voter < self.node && *voter != leader;
        let before = self.with_members(|members| members.voter_ids().filter(is_before).count());
        let turn = self.heartbeat_interval * u32::try_from(before).unwrap_or(u32::MAX);
        self.world.sleep(turn).await;
        if self.leadership() == known {
            sometimes!(LeaderSucceededAtOnce);
            // An error says that the consensus task has ended.
            let _ = self.raft.trigger().elect(true).await;
        }
    }

    /// Lets this node's vote go while the lease of its leader, which is gone, still binds it.
    pub(super) async fn before_vote(&self, candidate: BrokerId) {
        let known = self.leadership();
        let others = |leader: &BrokerId| *leader != self.node && *leader != candidate;
        let Some(leader) = known.leader.filter(others) else { return };
        // Longer than the longest election timeout no lease lasts.
        if self.leader_silent_for() < self.retry_interval && self.is_gone(leader).await {
            sometimes!(LeaseOfGoneLeaderEnded);
            self.end_lease(known).await;
        }
    }

    /// Ends the lease that a leader has here, unless this node knows another one by now.
    async fn end_lease(&self, known: Leadership) {
        let vote = self.raft.metrics().borrow_watched().vote;
        if self.leadership() != known {
            return;
        }
        let Some(leader) = known.leader else { return };
        // As if the leader itself had named a successor, which is nobody in particular.
        let nobody = TransferLeaderRequest::<Types>::new(vote, leader, None);
        let _ = self.raft.handle_transfer_leader(nobody).await;
    }

    /// Hands the leadership of the quorum over, if this node has it and another voter can take it.
    pub(super) async fn hand_over(&self) {
        let known = self.leadership();
        if known.leader != Some(self.node) {
            return;
        }
        let Some(heir) = self.heir() else { return };
        tracing::info!(%heir, term = known.term, "handing the leadership of the quorum over");
        if self.raft.trigger().transfer_leader(heir).await.is_ok() {
            self.world.within(self.retry_interval, self.leadership_changed(known)).await;
        }
    }

    /// The voter that has most of the log, among those that were heard within an election timeout.
    fn heir(&self) -> Option<BrokerId> {
        let (status, now) = (self.status(), self.world.now());
        let is_there = |peer: &PeerProgress| {
            peer.last_contact.is_some_and(|heard| now.since(heard) < self.retry_interval)
        };
        let peers = status.peers.iter();
        let voters = peers.filter(|(node, peer)| {
            **node != self.node && status.voters.contains_key(node) && is_there(peer)
        });
        let best = voters.max_by_key(|(node, peer)| (peer.matched, std::cmp::Reverse(**node)))?;
        Some(*best.0)
    }

    /// Whether the processes of so many voters are gone that nothing can be agreed on.
    pub(super) async fn is_lost(&self) -> bool {
        let voters: Vec<BTreeSet<BrokerId>> =
            self.with_members(|members| members.get_joint_config().clone());
        let others: BTreeSet<_> =
            voters.iter().flatten().copied().filter(|voter| *voter != self.node).collect();
        let mut gone = BTreeSet::new();
        for voter in others {
            if self.is_gone(voter).await {
                gone.insert(voter);
            }
        }
        voters.iter().any(|set| set.difference(&gone).count() <= set.len() / 2)
    }
}

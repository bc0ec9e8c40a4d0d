//! Founding a quorum: once, and not by a voter that has only lost its log.
//!
//! Every founder writes the same first entry, so any number of them may found at any time, if none
//! of them has voted or acknowledged before. A voter with an empty log cannot know that of itself:
//! its disk may have been replaced. It asks the others, and founds with a majority (itself
//! included) whose logs show no leader: without one of them no leader ever was. Where another voter
//! shows that there was a leader, the quorum exists, and this node has to be let in.

use super::{Shared, storage::Standing, types::Types};
use crate::{
    peer::messages::{PeerReply, PeerRequest},
    quorum::OpenError,
};
use highwater_core::{
    mutant::Mutant,
    sometimes,
    time::Instant,
    types::{BrokerId, MetadataOffset},
};
use openraft::errors::{Fatal, InitializeError, RaftError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

/// The pause behind the first round of probes; the next ones are twice as long each.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// So many retry intervals a majority waits for the voters that have not answered: one of them may
/// know of a quorum that the majority has lost.
const PATIENCE: u32 = 4;

/// What a voter with an empty log has learned of the others. It is kept for as long as the node
/// runs: a voter that had no leader at any moment of this life had none before it.
#[derive(Default)]
pub(super) struct Founding {
    /// Voters whose logs showed no leader.
    new: BTreeSet<BrokerId>,
    /// The ends of the logs of voters that know of a leader, exclusive.
    knowing: BTreeMap<BrokerId, MetadataOffset>,
    /// When the majority was complete.
    majority_at: Option<Instant>,
    pause: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask again.
    Wait,
    /// Found the quorum.
    Found,
    /// There is a quorum.
    Exists,
}

impl Founding {
    /// Decides for one of `voters` voters.
    fn decide(&mut self, now: Instant, voters: usize, patience: Duration) -> Verdict {
        let new = self.new.len() + 1;
        if !self.knowing.is_empty() {
            return Verdict::Exists;
        }
        if new == voters {
            return Verdict::Found;
        }
        let is_majority = match Mutant::FoundsAlone.is_planted() {
            true => new >= voters / 2,
            false => new > voters / 2,
        };
        if !is_majority {
            return Verdict::Wait;
        }
        let since = *self.majority_at.get_or_insert(now);
        match now >= since.after(patience) {
            true => Verdict::Found,
            false => Verdict::Wait,
        }
    }

    fn next_pause(&mut self, most: Duration) -> Duration {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN.min(most), most);
        self.pause
    }
}

impl Shared {
    /// A voter that is configured alone has nobody to ask.
    pub(super) async fn found_alone(&self) -> Result<(), OpenError> {
        let alone = self.configured.len() == 1 && self.configured.contains_key(&self.node);
        if !alone || self.store.standing() != Standing::Outside {
            return Ok(());
        }
        self.found().await.map_err(|error| OpenError::Stopped(error.to_string()))
    }

    /// Whether this node may found a quorum.
    pub(super) fn may_found(&self) -> bool {
        self.store.standing() == Standing::Outside
            && self.configured.contains_key(&self.node)
            && !self.knows_quorum.load(Ordering::Acquire)
    }

    /// Asks the other voters, and founds when it is time to. Answers the pause before the next
    /// round.
    pub(super) async fn found_together(&self, founding: &mut Founding) -> Duration {
        let others: Vec<_> =
            self.configured.keys().copied().filter(|voter| *voter != self.node).collect();
        for voter in others {
            if !founding.new.contains(&voter) {
                self.probe(voter, founding).await;
            }
        }
        let patience = self.retry_interval * PATIENCE;
        match founding.decide(self.world.now(), self.configured.len(), patience) {
            Verdict::Wait => founding.next_pause(self.retry_interval),
            Verdict::Found => {
                tracing::info!(
                    voters = self.configured.len(),
                    new = founding.new.len() + 1,
                    "no voter knows of a metadata quorum: founding it"
                );
                if let Err(error) = self.found().await {
                    tracing::error!(%error, "the metadata quorum was not founded");
                }
                self.retry_interval
            }
            Verdict::Exists => {
                sometimes!(FoundingFindsQuorum);
                self.knows_quorum.store(true, Ordering::Release);
                let (knowing, empty) = (&founding.knowing, &founding.new);
                tracing::info!(
                    ?knowing,
                    ?empty,
                    "the metadata quorum exists and this voter's log is empty: it was lost, or the \
                     voter is new; it takes no part until the leader has let it in"
                );
                if empty.len() + 1 > self.configured.len() / 2 {
                    tracing::error!(
                        ?knowing,
                        ?empty,
                        "a majority of the voters may have lost the metadata log, and without one \
                         there is no leader: restore the data directories of voters that had it, \
                         or start a new cluster with empty directories on every node"
                    );
                }
                Duration::ZERO
            }
        }
    }

    async fn probe(&self, voter: BrokerId, founding: &mut Founding) {
        self.locate(voter);
        let deadline = self.world.now().after(self.retry_interval);
        match self.transport.call(voter, PeerRequest::QuorumProbe, deadline).await {
            Ok(PeerReply::QuorumProbed { founded: false, .. }) => {
                founding.new.insert(voter);
            }
            Ok(PeerReply::QuorumProbed { founded: true, last_log }) => {
                founding.knowing.insert(voter, last_log);
            }
            answer => tracing::debug!(%voter, ?answer, "a voter did not say what it knows"),
        }
    }

    /// Answers a probe.
    pub(super) fn probed(&self) -> PeerReply {
        let founded = self.store.shows_a_leader() || self.knows_quorum.load(Ordering::Acquire);
        PeerReply::QuorumProbed { founded, last_log: MetadataOffset(self.store.end()) }
    }

    async fn found(&self) -> Result<(), Fatal<Types>> {
        self.raft.runtime_config().elect(true);
        match self.raft.initialize(self.configured.clone()).await {
            Ok(()) => Ok(()),
            Err(RaftError::Fatal(error)) => Err(error),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                unreachable!("a founder is a configured voter: {error}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_nanos(10);

    fn founding(new: &[i32], knowing: &[i32]) -> Founding {
        Founding {
            new: new.iter().copied().map(BrokerId).collect(),
            knowing: knowing.iter().map(|id| (BrokerId(*id), MetadataOffset(7))).collect(),
            ..Founding::default()
        }
    }

    #[test]
    fn a_voter_founds_at_once_when_every_other_one_is_new() {
        let mut founding = founding(&[2, 3], &[]);
        assert_eq!(founding.decide(Instant(5), 3, PATIENCE), Verdict::Found);
    }

    #[test]
    fn a_majority_waits_a_while_for_the_rest() {
        let mut founding = founding(&[2], &[]);
        assert_eq!(founding.decide(Instant(5), 3, PATIENCE), Verdict::Wait);
        assert_eq!(founding.decide(Instant(14), 3, PATIENCE), Verdict::Wait);
        assert_eq!(founding.decide(Instant(15), 3, PATIENCE), Verdict::Found);
    }

    #[test]
    fn a_minority_and_half_of_the_voters_wait_for_ever() {
        assert_eq!(founding(&[], &[]).decide(Instant(500), 3, Duration::ZERO), Verdict::Wait);
        assert_eq!(founding(&[2], &[]).decide(Instant(500), 4, Duration::ZERO), Verdict::Wait);
    }

    #[test]
    fn one_voter_that_knows_of_a_leader_outweighs_all_others() {
        let mut founding = founding(&[2, 3, 4], &[5]);
        assert_eq!(founding.decide(Instant(500), 5, Duration::ZERO), Verdict::Exists);
    }

    #[test]
    fn pauses_grow_up_to_the_most() {
        let mut founding = Founding::default();
        let most = Duration::from_millis(70);
        let pauses: Vec<_> = (0..4).map(|_| founding.next_pause(most).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 70, 70]);
    }
}

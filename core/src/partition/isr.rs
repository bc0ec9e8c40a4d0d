//! The in-sync replicas as their leader sees them: committed, proposed, and how far each follower
//! has come.

use super::{Assignment, ReplicaOptions, ReplicaPosition};
use crate::{
    mutant::Mutant,
    sometimes,
    time::Instant,
    types::{BrokerEpoch, BrokerId, Offset, PartitionEpoch},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

/// A proposal that was refused, or whose fate is known not to be known, is not repeated before this
/// has passed, unless the metadata changes.
const REFUSED_BACKOFF: Duration = Duration::from_secs(1);
/// A proposal without an answer is made again after this.
const UNANSWERED_AFTER: Duration = Duration::from_secs(3);

/// How far a follower has come in this leader epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The registration that it fetched with; `None` before its first fetch.
    broker_epoch: Option<BrokerEpoch>,
    /// The newest moment, by the leader's clock, at which it is known to have followed in this epoch.
    heard: Option<Instant>,
    /// The end of what it has for certain: its last fetch offset that agreed with this log.
    received: Option<Offset>,
    /// The end of what it has flushed of that.
    flushed: Offset,
    /// Where its log starts for certain: it never starts below that again in this epoch.
    pub(super) log_start_offset: Offset,
    /// When it last had everything that the leader had; `None` when it never did, as far as this
    /// leader knows. A member of the ISR counts as caught up when it becomes one.
    caught_up: Option<Instant>,
    /// The leader's log end at a moment: the follower has caught up with that moment when it
    /// reaches it.
    mark: (Offset, Instant),
}

/// The ISR. The high watermark counts every member of [`Isr::maximal`], so that a proposal whose
/// answer is lost can have been accepted (KIP-497).
#[derive(Clone, Debug)]
pub(super) struct Isr {
    pub(super) committed: BTreeSet<BrokerId>,
    proposed: Option<Proposed>,
    /// No proposal before this.
    not_before: Instant,
}

#[derive(Clone, Debug)]
struct Proposed {
    /// What was asked for, with the registrations of that moment: a repetition must not vouch for
    /// a registration that came later and may have lost records (KIP-903).
    isr: BTreeMap<BrokerId, BrokerEpoch>,
    base: PartitionEpoch,
    again_at: Instant,
    /// How many times it was sent without being refused: each may yet be accepted.
    undecided: u32,
    /// One was refused while another may yet be accepted. The leader commits its present ISR
    /// again, which makes the partition epoch of the undecided ones an old one; until it hears of
    /// the new one it counts their members.
    is_withdrawn: bool,
}

/// An ISR that the leader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The registration that it replaces.
    pub partition_epoch: PartitionEpoch,
    /// The members with the registrations that the leader knows of them; the leader among them.
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// What became of one [`super::Effect::ProposeIsr`]. Each is answered at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsrOutcome {
    /// It is the ISR now.
    Accepted {
        /// The version of the registration that holds it.
        partition_epoch: PartitionEpoch,
    },
    /// This one is not, and never will be. An earlier one, of which nothing is known, may be: also
    /// when this one was refused because the partition epoch has moved on.
    Refused,
    /// Nobody knows: it may be accepted, or may yet be.
    Unknown,
}

impl Progress {
    pub(super) fn unknown(now: Instant, leader_end: Offset) -> Self {
        Self {
            broker_epoch: None,
            heard: None,
            received: None,
            flushed: Offset(0),
            log_start_offset: Offset(0),
            caught_up: None,
            mark: (leader_end, now),
        }
    }

    /// It is a member of the ISR now: it gets `replica.lag.time.max.ms` to show that it keeps up.
    pub(super) fn admitted(&mut self, now: Instant) {
        self.caught_up = self.caught_up.max(Some(now));
    }

    /// Whether a message of this registration is older than one that was heard already.
    pub(super) fn is_stale(&self, broker_epoch: BrokerEpoch) -> bool {
        self.broker_epoch.is_some_and(|known| broker_epoch < known)
    }

    /// A fetch whose position agrees with this log.
    pub(super) fn fetched(
        &mut self,
        now: Instant,
        broker_epoch: BrokerEpoch,
        (position, heard): (&ReplicaPosition, Option<Instant>),
        leader_end: Offset,
        counts_flushed: bool,
    ) {
        let restarted = self.broker_epoch.is_some_and(|known| known < broker_epoch);
        sometimes!(FollowerRestartedUnderLeader, restarted);
        if restarted && !Mutant::ProgressSurvivesRestart.is_planted() {
            // Another process: what the old one had and had not flushed is gone.
            *self = Self { caught_up: self.caught_up, ..Self::unknown(now, leader_end) };
        }
        self.broker_epoch = Some(broker_epoch);
        let arrived = Mutant::FetchVouchesOnArrival.is_planted().then_some(now);
        self.heard = self.heard.max(heard).max(arrived);
        // An empty log may yet begin further below: where the leader's batch does that its log start
        // is in.
        let is_empty = position.log_start_offset == position.fetch_offset;
        if !is_empty || position.fetch_offset == leader_end {
            self.log_start_offset = self.log_start_offset.max(position.log_start_offset);
        }
        let flushed = position.flushed_offset.min(position.fetch_offset);
        self.advance(position.fetch_offset, flushed);
        self.note_caught_up(now, leader_end, counts_flushed);
    }

    /// A flushed offset between two fetches, of a log that agrees with this one.
    pub(super) fn flushed(
        &mut self,
        now: Instant,
        flushed: Offset,
        leader_end: Offset,
        counts_flushed: bool,
    ) {
        self.advance(flushed, flushed);
        self.note_caught_up(now, leader_end, counts_flushed);
    }

    pub(super) fn has_fetched_as(&self, broker_epoch: BrokerEpoch) -> bool {
        self.broker_epoch == Some(broker_epoch) && self.received.is_some()
    }

    /// Where its log starts for certain; `None` before its first fetch in this epoch.
    pub(super) fn known_log_start(&self) -> Option<Offset> {
        self.received.map(|_| self.log_start_offset)
    }

    /// The end of what counts as replicated; `None` while nothing is known in this epoch.
    pub(super) fn end(&self, counts_flushed: bool) -> Option<Offset> {
        let received = self.received?;
        let counts_flushed = counts_flushed && !Mutant::ReceivedCountsAsFlushed.is_planted();
        Some(if counts_flushed { self.flushed } else { received })
    }

    /// The newest moment at which it is known to have followed in this epoch.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    pub(super) fn broker_epoch(&self) -> Option<BrokerEpoch> {
        self.broker_epoch
    }

    /// When it last had everything that the leader had; `None` when it never did.
    pub(super) fn caught_up(&self) -> Option<Instant> {
        self.caught_up
    }

    /// Until when it counts as in sync without further progress. A follower that has everything
    /// does not fall behind.
    pub(super) fn in_sync_until(
        &self,
        leader_end: Offset,
        counts_flushed: bool,
        lag_max: Duration,
    ) -> Option<Instant> {
        if self.end(counts_flushed).is_some_and(|end| end >= leader_end) {
            return None;
        }
        Some(self.caught_up.map_or(Instant(0), |caught_up| caught_up.after(lag_max)))
    }

    fn advance(&mut self, received: Offset, flushed: Offset) {
        // Two messages may overtake each other; in one epoch a log that agrees only grows.
        self.received = Some(self.received.map_or(received, |known| known.max(received)));
        self.flushed = self.flushed.max(flushed);
    }

    fn note_caught_up(&mut self, now: Instant, leader_end: Offset, counts_flushed: bool) {
        let Some(end) = self.end(counts_flushed) else { return };
        if end >= leader_end {
            self.caught_up = Some(now);
            self.mark = (leader_end, now);
        } else if end >= self.mark.0 {
            self.caught_up = self.caught_up.max(Some(self.mark.1));
            self.mark = (leader_end, now);
        }
    }
}

impl Isr {
    pub(super) fn new(committed: &[BrokerId]) -> Self {
        Self {
            committed: committed.iter().copied().collect(),
            proposed: None,
            not_before: Instant(0),
        }
    }

    /// The metadata has a newer registration: a proposal that it replaces can no longer be
    /// accepted, or is what it holds.
    pub(super) fn committed(&mut self, isr: &[BrokerId]) {
        let is_other = |proposed: &Proposed| {
            proposed.isr.len() != isr.len() || !isr.iter().all(|it| proposed.isr.contains_key(it))
        };
        sometimes!(MetadataChangesUnderProposal, self.proposed.as_ref().is_some_and(is_other));
        *self = Self::new(isr);
    }

    /// Every broker that is in the ISR or may be without the leader knowing.
    pub(super) fn maximal(&self) -> BTreeSet<BrokerId> {
        let mut maximal = self.committed.clone();
        if let Some(proposed) = &self.proposed
            && !Mutant::HighWatermarkIgnoresProposal.is_planted()
        {
            maximal.extend(proposed.isr.keys());
        }
        maximal
    }

    pub(super) fn is_settled(&self) -> bool {
        self.proposed.is_none()
    }

    /// Whether a new proposal may be made.
    pub(super) fn may_propose(&self, now: Instant) -> bool {
        self.proposed.is_none() && now >= self.not_before
    }

    pub(super) fn propose(&mut self, now: Instant, proposal: &IsrProposal) {
        self.proposed = Some(Proposed {
            isr: proposal.isr.iter().copied().collect(),
            base: proposal.partition_epoch,
            again_at: now.after(UNANSWERED_AFTER),
            undecided: 1,
            is_withdrawn: false,
        });
    }

    /// What is due to be proposed because nothing was heard: the same again, or `None` for the
    /// present ISR when the proposal is withdrawn.
    pub(super) fn due_again(&mut self, now: Instant) -> Option<Option<IsrProposal>> {
        let proposed = self.proposed.as_mut()?;
        if now < proposed.again_at {
            return None;
        }
        proposed.again_at = now.after(UNANSWERED_AFTER);
        if proposed.is_withdrawn {
            return Some(None);
        }
        sometimes!(IsrProposalRepeated);
        proposed.undecided = proposed.undecided.saturating_add(1);
        let isr = if Mutant::RetriedIsrIsEmpty.is_planted() {
            core::mem::take(&mut proposed.isr)
        } else {
            proposed.isr.clone()
        };
        let isr = isr.into_iter().collect();
        Some(Some(IsrProposal { partition_epoch: proposed.base, isr }))
    }

    /// Takes over what became of a proposal that replaces `base`. Returns the registration's new
    /// version when it was accepted.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        base: PartitionEpoch,
        outcome: IsrOutcome,
    ) -> Option<PartitionEpoch> {
        let proposed = self.proposed.as_mut().filter(|proposed| proposed.base == base)?;
        if proposed.is_withdrawn && !Mutant::WithdrawnAnswerTaken.is_planted() {
            sometimes!(WithdrawnIsrAnswered);
            // Which one of them it was is not known: the metadata will tell what was accepted.
            return None;
        }
        match outcome {
            IsrOutcome::Accepted { partition_epoch } => {
                self.committed = proposed.isr.keys().copied().collect();
                self.proposed = None;
                return Some(partition_epoch);
            }
            IsrOutcome::Refused => {
                let again_at = now.after(REFUSED_BACKOFF);
                proposed.undecided = proposed.undecided.saturating_sub(1);
                if proposed.undecided == 0 || Mutant::RefusalForgetsTheOthers.is_planted() {
                    sometimes!(IsrProposalRefused);
                    self.proposed = None;
                    self.not_before = again_at;
                } else {
                    sometimes!(IsrProposalWithdrawn);
                    proposed.is_withdrawn = true;
                    proposed.again_at = again_at;
                }
            }
            // Nobody will answer it any more.
            IsrOutcome::Unknown => {
                sometimes!(IsrFateUnknown);
                proposed.again_at = proposed.again_at.min(now.after(REFUSED_BACKOFF));
            }
        }
        None
    }

    /// When something is due about a proposal, or one may be made again.
    pub(super) fn next_deadline(&self) -> Instant {
        self.proposed.as_ref().map_or(self.not_before, |proposed| proposed.again_at)
    }
}

/// The progress of every other replica, unknown to a new leader.
pub(super) fn followers_of(
    now: Instant,
    options: &ReplicaOptions,
    assignment: &Assignment,
    leader_end: Offset,
) -> BTreeMap<BrokerId, Progress> {
    let others = assignment.replicas.iter().filter(|replica| **replica != options.broker);
    let mut followers: BTreeMap<_, _> =
        others.map(|replica| (*replica, Progress::unknown(now, leader_end))).collect();
    for member in &assignment.isr {
        followers.entry(*member).and_modify(|progress| progress.admitted(now));
    }
    followers
}

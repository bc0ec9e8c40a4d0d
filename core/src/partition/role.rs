//! Who leads: what the metadata says, and what becomes of the partition when it says something
//! else.

use super::{Effects, Partition, PartitionError, Response, leader::Leading, messages::Effect};
use crate::{
    mutant::Mutant,
    producers::ProducerStates,
    sometimes,
    time::Now,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch},
};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

/// What the metadata says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The broker that leads; `None` while nobody can.
    pub leader: Option<BrokerId>,
    /// The epoch of that leadership.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition's registration.
    pub partition_epoch: PartitionEpoch,
    /// The brokers that hold the partition.
    pub replicas: Vec<BrokerId>,
    /// Those that have every acknowledged record.
    pub isr: Vec<BrokerId>,
    /// The replicas that may join the ISR (registered, not fenced, not shutting down), with the
    /// epochs of their registrations (KIP-841, KIP-903).
    pub eligible: BTreeMap<BrokerId, BrokerEpoch>,
    /// `min.insync.replicas`, at most the number of replicas.
    pub min_insync: usize,
    /// Whether a record counts as replicated when it is flushed (`durability=fsynced`), not
    /// already when it was received (`durability=replicated`).
    pub counts_flushed: bool,
}

/// What this broker does for the partition.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Leader(Box<Leading>),
    Follower(Following),
}

/// A replica that copies its leader.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) leader: Option<BrokerId>,
    /// Whether this leader was heard since this epoch began and the logs agreed. Only then may
    /// this broker report flushed offsets by themselves: they say nothing of a log that is yet to
    /// be truncated.
    pub(super) agreed: bool,
}

impl Partition {
    pub(super) fn on_assigned(&mut self, now: Now, assignment: Assignment, effects: &mut Effects) {
        if self.is_old(&assignment) {
            return;
        }
        let is_new_epoch =
            assignment.leader_epoch > self.leader_epoch || self.partition_epoch.is_none();
        let was_left_out = self.partition_epoch.is_some() && !self.is_in_sync;
        self.leader_epoch = assignment.leader_epoch;
        self.partition_epoch = Some(assignment.partition_epoch);
        self.isr_is_complete =
            assignment.replicas.iter().all(|replica| assignment.isr.contains(replica));
        self.is_in_sync = assignment.isr.contains(&self.options.broker);
        let leads = assignment.leader == Some(self.options.broker);
        match &mut self.role {
            Role::Leader(leading) if leads && !is_new_epoch => {
                leading.reassigned(now.monotonic, assignment, self.log_end_offset);
                self.isr_settled(now, effects);
            }
            _ if leads => {
                if was_left_out && Mutant::LeaderOutOfSyncBeginsEmpty.is_planted() {
                    self.reset_to(self.log_start_offset, ProducerStates::default(), effects);
                }
                self.lead(now, assignment, effects);
            }
            Role::Follower(following) if !is_new_epoch => {
                following.leader = assignment.leader;
            }
            _ => self.follow(assignment.leader, effects),
        }
    }

    /// The leader that this broker knows and follows, or itself.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        match &self.role {
            Role::Leader(_) => Some(self.options.broker),
            Role::Follower(following) => following.leader,
        }
    }

    /// Whether this broker leads the partition.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    pub(super) fn check_leads(&self) -> Result<(), PartitionError> {
        if self.is_leader() { Ok(()) } else { Err(self.not_leader()) }
    }

    pub(super) fn not_leader(&self) -> PartitionError {
        PartitionError::NotLeader { leader: self.leader(), leader_epoch: self.leader_epoch }
    }

    /// Images only go forward, but they may be told late.
    fn is_old(&self, assignment: &Assignment) -> bool {
        let Some(partition_epoch) = self.partition_epoch else { return false };
        (assignment.leader_epoch, assignment.partition_epoch) < (self.leader_epoch, partition_epoch)
    }

    fn lead(&mut self, now: Now, assignment: Assignment, effects: &mut Effects) {
        let led_before = |last: LeaderEpoch| last.0 + 1 < self.leader_epoch.0;
        sometimes!(HighWatermarkStaleAtElection, self.high_watermark < self.log_end_offset);
        sometimes!(ElectedBeforeItsFlush, self.flushed_offset < self.log_end_offset);
        sometimes!(PredecessorLeftNothing, self.last_epoch().is_some_and(led_before));
        self.epochs.truncate_from_end(self.log_end_offset);
        let is_newest = self.epochs.assign(self.leader_epoch, self.log_end_offset);
        assert!(is_newest, "every leadership has an epoch newer than all in the log (KIP-101)");
        let leading = Leading::new(now.monotonic, &self.options, assignment, self.log_end_offset);
        self.role = Role::Leader(Box::new(leading));
        self.isr_settled(now, effects);
        self.wake_fetches(effects);
        // Of another leadership of this broker: they know an older epoch.
        self.wake_replica_fetches(effects);
    }

    fn follow(&mut self, leader: Option<BrokerId>, effects: &mut Effects) {
        self.mark_deposition();
        // An epoch in which nothing was appended leaves no trace (KAFKA-10706).
        self.epochs.truncate_from_end(self.log_end_offset);
        self.role = Role::Follower(Following { leader, agreed: false });
        let error = self.not_leader();
        while let Some(request) = self.take_any_produce() {
            effects.push(Effect::respond(request, Response::Error(error.clone())));
        }
        self.fail_deletions(&error, effects);
        self.wake_fetches(effects);
        self.wake_replica_fetches(effects);
    }

    /// What a leader leaves undecided when it leads no more.
    fn mark_deposition(&self) {
        let Role::Leader(leading) = &self.role else { return };
        let has_appended = self.log_end_offset > leading.epoch_start;
        let mut ends = leading.followers.values().map(|progress| progress.end(false));
        let is_last = |end: Option<Offset>| end.is_some_and(|end| end >= self.log_end_offset);
        sometimes!(DeposedBeforeFirstFetch, has_appended && !ends.any(is_last));
        sometimes!(DeposedWithParkedProduces, self.awaiting_high_watermark.newest().is_some());
        sometimes!(DeposedWithUndecidedIsr, !leading.isr.is_settled());
        sometimes!(DeposedWithParkedDeletions, !self.parked_deletions.is_empty());
        sometimes!(DeposedWithUnprovenRefusal, self.awaiting_proof.newest().is_some());
    }
}

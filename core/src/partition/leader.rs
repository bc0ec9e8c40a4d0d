//! Leading: followers fetch, the ISR grows and shrinks, and the high watermark follows.

use super::{
    Assignment, Effect, Effects, IsrOutcome, IsrProposal, LogHealth, Partition, PartitionError,
    ReplicaFetchError, ReplicaOptions, ReplicaPosition, ReplicaReadable, Response,
    isr::{Isr, Progress, followers_of},
    role::Role,
    standing::Doubt,
};
use crate::{
    epochs::EpochEnd,
    mutant::Mutant,
    producers::ProducerStates,
    sometimes,
    time::{Instant, Now},
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, RequestId},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

/// What a follower has to have before it may join.
#[derive(Clone, Copy)]
struct JoinerBounds {
    high_watermark: Offset,
    /// Where the leadership began, as far as it matters for a joiner.
    epoch_start: Offset,
    log_start: Offset,
}

/// What a leader knows of its followers.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    /// Where this leadership began: records below it may be unknown to be committed.
    pub(super) epoch_start: Offset,
    pub(super) isr: Isr,
    pub(super) min_insync: usize,
    counts_flushed: bool,
    eligible: BTreeMap<BrokerId, BrokerEpoch>,
    partition_epoch: PartitionEpoch,
    /// Invariant: every replica but the leader.
    pub(super) followers: BTreeMap<BrokerId, Progress>,
    lag_max: Duration,
    pub(super) broker: BrokerId,
    /// When the high watermark no longer waits for a replica that is about to join and holds it
    /// back.
    waits_until: Option<Instant>,
    /// Set while the controller is not heard.
    pub(super) out_of_touch: Option<Doubt>,
}

/// A follower that can serve a consumer.
pub(super) struct ReadReplica {
    /// The end of what it has for certain, exclusive.
    pub(super) end: Offset,
    /// When it last had everything that the leader had.
    pub(super) caught_up: Option<Instant>,
    pub(super) broker: BrokerId,
}

impl Leading {
    pub(super) fn new(
        now: Instant,
        options: &ReplicaOptions,
        assignment: Assignment,
        log_end_offset: Offset,
    ) -> Self {
        Self {
            epoch_start: log_end_offset,
            isr: Isr::new(&assignment.isr),
            min_insync: assignment.min_insync,
            counts_flushed: assignment.counts_flushed,
            followers: followers_of(now, options, &assignment, log_end_offset),
            eligible: assignment.eligible,
            partition_epoch: assignment.partition_epoch,
            lag_max: options.lag_max,
            broker: options.broker,
            waits_until: None,
            out_of_touch: None,
        }
    }

    /// The metadata has changed under the same leadership.
    pub(super) fn reassigned(
        &mut self,
        now: Instant,
        assignment: Assignment,
        log_end_offset: Offset,
    ) {
        let before = self.isr.committed.clone();
        if assignment.partition_epoch > self.partition_epoch {
            self.isr.committed(&assignment.isr);
            self.partition_epoch = assignment.partition_epoch;
        }
        self.min_insync = assignment.min_insync;
        self.counts_flushed = assignment.counts_flushed;
        self.eligible = assignment.eligible;
        let kept: &[BrokerId] = if Mutant::ReadmissionForgotten.is_planted() {
            &assignment.isr
        } else {
            &assignment.replicas
        };
        self.followers.retain(|replica, _| kept.contains(replica));
        for replica in kept.iter().filter(|replica| **replica != self.broker) {
            let unknown = || Progress::unknown(now, log_end_offset);
            self.followers.entry(*replica).or_insert_with(unknown);
        }
        self.admit_members(now, &before);
    }

    /// Members of the ISR that were not before may lag from now on, not from long ago.
    fn admit_members(&mut self, now: Instant, before: &BTreeSet<BrokerId>) {
        for member in self.isr.committed.difference(before) {
            self.followers.entry(*member).and_modify(|progress| progress.admitted(now));
        }
    }

    /// Whether the committed ISR holds every replica.
    pub(super) fn all_are_in_sync(&self) -> bool {
        self.followers.keys().all(|replica| self.isr.committed.contains(replica))
    }

    /// Fewer replicas are in sync than `acks=all` demands.
    pub(super) fn is_under_min_insync(&self) -> bool {
        self.isr.committed.len() < self.min_insync
    }

    /// Up to where every replica counts that is in the ISR, may be in it, or is about to join it;
    /// `None` while one of them was not heard. `own_end` is where the leader itself counts.
    fn replicated_end(&mut self, now: Instant, own_end: Offset) -> Option<Offset> {
        self.waits_until = None;
        if self.is_under_min_insync() && !Mutant::HighWatermarkBelowMinInsync.is_planted() {
            sometimes!(ProgressUnderMinInsync);
            // KIP-966: a record that fewer replicas have is not committed, whoever asks.
            return None;
        }
        let maximal = self.isr.maximal();
        let members = || self.followers.iter().filter(|(replica, _)| maximal.contains(replica));
        let ends = || members().map(|(id, it)| (id, it.end(self.counts_flushed)));
        let is_behind = |end: Option<Offset>| end.is_none_or(|end| end <= own_end);
        sometimes!(LeaderDiskSlowest, maximal.len() > 1 && !ends().any(|(_, it)| is_behind(it)));
        let holds = |(id, end): (&BrokerId, Option<Offset>)| {
            !self.isr.committed.contains(id) && end.is_some_and(|end| end < own_end)
        };
        sometimes!(ProposedMemberHoldsHighWatermark, ends().any(holds));
        let mut end = own_end;
        for (_, progress) in members() {
            end = end.min(progress.end(self.counts_flushed)?);
        }
        if Mutant::HighWatermarkOfMajority.is_planted() {
            let mut ends: Vec<_> = ends().filter_map(|(_, it)| it).chain([own_end]).collect();
            ends.sort();
            end = own_end.min(ends[(ends.len() - 1) / 2]);
        }
        let members_end = end;
        for (replica, progress) in &self.followers {
            let waits_until = self.joins_until(*replica, progress).filter(|until| now < *until);
            if let Some(until) = waits_until
                && !maximal.contains(replica)
                && let Some(joiner_end) = progress.end(self.counts_flushed)
                && joiner_end < members_end
            {
                sometimes!(JoinerHoldsHighWatermark);
                end = end.min(joiner_end);
                self.waits_until = self.waits_until.map_or(Some(until), |at| Some(at.min(until)));
            }
        }
        Some(end)
    }

    /// Until when a replica counts as one that keeps up and may join: the high watermark waits for
    /// it, or it could never reach a high watermark that moves on with every record. One that may
    /// not join is not waited for (KAFKA-15021).
    fn joins_until(&self, replica: BrokerId, progress: &Progress) -> Option<Instant> {
        let eligible = self.eligible.get(&replica)?;
        if !progress.has_fetched_as(*eligible) {
            return None;
        }
        progress.in_sync_until(Offset(u64::MAX), self.counts_flushed, self.lag_max)
    }

    /// Whether a follower may join: it has everything that is committed, and everything that may
    /// be without this leader knowing it, which is what lies below the leadership's beginning
    /// (KAFKA-7128). And it has removed what the leader has: were it to lead, an answered deletion
    /// would be undone.
    fn may_join(&self, replica: BrokerId, bounds: JoinerBounds) -> bool {
        let JoinerBounds { high_watermark, epoch_start, log_start } = bounds;
        let (Some(progress), Some(epoch)) =
            (self.followers.get(&replica), self.eligible.get(&replica))
        else {
            return false;
        };
        let counts_flushed = self.counts_flushed && !Mutant::JoinsUnflushed.is_planted();
        let Some(end) = progress.end(counts_flushed) else { return false };
        let has_all = end >= high_watermark.max(epoch_start);
        sometimes!(JoinBelowEpochStart, !has_all && end >= high_watermark);
        sometimes!(JoinWaitsForDeletion, has_all && progress.log_start_offset < log_start);
        sometimes!(JoinOfOldRegistration, has_all && !progress.has_fetched_as(*epoch));
        progress.has_fetched_as(*epoch)
            && (progress.log_start_offset >= log_start || Mutant::JoinsBeforeDeletion.is_planted())
            && end >= high_watermark
            && (end >= epoch_start || Mutant::JoinsBelowEpochStart.is_planted())
    }

    /// The followers that a consumer at `offset` may read from (KIP-392): in sync under the
    /// registration that the metadata knows, with the offset in their logs for certain.
    pub(super) fn read_replicas(&self, offset: Offset) -> impl Iterator<Item = ReadReplica> {
        self.followers.iter().filter_map(move |(replica, progress)| {
            let epoch = self.eligible.get(replica)?;
            let serves = self.isr.committed.contains(replica) && progress.has_fetched_as(*epoch);
            // What it has counts, flushed or not: it serves what is committed only.
            let end = progress.end(false).filter(|end| serves && *end >= offset)?;
            (progress.log_start_offset <= offset).then_some(ReadReplica {
                end,
                caught_up: progress.caught_up(),
                broker: *replica,
            })
        })
    }

    fn laggards(&self, now: Instant, leader_end: Offset) -> Vec<BrokerId> {
        let lags = |replica: &&BrokerId| {
            self.followers.get(*replica).is_some_and(|progress| {
                progress
                    .in_sync_until(leader_end, self.counts_flushed, self.lag_max)
                    .is_some_and(|until| now >= until)
            })
        };
        self.isr.committed.iter().filter(lags).copied().collect()
    }

    /// The proposal with the registrations of its members.
    fn proposal(&self, base: PartitionEpoch, isr: &BTreeSet<BrokerId>) -> IsrProposal {
        let epoch_of = |replica: &BrokerId| {
            let heard = self.followers.get(replica).and_then(Progress::broker_epoch);
            heard.or_else(|| self.eligible.get(replica).copied()).unwrap_or_default()
        };
        let isr = isr.iter().map(|replica| (*replica, epoch_of(replica))).collect();
        IsrProposal { partition_epoch: base, isr }
    }

    fn next_deadline(&self, leader_end: Offset, bounds: JoinerBounds) -> Option<Instant> {
        let may_propose = self.isr.next_deadline();
        if !self.isr.is_settled() {
            return self.waits_until.into_iter().chain([may_propose]).min();
        }
        let lags = self.isr.committed.iter().filter_map(|replica| {
            let progress = self.followers.get(replica)?;
            progress.in_sync_until(leader_end, self.counts_flushed, self.lag_max)
        });
        let mut others = self.followers.keys().filter(|it| !self.isr.committed.contains(it));
        let may_join = |it: &BrokerId| self.may_join(*it, bounds);
        let joins = others.any(may_join).then_some(may_propose);
        let proposes = lags.map(|lag| lag.max(may_propose)).chain(joins);
        proposes.chain(self.waits_until).min()
    }
}

impl Partition {
    fn joiner_bounds(&self, leading: &Leading) -> JoinerBounds {
        let is_cut_short = self.health != LogHealth::Healthy && leading.counts_flushed;
        // What a log that failed never wrote counts nowhere, and nobody can fetch it.
        let epoch_start = match is_cut_short {
            true => leading.epoch_start.min(self.written_offset),
            false => leading.epoch_start,
        };
        let (high_watermark, log_start) = (self.high_watermark, self.log_start_offset);
        JoinerBounds { high_watermark, epoch_start, log_start }
    }

    pub(super) fn on_replica_fetch(
        &mut self,
        now: Now,
        request: RequestId,
        (follower, broker_epoch): (BrokerId, BrokerEpoch),
        (position, heard): (ReplicaPosition, Option<Instant>),
        park: bool,
        effects: &mut Effects,
    ) {
        match self.replica_readable(follower, broker_epoch, &position) {
            Ok(readable) => {
                if readable.diverging.is_none() {
                    let position = (&position, heard);
                    self.note_fetched(now, follower, broker_epoch, position, effects);
                    if park {
                        let is_new = self.parked_replica_fetches.insert(request);
                        assert!(is_new, "a request is parked at most once");
                    }
                }
                let high_watermark = self.high_watermark;
                let hurry = self.wants_to_hear(follower);
                let readable = ReplicaReadable { high_watermark, hurry, ..readable };
                effects.push(Effect::respond(request, Response::ReplicaReadable(readable)));
            }
            Err(error) => {
                effects.push(Effect::respond(request, Response::ReplicaRefused(error)));
            }
        }
    }

    pub(super) fn on_replica_flushed(
        &mut self,
        now: Now,
        (follower, broker_epoch): (BrokerId, BrokerEpoch),
        leader_epoch: LeaderEpoch,
        flushed: Offset,
        effects: &mut Effects,
    ) {
        let (current, end) = (self.leader_epoch, self.log_end_offset);
        let Role::Leader(leading) = &mut self.role else { return };
        let counts_flushed = leading.counts_flushed;
        let Some(progress) = leading.followers.get_mut(&follower) else { return };
        let is_known = leader_epoch == current && progress.has_fetched_as(broker_epoch);
        if !is_known || flushed > end {
            sometimes!(FlushReportOfAnotherLife, !is_known);
            return;
        }
        progress.flushed(now.monotonic, flushed, end, counts_flushed);
        self.after_progress(now, follower, effects);
    }

    pub(super) fn on_isr_answered(
        &mut self,
        now: Now,
        leader_epoch: LeaderEpoch,
        base: PartitionEpoch,
        outcome: IsrOutcome,
        effects: &mut Effects,
    ) {
        let current = self.leader_epoch;
        sometimes!(IsrAnswerToDeposed, leader_epoch != current);
        let Role::Leader(leading) = &mut self.role else { return };
        if leader_epoch != current {
            return;
        }
        let before = leading.isr.committed.clone();
        if let Some(accepted) = leading.isr.answered(now.monotonic, base, outcome) {
            leading.partition_epoch = leading.partition_epoch.max(accepted);
            leading.admit_members(now.monotonic, &before);
            self.partition_epoch = self.partition_epoch.max(Some(accepted));
        }
        self.isr_settled(now, effects);
    }

    /// Drops the members that lag, and repeats what was not answered.
    pub(super) fn check_isr(&mut self, now: Now, effects: &mut Effects) {
        let (leader_epoch, end) = (self.leader_epoch, self.log_end_offset);
        let high_watermark = self.high_watermark;
        let Role::Leader(leading) = &self.role else { return };
        let bounds = self.joiner_bounds(leading);
        let Role::Leader(leading) = &mut self.role else { return };
        let again = leading.isr.due_again(now.monotonic);
        if let Some(proposal) = again {
            let present = || leading.proposal(leading.partition_epoch, &leading.isr.committed);
            let proposal = proposal.unwrap_or_else(present);
            effects.push(Effect::ProposeIsr { leader_epoch, proposal });
        }
        let laggards = leading.laggards(now.monotonic, end);
        if laggards.is_empty() {
            self.propose_joins(now, effects);
        } else if leading.isr.may_propose(now.monotonic) {
            let mut isr = leading.isr.committed.clone();
            isr.retain(|replica| !laggards.contains(replica));
            let mut others =
                leading.followers.keys().filter(|it| !leading.isr.committed.contains(it));
            let joins = |it: &BrokerId| leading.may_join(*it, bounds);
            sometimes!(LeaderAlone, isr.len() == 1);
            sometimes!(ShrinkAndJoinAtOnce, others.any(joins));
            self.propose(now, isr, effects);
        }
        debug_assert!(self.high_watermark >= high_watermark, "a check takes nothing back");
        // A replica that was waited for may have fallen behind.
        self.advance_high_watermark(now, effects);
    }

    pub(super) fn isr_deadline(&self) -> Option<Instant> {
        match &self.role {
            Role::Leader(leading) => {
                leading.next_deadline(self.log_end_offset, self.joiner_bounds(leading))
            }
            Role::Follower(_) => None,
        }
    }

    /// The committed ISR is another one: what waited for replicas may be decided.
    pub(super) fn isr_settled(&mut self, now: Now, effects: &mut Effects) {
        let high_watermark = self.high_watermark;
        if !Mutant::NoAdvanceAfterShrink.is_planted() {
            self.advance_high_watermark(now, effects);
        }
        sometimes!(NewIsrCommits, self.high_watermark > high_watermark);
        let Role::Leader(leading) = &self.role else { return };
        if leading.is_under_min_insync() {
            while let Some(request) = self.awaiting_high_watermark.take_any() {
                sometimes!(AppendedThenTooFew);
                let error = PartitionError::NotEnoughReplicasAfterAppend;
                effects.push(Effect::respond(request, Response::Error(error)));
            }
        }
        self.answer_deletions(effects);
        self.answer_doubts(effects);
        self.propose_joins(now, effects);
    }

    /// Moves the high watermark to where all count that must, and answers who waited for it.
    pub(super) fn advance_high_watermark(&mut self, now: Now, effects: &mut Effects) {
        let Role::Leader(leading) = &mut self.role else { return };
        let own_end =
            if leading.counts_flushed { self.flushed_offset } else { self.written_offset };
        let Some(to) = leading.replicated_end(now.monotonic, own_end) else { return };
        if to <= self.high_watermark {
            return;
        }
        self.high_watermark = to;
        self.settle(now);
        effects.push(Effect::HighWatermarkAdvanced { to });
        self.mention_to_followers(effects);
        while let Some((request, response)) = self.awaiting_high_watermark.take_durable(to) {
            effects.push(Effect::respond(request, response));
        }
        if !Mutant::FetchNotWoken.is_planted() {
            self.wake_fetches(effects);
        }
    }

    pub(super) fn wake_replica_fetches(&mut self, effects: &mut Effects) {
        while let Some(request) = self.parked_replica_fetches.pop_first() {
            effects.push(Effect::Wake { request });
        }
    }

    /// Followers hear of a high watermark with their next answer. It makes none: they would ask
    /// twice for each record.
    fn mention_to_followers(&self, effects: &mut Effects) {
        let parked = self.parked_replica_fetches.iter();
        effects.extend(parked.map(|request| Effect::Mention { request: *request }));
    }

    pub(super) fn is_under_min_insync(&self) -> bool {
        matches!(&self.role, Role::Leader(leading) if leading.is_under_min_insync())
    }

    /// The lowest log start among this broker and the maximal ISR; `None` while a member of it was not
    /// heard in this epoch.
    pub(super) fn low_watermark(&self) -> Option<Offset> {
        let Role::Leader(leading) = &self.role else { return Some(self.log_start_offset) };
        let maximal = leading.isr.maximal();
        let others = leading.followers.iter().filter(|(replica, _)| maximal.contains(replica));
        let mut starts = others.map(|(_, progress)| progress.known_log_start());
        starts.try_fold(self.log_start_offset, |lowest, start| Some(lowest.min(start?)))
    }

    fn replica_readable(
        &self,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
        position: &ReplicaPosition,
    ) -> Result<ReplicaReadable, ReplicaFetchError> {
        let Role::Leader(leading) = &self.role else { return Err(ReplicaFetchError::NotLeader) };
        if position.leader_epoch < self.leader_epoch && !Mutant::OldFetchCounts.is_planted() {
            sometimes!(OlderEpochFetchFenced);
            return Err(ReplicaFetchError::FencedLeaderEpoch);
        }
        if position.leader_epoch > self.leader_epoch {
            sometimes!(FollowerKnowsNewerEpoch);
            return Err(ReplicaFetchError::UnknownLeaderEpoch);
        }
        let Some(progress) = leading.followers.get(&follower) else {
            sometimes!(FormerReplicaFetches);
            return Err(ReplicaFetchError::NotReplica);
        };
        let registered = leading.eligible.get(&follower);
        if progress.is_stale(broker_epoch) || registered.is_some_and(|known| broker_epoch < *known)
        {
            sometimes!(OldRegistrationFetches);
            return Err(ReplicaFetchError::NotReplica);
        }
        self.check_readable().map_err(|_| ReplicaFetchError::StorageFailed)?;
        let (log_start_offset, log_end_offset) = (self.log_start_offset, self.log_end_offset);
        let out_of_range = || ReplicaFetchError::OffsetOutOfRange {
            log_start_offset,
            log_end_offset,
            producers: self.producers_below_start(),
        };
        if position.fetch_offset < log_start_offset
            || (position.fetch_offset > log_end_offset && Mutant::OutOfRangeResets.is_planted())
        {
            sometimes!(FollowerBelowLogStart, position.fetch_offset < log_start_offset);
            return Err(out_of_range());
        }
        sometimes!(FollowerAheadOfLeader, position.fetch_offset > log_end_offset);
        let diverging = match position.last_fetched_epoch {
            Some(epoch) if !Mutant::NoDivergenceCheck.is_planted() => {
                let known = self.divergence(epoch, position.fetch_offset);
                known.ok_or(ReplicaFetchError::UnknownLeaderEpoch)?
            }
            _ => None,
        };
        if diverging.is_none() && position.fetch_offset > log_end_offset {
            return Err(out_of_range());
        }
        let is_below = |parts: EpochEnd| parts.end_offset < self.high_watermark;
        sometimes!(DivergenceBelowHighWatermark, diverging.is_some_and(is_below));
        let end = self.written_offset;
        Ok(ReplicaReadable {
            log_start_offset,
            end,
            high_watermark: self.high_watermark,
            available_bytes: match diverging {
                Some(_) => 0,
                None => self.tail.bytes_between(position.fetch_offset, end),
            },
            diverging,
            hurry: false,
        })
    }

    fn producers_below_start(&self) -> ProducerStates {
        if Mutant::ProducersLeftBehind.is_planted() {
            return ProducerStates::default();
        }
        self.journal.producers().below(self.log_start_offset)
    }

    fn note_fetched(
        &mut self,
        now: Now,
        follower: BrokerId,
        broker_epoch: BrokerEpoch,
        position: (&ReplicaPosition, Option<Instant>),
        effects: &mut Effects,
    ) {
        let end = self.log_end_offset;
        let Role::Leader(leading) = &mut self.role else { return };
        let counts_flushed = leading.counts_flushed;
        if let Some(progress) = leading.followers.get_mut(&follower) {
            progress.fetched(now.monotonic, broker_epoch, position, end, counts_flushed);
        }
        self.after_progress(now, follower, effects);
        self.answer_deletions(effects);
    }

    fn after_progress(&mut self, now: Now, follower: BrokerId, effects: &mut Effects) {
        self.advance_high_watermark(now, effects);
        self.answer_doubts(effects);
        self.propose_join(now, follower, effects);
    }

    fn propose_joins(&mut self, now: Now, effects: &mut Effects) {
        let Role::Leader(leading) = &self.role else { return };
        let joiners: Vec<BrokerId> = leading.followers.keys().copied().collect();
        joiners.into_iter().for_each(|follower| self.propose_join(now, follower, effects));
    }

    fn propose_join(&mut self, now: Now, follower: BrokerId, effects: &mut Effects) {
        let Role::Leader(leading) = &self.role else { return };
        let bounds = self.joiner_bounds(leading);
        let joins = !leading.isr.committed.contains(&follower)
            && leading.isr.may_propose(now.monotonic)
            && leading.may_join(follower, bounds);
        if joins {
            let mut isr = leading.isr.committed.clone();
            isr.insert(follower);
            self.propose(now, isr, effects);
        }
    }

    fn propose(&mut self, now: Now, isr: BTreeSet<BrokerId>, effects: &mut Effects) {
        let leader_epoch = self.leader_epoch;
        let Role::Leader(leading) = &mut self.role else { return };
        assert!(isr.contains(&leading.broker), "a leader is in its own ISR (KIP-497)");
        let proposal = leading.proposal(leading.partition_epoch, &isr);
        leading.isr.propose(now.monotonic, &proposal);
        effects.push(Effect::ProposeIsr { leader_epoch, proposal });
    }
}

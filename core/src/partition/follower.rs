//! Following: fetch from the leader, truncate to where the logs agree, append what it sends.

use super::{
    Effect, Effects, LogHealth, Partition, ReplicaBatches, ReplicaFetchError, ReplicaPosition,
    role::Role,
};
use crate::{
    epochs::EpochEnd,
    mutant::Mutant,
    producers::{ProducerStates, ProducerVerdict},
    record::{BATCH_HEADER_BYTES, Batch, BatchHeader, Origin, PlacedBatch},
    sometimes,
    time::Now,
    types::{BrokerId, LeaderEpoch, Offset, WriteId},
};

impl Partition {
    /// Whom to fetch from, and from where. A level: ask again after every step. `None` while this
    /// broker leads, nobody does, or the log takes nothing.
    #[must_use]
    pub fn fetch_position(&self) -> Option<(BrokerId, ReplicaPosition)> {
        let Role::Follower(following) = &self.role else { return None };
        if self.health != LogHealth::Healthy {
            return None;
        }
        let position = ReplicaPosition {
            leader_epoch: self.leader_epoch,
            fetch_offset: self.log_end_offset,
            last_fetched_epoch: self.last_epoch(),
            flushed_offset: self.reported_flushed_offset(),
            log_start_offset: self.reported_log_start_offset(),
        };
        Some((following.leader?, position))
    }

    /// Whether the log is being started over: what is fetched meanwhile cannot be written, and the removal
    /// of what was there may take long.
    #[must_use]
    pub fn is_starting_over(&self) -> bool {
        self.unflushed_reset.is_some()
    }

    /// What the leader should hear of flushes between two fetches: the leader, the epoch and the
    /// flushed offset. A level. `None` until the logs were found to agree in this epoch.
    #[must_use]
    pub fn flush_report(&self) -> Option<(BrokerId, LeaderEpoch, Offset)> {
        let Role::Follower(following) = &self.role else { return None };
        let may_report = following.agreed || Mutant::ReportsBeforeAgreement.is_planted();
        let flushed = self.reported_flushed_offset();
        may_report.then_some((following.leader?, self.leader_epoch, flushed))
    }

    /// A log that was reset counts as empty until the reset is durable: a power cut may bring back
    /// the one before it.
    fn reported_flushed_offset(&self) -> Offset {
        if self.unflushed_reset.is_some() { Offset(0) } else { self.flushed_offset }
    }

    /// Likewise, the one before it may begin anywhere: its leader answers deletions by this, also
    /// where records count before they are flushed.
    fn reported_log_start_offset(&self) -> Offset {
        if self.unflushed_reset.is_some() { Offset(0) } else { self.log_start_offset }
    }

    pub(super) fn on_fetched(
        &mut self,
        now: Now,
        leader_epoch: LeaderEpoch,
        fetch_offset: Offset,
        outcome: Result<ReplicaBatches, ReplicaFetchError>,
        effects: &mut Effects,
    ) {
        // An answer to a question of another epoch, or of a log that has changed since, says
        // nothing any more (KAFKA-18991).
        let is_current = leader_epoch == self.leader_epoch && fetch_offset == self.log_end_offset;
        sometimes!(AnswerOfOlderEpoch, leader_epoch != self.leader_epoch);
        let is_obeyed = is_current || Mutant::OldAnswerObeyed.is_planted();
        let Role::Follower(following) = &mut self.role else { return };
        if !is_obeyed || self.health != LogHealth::Healthy {
            return;
        }
        match outcome {
            Ok(ReplicaBatches {
                diverging: Some(end), high_watermark, log_start_offset, ..
            }) => {
                if following.agreed && !Mutant::OldAnswerObeyed.is_planted() {
                    // In one epoch both logs only grow once they agree: this was about another
                    // log that ended at the same offset, and its leader counts what is here now.
                    return;
                }
                if Mutant::HighWatermarkBeforeTruncation.is_planted() {
                    self.follow_high_watermark(now, high_watermark, effects);
                }
                self.truncate_to_agreement(now, end, log_start_offset, effects);
            }
            Ok(batches) => {
                following.agreed = true;
                self.append_fetched(now, &batches, effects);
                self.follow_high_watermark(now, batches.high_watermark, effects);
                // Also what was committed before this process began.
                self.settle(now);
                self.follow_log_start(batches.log_start_offset, effects);
            }
            Err(ReplicaFetchError::OffsetOutOfRange { log_start_offset, producers, .. })
                if self.log_end_offset < log_start_offset
                    || Mutant::OutOfRangeResets.is_planted() =>
            {
                sometimes!(StartsOverBelowLeader, self.log_end_offset > self.log_start_offset);
                self.reset_to(log_start_offset, producers.with_ages_from(now.monotonic), effects);
            }
            Err(ReplicaFetchError::OffsetOutOfRange { log_end_offset, .. })
                if self.log_end_offset > log_end_offset
                    && self.log_end_offset == self.log_start_offset =>
            {
                // Nothing is left to compare. Only an unclean election leads here.
                self.reset_to(log_end_offset, ProducerStates::default(), effects);
            }
            // The leader or this broker knows too little; the driver asks again later.
            Err(_) => {}
        }
    }

    /// The epoch of the last record.
    pub(super) fn last_epoch(&self) -> Option<LeaderEpoch> {
        let last = self.log_end_offset.0.checked_sub(1)?;
        (self.log_end_offset > self.log_start_offset).then(|| self.epochs.epoch_at(Offset(last)))?
    }

    /// Cuts the log where it parts from the leader's: at the end of the leader's largest epoch
    /// that is not above ours, or of our own largest one that is not above that (KIP-279,
    /// KIP-595). The next fetch finds out whether that was enough.
    fn truncate_to_agreement(
        &mut self,
        now: Now,
        leader: EpochEnd,
        leader_start: Offset,
        effects: &mut Effects,
    ) {
        let own = self.epochs.end_offset_for(leader.epoch, self.log_end_offset);
        let agreed = own.map_or(leader.end_offset, |own| own.end_offset.min(leader.end_offset));
        let agreed = if Mutant::LeaderEndAlone.is_planted() {
            leader.end_offset
        } else if Mutant::TruncatesToHighWatermark.is_planted() {
            self.high_watermark
        } else if Mutant::KeepsBelowHighWatermark.is_planted() {
            agreed.max(self.high_watermark)
        } else {
            agreed
        };
        if agreed >= self.log_end_offset {
            return;
        }
        // The end of an epoch that both have is the same in both, and our own ends are ours.
        let is_an_end = own.is_none_or(|own| own.epoch == leader.epoch || own.end_offset == agreed);
        let to = self.boundary_of(agreed, is_an_end);
        // The first epoch of a log begins where the log does, which may be inside of a batch.
        let is_at_a_start = to <= self.log_start_offset || agreed <= leader_start;
        let may_be_inside = is_at_a_start && !self.journal.reaches_back_to(agreed);
        if to < self.log_start_offset || may_be_inside {
            // Nothing is left that may agree.
            let goes_on_ahead = may_be_inside && agreed <= leader_start;
            let to = if goes_on_ahead { agreed } else { agreed.min(self.log_start_offset) };
            let producers = self.journal.producers().clone();
            return self.reset_to(to, producers, effects);
        }
        self.truncate(now, to, effects);
    }

    /// A batch boundary of this log at or below `offset`. Which batch an offset lies in is known of
    /// what is unsettled and of the newest batches; of what is older only where epochs begin. That is
    /// cut after an unclean election only.
    fn boundary_of(&self, offset: Offset, is_boundary: bool) -> Offset {
        if is_boundary || self.journal.reaches_back_to(offset) {
            return self.journal.batch_boundary(offset);
        }
        sometimes!(SettledBatchCut);
        self.tail.boundary_of(offset).unwrap_or_else(|| self.epochs.start_of_epoch_at(offset))
    }

    fn truncate(&mut self, now: Now, to: Offset, effects: &mut Effects) {
        sometimes!(FlushedRecordsCut, to < self.flushed_offset);
        sometimes!(CommittedRecordsCut, to < self.high_watermark);
        self.log_end_offset = to;
        self.written_offset = self.written_offset.min(to);
        self.flushed_offset = self.flushed_offset.min(to);
        // Below the high watermark only after an unclean election, which gave those records up.
        self.high_watermark = self.high_watermark.min(to);
        self.requested_log_start = self.requested_log_start.min(to);
        if !Mutant::EpochsNotTruncated.is_planted() {
            self.epochs.truncate_from_end(to);
        }
        for batch in self.journal.truncate(now.monotonic, to) {
            // It was not acknowledged, and will come again.
            if self.journal.producers().get(batch.id).is_none() {
                sometimes!(ProducerForgottenByCut);
                self.refused.refused(now.monotonic, &batch);
            }
        }
        self.tail.truncate(to);
        let write = self.take_write_id();
        effects.push(Effect::Truncate { write, to });
        self.wake_fetches(effects);
    }

    /// Gives up the whole log, which ends below the leader's start, and goes on from there, with what
    /// is known of the producers before.
    pub(super) fn reset_to(
        &mut self,
        to: Offset,
        producers: ProducerStates,
        effects: &mut Effects,
    ) {
        let producers = producers.below(to);
        self.log_start_offset = to;
        self.requested_log_start = to;
        self.written_offset = to;
        self.flushed_offset = to;
        self.log_end_offset = to;
        self.high_watermark = to;
        self.epochs = Default::default();
        self.journal.reset(to, producers.clone());
        self.tail = super::tail::Tail::new();
        let write = self.take_write_id();
        self.unflushed_reset = Some(write);
        effects.push(Effect::Reset { write, to, producers });
        self.wake_fetches(effects);
    }

    /// Appends whole valid batches that continue the log; what does not is a wrong peer's and is
    /// dropped.
    fn append_fetched(&mut self, now: Now, batches: &ReplicaBatches, effects: &mut Effects) {
        let mut rest = batches.records.clone();
        while rest.len() >= BATCH_HEADER_BYTES {
            let Ok(header) = BatchHeader::parse(&rest) else { return };
            if header.size_in_bytes > rest.len() {
                return;
            }
            let bytes = rest.split_to(header.size_in_bytes);
            let Ok(batch) = Batch::parse(bytes, usize::MAX, Origin::Log) else { return };
            if self.begins_within(&batch.header) {
                sometimes!(EmptyLogBeginsInBatch);
                let known = self.journal.producers().clone();
                self.reset_to(batch.header.base_offset, known, effects);
            }
            let is_refused = |header| {
                let verdict = self.journal.producers().check(header);
                matches!(verdict, ProducerVerdict::Refused(_))
            };
            if Mutant::FollowerChecksSequence.is_planted() && is_refused(&batch.header)
                || !self.continues(&batch.header)
            {
                return;
            }
            self.append_copy(now, batch, effects);
        }
    }

    /// Whether an empty log begins inside of this batch, because the leader's start does: the log
    /// has to begin where the batch does.
    fn begins_within(&self, header: &BatchHeader) -> bool {
        self.log_start_offset == self.log_end_offset
            && header.base_offset < self.log_end_offset
            && header.next_offset() > self.log_end_offset
    }

    /// A gap before the batch is what compaction has taken out of the leader's log.
    fn continues(&self, header: &BatchHeader) -> bool {
        header.base_offset >= self.log_end_offset
            && header.leader_epoch.is_some_and(|epoch| {
                epoch <= self.leader_epoch && self.last_epoch().is_none_or(|last| epoch >= last)
            })
    }

    fn append_copy(&mut self, now: Now, batch: Batch, effects: &mut Effects) {
        let Batch { header, bytes } = batch;
        let epoch = header.leader_epoch.expect("checked to continue the log");
        let has_gap = header.base_offset > self.log_end_offset;
        sometimes!(CompactedGapCopied, has_gap);
        sometimes!(EpochBeginsInGap, has_gap && self.last_epoch().is_some_and(|last| last < epoch));
        // An epoch whose first batches are compacted away counts from where the gap begins: were it
        // later than the leader's, a log with more of the epoch before could seem to agree.
        if !self.epochs.assign(epoch, self.log_end_offset) {
            return;
        }
        let chunks = [bytes.slice(..BATCH_HEADER_BYTES), bytes.slice(BATCH_HEADER_BYTES..)];
        let write = self.take_write_id();
        effects.push(Effect::Append { write, batch: PlacedBatch { header, chunks } });
        self.log_end_offset = header.next_offset();
        self.tail.push(header.base_offset, header.size_in_bytes);
        self.journal.append(now.monotonic, write, header);
    }

    /// A follower's high watermark: what the leader says, as far as this log reaches.
    fn follow_high_watermark(&mut self, now: Now, leader: Offset, effects: &mut Effects) {
        let bound = match Mutant::HighWatermarkBeyondLog.is_planted() {
            true => leader,
            false => self.log_end_offset,
        };
        let to = leader.min(bound);
        if to <= self.high_watermark {
            return;
        }
        self.high_watermark = to;
        self.settle(now);
        effects.push(Effect::HighWatermarkAdvanced { to });
        self.wake_fetches(effects);
    }

    fn follow_log_start(&mut self, leader: Offset, effects: &mut Effects) {
        self.advance_log_start(leader.min(self.high_watermark), effects);
    }

    pub(super) fn take_write_id(&mut self) -> WriteId {
        let write = self.next_write;
        self.next_write = WriteId(write.0 + 1);
        write
    }
}

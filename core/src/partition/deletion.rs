//! Letting the oldest records go: on request (DeleteRecords) and by age and size (retention).

use super::{Effect, Effects, LogHealth, Partition, PartitionError, Response, SegmentSummary};
use crate::{
    mutant::Mutant,
    sometimes,
    time::{Instant, Now, Timestamp},
    types::{Offset, RequestId},
};

/// A newest timestamp further ahead of the wall clock than this says nothing about a segment's
/// age: a producer invented it or a clock was wrong, and it would keep the segment and every later
/// one for as long (KAFKA-18929). Such a segment ages from its last append instead.
pub const FUTURE_TIMESTAMP_TOLERANCE_MS: i64 = 24 * 60 * 60 * 1000;

/// A deletion that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParkedDeletion {
    /// When it was asked for.
    pub since: Instant,
    /// What it is answered after.
    awaits: DeletionAwaits,
}

/// What a parked deletion is answered after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeletionAwaits {
    /// What every replica has made durable that counts.
    Replicas,
    /// What this broker has made durable: its client's time is up.
    OwnLog,
}

impl Partition {
    pub(super) fn on_delete_records(
        &mut self,
        now: Now,
        request: RequestId,
        before: Option<Offset>,
        effects: &mut Effects,
    ) {
        let to = match self.deletion_target(now, before) {
            Ok(to) => to,
            Err(error) => return effects.push(Effect::respond(request, Response::Error(error))),
        };
        if Mutant::DeleteRecordsBeforeSync.is_planted() {
            self.log_start_offset = self.log_start_offset.max(to);
        }
        let parked = ParkedDeletion { since: now.monotonic, awaits: DeletionAwaits::Replicas };
        self.parked_deletions.insert((to, request), parked);
        self.answer_deletions(effects);
        if self.parked_deletions.contains_key(&(to, request)) {
            self.wake_replica_fetches(effects);
        }
        self.advance_log_start(to, effects);
    }

    /// A deletion's timeout bounds the wait for the other replicas, as Kafka's does: what this broker
    /// has to do itself is waited for, however short the timeout.
    pub(super) fn on_deletion_overdue(&mut self, request: RequestId, effects: &mut Effects) {
        let mut parked = self.parked_deletions.iter_mut();
        if let Some((_, deletion)) = parked.find(|((_, parked), _)| *parked == request) {
            deletion.awaits = DeletionAwaits::OwnLog;
            self.answer_overdue_deletions(effects);
        }
    }

    pub(super) fn on_log_start_persisted(&mut self, to: Offset, effects: &mut Effects) {
        if to > self.flushed_offset {
            // The log was given up meanwhile, start and all, after an unclean election.
            return;
        }
        self.log_start_offset = self.log_start_offset.max(to);
        // The request may have been given up when a later one failed.
        self.requested_log_start = self.requested_log_start.max(to);
        self.epochs.truncate_from_start(self.log_start_offset);
        self.answer_deletions(effects);
        self.wake_fetches(effects);
        self.wake_replica_fetches(effects);
    }

    /// Answers the deletions that every replica has made durable that may be elected without being
    /// unclean, once a new leader has heard where the logs of all of them start: what it tells never
    /// goes back. Below `min.insync.replicas` these are more than the in-sync ones: whoever left is
    /// eligible still (KIP-966), and would bring the records back.
    ///
    /// Each waits, too, for the proof that this leader was the newest when it was asked: another may
    /// have deleted more by then and said so.
    pub(super) fn answer_deletions(&mut self, effects: &mut Effects) {
        self.answer_complete_deletions(effects);
        self.answer_overdue_deletions(effects);
    }

    fn answer_complete_deletions(&mut self, effects: &mut Effects) {
        if self.parked_deletions.is_empty() || self.is_under_min_insync() {
            sometimes!(DeletionWaitsUnderMinInsync, !self.parked_deletions.is_empty());
            return;
        }
        let Some(low_watermark) = self.low_watermark() else { return };
        let unproven = self.unproven_since();
        let log_start_offset = self.log_start_offset;
        self.parked_deletions.retain(|(target, request), parked| {
            let is_done = *target <= low_watermark;
            let is_unproven = unproven.is_some_and(|unproven| parked.since >= unproven)
                && !Mutant::DeletionUnproven.is_planted();
            sometimes!(DeletionWaitsForFollower, !is_done && *target <= log_start_offset);
            sometimes!(DeletionAwaitsProof, is_done && is_unproven);
            if is_done && !is_unproven {
                effects.push(Effect::respond(*request, Response::RecordsDeleted { low_watermark }));
            }
            !is_done || is_unproven
        });
    }

    fn answer_overdue_deletions(&mut self, effects: &mut Effects) {
        let start = self.log_start_offset;
        self.parked_deletions.retain(|(target, request), parked| {
            let is_over = parked.awaits == DeletionAwaits::OwnLog && *target <= start;
            if is_over {
                let response = Response::Error(PartitionError::RequestTimedOut);
                effects.push(Effect::respond(*request, response));
            }
            !is_over
        });
    }

    /// Fails the deletions that waited for this log start, and wants it no more: another deletion
    /// or the next offer of segments asks again.
    pub(super) fn on_log_start_not_persisted(&mut self, to: Offset, effects: &mut Effects) {
        sometimes!(DeletionNotStored);
        self.fail_deletions_if(&PartitionError::StorageFailed, |target, _| target <= to, effects);
        // A request for more, made later, is still under way.
        if self.requested_log_start <= to {
            self.requested_log_start = self.log_start_offset;
        }
    }

    /// Finds the oldest closed segments that age or size let go. A segment goes only when all of
    /// it is below the high watermark and every older one goes too.
    pub(super) fn on_segments(
        &mut self,
        now: Now,
        closed: &[SegmentSummary],
        active: Option<SegmentSummary>,
        total_bytes: u64,
        effects: &mut Effects,
    ) {
        if !self.config.cleanup_policy.delete || self.health != LogHealth::Healthy {
            return;
        }
        let mut kept_bytes = total_bytes;
        let mut to = self.log_start_offset;
        let mut all_go = true;
        for segment in closed {
            let too_old = self.is_expired(now, segment);
            if segment.end_offset > self.high_watermark()
                || !(too_old || self.is_excess(kept_bytes, segment))
            {
                all_go = false;
                break;
            }
            kept_bytes = kept_bytes.saturating_sub(segment.bytes);
            to = to.max(segment.end_offset);
        }
        self.advance_log_start(to, effects);
        // A topic that gets no more records must not keep its last segment for ever.
        let is_over = |last: &SegmentSummary| {
            last.end_offset <= self.high_watermark() && self.is_expired(now, last)
        };
        let goes = all_go && active.as_ref().is_some_and(is_over);
        if goes && !Mutant::LastSegmentStays.is_planted() {
            sometimes!(LastSegmentExpired);
            effects.push(Effect::RollSegment);
        }
    }

    /// Fails the deletions that this broker can no longer answer for.
    pub(super) fn fail_deletions(&mut self, error: &PartitionError, effects: &mut Effects) {
        self.fail_deletions_if(error, |_, _| true, effects);
    }

    /// Fails the deletions whose target and moment of asking are such.
    pub(super) fn fail_deletions_if(
        &mut self,
        error: &PartitionError,
        fails: impl Fn(Offset, Instant) -> bool,
        effects: &mut Effects,
    ) {
        self.parked_deletions.retain(|(target, request), parked| {
            let fails = fails(*target, parked.since);
            if fails {
                effects.push(Effect::respond(*request, Response::Error(error.clone())));
            }
            !fails
        });
    }

    /// Up to where a deletion reaches. What is gone already needs no more than its answer.
    fn deletion_target(&self, now: Now, before: Option<Offset>) -> Result<Offset, PartitionError> {
        self.check_leads()?;
        self.check_stands(now)?;
        if self.health != LogHealth::Healthy {
            return Err(PartitionError::StorageFailed);
        }
        if !self.config.cleanup_policy.delete {
            return Err(PartitionError::DeletionNotAllowed);
        }
        let highest = self.high_watermark();
        let offset = before.unwrap_or(highest);
        if offset > highest {
            let lowest = self.log_start_offset;
            return Err(PartitionError::OffsetOutOfRange { offset, lowest, highest });
        }
        Ok(offset)
    }

    /// Continues a deletion that reaches beyond what was flushed, which only
    /// `durability=replicated` lets be committed: a log must not start beyond its end after a
    /// power cut.
    pub(super) fn resume_deletions(&mut self, effects: &mut Effects) {
        if let Some(((target, _), _)) = self.parked_deletions.last_key_value() {
            self.advance_log_start(*target, effects);
        }
    }

    /// Asks for a log start, as far as the log is flushed.
    pub(super) fn advance_log_start(&mut self, to: Offset, effects: &mut Effects) {
        sometimes!(DeletionBeyondFlushed, to > self.flushed_offset);
        let to = to.min(self.flushed_offset);
        if to <= self.requested_log_start {
            return;
        }
        assert!(to <= self.high_watermark(), "only records below the high watermark are deleted");
        self.requested_log_start = to;
        effects.push(Effect::AdvanceLogStart { to });
    }

    fn is_expired(&self, now: Now, segment: &SegmentSummary) -> bool {
        let Some(retention) = self.config.retention else { return false };
        if Mutant::RetentionTooEarly.is_planted() {
            return true;
        }
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let newest = newest_timestamp(now.wall, segment);
        now.wall.0.saturating_sub(newest.0) > retention
    }

    /// Whether the log would still hold `retention.bytes` without this segment.
    fn is_excess(&self, kept_bytes: u64, segment: &SegmentSummary) -> bool {
        let counted = if Mutant::SizeTakesOneMore.is_planted() { 0 } else { segment.bytes };
        self.config.retention_bytes.is_some_and(|limit| kept_bytes.saturating_sub(counted) >= limit)
    }
}

fn newest_timestamp(wall: Timestamp, segment: &SegmentSummary) -> Timestamp {
    match segment.max_timestamp {
        Some(newest)
            if newest.0 >= 0
                && newest.0.saturating_sub(wall.0) <= FUTURE_TIMESTAMP_TOLERANCE_MS =>
        {
            newest
        }
        newest => {
            sometimes!(FutureTimestampIgnored, newest.is_some_and(|newest| newest.0 > wall.0));
            segment.modified
        }
    }
}

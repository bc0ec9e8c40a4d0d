//! Appending: what is accepted, where it goes, and when its producer is answered.

use super::{Acks, Effect, Effects, LogHealth, Partition, PartitionError, Response, role::Role};
use crate::{
    mutant::Mutant,
    producers::{BatchRange, MIN_IDLE_BEFORE_EVICTION, ProducerVerdict, SequenceError},
    record::{Batch, BatchError, BatchHeader, TimestampType},
    sometimes,
    time::{Instant, Now, Timestamp},
    types::{LeaderEpoch, Offset, RequestId, WriteId},
};

/// The largest batch of a coordinator, in bytes. `max.message.bytes` does not bind it: it has to be able to
/// write down whatever its requests, which are bounded, have made of a group. Followers must be able
/// to fetch it.
pub const COORDINATOR_BATCH_MAX_BYTES: u32 = 64 << 20;

/// What becomes of a batch that was not refused.
enum Admission {
    New,
    Duplicate(BatchRange),
}

impl Partition {
    pub(super) fn on_produce(
        &mut self,
        now: Now,
        request: RequestId,
        (acks, deadline): (Acks, Instant),
        batch: Batch,
        effects: &mut Effects,
    ) {
        let (header, max_bytes) = (batch.header, self.config.max_message_bytes);
        let admitted = self
            .check_leads()
            .and_then(|()| self.check_stands(now))
            .and_then(|()| self.admit(now, acks, &header, max_bytes));
        self.note_admission(now, &header, &admitted);
        let is_retry = matches!(admitted, Ok(Admission::Duplicate(_)));
        let (base_offset, end, timestamp) = match admitted {
            Ok(Admission::New) => self.append(now, batch, effects),
            Ok(Admission::Duplicate(original)) => {
                self.mark_retry(&original);
                (original.base_offset, original.last_offset.plus(1), original.timestamp)
            }
            Err(error) => return self.refuse(now, request, deadline, error, effects),
        };
        let log_append_time =
            (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(timestamp);
        let log_start_offset = self.log_start_offset;
        let response = Response::Produced { base_offset, log_append_time, log_start_offset };
        let (parked, reached) = match acks {
            Acks::None => return effects.push(Effect::respond(request, response)),
            Acks::All if !Mutant::AllMeansLeader.is_planted() => {
                (&mut self.awaiting_high_watermark, self.high_watermark)
            }
            Acks::All | Acks::Leader => (&mut self.awaiting_flush, self.flushed_offset),
        };
        if end <= reached
            || Mutant::AckBeforeFsync.is_planted()
            || is_retry && Mutant::RetryAnsweredAtOnce.is_planted()
        {
            effects.push(Effect::respond(request, response));
        } else {
            parked.park(request, end, (now.monotonic, deadline), response);
        }
    }

    /// Where the first copy is of a batch that was sent again.
    fn mark_retry(&self, original: &BatchRange) {
        let Role::Leader(leading) = &self.role else { return };
        sometimes!(RetryAtNextLeader, original.base_offset < leading.epoch_start);
        sometimes!(RetryOfUncommitted, original.last_offset >= self.high_watermark);
        sometimes!(RetryOfDeleted, original.last_offset < self.log_start_offset);
    }

    /// A batch that its producer had appended before is answered with where it is.
    pub(super) fn on_append_as_coordinator(
        &mut self,
        now: Now,
        request: RequestId,
        leader_epoch: LeaderEpoch,
        batch: Batch,
        effects: &mut Effects,
    ) {
        let admitted = self
            .check_leads()
            .and_then(|()| self.check_leader_epoch(Some(leader_epoch)))
            .and_then(|()| self.check_stands(now))
            .and_then(|()| self.admit(now, Acks::All, &batch.header, COORDINATOR_BATCH_MAX_BYTES));
        let response = match admitted {
            Ok(Admission::New) => {
                let (base_offset, end, _) = self.append(now, batch, effects);
                Response::Appended { base_offset, end }
            }
            Ok(Admission::Duplicate(original)) => Response::Appended {
                base_offset: original.base_offset,
                end: original.last_offset.plus(1),
            },
            Err(error) => Response::Error(error),
        };
        effects.push(Effect::respond(request, response));
    }

    pub(super) fn on_written(&mut self, now: Now, through: WriteId, effects: &mut Effects) {
        let Some(end) = self.journal.end_of(through) else { return };
        if end <= self.written_offset {
            return;
        }
        self.written_offset = end;
        self.advance_high_watermark(now, effects);
        if !Mutant::AppendWakesNoFollower.is_planted() {
            self.wake_replica_fetches(effects);
        }
    }

    pub(super) fn on_flushed(&mut self, now: Now, through: WriteId, effects: &mut Effects) {
        assert!(through < self.next_write, "the log flushes only what was appended to it");
        self.unflushed_reset.take_if(|reset| *reset <= through);
        // Nothing is left of a write that was truncated or flushed before.
        let Some(end) = self.journal.end_of(through) else { return };
        if end <= self.flushed_offset {
            return;
        }
        self.flushed_offset = end;
        self.settle(now);
        if end > self.written_offset {
            self.written_offset = end;
            self.wake_replica_fetches(effects);
        }
        self.advance_high_watermark(now, effects);
        while let Some((request, response)) = self.awaiting_flush.take_durable(end) {
            effects.push(Effect::respond(request, response));
        }
        self.resume_deletions(effects);
    }

    /// Answers what was not flushed in time. The records stay in the log and may become durable.
    pub(super) fn expire_produces(&mut self, now: Now, effects: &mut Effects) {
        let parked =
            [&mut self.awaiting_flush, &mut self.awaiting_high_watermark, &mut self.awaiting_proof];
        for parked in parked {
            while let Some(request) = parked.take_overdue(now.monotonic) {
                sometimes!(ProduceTimedOut);
                let response = Response::Error(PartitionError::RequestTimedOut);
                effects.push(Effect::respond(request, response));
            }
        }
    }

    /// Decides and changes nothing, except that a long-silent producer may make room.
    fn admit(
        &mut self,
        now: Now,
        acks: Acks,
        header: &BatchHeader,
        max_bytes: u32,
    ) -> Result<Admission, PartitionError> {
        if self.health != LogHealth::Healthy {
            return Err(PartitionError::StorageFailed);
        }
        if acks == Acks::All {
            self.check_enough_replicas()?;
        }
        let verdict = self.journal.producers().check(header);
        // A retry is answered with its original whatever the clock and the limits say by now.
        if let ProducerVerdict::Duplicate(original) = verdict
            && !Mutant::DuplicateAppended.is_planted()
        {
            return Ok(Admission::Duplicate(original));
        }
        check_size(header, max_bytes)?;
        self.check_timestamp(now, header)?;
        if let ProducerVerdict::Refused(error) = verdict {
            return Err(error.into());
        }
        self.check_begins(now, header)?;
        if !self.journal.producers().has_room_for(header) {
            self.evict_producer(now)?;
        }
        Ok(Admission::New)
    }

    /// Refuses what follows a batch that was refused for now, of a producer that nothing is known of.
    fn check_begins(&self, now: Now, header: &BatchHeader) -> Result<(), SequenceError> {
        let Some(batch) = &header.producer else { return Ok(()) };
        if self.journal.producers().get(batch.id).is_some() {
            return Ok(());
        }
        match self.refused.begins_with(now.monotonic, batch) {
            Some(expected)
                if batch.base_sequence > expected
                    && !Mutant::FirstRefusalForgotten.is_planted() =>
            {
                Err(SequenceError::OutOfOrder { base_sequence: batch.base_sequence, expected })
            }
            _ => Ok(()),
        }
    }

    /// Remembers the first batch of a producer that is to come again, or that it came.
    fn note_admission(
        &mut self,
        now: Now,
        header: &BatchHeader,
        admitted: &Result<Admission, PartitionError>,
    ) {
        let Some(batch) = &header.producer else { return };
        let comes_again = matches!(
            admitted,
            Err(PartitionError::NotEnoughReplicas { .. } | PartitionError::NotLeader { .. })
        );
        if comes_again {
            // Also of a producer that is known: what is known of it may be truncated.
            self.refused.refused(now.monotonic, batch);
        } else if admitted.is_ok() {
            self.refused.forget(batch);
        }
    }

    pub(super) fn check_enough_replicas(&self) -> Result<(), PartitionError> {
        let Role::Leader(leading) = &self.role else { return Err(self.not_leader()) };
        let (in_sync, required) = (leading.isr.committed.len(), leading.min_insync);
        if leading.is_under_min_insync() {
            sometimes!(RefusedBelowMinInsync);
            return Err(PartitionError::NotEnoughReplicas { in_sync, required });
        }
        Ok(())
    }

    /// Without decompression only the batch's own newest timestamp can be checked. -1 is none.
    fn check_timestamp(&self, now: Now, header: &BatchHeader) -> Result<(), BatchError> {
        let timestamp = header.max_timestamp;
        if self.config.timestamp_type == TimestampType::LogAppendTime || timestamp.0 == -1 {
            return Ok(());
        }
        let millis = |duration: core::time::Duration| {
            i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
        };
        let oldest = Timestamp(now.wall.0.saturating_sub(millis(self.config.timestamp_before_max)));
        let newest = Timestamp(now.wall.0.saturating_add(millis(self.config.timestamp_after_max)));
        if timestamp < oldest || timestamp > newest {
            return Err(BatchError::TimestampOutOfRange { timestamp, oldest, newest });
        }
        Ok(())
    }

    fn evict_producer(&mut self, now: Now) -> Result<(), PartitionError> {
        let silent = self
            .journal
            .producers()
            .longest_idle(now.monotonic, MIN_IDLE_BEFORE_EVICTION)
            .ok_or(PartitionError::TooManyProducers)?;
        self.journal.remove(silent);
        Ok(())
    }

    /// Returns the batch's base offset, the offset that follows it, and its newest timestamp.
    fn append(
        &mut self,
        now: Now,
        batch: Batch,
        effects: &mut Effects,
    ) -> (Offset, Offset, Timestamp) {
        let append_time =
            (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(now.wall);
        let placed = batch.placed(self.log_end_offset, self.leader_epoch, append_time);
        let header = placed.header;
        let write = self.take_write_id();
        effects.push(Effect::Append { write, batch: placed });
        self.log_end_offset = header.next_offset();
        self.tail.push(header.base_offset, header.size_in_bytes);
        self.journal.append(now.monotonic, write, header);
        (header.base_offset, header.next_offset(), header.max_timestamp)
    }
}

fn check_size(header: &BatchHeader, max_bytes: u32) -> Result<(), BatchError> {
    let (size, max) = (header.size_in_bytes as u64, u64::from(max_bytes));
    if size > max { Err(BatchError::TooLarge { size, max }) } else { Ok(()) }
}

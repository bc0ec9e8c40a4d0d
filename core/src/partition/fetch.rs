//! Reading: what a consumer may have at this moment, and when it should ask again.

use super::{Effect, Effects, LogHealth, Partition, PartitionError, Readable, Response};
use crate::{
    epochs::EpochEnd,
    mutant::Mutant,
    sometimes,
    time::Now,
    types::{LeaderEpoch, Offset, RequestId},
};

/// Where a consumer is, and what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// Where it wants to read.
    pub offset: Offset,
    /// The leader epoch that it knows (KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the record before `offset` (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Whether a follower may answer (KIP-392).
    pub from_follower: bool,
}

impl Partition {
    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        request: RequestId,
        position: ReadPosition,
        park: bool,
        effects: &mut Effects,
    ) {
        let response = match self.readable(now, position) {
            Ok(readable) => {
                if park && readable.diverging.is_none() {
                    let is_new = self.parked_fetches.insert(request);
                    assert!(is_new, "a request is parked at most once");
                }
                Response::Readable(readable)
            }
            Err(error) => Response::Error(error),
        };
        effects.push(Effect::respond(request, response));
    }

    pub(super) fn wake_fetches(&mut self, effects: &mut Effects) {
        while let Some(request) = self.parked_fetches.pop_first() {
            effects.push(Effect::Wake { request });
        }
    }

    /// Refuses clients whose metadata is older or newer than this leadership (KIP-320).
    pub(super) fn check_leader_epoch(
        &self,
        known: Option<LeaderEpoch>,
    ) -> Result<(), PartitionError> {
        let current = self.leader_epoch;
        if Mutant::LeaderEpochNotChecked.is_planted() {
            return Ok(());
        }
        match known {
            Some(known) if known < current => Err(PartitionError::FencedLeaderEpoch { current }),
            Some(known) if known > current => Err(PartitionError::UnknownLeaderEpoch { current }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_readable(&self) -> Result<(), PartitionError> {
        if self.health == LogHealth::Unreadable {
            return Err(PartitionError::StorageFailed);
        }
        Ok(())
    }

    fn readable(&self, now: Now, position: ReadPosition) -> Result<Readable, PartitionError> {
        if !position.from_follower {
            self.check_leads()?;
        }
        self.check_readable()?;
        self.check_leader_epoch(position.current_leader_epoch)?;
        let offset = position.offset;
        if offset >= self.high_watermark {
            // That nothing follows, or that the log ends before, only the newest leader can say. Of
            // a follower nobody believes it.
            self.check_stands(now)?;
        }
        let (lowest, highest) = (self.log_start_offset, self.log_end_offset);
        let out_of_range = PartitionError::OffsetOutOfRange { offset, lowest, highest };
        if offset < lowest {
            sometimes!(ConsumerBelowLogStart);
            return Err(out_of_range);
        }
        if !self.is_leader() && offset > highest && !Mutant::FollowerOutOfRange.is_planted() {
            // The leader may have it: a consumer must not take this for the end of the log, as it
            // may that does not know that this is a follower (KIP-392).
            sometimes!(ConsumerAheadOfFollower);
            return Err(PartitionError::OffsetNotAvailable);
        }
        sometimes!(FollowerReadBeyondCommit, !self.is_leader() && offset > self.high_watermark);
        let diverging = match position.last_fetched_epoch {
            // A follower may yet have to truncate above its high watermark: that its log parts
            // from the consumer's there says nothing of the committed one.
            Some(_) if !self.is_leader() && offset > self.high_watermark => None,
            Some(epoch) => self.divergence(epoch, offset).ok_or_else(|| {
                let knows_all = self.is_leader();
                if knows_all { out_of_range.clone() } else { PartitionError::OffsetNotAvailable }
            })?,
            None => None,
        };
        if diverging.is_none() && offset > highest {
            return Err(out_of_range);
        }
        let end = self.readable_end();
        Ok(Readable {
            log_start_offset: lowest,
            high_watermark: end,
            last_stable_offset: end,
            available_bytes: match diverging {
                Some(_) => 0,
                None => self.tail.bytes_between(offset, end),
            },
            diverging,
        })
    }

    /// Where a log that has records of `epoch` below `offset` parts from this one (KIP-595).
    /// The outer `None`: the epoch is newer than all that this log has.
    pub(super) fn divergence(
        &self,
        epoch: LeaderEpoch,
        offset: Offset,
    ) -> Option<Option<EpochEnd>> {
        let end = self.epochs.end_offset_for(epoch, self.log_end_offset)?;
        let has_parted = end.epoch < epoch || end.end_offset < offset;
        Some(has_parted.then_some(end))
    }

    fn readable_end(&self) -> Offset {
        let follows = !self.is_leader();
        if Mutant::ReadPastHighWatermark.is_planted()
            || follows && Mutant::FollowerServesUncommitted.is_planted()
        {
            return self.log_end_offset;
        }
        self.high_watermark()
    }
}

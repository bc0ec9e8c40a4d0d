//! Looking up offsets: by name, by timestamp, by leader epoch.

use super::{
    Effect, Effects, LogHealth, OffsetSpec, Partition, PartitionError, Response, role::Role,
};
use crate::{
    mutant::Mutant,
    sometimes,
    time::Timestamp,
    types::{LeaderEpoch, Offset, RequestId},
};

/// A lookup that the log is busy with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    timestamp: Option<Timestamp>,
    /// The log start when the log was asked.
    log_start_offset: Offset,
}

const NOT_FOUND: Response = Response::Offset { timestamp: None, offset: None, leader_epoch: None };

impl Partition {
    pub(super) fn on_list_offsets(
        &mut self,
        request: RequestId,
        spec: OffsetSpec,
        current_leader_epoch: Option<LeaderEpoch>,
        effects: &mut Effects,
    ) {
        let checked = self
            .check_leads()
            .and_then(|()| self.check_readable())
            .and_then(|()| self.check_leader_epoch(current_leader_epoch))
            .and_then(|()| self.check_knows_its_end(spec));
        if let Err(error) = checked {
            return effects.push(Effect::respond(request, Response::Error(error)));
        }
        let response = match spec {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
                self.known_offset(self.log_start_offset)
            }
            OffsetSpec::Latest => Response::Offset {
                timestamp: None,
                offset: Some(self.latest_offset()),
                leader_epoch: Some(self.leader_epoch),
            },
            OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => NOT_FOUND,
            OffsetSpec::MaxTimestamp => return self.look_up(request, None, effects),
            OffsetSpec::At(timestamp) => return self.look_up(request, Some(timestamp), effects),
        };
        effects.push(Effect::respond(request, response));
    }

    pub(super) fn on_found(
        &mut self,
        request: RequestId,
        found: Option<(Timestamp, Offset)>,
        effects: &mut Effects,
    ) {
        let Some(lookup) = self.lookups.remove(&request) else { return };
        let response = match found {
            // The record was deleted while the log searched: search again above the new start.
            Some((_, offset))
                if offset < self.log_start_offset
                    && lookup.log_start_offset < self.log_start_offset =>
            {
                return self.look_up(request, lookup.timestamp, effects);
            }
            Some((timestamp, offset)) => Response::Offset {
                timestamp: Some(timestamp),
                offset: Some(offset),
                leader_epoch: self.epochs.epoch_at(offset),
            },
            None => NOT_FOUND,
        };
        effects.push(Effect::respond(request, response));
    }

    pub(super) fn on_find_failed(&mut self, request: RequestId, effects: &mut Effects) {
        if self.lookups.remove(&request).is_some() {
            let response = Response::Error(PartitionError::StorageFailed);
            effects.push(Effect::respond(request, response));
        }
    }

    pub(super) fn on_epoch_end(
        &mut self,
        request: RequestId,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
        effects: &mut Effects,
    ) {
        let checked =
            self.check_leads().and_then(|()| self.check_leader_epoch(current_leader_epoch));
        let response = match checked {
            Ok(()) => {
                let mut end = self.epochs.end_offset_for(epoch, self.log_end_offset);
                if Mutant::EpochEndIsLogEnd.is_planted() {
                    end.iter_mut().for_each(|end| end.end_offset = self.log_end_offset);
                }
                Response::EpochEnd(end)
            }
            Err(error) => Response::Error(error),
        };
        effects.push(Effect::respond(request, response));
    }

    /// Answers every lookup that the log will not finish.
    pub(super) fn fail_lookups(&mut self, effects: &mut Effects) {
        assert!(self.health == LogHealth::Unreadable, "a readable log finishes its lookups");
        while let Some((request, _)) = self.lookups.pop_first() {
            let response = Response::Error(PartitionError::StorageFailed);
            effects.push(Effect::respond(request, response));
        }
    }

    /// A new leader may not know yet what was committed before it led: until it does, the offset
    /// that it would tell could be lower than one that was told before (KIP-207).
    fn check_knows_its_end(&self, spec: OffsetSpec) -> Result<(), PartitionError> {
        let Role::Leader(leading) = &self.role else { return Ok(()) };
        let asks_for_end =
            matches!(spec, OffsetSpec::Latest | OffsetSpec::MaxTimestamp | OffsetSpec::At(_));
        if asks_for_end
            && self.high_watermark < leading.epoch_start
            && !Mutant::EndToldTooEarly.is_planted()
        {
            sometimes!(EndNotKnownYet);
            return Err(PartitionError::OffsetNotAvailable);
        }
        Ok(())
    }

    fn latest_offset(&self) -> Offset {
        if Mutant::LatestIsLogEnd.is_planted() {
            return self.log_end_offset;
        }
        self.high_watermark()
    }

    fn look_up(&mut self, request: RequestId, timestamp: Option<Timestamp>, effects: &mut Effects) {
        let before = self.high_watermark();
        if before == self.log_start_offset {
            return effects.push(Effect::respond(request, NOT_FOUND));
        }
        let lookup = Lookup { timestamp, log_start_offset: self.log_start_offset };
        let previous = self.lookups.insert(request, lookup);
        assert!(previous.is_none(), "a request looks up one offset at a time");
        effects.push(Effect::FindByTimestamp { request, timestamp, before });
    }

    fn known_offset(&self, offset: Offset) -> Response {
        let leader_epoch = self.epochs.epoch_at(offset);
        Response::Offset { timestamp: None, offset: Some(offset), leader_epoch }
    }
}

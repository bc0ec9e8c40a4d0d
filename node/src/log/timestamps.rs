//! Looking records up by timestamp.
//!
//! Batches are opaque when they are compressed: there, the answer names the batch by its first
//! offset (by its last for the newest timestamp), with a timestamp that the batch states. A
//! consumer that starts there misses nothing.

use super::{
    Log, LogError,
    index::{Index, NewestTimestamp},
    reader::ReadView,
    walk::Located,
};
use bytes::Bytes;
use highwater_core::{
    mutant::Mutant,
    record::{BatchHeader, Compression, TimestampType, records},
    time::Timestamp,
    types::Offset,
};

/// A record, by its timestamp and offset.
type Found = (Timestamp, Offset);

/// What is known of a segment before it is opened.
pub(super) struct Candidate {
    base_offset: Offset,
    end_offset: Offset,
    newest: Option<NewestTimestamp>,
}

impl Log {
    /// The first record, by offset, below `before` whose timestamp is `timestamp` or newer. In a
    /// compressed batch: the batch's first offset, and a timestamp at or above the one asked for.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when stored bytes are not what was written, [`LogError::Io`] when the
    /// disk fails.
    pub async fn find_by_timestamp(
        &self,
        timestamp: Timestamp,
        before: Offset,
    ) -> Result<Option<Found>, LogError> {
        loop {
            let (version, end) = self.shared.version_and_end();
            let before = before.min(end);
            let found = self.find_among(self.candidates(before), timestamp, before).await;
            // What a cut has come between is of neither log, and what compaction has replaced may be
            // gone.
            if self.shared.version_and_end().0 == version {
                return found;
            }
        }
    }

    /// Looks through the candidates of one moment.
    pub(super) async fn find_among(
        &self,
        candidates: Vec<Candidate>,
        timestamp: Timestamp,
        before: Offset,
    ) -> Result<Option<Found>, LogError> {
        for segment in candidates {
            // Nothing in the segment is new enough.
            if segment.newest.is_none_or(|newest| newest.timestamp < timestamp) && timestamp.0 >= 0
            {
                continue;
            }
            let found = self.find_in(&segment, timestamp, before).await;
            if let Some(found) = self.unless_removed(&segment, found)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The record with the newest timestamp below `before`, the first one if there are several. In
    /// a compressed batch: the batch's last offset. `None` when no record has a timestamp.
    ///
    /// # Errors
    /// As for [`Log::find_by_timestamp`].
    pub async fn max_timestamp(&self, before: Offset) -> Result<Option<Found>, LogError> {
        loop {
            let (version, end) = self.shared.version_and_end();
            let before = before.min(end);
            let found = self.newest_among(self.candidates(before), before).await;
            if self.shared.version_and_end().0 == version {
                return found;
            }
        }
    }

    /// Looks through the candidates of one moment.
    pub(super) async fn newest_among(
        &self,
        candidates: Vec<Candidate>,
        before: Offset,
    ) -> Result<Option<Found>, LogError> {
        let start = self.shared.lock().log_start_offset;
        let mut newest: Option<Found> = None;
        for segment in candidates {
            let may_be_newer =
                |newest: Found| segment.newest.is_some_and(|segment| segment.timestamp > newest.0);
            if newest.is_some_and(|newest| !may_be_newer(newest)) {
                continue;
            }
            let found = self.newest_in(&segment, start, before).await;
            if let Some(found) = self.unless_removed(&segment, found)?
                && newest.is_none_or(|newest| found.0 > newest.0)
            {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// The segments with records from the log start to `before`, oldest first.
    pub(super) fn candidates(&self, before: Offset) -> Vec<Candidate> {
        let state = self.shared.lock();
        let start = state.log_start_offset;
        let active = Candidate {
            base_offset: state.active.base_offset,
            end_offset: state.active.end_offset,
            newest: state.active.index.newest(),
        };
        let closed = state.closed.values().map(|segment| Candidate {
            base_offset: segment.base_offset,
            end_offset: segment.end_offset,
            newest: segment.newest,
        });
        closed
            .chain([active])
            .filter(|segment| segment.base_offset < before && segment.end_offset > start)
            .collect()
    }

    /// What was found in a segment: nothing when it was removed meanwhile, because its records
    /// lie below the log start now.
    fn unless_removed(
        &self,
        segment: &Candidate,
        found: Result<Option<Found>, LogError>,
    ) -> Result<Option<Found>, LogError> {
        match found {
            Err(_) if !self.shared.lock().has_segment(segment.base_offset) => Ok(None),
            found => found,
        }
    }

    /// The first record of a segment that is new enough.
    async fn find_in(
        &self,
        segment: &Candidate,
        timestamp: Timestamp,
        before: Offset,
    ) -> Result<Option<Found>, LogError> {
        let from = segment.base_offset;
        let view = self.view(from, |index| index.floor_by_timestamp(timestamp)).await?;
        let start = self.shared.lock().log_start_offset;
        let mut passes_over = Mutant::TimestampLookupLate.is_planted();
        let mut walk = view.walk();
        // What lies at or above `before` may be being cut off.
        while walk.offset() < before
            && let Some(batch) = walk.next().await?
        {
            walk.check_crc(&batch).await?;
            if batch.header.next_offset() > before {
                return Ok(None);
            }
            if batch.header.next_offset() <= start || batch.header.max_timestamp < timestamp {
                continue;
            }
            if std::mem::replace(&mut passes_over, false) {
                continue;
            }
            let records = self.records_of(&view, batch).await?;
            let found = records
                .iter()
                .map(|(found, offset)| {
                    (found, if records.is_opaque() { offset.max(start) } else { offset })
                })
                .find(|(found, offset)| *found >= timestamp && *offset >= start);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The record with the newest timestamp of one segment, between the log start and `before`.
    async fn newest_in(
        &self,
        segment: &Candidate,
        start: Offset,
        before: Offset,
    ) -> Result<Option<Found>, LogError> {
        let Some(limit) = segment.newest else { return Ok(None) };
        let whole = segment.base_offset >= start && segment.end_offset <= before;
        let locate = |index: &Index| {
            let newest = if whole { Some(limit) } else { index.newest_below_floor(before) };
            // With no timestamp below the floor, the batches behind it decide.
            index.floor(newest.map_or(before, |newest| newest.search_from).max(start))
        };
        let view = self.view(segment.base_offset, locate).await?;
        let mut walk = view.walk();
        let mut newest: Option<(Timestamp, Located)> = None;
        while walk.offset() < before
            && let Some(batch) = walk.next().await?
        {
            walk.check_crc(&batch).await?;
            let header = &batch.header;
            if header.next_offset() > before {
                break;
            }
            if header.next_offset() <= start
                || header.max_timestamp.0 < 0
                || header.record_count == 0
            {
                continue;
            }
            if newest.is_none_or(|(timestamp, _)| header.max_timestamp > timestamp) {
                newest = Some((header.max_timestamp, batch));
            }
            // Nothing in the segment is newer, so the rest of it need not be looked at.
            if header.max_timestamp == limit.timestamp {
                break;
            }
        }
        let Some((_, batch)) = newest else { return Ok(None) };
        let records = self.records_of(&view, batch).await?;
        let newest = records
            .iter()
            .filter(|(_, offset)| records.is_opaque() || *offset >= start)
            .reduce(|newest, next| if next.0 > newest.0 { next } else { newest });
        Ok(newest.map(|(timestamp, offset)| {
            (timestamp, if records.is_opaque() { batch.header.last_offset() } else { offset })
        }))
    }

    /// Reads and checks a batch that a walk came to.
    async fn records_of(&self, view: &ReadView, batch: Located) -> Result<Looked, LogError> {
        let bytes = view.read(batch.position, batch.header.size_in_bytes).await?;
        self.check_batch(view, &batch.header, &bytes, batch.position)?;
        Ok(Looked { header: batch.header, bytes })
    }
}

/// A batch that a record is looked for in.
struct Looked {
    header: BatchHeader,
    bytes: Bytes,
}

impl Looked {
    /// Whether only the batch's own timestamps are known.
    fn is_opaque(&self) -> bool {
        self.header.compression != Compression::None
            && self.header.timestamp_type == TimestampType::CreateTime
    }

    /// Timestamps and offsets in the order of the offsets: of the records as far as they can be
    /// read, or what the header states.
    fn iter(&self) -> impl Iterator<Item = Found> {
        let header = &self.header;
        let create_time = header.timestamp_type == TimestampType::CreateTime;
        let readable = create_time && !self.is_opaque();
        let read =
            readable.then(|| records(&self.bytes).into_iter().flatten().map_while(Result::ok));
        // A delete horizon stands in the place of the first record's timestamp (KIP-534).
        let states_base = (self.is_opaque() && header.delete_horizon.is_none())
            .then_some((header.base_timestamp, header.base_offset));
        // What compaction has emptied holds no record of that time.
        let states_newest = (!readable && header.record_count > 0)
            .then_some((header.max_timestamp, header.base_offset));
        read.into_iter()
            .flatten()
            .map(|record| (record.timestamp, record.offset))
            .chain(states_base)
            .chain(states_newest)
    }
}

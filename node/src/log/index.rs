//! The sparse index of one segment: from offsets and timestamps to positions in its file.
//!
//! One entry about every `index_interval_bytes`; between two entries the batches are walked. It is
//! built while batches are appended or scanned, kept in the checkpoint for the segment that holds
//! the recovery point, and in an `.index` file for a closed one. It can always be rebuilt by a scan.

use super::format::{Decoder, Encoder, FormatError};
use highwater_core::{record::BatchHeader, time::Timestamp, types::Offset};

/// One batch that can be found without walking to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Base offset of the batch.
    pub(super) offset: Offset,
    /// Where it begins in the file.
    pub(super) position: u64,
    /// The newest timestamp of the batches before it in this segment; -1 when they have none.
    pub(super) max_timestamp_before: Timestamp,
}

/// The newest timestamp of a segment, and a batch boundary at or before the first batch that has
/// it: the batch itself, unless it was taken from the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewestTimestamp {
    pub(super) timestamp: Timestamp,
    pub(super) search_from: Offset,
}

/// The index. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    base_offset: Offset,
    /// Invariant: offsets and positions strictly increase, timestamps do not decrease.
    entries: Vec<IndexEntry>,
    newest: Option<NewestTimestamp>,
}

/// Producers write -1 when a record has no timestamp.
const NO_TIMESTAMP: Timestamp = Timestamp(-1);

impl Index {
    /// The index of an empty segment.
    pub(super) fn new(base_offset: Offset) -> Self {
        Self { base_offset, entries: Vec::new(), newest: None }
    }

    /// Accounts for the batch that follows at `position`.
    pub(super) fn add(&mut self, position: u64, header: &BatchHeader, interval_bytes: u64) {
        let last = self.entries.last().map_or(0, |entry| entry.position);
        if position >= last.saturating_add(interval_bytes.max(1)) {
            self.entries.push(IndexEntry {
                offset: header.base_offset,
                position,
                max_timestamp_before: self.newest.map_or(NO_TIMESTAMP, |newest| newest.timestamp),
            });
        }
        // A batch that compaction has emptied still states the newest timestamp it had.
        let timestamp = if header.record_count > 0 { header.max_timestamp } else { NO_TIMESTAMP };
        if timestamp > self.newest.map_or(NO_TIMESTAMP, |newest| newest.timestamp) {
            self.newest = Some(NewestTimestamp { timestamp, search_from: header.base_offset });
        }
    }

    /// Forgets everything behind the last entry at or before `offset`, so that adding can go on
    /// from there, and returns that entry's place: (offset, position).
    pub(super) fn truncate(&mut self, offset: Offset) -> (Offset, u64) {
        self.entries.truncate(self.entries.partition_point(|entry| entry.offset <= offset));
        self.newest = self.newest_before(self.entries.len());
        self.entries.last().map_or((self.base_offset, 0), |entry| (entry.offset, entry.position))
    }

    /// The last indexed batch at or before `offset`: (offset, position).
    pub(super) fn floor(&self, offset: Offset) -> (Offset, u64) {
        self.place(self.entries.partition_point(|entry| entry.offset <= offset))
    }

    /// Where to begin walking for the first batch whose newest timestamp is at or above
    /// `timestamp`: (offset, position).
    pub(super) fn floor_by_timestamp(&self, timestamp: Timestamp) -> (Offset, u64) {
        self.place(self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp))
    }

    /// The base offset of its segment.
    pub(super) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The newest timestamp of the whole segment.
    pub(super) fn newest(&self) -> Option<NewestTimestamp> {
        self.newest
    }

    /// The newest timestamp of the batches before the last entry at or below `offset`.
    pub(super) fn newest_below_floor(&self, offset: Offset) -> Option<NewestTimestamp> {
        self.newest_before(self.entries.partition_point(|entry| entry.offset <= offset))
    }

    /// Whether it can be the index of a segment of these bounds.
    pub(super) fn fits(&self, base_offset: Offset, end_offset: Offset, bytes: u64) -> bool {
        self.base_offset == base_offset
            && self.newest.is_none_or(|newest| newest.search_from < end_offset)
            && self
                .entries
                .last()
                .is_none_or(|last| last.offset < end_offset && last.position < bytes)
    }

    /// The entry before number `after`, or the segment's start.
    fn place(&self, after: usize) -> (Offset, u64) {
        match after.checked_sub(1) {
            Some(index) => (self.entries[index].offset, self.entries[index].position),
            None => (self.base_offset, 0),
        }
    }

    /// The newest timestamp before the last of the first `count` entries.
    fn newest_before(&self, count: usize) -> Option<NewestTimestamp> {
        let timestamp = self.entries[..count].last()?.max_timestamp_before;
        if timestamp == NO_TIMESTAMP {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp);
        Some(NewestTimestamp { timestamp, search_from: self.place(first).0 })
    }

    /// The stable encoding: see `docs/formats.md`.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.base_offset.0);
        out.i64(self.newest.map_or(NO_TIMESTAMP.0, |newest| newest.timestamp.0));
        out.u64(self.newest.map_or(self.base_offset.0, |newest| newest.search_from.0));
        out.count(self.entries.len());
        for entry in &self.entries {
            out.u64(entry.offset.0);
            out.u64(entry.position);
            out.i64(entry.max_timestamp_before.0);
        }
    }

    /// Reads what [`Index::encode`] wrote.
    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, FormatError> {
        const ENTRY_BYTES: usize = 24;
        let base_offset = Offset(from.u64()?);
        let (timestamp, search_from) = (Timestamp(from.i64()?), Offset(from.u64()?));
        let newest =
            (timestamp > NO_TIMESTAMP).then_some(NewestTimestamp { timestamp, search_from });
        let count = from.count(ENTRY_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(IndexEntry {
                offset: Offset(from.u64()?),
                position: from.u64()?,
                max_timestamp_before: Timestamp(from.i64()?),
            });
        }
        let increasing = entries.is_sorted_by(|a, b| {
            a.offset < b.offset
                && a.position < b.position
                && a.max_timestamp_before <= b.max_timestamp_before
        });
        if !increasing || entries.first().is_some_and(|first| first.offset <= base_offset) {
            return Err(FormatError("index entries must increase"));
        }
        Ok(Self { base_offset, entries, newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::batches::header;

    fn indexed() -> Index {
        let mut index = Index::new(Offset(100));
        // Ten batches of 10 records and 100 bytes; every second one gets an entry.
        for (number, timestamp) in [5, 9, 7, 9, 20, 3, 20, 21, -1, 4].into_iter().enumerate() {
            let header = header(100 + number as u64 * 10, 10, 100, timestamp);
            index.add(number as u64 * 100, &header, 200);
        }
        index
    }

    #[test]
    fn an_offset_is_found_at_the_last_entry_before_it() {
        let index = indexed();
        assert_eq!(index.floor(Offset(100)), (Offset(100), 0));
        assert_eq!(index.floor(Offset(119)), (Offset(100), 0));
        assert_eq!(index.floor(Offset(120)), (Offset(120), 200));
        assert_eq!(index.floor(Offset(500)), (Offset(180), 800));
    }

    #[test]
    fn a_timestamp_is_searched_from_an_entry_that_has_only_older_ones_before_it() {
        let index = indexed();
        assert_eq!(index.floor_by_timestamp(Timestamp(0)), (Offset(100), 0));
        assert_eq!(index.floor_by_timestamp(Timestamp(9)), (Offset(100), 0));
        assert_eq!(index.floor_by_timestamp(Timestamp(10)), (Offset(140), 400));
        assert_eq!(index.floor_by_timestamp(Timestamp(21)), (Offset(160), 600));
    }

    #[test]
    fn truncating_and_adding_again_gives_the_same_index() {
        let whole = indexed();
        let mut cut = whole.clone();
        assert_eq!(cut.truncate(Offset(145)), (Offset(140), 400));
        let newest = cut.newest().expect("there are timestamps");
        assert_eq!((newest.timestamp, newest.search_from), (Timestamp(9), Offset(100)));
        for (number, timestamp) in [(4, 20), (5, 3), (6, 20), (7, 21), (8, -1), (9, 4)] {
            let header = header(100 + number * 10, 10, 100, timestamp);
            cut.add(number * 100, &header, 200);
        }
        assert_eq!(cut, whole);
    }

    #[test]
    fn the_encoding_reads_back_and_refuses_disorder() {
        let index = indexed();
        let mut encoder = Encoder::new(b"TEST", 1);
        index.encode(&mut encoder);
        let bytes = encoder.finish();
        let (_, mut decoder) = Decoder::open(&bytes, b"TEST", 1..=1).expect("framed");
        assert_eq!(Index::decode(&mut decoder), Ok(index.clone()));

        let mut disorder = index;
        disorder.entries.swap(0, 1);
        let mut encoder = Encoder::new(b"TEST", 1);
        disorder.encode(&mut encoder);
        let bytes = encoder.finish();
        let (_, mut decoder) = Decoder::open(&bytes, b"TEST", 1..=1).expect("framed");
        assert!(Index::decode(&mut decoder).is_err());
    }
}

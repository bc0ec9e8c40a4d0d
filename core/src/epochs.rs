//! The leader-epoch cache: where in the log each leadership began (KIP-101, KIP-279).

use crate::{
    encoding::{DecodeError, Decoder, put_count},
    types::{LeaderEpoch, Offset},
};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The first offset of one leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset that its leader assigned, or would have.
    pub start_offset: Offset,
}

/// The epochs of a log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EpochCache {
    /// Invariant: both epochs and start offsets strictly increase.
    entries: Vec<EpochEntry>,
}

/// The end of an epoch, as OffsetForLeaderEpoch answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// The largest known epoch that is not above the asked one; the asked one itself when it is
    /// older than every known epoch.
    pub epoch: LeaderEpoch,
    /// The offset that follows its last record.
    pub end_offset: Offset,
}

const ENTRY_BYTES: usize = 12;

impl EpochCache {
    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Notes that `epoch` begins at `start_offset`. Nothing happens when it is the newest epoch
    /// already; an older epoch that begins there too has no record and is forgotten.
    /// Returns false, and changes nothing, when `epoch` is older than the newest one or begins
    /// before it: a log that says so is corrupt.
    #[must_use]
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if let Some(last) = self.entries.last() {
            if last.epoch == epoch {
                return last.start_offset <= start_offset;
            }
            if epoch < last.epoch || start_offset < last.start_offset {
                return false;
            }
            if last.start_offset == start_offset {
                self.entries.pop();
            }
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        self.assert_increasing();
        true
    }

    /// Where the largest epoch not above `epoch` ends, in a log that ends at `log_end_offset`.
    /// `None` for an epoch newer than every known one, and in an empty cache.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end_offset: Offset) -> Option<EpochEnd> {
        if self.latest()? == epoch {
            return Some(EpochEnd { epoch, end_offset: log_end_offset });
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(after)?.start_offset;
        let known = after.checked_sub(1).map_or(epoch, |index| self.entries[index].epoch);
        Some(EpochEnd { epoch: known, end_offset })
    }

    /// The epoch of the record at `offset`, if the cache reaches back that far.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.entry_at(offset).map(|entry| entry.epoch)
    }

    /// Where the epoch of the record at `offset` begins; the beginning of all when the cache does not
    /// reach back that far.
    #[must_use]
    pub fn start_of_epoch_at(&self, offset: Offset) -> Offset {
        self.entry_at(offset).map_or(Offset(0), |entry| entry.start_offset)
    }

    fn entry_at(&self, offset: Offset) -> Option<&EpochEntry> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(after.checked_sub(1)?)
    }

    /// Forgets the epochs that begin at or after `end_offset`, the log's new end.
    pub fn truncate_from_end(&mut self, end_offset: Offset) {
        self.entries.retain(|entry| entry.start_offset < end_offset);
    }

    /// Forgets the epochs that end at or before `start_offset`, the log's new start, and lets the
    /// epoch that reaches across it begin there.
    pub fn truncate_from_start(&mut self, start_offset: Offset) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(across) = after.checked_sub(1) else { return };
        self.entries.drain(..across);
        self.entries[0].start_offset = start_offset;
        self.assert_increasing();
    }

    /// Appends the stable encoding: a 32-bit count, then epoch (32 bits) and start offset
    /// (64 bits) of each entry, big-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.entries.len());
        for entry in &self.entries {
            out.extend_from_slice(&entry.epoch.0.to_be_bytes());
            out.extend_from_slice(&entry.start_offset.0.to_be_bytes());
        }
    }

    /// Reads what [`EpochCache::encode`] wrote.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.count(ENTRY_BYTES)?;
        let mut cache = Self { entries: Vec::with_capacity(count) };
        for _ in 0..count {
            let epoch = LeaderEpoch(decoder.u32()?);
            let start_offset = Offset(decoder.u64()?);
            cache.entries.push(EpochEntry { epoch, start_offset });
        }
        if !cache.is_increasing() {
            return Err(DecodeError::Invalid { rule: "leader epochs must strictly increase" });
        }
        Ok(cache)
    }

    fn is_increasing(&self) -> bool {
        self.entries.is_sorted_by(|earlier, later| {
            earlier.epoch < later.epoch && earlier.start_offset < later.start_offset
        })
    }

    fn assert_increasing(&self) {
        let newest = &self.entries[self.entries.len().saturating_sub(2)..];
        if let [earlier, later] = newest {
            assert!(earlier.epoch < later.epoch, "leader epochs strictly increase");
            assert!(earlier.start_offset < later.start_offset, "their starts strictly increase");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn cache(entries: &[(u32, u64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start_offset) in entries {
            assert!(cache.assign(LeaderEpoch(*epoch), Offset(*start_offset)));
        }
        cache
    }

    fn entries(cache: &EpochCache) -> Vec<(u32, u64)> {
        cache.entries().iter().map(|entry| (entry.epoch.0, entry.start_offset.0)).collect()
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_one() {
        let cache = cache(&[(2, 10), (4, 30), (5, 50)]);
        for (asked, expected) in [
            (0, Some((0, 10))),
            (1, Some((1, 10))),
            (2, Some((2, 30))),
            (3, Some((2, 30))),
            (4, Some((4, 50))),
            (5, Some((5, 70))),
            (6, None),
        ] {
            let end = cache.end_offset_for(LeaderEpoch(asked), Offset(70));
            assert_eq!(end.map(|end| (end.epoch.0, end.end_offset.0)), expected, "epoch {asked}");
        }
        assert_eq!(EpochCache::default().end_offset_for(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn an_offset_belongs_to_the_epoch_that_began_last_before_it() {
        let cache = cache(&[(2, 10), (4, 30)]);
        for (offset, expected) in [(9, None), (10, Some(2)), (29, Some(2)), (30, Some(4))] {
            assert_eq!(cache.epoch_at(Offset(offset)).map(|epoch| epoch.0), expected);
        }
    }

    #[test]
    fn an_epoch_without_records_is_forgotten_when_the_next_begins() {
        assert_eq!(entries(&cache(&[(0, 0), (1, 10), (2, 10), (5, 10)])), [(0, 0), (5, 10)]);
    }

    #[test]
    fn assigning_the_newest_epoch_again_changes_nothing() {
        let mut cache = cache(&[(1, 10)]);
        assert!(cache.assign(LeaderEpoch(1), Offset(20)));
        assert_eq!(entries(&cache), [(1, 10)]);
    }

    #[test]
    fn going_back_is_refused_and_changes_nothing() {
        let mut cache = cache(&[(1, 10), (3, 20)]);
        for (epoch, start_offset) in [(2, 30), (0, 0), (4, 19), (3, 19)] {
            assert!(!cache.assign(LeaderEpoch(epoch), Offset(start_offset)));
            assert_eq!(entries(&cache), [(1, 10), (3, 20)]);
        }
    }

    #[test]
    fn truncation_keeps_what_the_log_still_has() {
        let full = [(1, 10), (2, 20), (3, 30)];
        for (end, left) in
            [(31, &full[..]), (30, &full[..2]), (21, &full[..2]), (10, &[]), (0, &[])]
        {
            let mut cache = cache(&full);
            cache.truncate_from_end(Offset(end));
            assert_eq!(entries(&cache), left, "end {end}");
        }
        for (start, left) in [
            (5, vec![(1, 10), (2, 20), (3, 30)]),
            (10, vec![(1, 10), (2, 20), (3, 30)]),
            (15, vec![(1, 15), (2, 20), (3, 30)]),
            (20, vec![(2, 20), (3, 30)]),
            (99, vec![(3, 99)]),
        ] {
            let mut cache = cache(&full);
            cache.truncate_from_start(Offset(start));
            assert_eq!(entries(&cache), left, "start {start}");
        }
    }

    #[test]
    fn the_encoding_has_the_golden_bytes_and_reads_back() {
        let cache = cache(&[(1, 2), (0x0a0b_0c0d, 0x0102_0304_0506_0708)]);
        let mut bytes = Vec::new();
        cache.encode(&mut bytes);
        assert_eq!(
            bytes,
            [
                0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 10, 11, 12, 13, 1, 2, 3, 4, 5, 6,
                7, 8
            ]
        );
        assert_eq!(EpochCache::decode(&mut Decoder::new(&bytes)), Ok(cache));
        bytes[7] = 0x7f;
        bytes[4] = 0x7f;
        assert!(matches!(
            EpochCache::decode(&mut Decoder::new(&bytes)),
            Err(DecodeError::Invalid { .. })
        ));
        assert_eq!(EpochCache::decode(&mut Decoder::new(&[0xff; 16])), Err(DecodeError::Truncated));
    }
}

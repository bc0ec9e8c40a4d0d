//! The leader-epoch cache: where in the log each leadership began (KIP-101, KIP-279).

use crate::{
    encoding::{DecodeError, Decoder, put_count},
    types::{LeaderEpoch, Offset},
};
use alloc::vec::Vec;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        Some(self.entries[after.checked_sub(1)?].epoch)
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

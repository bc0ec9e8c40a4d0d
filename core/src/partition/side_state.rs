//! What a checkpoint keeps beside the log, and how the log's headers bring it up to date.

use crate::{
    encoding::{DecodeError, Decoder},
    epochs::EpochCache,
    producers::ProducerStates,
    record::BatchHeader,
    time::Instant,
    types::{LeaderEpoch, Offset},
};
use alloc::vec::Vec;
use core::fmt;

/// Everything that can be derived from the batches below an offset, and how far they were committed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SideState {
    /// Every batch below it is accounted for, none at or above it.
    pub offset: Offset,
    /// The end, exclusive, of what was known to be committed when the state was taken. Batches do
    /// not tell it.
    pub high_watermark: Offset,
    /// The leader epochs.
    pub epochs: EpochCache,
    /// The idempotent producers. Their ages are meaningless here.
    pub producers: ProducerStates,
}

/// A batch that cannot follow the ones before it: the log is corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The batch begins before the one before it ended, or the log ends before it begins.
    OffsetGap {
        /// Where it must begin.
        expected: Offset,
        /// Where it begins.
        found: Offset,
    },
    /// The batch has no leader epoch, or an older one than a batch before it.
    EpochRegression {
        /// Its epoch.
        found: Option<LeaderEpoch>,
        /// The newest epoch before it.
        newest: Option<LeaderEpoch>,
    },
}

const VERSION: u16 = 2;
/// Without a high watermark: with one replica it was the offset.
const VERSION_ONE: u16 = 1;

impl SideState {
    /// The state at the start of a log whose first offset is `offset`.
    #[must_use]
    pub fn starting_at(offset: Offset) -> Self {
        Self { offset, high_watermark: offset, ..Self::default() }
    }

    /// Accounts for the next batch of the log. Batches wholly below `offset` are passed over, so
    /// a scan may begin anywhere. A batch may begin further on, where compaction has taken what
    /// came before it: a new leader epoch then counts from where the gap begins, because it may
    /// have begun there. The high watermark stays. On an error nothing has changed.
    pub fn replay(&mut self, header: &BatchHeader) -> Result<(), ReplayError> {
        if header.next_offset() <= self.offset {
            return Ok(());
        }
        if header.base_offset < self.offset {
            let (expected, found) = (self.offset, header.base_offset);
            return Err(ReplayError::OffsetGap { expected, found });
        }
        let assigned =
            header.leader_epoch.is_some_and(|epoch| self.epochs.assign(epoch, self.offset));
        if !assigned {
            let (found, newest) = (header.leader_epoch, self.epochs.latest());
            return Err(ReplayError::EpochRegression { found, newest });
        }
        self.producers.record(Instant::default(), header);
        self.offset = header.next_offset();
        Ok(())
    }

    /// The stable encoding: version (16 bits, 2), offset and high watermark (64 bits each), epochs,
    /// producers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.offset.0.to_be_bytes());
        out.extend_from_slice(&self.high_watermark.0.to_be_bytes());
        self.epochs.encode(&mut out);
        self.producers.encode(&mut out);
        out
    }

    /// Reads what [`SideState::encode`] wrote, and version 1, which had no high watermark: there it
    /// is the offset. Safe on hostile bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let version = decoder.u16()?;
        if version != VERSION && version != VERSION_ONE {
            return Err(DecodeError::UnknownVersion { version });
        }
        let offset = Offset(decoder.u64()?);
        let high_watermark = if version == VERSION_ONE { offset } else { Offset(decoder.u64()?) };
        let state = Self {
            offset,
            high_watermark,
            epochs: EpochCache::decode(&mut decoder)?,
            producers: ProducerStates::decode(&mut decoder)?,
        };
        decoder.finish()?;
        Ok(state)
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OffsetGap { expected, found } => {
                write!(formatter, "a batch begins at offset {found} where {expected} must come")
            }
            Self::EpochRegression { found, newest } => write!(
                formatter,
                "a batch of leader epoch {:?} follows one of epoch {:?}",
                found.map(|epoch| epoch.0),
                newest.map(|epoch| epoch.0)
            ),
        }
    }
}

impl core::error::Error for ReplayError {}

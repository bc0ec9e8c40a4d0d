//! The checkpoint: everything beside the batches that a partition needs to open quickly, replaced
//! as one file, so that its parts can never disagree.
//!
//! It is written whole into a temporary file, synced, renamed over the old one, and the directory
//! is synced: after a power cut there is the old one or the new one.

use super::{
    LogError,
    format::{Decoder, Encoder, FormatError},
    index::Index,
    segment::{ClosedSegment, read_file},
    state::Stored,
};
use crate::env::{Disk, OpenMode};
use bytes::Bytes;
use highwater_core::{mutant::Mutant, partition::SideState, time::Timestamp, types::Offset};
use std::{io, path::Path};

const FILE: &str = "checkpoint";
const TEMPORARY_FILE: &str = "checkpoint.tmp";
const MAGIC: &[u8; 4] = b"HWCP";
const VERSION: u16 = 3;
/// Without compaction: no gaps, no generations.
const VERSION_TWO: u16 = 2;
/// Without a restart.
const VERSION_ONE: u16 = 1;

/// What the third field says.
const OPEN: u8 = 0;
const CLEAN: u8 = 1;
const RESTARTING: u8 = 2;

/// The contents of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    /// The log was closed behind this checkpoint; a log that holds more was not.
    pub(super) clean: bool,
    /// The log is being emptied: no segment file is part of it.
    pub(super) restarting: bool,
    /// The first offset that may be read.
    pub(super) log_start_offset: Offset,
    /// Every batch below it is durable: damage there is corruption, never a torn tail.
    /// Invariant: a batch boundary, at most the flushed offset when it was written.
    pub(super) recovery_offset: Offset,
    /// Epochs and producers as of the recovery offset.
    pub(super) side: SideState,
    /// The segments wholly below the recovery offset, oldest first, without a gap.
    pub(super) closed: Vec<ClosedSegment>,
    /// The index of the segment that holds the recovery offset. It may know batches behind it.
    pub(super) index: Index,
    /// Wall clock of the last append to that segment.
    pub(super) modified: Timestamp,
    /// Whether offsets may be missing between batches: compaction has been at this log or at the
    /// one that it was copied from. Where not, a gap is damage.
    pub(super) has_gaps: bool,
    /// Compaction has been through everything below it.
    pub(super) compacted_to: Offset,
}

impl Checkpoint {
    /// The checkpoint of a log that has nothing in it yet.
    pub(super) fn of_new_log() -> Self {
        Self { clean: true, ..Self::of_empty_log(Offset(0), Timestamp(0)) }
    }

    /// The checkpoint of a log that has nothing in it and goes on at `start`.
    pub(super) fn of_empty_log(start: Offset, modified: Timestamp) -> Self {
        Self {
            clean: false,
            restarting: false,
            log_start_offset: start,
            recovery_offset: start,
            side: SideState::starting_at(start),
            closed: Vec::new(),
            index: Index::new(start),
            modified,
            has_gaps: false,
            compacted_to: start,
        }
    }

    /// What later changes of the log must respect.
    pub(super) fn stored(&self) -> Stored {
        Stored {
            log_start_offset: self.log_start_offset,
            recovery_offset: self.recovery_offset,
            recovery_segment: self.index.base_offset(),
            high_watermark: self.side.high_watermark,
        }
    }

    /// Replaces the checkpoint in `dir`, durably.
    pub(super) async fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let temporary = dir.join(TEMPORARY_FILE);
        let file = disk.open(&temporary, OpenMode::Replace).await?;
        file.write_at(0, vec![Bytes::from(self.encode())]).await?;
        file.sync().await?;
        disk.rename(&temporary, &dir.join(FILE)).await?;
        if Mutant::RenameWithoutDirSync.is_planted() {
            return Ok(());
        }
        disk.sync_dir(dir).await?;
        Ok(())
    }

    /// The checkpoint in `dir`; `None` when there is none.
    pub(super) async fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(FILE);
        let bytes = match read_file(disk, &path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The log start and the producers are nowhere else: a scan could bring deleted records
        // and forgotten producers back.
        match Self::decode(&bytes) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error) => Err(LogError::corrupt(&path, Offset(0), 0, error)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC, VERSION);
        out.u8(match (self.restarting, self.clean) {
            (true, _) => RESTARTING,
            (false, true) => CLEAN,
            (false, false) => OPEN,
        });
        out.u64(self.log_start_offset.0);
        out.u64(self.recovery_offset.0);
        out.i64(self.modified.0);
        out.u8(self.has_gaps.into());
        out.u64(self.compacted_to.0);
        out.bytes(&self.side.encode());
        out.count(self.closed.len());
        for segment in &self.closed {
            segment.encode(&mut out);
        }
        self.index.encode(&mut out);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (version, mut from) = Decoder::open(bytes, MAGIC, VERSION_ONE..=VERSION)?;
        let (clean, restarting) = match from.u8()? {
            OPEN => (false, false),
            CLEAN => (true, false),
            RESTARTING if version > VERSION_ONE => (false, true),
            _ => return Err(FormatError("its condition is not known to this build")),
        };
        let (log_start_offset, recovery_offset) = (Offset(from.u64()?), Offset(from.u64()?));
        let modified = Timestamp(from.i64()?);
        let knows_compaction = version > VERSION_TWO;
        let (has_gaps, compacted_to) = match knows_compaction {
            true => (from.u8()? != 0, Offset(from.u64()?)),
            false => (false, log_start_offset),
        };
        let side = SideState::decode(from.bytes()?)
            .map_err(|_| FormatError("its epochs and producers cannot be read"))?;
        let count = from.count(ClosedSegment::ENCODED_BYTES)?;
        let mut closed = Vec::with_capacity(count);
        for _ in 0..count {
            closed.push(ClosedSegment::decode(&mut from, knows_compaction)?);
        }
        let index = Index::decode(&mut from)?;
        from.finish()?;
        let chained = closed.is_sorted_by(|a, b| a.end_offset == b.base_offset);
        let reaches = closed.last().is_none_or(|last| last.end_offset == index.base_offset());
        if !chained || !reaches || index.base_offset() > recovery_offset {
            return Err(FormatError("its segments do not follow one another"));
        }
        Ok(Self {
            clean,
            restarting,
            log_start_offset,
            recovery_offset,
            side,
            closed,
            index,
            modified,
            has_gaps,
            compacted_to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::batches::header;

    fn checkpoint() -> Checkpoint {
        let mut index = Index::new(Offset(20));
        index.add(0, &header(20, 5, 100, 7), 10);
        index.add(100, &header(25, 5, 100, 8), 10);
        let closed = |base, end| ClosedSegment {
            base_offset: Offset(base),
            end_offset: Offset(end),
            bytes: 1000,
            newest: None,
            modified: Timestamp(99),
            generation: 0,
        };
        Checkpoint {
            clean: false,
            restarting: false,
            log_start_offset: Offset(3),
            recovery_offset: Offset(25),
            side: SideState::starting_at(Offset(25)),
            closed: vec![closed(0, 10), closed(10, 20)],
            index,
            modified: Timestamp(100),
            has_gaps: false,
            compacted_to: Offset(3),
        }
    }

    #[test]
    fn it_reads_back_what_was_written() {
        assert_eq!(Checkpoint::decode(&checkpoint().encode()), Ok(checkpoint()));
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        (0..hexadecimal.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).expect("two digits"))
            .collect()
    }

    #[test]
    fn its_bytes_are_those_of_version_three() {
        let mut compacted = Checkpoint {
            has_gaps: true,
            compacted_to: Offset(20),
            closed: Vec::new(),
            ..checkpoint()
        };
        compacted.closed.push(ClosedSegment {
            end_offset: Offset(20),
            generation: 2,
            ..checkpoint().closed[0]
        });
        assert_eq!(Checkpoint::decode(&compacted.encode()), Ok(compacted.clone()));
        let version_three = concat!(
            "48574350000300000000000000000300000000000000190000000000000064010000000000000014",
            "0000001a000200000000000000190000000000000019000000000000000000000001000000000000",
            "0000000000000000001400000000000003e8ffffffffffffffff0000000000000000000000000000",
            "00630000000200000000000000140000000000000008000000000000001900000001000000000000",
            "0019000000000000006400000000000000073585ebeb",
        );
        assert_eq!(hexadecimal(&compacted.encode()), version_three);
    }

    #[test]
    fn version_two_is_read() {
        let restarting =
            Checkpoint { restarting: true, ..Checkpoint::of_empty_log(Offset(7), Timestamp(9)) };
        let restarting_version_two = concat!(
            "485743500002020000000000000007000000000000000700000000000000090000001a0002000000",
            "000000000700000000000000070000000000000000000000000000000000000007ffffffffffffff",
            "ff000000000000000700000000a8c9f2e1",
        );
        assert_eq!(Checkpoint::decode(&bytes(restarting_version_two)), Ok(restarting));
        let version_two = concat!(
            "485743500002000000000000000003000000000000001900000000000000640000001a0002000000",
            "00000000190000000000000019000000000000000000000002000000000000000000000000000000",
            "0a00000000000003e8ffffffffffffffff0000000000000000000000000000006300000000000000",
            "0a000000000000001400000000000003e8ffffffffffffffff000000000000000a00000000000000",
            "63000000000000001400000000000000080000000000000019000000010000000000000019000000",
            "00000000640000000000000007af65ac39",
        );
        assert_eq!(Checkpoint::decode(&bytes(version_two)), Ok(checkpoint()));
    }

    #[test]
    fn version_one_is_read() {
        let version_one = concat!(
            "48574350000100000000000000000300000000000000190000000000000064000000120001000000",
            "00000000190000000000000000000000020000000000000000000000000000000a00000000000003",
            "e8ffffffffffffffff00000000000000000000000000000063000000000000000a00000000000000",
            "1400000000000003e8ffffffffffffffff000000000000000a000000000000006300000000000000",
            "14000000000000000800000000000000190000000100000000000000190000000000000064000000",
            "00000000071f868881",
        );
        assert_eq!(Checkpoint::decode(&bytes(version_one)), Ok(checkpoint()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = checkpoint().encode();
        for position in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..position]).is_err(), "cut at {position}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                assert!(Checkpoint::decode(&flipped).is_err(), "bit {bit} of {position}");
            }
        }
    }
}

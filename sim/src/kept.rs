//! What a power cut leaves of a replica's log when it leaves the least: the batches that both the
//! process and the media have, in files that both know.

use crate::{
    batch,
    disk::{DiskModel, KeptFile},
};
use std::path::{Path, PathBuf};

/// Bytes of a batch's header up to its last field that is read here.
const FIELDS_END: usize = 27;
const LENGTH_PREFIX: usize = 12;
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const LAST_DELTA_AT: usize = 23;

/// Where a broker keeps a replica, on its disk.
#[must_use]
pub fn replica_dir(data: &str, topic: &str, id: &[u8; 16], index: i32) -> PathBuf {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("{data}/topics/{topic}/{index}.{id}"))
}

/// The kept part of one log that compaction has never written anew.
#[derive(Clone, Debug)]
pub struct KeptLog<'a> {
    /// By the offset that each begins with.
    segments: Vec<(i64, KeptFile<'a>)>,
}

/// A whole batch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBatch<'a> {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The checksum that its header states.
    pub crc: u32,
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> KeptLog<'a> {
    /// The log in a directory.
    #[must_use]
    pub fn of(disk: &'a DiskModel, dir: &Path) -> Self {
        let segment = |file: KeptFile<'a>| {
            let base = file.name.strip_suffix(".log")?.parse().ok()?;
            Some((base, file))
        };
        // The names have leading zeros: their order is that of the offsets.
        Self { segments: disk.kept_files(dir).into_iter().filter_map(segment).collect() }
    }

    /// Its batches without a gap, from the segment on that holds an offset, or from the first one.
    pub fn batches_from(&self, offset: i64) -> impl Iterator<Item = KeptBatch<'a>> {
        let behind = self.segments.partition_point(|(base, _)| *base <= offset);
        let mut rest = self.segments[behind.saturating_sub(1)..].iter();
        let (mut at, mut segment) = (0, rest.next());
        let mut next = segment.map_or(0, |(base, _)| *base);
        std::iter::from_fn(move || {
            loop {
                let (_, file) = segment?;
                if let Some(batch) = batch_at(file, at).filter(|batch| batch.base_offset == next) {
                    at += batch.bytes.len();
                    next = batch.last_offset + 1;
                    return Some(batch);
                }
                (at, segment) = (0, rest.next().filter(|(base, _)| *base == next));
            }
        })
    }

    /// The batch that begins at an offset.
    #[must_use]
    pub fn batch_at(&self, base_offset: i64) -> Option<KeptBatch<'a>> {
        let mut batches = self.batches_from(base_offset);
        let found = batches.find(|batch| batch.base_offset >= base_offset);
        found.filter(|batch| batch.base_offset == base_offset)
    }

    /// Whether it has everything from the segment on that holds the offset before this one, up to
    /// this one.
    #[must_use]
    pub fn reaches(&self, offset: i64) -> bool {
        self.batches_from(offset - 1).any(|batch| batch.last_offset + 1 >= offset)
    }
}

impl KeptBatch<'_> {
    /// Whether its records have these numbers, and its checksum is right.
    #[must_use]
    pub fn holds(&self, numbers: impl IntoIterator<Item = u64>) -> bool {
        let Ok((read, _)) = batch::decode(self.bytes) else { return false };
        read.records.iter().map(|record| record.number).eq(numbers.into_iter().map(Some))
    }
}

/// The batch at a position of a file, if both views of the file have the same there.
fn batch_at<'a>(file: &KeptFile<'a>, at: usize) -> Option<KeptBatch<'a>> {
    let rest = file.stored.get(at..)?;
    let header = rest.get(..FIELDS_END)?;
    let length = usize::try_from(i32_at(header, LENGTH_AT)).ok()?;
    let bytes = rest.get(..LENGTH_PREFIX + length).filter(|bytes| bytes.len() >= FIELDS_END)?;
    let is_seen = file.seen.get(at..at + bytes.len()) == Some(bytes);
    let base_offset = i64::from_be_bytes(*header.first_chunk()?);
    let last_offset = base_offset.checked_add(i64::from(i32_at(header, LAST_DELTA_AT)))?;
    let crc = i32_at(header, CRC_AT).cast_unsigned();
    is_seen.then_some(KeptBatch { base_offset, last_offset, crc, bytes })
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::Sent, trace::Trace};
    use bytes::Bytes;
    use highwater_node::env::OpenMode;
    use std::ops::Range;

    fn placed(base_offset: i64, numbers: Range<u64>) -> Vec<u8> {
        let sent: Vec<_> = numbers.map(|number| Sent { number, timestamp: 5 }).collect();
        let mut bytes = batch::encode(&sent, None).to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn dir() -> PathBuf {
        replica_dir("/data", "t", &[1; 16], 0)
    }

    /// A disk with a log whose first segments were written and synced, and are in a synced directory.
    fn disk(segments: &[(i64, Vec<u8>)]) -> DiskModel {
        let mut disk = DiskModel::new(7, Trace::default());
        disk.create_dir(&dir()).unwrap();
        for (base, bytes) in segments {
            append(&mut disk, (*base, OpenMode::CreateNew), 0, bytes, true);
        }
        dir().ancestors().for_each(|dir| disk.sync_dir(dir).unwrap());
        disk
    }

    fn append(
        disk: &mut DiskModel,
        (base, mode): (i64, OpenMode),
        at: u64,
        bytes: &[u8],
        synced: bool,
    ) {
        let file = disk.open(&dir().join(format!("{base:020}.log")), mode).unwrap();
        disk.write_at(&file, at, Bytes::copy_from_slice(bytes)).unwrap();
        if synced {
            let point = disk.begin_sync(&file).unwrap();
            disk.end_sync(&file, point).unwrap();
        }
    }

    fn ends(disk: &DiskModel) -> Vec<i64> {
        KeptLog::of(disk, &dir()).batches_from(0).map(|batch| batch.last_offset + 1).collect()
    }

    #[test]
    fn what_was_not_synced_is_not_kept() {
        let (first, second) = (placed(0, 0..3), placed(3, 3..5));
        let mut disk = disk(&[(0, first.clone())]);
        append(&mut disk, (0, OpenMode::Write), first.len() as u64, &second, false);
        assert_eq!(ends(&disk), [3]);
        append(&mut disk, (0, OpenMode::Write), first.len() as u64, &second, true);
        assert_eq!(ends(&disk), [3, 5]);
    }

    #[test]
    fn a_segment_whose_directory_was_not_synced_is_not_kept() {
        let mut disk = disk(&[(0, placed(0, 0..3))]);
        append(&mut disk, (3, OpenMode::CreateNew), 0, &placed(3, 3..5), true);
        assert_eq!(ends(&disk), [3]);
        disk.sync_dir(&dir()).unwrap();
        assert_eq!(ends(&disk), [3, 5]);
    }

    #[test]
    fn what_the_process_has_cut_or_written_over_is_not_kept() {
        let (first, second) = (placed(0, 0..3), placed(3, 3..5));
        let whole = [&first[..], &second[..]].concat();
        let mut cut = disk(&[(0, whole.clone())]);
        let file = cut.open(&dir().join(format!("{:020}.log", 0)), OpenMode::Write).unwrap();
        cut.truncate(&file, first.len() as u64).unwrap();
        assert_eq!(ends(&cut), [3]);
        let mut other = disk(&[(0, whole)]);
        append(&mut other, (0, OpenMode::Write), first.len() as u64, &placed(3, 7..9), false);
        assert_eq!(ends(&other), [3]);
    }

    #[test]
    fn a_gap_ends_the_log() {
        let disk = disk(&[(0, placed(0, 0..3)), (4, placed(4, 4..6))]);
        assert_eq!(ends(&disk), [3]);
    }

    #[test]
    fn batches_are_found_from_any_segment_on() {
        let segments = [(0, placed(0, 0..3)), (3, placed(3, 3..5)), (5, placed(5, 5..6))];
        let disk = disk(&segments);
        let log = KeptLog::of(&disk, &dir());
        let found =
            |offset| log.batch_at(offset).map(|batch| (batch.base_offset, batch.last_offset));
        assert_eq!([0, 3, 5].map(found), [Some((0, 2)), Some((3, 4)), Some((5, 5))]);
        assert_eq!([1, 4, 6].map(found), [None; 3]);
        assert_eq!([0, 3, 4, 6, 7].map(|end| log.reaches(end)), [true, true, true, true, false]);
        assert!(log.batch_at(3).unwrap().holds(3..5));
        assert!(!log.batch_at(3).unwrap().holds(3..6));
        assert!(!log.batch_at(3).unwrap().holds([3, 7]));
    }
}

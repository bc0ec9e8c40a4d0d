//! Segment files: their names, what is known of a closed one, and the file of its index.

use super::{
    LogError,
    format::{Decoder, Encoder, FormatError},
    index::{Index, NewestTimestamp},
    walk::Walk,
};
use crate::env::{Disk, DiskFile, OpenMode};
use bytes::Bytes;
use highwater_core::{partition::SegmentSummary, time::Timestamp, types::Offset};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const MAGIC: &[u8; 4] = b"HWIX";
const VERSION: u16 = 2;
/// Without generations.
const VERSION_ONE: u16 = 1;

/// What a segment's files are called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// Where the segment begins.
    pub(super) base_offset: Offset,
    /// How often compaction has written it anew.
    pub(super) generation: u32,
}

impl SegmentName {
    /// That of a segment as it was appended.
    pub(super) fn appended(base_offset: Offset) -> Self {
        Self { base_offset, generation: 0 }
    }

    /// The file of its batches.
    pub(super) fn log(self, dir: &Path) -> PathBuf {
        self.file(dir, "log")
    }

    /// The file of its index, once it is closed.
    pub(super) fn index(self, dir: &Path) -> PathBuf {
        self.file(dir, "index")
    }

    /// The file of its batches while compaction writes them.
    pub(super) fn unfinished(self, dir: &Path) -> PathBuf {
        self.file(dir, UNFINISHED)
    }

    fn file(self, dir: &Path, ending: &str) -> PathBuf {
        let base_offset = self.base_offset.0;
        match self.generation {
            0 => dir.join(format!("{base_offset:020}.{ending}")),
            generation => dir.join(format!("{base_offset:020}.{generation}.{ending}")),
        }
    }

    /// The segment whose batches are in a file of that name; `None` for any other file.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".log")?;
        let (digits, generation) = match name.split_once('.') {
            None => (name, 0),
            Some((digits, generation)) => {
                let canonical = !generation.starts_with(['0', '+']);
                (digits, canonical.then(|| generation.parse().ok()).flatten()?)
            }
        };
        let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let base_offset = all_digits.then(|| digits.parse().ok()).flatten().map(Offset)?;
        Some(Self { base_offset, generation })
    }
}

/// Whether compaction was writing this file.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).is_some_and(|name| name.ends_with('.'))
}

/// Ending of the file that compaction writes.
const UNFINISHED: &str = "cleaned";

/// What is known of a closed segment without opening it. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    /// Offset of its first record.
    pub(super) base_offset: Offset,
    /// Offset behind its last record. Invariant: the next segment's base offset, above its own.
    pub(super) end_offset: Offset,
    /// Size of its batches.
    pub(super) bytes: u64,
    /// Its newest timestamp.
    pub(super) newest: Option<NewestTimestamp>,
    /// Wall clock of its last append.
    pub(super) modified: Timestamp,
    /// How often compaction has written it anew. Only such a segment may hold less than reaches to
    /// its end.
    pub(super) generation: u32,
}

impl ClosedSegment {
    pub(super) fn name(&self) -> SegmentName {
        SegmentName { base_offset: self.base_offset, generation: self.generation }
    }

    pub(super) fn summary(&self) -> SegmentSummary {
        SegmentSummary {
            base_offset: self.base_offset,
            end_offset: self.end_offset,
            bytes: self.bytes,
            max_timestamp: self.newest.map(|newest| newest.timestamp),
            modified: self.modified,
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.base_offset.0);
        out.u64(self.end_offset.0);
        out.u64(self.bytes);
        out.i64(self.newest.map_or(-1, |newest| newest.timestamp.0));
        out.u64(self.newest.map_or(self.base_offset, |newest| newest.search_from).0);
        out.i64(self.modified.0);
        out.u32(self.generation);
    }

    /// Reads what [`ClosedSegment::encode`] wrote, or wrote before there were generations.
    pub(super) fn decode(
        from: &mut Decoder<'_>,
        has_generation: bool,
    ) -> Result<Self, FormatError> {
        let (base_offset, end_offset) = (Offset(from.u64()?), Offset(from.u64()?));
        let bytes = from.u64()?;
        let (timestamp, search_from) = (Timestamp(from.i64()?), Offset(from.u64()?));
        let newest = (timestamp.0 >= 0).then_some(NewestTimestamp { timestamp, search_from });
        let modified = Timestamp(from.i64()?);
        let generation = if has_generation { from.u32()? } else { 0 };
        if end_offset <= base_offset {
            return Err(FormatError("a segment must end above its base offset"));
        }
        Ok(Self { base_offset, end_offset, bytes, newest, modified, generation })
    }

    /// The least size of the encoding, in bytes: without a generation.
    pub(super) const ENCODED_BYTES: usize = 48;
}

/// A closed segment's file and index, opened at its first read.
#[derive(Clone)]
pub(super) struct OpenSegment {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) index: Arc<Index>,
}

impl OpenSegment {
    /// Opens a closed segment. An index file that is missing, broken or of another segment is
    /// replaced by a scan of the segment. `has_gaps`: whether offsets may be missing in the log.
    pub(super) async fn open(
        disk: &dyn Disk,
        dir: &Path,
        segment: &ClosedSegment,
        interval_bytes: u64,
        has_gaps: bool,
    ) -> Result<Self, LogError> {
        let path = segment.name().log(dir);
        let file = disk.open(&path, OpenMode::Read).await?;
        let index = match load_index(disk, dir, segment).await {
            Some(index) => index,
            None => rebuild_index(file.clone(), path, segment, interval_bytes, has_gaps).await?,
        };
        Ok(Self { file, index: Arc::new(index) })
    }
}

/// Writes the index file of a closed segment and makes its bytes durable. Its directory entry
/// becomes durable with the checkpoint that follows.
pub(super) async fn save_index(
    disk: &dyn Disk,
    dir: &Path,
    segment: &ClosedSegment,
    index: &Index,
) -> Result<(), LogError> {
    let mut encoder = Encoder::new(MAGIC, VERSION);
    segment.encode(&mut encoder);
    index.encode(&mut encoder);
    let path = segment.name().index(dir);
    let file = disk.open(&path, OpenMode::Replace).await?;
    file.write_at(0, vec![Bytes::from(encoder.finish())]).await?;
    file.sync().await?;
    Ok(())
}

/// The stored index, if there is a sound one of exactly this segment.
async fn load_index(disk: &dyn Disk, dir: &Path, segment: &ClosedSegment) -> Option<Index> {
    let path = segment.name().index(dir);
    let bytes = match read_file(disk, &path).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, "no index file for a closed segment; scanning it");
            return None;
        }
    };
    match decode_index(&bytes, segment) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "unusable index file; scanning");
            None
        }
    }
}

fn decode_index(bytes: &[u8], segment: &ClosedSegment) -> Result<Index, FormatError> {
    let (version, mut decoder) = Decoder::open(bytes, MAGIC, VERSION_ONE..=VERSION)?;
    let stored = ClosedSegment::decode(&mut decoder, version > VERSION_ONE)?;
    let index = Index::decode(&mut decoder)?;
    decoder.finish()?;
    let same = (stored.name(), stored.end_offset, stored.bytes)
        == (segment.name(), segment.end_offset, segment.bytes);
    if !same || !index.fits(segment.base_offset, segment.end_offset, segment.bytes) {
        return Err(FormatError("it belongs to another segment"));
    }
    Ok(index)
}

async fn rebuild_index(
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    segment: &ClosedSegment,
    interval_bytes: u64,
    has_gaps: bool,
) -> Result<Index, LogError> {
    let mut index = Index::new(segment.base_offset);
    let mut walk =
        Walk::new(file, path.clone(), (segment.base_offset, 0), segment.bytes).checking();
    walk = walk.with_gaps(has_gaps);
    while let Some(located) = walk.next().await? {
        walk.check_crc(&located).await?;
        index.add(located.position, &located.header, interval_bytes);
    }
    let reaches = walk.offset() == segment.end_offset
        || segment.generation > 0 && walk.offset() < segment.end_offset;
    if !reaches {
        let reason = format!("the segment must reach offset {}", segment.end_offset);
        return Err(LogError::corrupt(&path, walk.offset(), segment.bytes, reason));
    }
    Ok(index)
}

/// A whole small file.
pub(super) async fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read).await?;
    let size = usize::try_from(file.size().await?).map_err(io::Error::other)?;
    file.read_at(0, size).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_named_by_its_base_offset_in_twenty_digits_and_its_generation() {
        let dir = Path::new("t-0");
        let name = |base_offset, generation| SegmentName { base_offset, generation };
        assert_eq!(name(Offset(42), 0).log(dir), dir.join("00000000000000000042.log"));
        assert_eq!(name(Offset(42), 3).log(dir), dir.join("00000000000000000042.3.log"));
        assert_eq!(name(Offset(42), 3).index(dir), dir.join("00000000000000000042.3.index"));
        for generation in [0, 1, 17] {
            let name = name(Offset(42), generation);
            let path = name.log(dir);
            let file = path.file_name().and_then(|file| file.to_str()).expect("text");
            assert_eq!(SegmentName::parse(file), Some(name));
            let path = name.unfinished(dir);
            let file = path.file_name().and_then(|file| file.to_str()).expect("text");
            assert!(is_unfinished(file) && SegmentName::parse(file).is_none());
        }
        for other in [
            "42.log",
            "+0000000000000000042.log",
            "00000000000000000042.index",
            "00000000000000000042.01.log",
            "00000000000000000042.0.log",
            "00000000000000000042..log",
            "00000000000000000042.1.2.log",
            "lock",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
            assert!(!is_unfinished(other), "{other}");
        }
    }
}

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
const VERSION: u16 = 1;

/// The file of the segment whose first record has, or will have, this offset.
pub(super) fn segment_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base_offset.0))
}

/// The index file of a closed segment.
pub(super) fn index_path(dir: &Path, base_offset: Offset) -> PathBuf {
    dir.join(format!("{:020}.index", base_offset.0))
}

/// The base offset that a segment file's name states; `None` for any other file.
pub(super) fn parse_segment_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten().map(Offset)
}

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
}

impl ClosedSegment {
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
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let (base_offset, end_offset) = (Offset(from.u64()?), Offset(from.u64()?));
        let bytes = from.u64()?;
        let (timestamp, search_from) = (Timestamp(from.i64()?), Offset(from.u64()?));
        let newest = (timestamp.0 >= 0).then_some(NewestTimestamp { timestamp, search_from });
        let modified = Timestamp(from.i64()?);
        if end_offset <= base_offset {
            return Err(FormatError("a segment must end above its base offset"));
        }
        Ok(Self { base_offset, end_offset, bytes, newest, modified })
    }

    /// The size of the encoding, in bytes.
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
    /// replaced by a scan of the segment.
    pub(super) async fn open(
        disk: &dyn Disk,
        dir: &Path,
        segment: &ClosedSegment,
        interval_bytes: u64,
    ) -> Result<Self, LogError> {
        let path = segment_path(dir, segment.base_offset);
        let file = disk.open(&path, OpenMode::Read).await?;
        let index = match load_index(disk, dir, segment).await {
            Some(index) => index,
            None => rebuild_index(file.clone(), path, segment, interval_bytes).await?,
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
    let path = index_path(dir, segment.base_offset);
    let file = disk.open(&path, OpenMode::Replace).await?;
    file.write_at(0, vec![Bytes::from(encoder.finish())]).await?;
    file.sync().await?;
    Ok(())
}

/// The stored index, if there is a sound one of exactly this segment.
async fn load_index(disk: &dyn Disk, dir: &Path, segment: &ClosedSegment) -> Option<Index> {
    let path = index_path(dir, segment.base_offset);
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
    let mut decoder = Decoder::open(bytes, MAGIC, VERSION)?;
    let stored = ClosedSegment::decode(&mut decoder)?;
    let index = Index::decode(&mut decoder)?;
    decoder.finish()?;
    let same = (stored.base_offset, stored.end_offset, stored.bytes)
        == (segment.base_offset, segment.end_offset, segment.bytes);
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
) -> Result<Index, LogError> {
    let mut index = Index::new(segment.base_offset);
    let mut walk =
        Walk::new(file, path.clone(), (segment.base_offset, 0), segment.bytes).checking();
    while let Some(located) = walk.next().await? {
        walk.check_crc(&located).await?;
        index.add(located.position, &located.header, interval_bytes);
    }
    if walk.offset() != segment.end_offset {
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
    fn a_segment_is_named_by_its_base_offset_in_twenty_digits() {
        let path = segment_path(Path::new("t-0"), Offset(42));
        assert_eq!(path, Path::new("t-0/00000000000000000042.log"));
        assert_eq!(parse_segment_name("00000000000000000042.log"), Some(Offset(42)));
        for other in ["42.log", "+0000000000000000042.log", "00000000000000000042.index", "lock"] {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
    }
}

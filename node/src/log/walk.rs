//! Walking from batch to batch through a segment file, believing nothing.
//!
//! A batch is accepted when its header is sound, it fits into the segment, and its base offset is
//! exactly the offset that must come next: a well-formed batch from another place is refused. In a
//! log that compaction has been at it may come later than that, and its end must be within the
//! segment. The
//! CRC is checked where a batch is recovered or what its header says decides an answer, not where it
//! is passed over on the way to another one.

use super::LogError;
use crate::env::DiskFile;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use highwater_core::{
    record::{BATCH_HEADER_BYTES, BatchHeader},
    types::Offset,
};
use std::{path::PathBuf, sync::Arc};

/// Bytes read at once while walking: what the disk door reads on the spot from the page cache.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes read at once while every byte is checked.
const CHECK_CHUNK_BYTES: u64 = 1024 * 1024;
/// A batch's CRC covers everything from here on: its attributes and what follows.
const CRC_COVERS_FROM: u64 = 21;

/// A batch and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) position: u64,
    pub(super) header: BatchHeader,
}

/// A walk. See the module's documentation.
pub(super) struct Walk {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Where the next batch begins, and the offset that it must have.
    position: u64,
    offset: Offset,
    /// Where the segment ends.
    end: u64,
    /// Bytes of the file from `window_start` on.
    window: Bytes,
    window_start: u64,
    chunk_bytes: u64,
    /// Whether a batch may begin behind where the one before it ended.
    has_gaps: bool,
}

impl Walk {
    /// Starts at a batch boundary (offset, position) of a segment that ends at `end`.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        (offset, position): (Offset, u64),
        end: u64,
    ) -> Self {
        let chunk_bytes = CHUNK_BYTES;
        Self {
            file,
            path,
            position,
            offset,
            end,
            window: Bytes::new(),
            window_start: 0,
            chunk_bytes,
            has_gaps: false,
        }
    }

    /// The same walk, reading ahead for [`Walk::check_crc`] of every batch.
    pub(super) fn checking(self) -> Self {
        Self { chunk_bytes: CHECK_CHUNK_BYTES, ..self }
    }

    /// The same walk, in a log in which offsets may be missing.
    pub(super) fn with_gaps(self, has_gaps: bool) -> Self {
        Self { has_gaps, ..self }
    }

    /// The offset that the next batch must have, or that it must not be below.
    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// Where the next batch must begin.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Passes over the next batch; `None` at the segment's end.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when there is something else than the next batch.
    pub(super) async fn next(&mut self) -> Result<Option<Located>, LogError> {
        if self.position >= self.end {
            return if self.position == self.end { Ok(None) } else { self.bad("it is cut off") };
        }
        let left = self.end - self.position;
        if left < BATCH_HEADER_BYTES as u64 {
            return self.bad("the segment ends inside of a batch's header");
        }
        let header = self.peek(self.position, BATCH_HEADER_BYTES as u64).await?;
        let header = match BatchHeader::parse(&header) {
            Ok(header) => header,
            Err(error) => return self.bad(&error.to_string()),
        };
        if !comes_next(&header, self.offset, self.has_gaps) {
            return self.bad(&format!("a batch of offset {} is here", header.base_offset));
        }
        if header.size_in_bytes as u64 > left {
            return self.bad("the segment ends inside of a batch");
        }
        let located = Located { position: self.position, header };
        self.position += header.size_in_bytes as u64;
        self.offset = header.next_offset();
        Ok(Some(located))
    }

    /// Checks the CRC of a batch that was just passed over, in bounded memory.
    pub(super) async fn check_crc(&mut self, batch: &Located) -> Result<(), LogError> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut at = batch.position + CRC_COVERS_FROM;
        while at < self.position {
            let piece = self.peek(at, (self.position - at).min(self.chunk_bytes)).await?;
            digest.update(&piece);
            at += piece.len() as u64;
        }
        if digest.finalize() as u32 == batch.header.crc {
            return Ok(());
        }
        Err(self.corrupt(batch, "its CRC does not match"))
    }

    /// The bytes of a batch that was just passed over.
    pub(super) async fn bytes_of(&mut self, batch: &Located) -> Result<Bytes, LogError> {
        self.peek(batch.position, batch.header.size_in_bytes as u64).await
    }

    /// The error for a batch that was passed over and turns out to be wrong.
    pub(super) fn corrupt(&self, batch: &Located, reason: impl ToString) -> LogError {
        LogError::corrupt(&self.path, batch.header.base_offset, batch.position, reason)
    }

    /// `length` bytes of the file, from the window or through a new one. A length above the chunk
    /// makes a window of that length.
    async fn peek(&mut self, position: u64, length: u64) -> Result<Bytes, LogError> {
        let inside = |start: u64, window: &Bytes| {
            position >= start && position + length <= start + window.len() as u64
        };
        if !inside(self.window_start, &self.window) {
            let wanted = length.max(self.chunk_bytes).min(self.end - position);
            self.window = self.file.read_at(position, usize_of(wanted)).await?;
            self.window_start = position;
            if !inside(position, &self.window) {
                return self.bad("the file is shorter than its segment");
            }
        }
        let start = usize_of(position - self.window_start);
        Ok(self.window.slice(start..start + usize_of(length)))
    }

    fn bad<T>(&self, reason: &str) -> Result<T, LogError> {
        Err(LogError::corrupt(&self.path, self.offset, self.position, reason))
    }
}

/// Whether a batch may stand where the one before it ended at `offset`.
pub(super) fn comes_next(header: &BatchHeader, offset: Offset, has_gaps: bool) -> bool {
    header.base_offset == offset || has_gaps && header.base_offset > offset
}

pub(super) fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a segment fits into the address space")
}

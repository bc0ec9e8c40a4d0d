//! Reading batches: located by index, checked in full before anybody sees them.

use super::{
    Log, LogError, Shared,
    index::Index,
    segment::{ClosedSegment, OpenSegment},
    walk::{Walk, comes_next, usize_of},
};
use crate::env::DiskFile;
use bytes::Bytes;
use highwater_core::{
    record::{BATCH_HEADER_BYTES, BatchHeader, verify_crc},
    sometimes,
    types::Offset,
};
use std::{path::PathBuf, sync::Arc};

/// A segment as a reader sees it: what was in it at one moment.
pub(super) struct ReadView {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// Where to start: a batch boundary (offset, position).
    pub(super) from: (Offset, u64),
    /// Bytes of batches in the file.
    pub(super) bytes: u64,
    /// Where the segment ends, exclusive.
    pub(super) end_offset: Offset,
    /// Whether offsets may be missing between batches.
    pub(super) has_gaps: bool,
}

/// What a reader compares, to know whether what it looked at is still the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    cuts: u64,
    rewrites: u64,
}

/// A place to look for something in: the segment that holds an offset.
enum Place {
    Active(ReadView),
    Closed(ClosedSegment, bool),
}

impl Log {
    /// Reads whole batches, from the one that holds `from`, or the next one if compaction has removed
    /// that, up to the last that ends at or before
    /// `before` (exclusive), all from one segment and at most `max_bytes` of them; with
    /// `at_least_one` the first batch is returned even if it is larger than that. Empty when there
    /// is nothing between the two offsets. The bytes are one slice of one read.
    ///
    /// Each returned batch has passed its CRC, follows the one before it, without a gap unless the log
    /// was compacted, and has the leader epoch that it was appended in.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] for an offset below the log start or above the log end;
    /// [`LogError::Corrupt`] instead of bytes that are not what was written.
    pub async fn read(
        &self,
        from: Offset,
        before: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, LogError> {
        let mut at = from;
        loop {
            self.check_range(from)?;
            let (version, end) = self.shared.version_and_end();
            let before = before.min(end);
            if at >= before {
                return Ok(Bytes::new());
            }
            let result = match self.view_at(at).await {
                Ok(view) => {
                    let next = view.end_offset;
                    let read = self.read_batches(view, at, before, max_bytes, at_least_one);
                    read.await.map(|read| read.ok_or(next))
                }
                Err(error) => Err(error),
            };
            let now = self.shared.version_and_end().0;
            // What a cut has come between is of no log: neither the old one nor the new one. A
            // segment that compaction has replaced is still right, but its file may be gone.
            if now.cuts != version.cuts || now != version && result.is_err() {
                sometimes!(ReadOvertakenByCut, now.cuts != version.cuts);
                at = from;
                continue;
            }
            match result {
                Ok(Ok(bytes)) => return Ok(bytes),
                // Nothing is left in the segment from there on.
                Ok(Err(next)) => at = next,
                // The segment may have been removed under the read: then that is the answer.
                Err(error) => return self.check_range(from).and(Err(error)),
            }
        }
    }

    fn check_range(&self, offset: Offset) -> Result<(), LogError> {
        let state = self.shared.lock();
        if (state.log_start_offset..=state.end).contains(&offset) {
            return Ok(());
        }
        Err(state.out_of_range(offset))
    }

    /// The segment that holds `offset`, from the last indexed batch at or before it.
    pub(super) async fn view_at(&self, offset: Offset) -> Result<ReadView, LogError> {
        self.view(offset, |index| index.floor(offset)).await
    }

    /// The segment that holds `offset`, from the place that `locate` finds in its index.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] when that segment was removed: never another one instead.
    pub(super) async fn view(
        &self,
        offset: Offset,
        locate: impl Fn(&Index) -> (Offset, u64),
    ) -> Result<ReadView, LogError> {
        let place = {
            let state = self.shared.lock();
            match state.closed.range(..=offset).next_back() {
                Some((_, segment)) if offset < segment.end_offset => {
                    Place::Closed(*segment, state.has_gaps)
                }
                // The segment was removed since the caller looked.
                _ if offset < state.active.base_offset => return Err(state.out_of_range(offset)),
                _ => Place::Active(ReadView {
                    file: state.active.file.clone(),
                    path: state.active.path.clone(),
                    from: locate(&state.active.index),
                    bytes: state.active.written,
                    end_offset: state.active.end_offset,
                    has_gaps: state.has_gaps,
                }),
            }
        };
        match place {
            Place::Active(view) => Ok(view),
            Place::Closed(segment, has_gaps) => {
                let open = self.open_segment(&segment).await?;
                Ok(ReadView {
                    path: segment.name().log(&self.shared.dir),
                    from: locate(&open.index),
                    file: open.file,
                    bytes: segment.bytes,
                    end_offset: segment.end_offset,
                    has_gaps,
                })
            }
        }
    }

    async fn open_segment(&self, segment: &ClosedSegment) -> Result<OpenSegment, LogError> {
        let (found, interval_bytes, cuts, has_gaps) = {
            let mut state = self.shared.lock();
            let interval_bytes = state.options.index_interval_bytes;
            // What is kept open is of the segment as it is now.
            let is_current = state.closed.get(&segment.base_offset) == Some(segment);
            let found = is_current.then(|| state.open_segment(segment.base_offset)).flatten();
            (found, interval_bytes, state.cuts, state.has_gaps)
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let (disk, dir) = (&*self.shared.disk, &self.shared.dir);
        let open = OpenSegment::open(disk, dir, segment, interval_bytes, has_gaps).await?;
        let mut state = self.shared.lock();
        if state.cuts == cuts && state.closed.get(&segment.base_offset) == Some(segment) {
            state.keep_open(segment.base_offset, open.clone());
        }
        Ok(open)
    }

    /// `None` when compaction has left nothing in the segment from there on.
    async fn read_batches(
        &self,
        view: ReadView,
        from: Offset,
        before: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<Bytes>, LogError> {
        let Some((offset, position)) = view.find(from).await? else { return Ok(None) };
        let mut window = view.read(position, max_bytes.max(BATCH_HEADER_BYTES)).await?;
        let first = view.parse(&window, offset, position)?;
        if first.size_in_bytes > window.len() {
            if !at_least_one {
                return Ok(Some(Bytes::new()));
            }
            window = view.read(position, first.size_in_bytes).await?;
        }
        let limit = if at_least_one { max_bytes.max(first.size_in_bytes) } else { max_bytes };
        window.truncate(limit);
        let whole = self.check_batches(&view, &window, (offset, position), before)?;
        Ok(Some(window.split_to(whole)))
    }

    /// Checks the whole batches at the front of `window` that end at or before `before`, and
    /// returns their size.
    fn check_batches(
        &self,
        view: &ReadView,
        window: &[u8],
        (mut offset, position): (Offset, u64),
        before: Offset,
    ) -> Result<usize, LogError> {
        let mut whole = 0;
        // What lies at or above `before` may be being cut off.
        while window.len() - whole >= BATCH_HEADER_BYTES && offset < before {
            let at = position + whole as u64;
            let header = view.parse(&window[whole..], offset, at)?;
            let end = whole.saturating_add(header.size_in_bytes);
            if end > window.len() {
                break;
            }
            // Before the CRC is checked not even the offsets in the header may be believed.
            self.check_batch(view, &header, &window[whole..end], at)?;
            if header.next_offset() > before {
                break;
            }
            (whole, offset) = (end, header.next_offset());
        }
        Ok(whole)
    }

    /// Checks the parts of a batch that its place does not show.
    pub(super) fn check_batch(
        &self,
        view: &ReadView,
        header: &BatchHeader,
        batch: &[u8],
        position: u64,
    ) -> Result<(), LogError> {
        let reason = if !verify_crc(batch) {
            "its CRC does not match"
        } else if !self.shared.lock().epoch_matches(header) {
            "its leader epoch is not the one that it was appended in"
        } else {
            return Ok(());
        };
        Err(LogError::corrupt(&view.path, header.base_offset, position, reason))
    }
}

impl Shared {
    /// How often records may have left the log at its end or segments were replaced, and where the
    /// end is.
    pub(super) fn version_and_end(&self) -> (Version, Offset) {
        let state = self.lock();
        (Version { cuts: state.cuts, rewrites: state.rewrites }, state.end)
    }
}

impl ReadView {
    /// The batch that holds `offset` or is the next one behind it: (base offset, position).
    async fn find(&self, offset: Offset) -> Result<Option<(Offset, u64)>, LogError> {
        if self.from.0 == offset && self.from.1 < self.bytes {
            return Ok(Some(self.from));
        }
        let mut walk = self.walk();
        while let Some(batch) = walk.next().await? {
            if batch.header.next_offset() > offset {
                return Ok(Some((batch.header.base_offset, batch.position)));
            }
        }
        if self.has_gaps {
            return Ok(None);
        }
        let reason = format!("offset {offset} must be in this segment");
        Err(LogError::corrupt(&self.path, walk.offset(), walk.position(), reason))
    }

    /// A walk from the place that was located.
    pub(super) fn walk(&self) -> Walk {
        Walk::new(self.file.clone(), self.path.clone(), self.from, self.bytes)
            .with_gaps(self.has_gaps)
    }

    /// Up to `length` bytes; fewer only at the end of the segment.
    pub(super) async fn read(&self, position: u64, length: usize) -> Result<Bytes, LogError> {
        let left = usize_of(self.bytes.saturating_sub(position));
        Ok(self.file.read_at(position, length.min(left)).await?)
    }

    /// The header of the batch of `offset` at the front of `bytes`.
    fn parse(&self, bytes: &[u8], offset: Offset, position: u64) -> Result<BatchHeader, LogError> {
        let corrupt = |reason: String| LogError::corrupt(&self.path, offset, position, reason);
        let header = BatchHeader::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
        let fits = header.next_offset() <= self.end_offset || !self.has_gaps;
        if !comes_next(&header, offset, self.has_gaps) || !fits {
            return Err(corrupt(format!("a batch of offset {} is here", header.base_offset)));
        }
        if header.size_in_bytes as u64 > self.bytes.saturating_sub(position) {
            return Err(corrupt("the segment ends inside of a batch".to_owned()));
        }
        Ok(header)
    }
}

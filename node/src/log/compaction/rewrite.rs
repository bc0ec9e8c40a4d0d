//! Writing a group of segments anew, without what is outdated.

use super::{CompactionReport, CompactionTask, OffsetMap, Source, outdates, plan::millis};
use crate::{
    codec,
    env::{DiskFile, OpenMode},
    log::{
        Log, LogError,
        index::Index,
        segment::{ClosedSegment, SegmentName},
    },
};
use bytes::Bytes;
use highwater_core::{
    mutant::Mutant,
    record::{BATCH_HEADER_BYTES, BatchHeader, Record, Records, RetainedRecords, emptied},
    sometimes,
    time::Timestamp,
    types::{Offset, ProducerId},
};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// What decides over each record of a pass.
pub(super) struct Rules {
    now: Timestamp,
    map: OffsetMap,
    /// Behind the last offset that is in the map: records from there on stay.
    map_end: Offset,
    log_start: Offset,
    tombstones_end: Offset,
    /// The delete horizon of batches that have none yet.
    new_horizon: Timestamp,
    /// The last offset of each producer that is remembered.
    producers: BTreeMap<ProducerId, Offset>,
    /// A batch of a transaction was kept, below everything that comes yet. Invariant: batches come
    /// in the order of their offsets, from the first of the log on.
    has_kept_transaction: bool,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It stays as it is.
    Kept,
    Replaced(Bytes),
    Dropped,
}

/// A segment that is to take the place of a group.
pub(super) struct Rewritten {
    pub(super) segment: ClosedSegment,
    pub(super) index: Index,
}

impl Rules {
    pub(super) fn new(
        task: &CompactionTask<'_>,
        map: OffsetMap,
        map_end: Offset,
        log_start: Offset,
    ) -> Self {
        let producers = task.bounds.side.producers.iter().filter_map(|(id, state)| {
            let is_forgotten = Mutant::CompactionForgetsProducers.is_planted();
            state.last().filter(|_| !is_forgotten).map(|last| (id, last.last_offset))
        });
        let horizon = task.now.0.saturating_add(millis(task.policy.delete_retention));
        Self {
            now: task.now,
            map,
            map_end,
            log_start,
            tombstones_end: task.bounds.tombstones_end,
            new_horizon: Timestamp(horizon),
            producers: producers.collect(),
            has_kept_transaction: false,
        }
    }

    /// What becomes of a batch; `is_last`: of the last one of the pass.
    fn fate_of(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        is_last: bool,
        report: &mut CompactionReport,
    ) -> Result<Fate, LogError> {
        if header.next_offset() <= self.log_start {
            return Ok(Fate::Dropped);
        }
        self.has_kept_transaction |= header.is_transactional && !header.is_control;
        if header.base_offset >= self.map_end || !outdates(header) {
            return Ok(Fate::Kept);
        }
        let Ok(body) = codec::decompress(header.compression, &bytes[BATCH_HEADER_BYTES..]) else {
            report.unreadable_batches += 1;
            return Ok(Fate::Kept);
        };
        let Some(has_tombstones) = self.keeps_tombstones(header, &body) else {
            report.unreadable_batches += 1;
            return Ok(Fate::Kept);
        };
        let is_new = has_tombstones && header.delete_horizon.is_none();
        let horizon = is_new.then_some(self.new_horizon);
        let mut retained = RetainedRecords::of(header, horizon);
        let mut records = Records::in_body(header, &body);
        let mut kept = 0;
        while let Some(Ok((record, record_bytes))) = records.next_with_bytes() {
            if self.keeps(header, &record) {
                retained.push(&record, &record_bytes);
                kept += 1;
            }
        }
        let removed = header.record_count - kept;
        report.records_removed += u64::from(removed);
        if kept > 0 && removed == 0 && horizon.is_none() {
            return Ok(Fate::Kept);
        }
        if kept == 0 {
            return Ok(self.fate_of_emptied(header, bytes, is_last));
        }
        let body = codec::compress(header.compression, retained.body())
            .map_err(|error| LogError::Io(Arc::new(std::io::Error::other(error))))?
            .into_owned();
        Ok(Fate::Replaced(retained.into_batch(bytes, &body)))
    }

    /// Whether a tombstone stays in the batch; `None` when its records cannot be read.
    fn keeps_tombstones(&self, header: &BatchHeader, body: &[u8]) -> Option<bool> {
        let mut has_tombstones = false;
        for record in Records::in_body(header, body) {
            let record = record.ok()?;
            has_tombstones |= record.value.is_none() && self.keeps(header, &record);
        }
        Some(has_tombstones)
    }

    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        if record.offset >= self.map_end {
            return true;
        }
        // A record without a key cannot be outdated, and does not belong into a compacted topic.
        let Some(key) = record.key else { return false };
        let is_newest = match self.map.get(key) {
            Some(newest) => record.offset >= newest,
            None => !Mutant::CleanKeysDropped.is_planted(),
        };
        is_newest && (record.value.is_some() || !self.may_forget(header, record.offset))
    }

    /// Whether a tombstone has been there for long enough, on every replica. What lies in a
    /// transaction below it stays, and may be of the same key: without the tombstone that would be
    /// there again.
    fn may_forget(&self, header: &BatchHeader, offset: Offset) -> bool {
        if self.has_kept_transaction {
            return false;
        }
        let has_aged = header.delete_horizon.is_some_and(|horizon| self.now >= horizon)
            || Mutant::TombstoneRemovedTooEarly.is_planted();
        sometimes!(TombstoneKeptForReplica, has_aged && offset >= self.tombstones_end);
        sometimes!(TombstoneRemoved, has_aged && offset < self.tombstones_end);
        has_aged && offset < self.tombstones_end
    }

    /// Without its records a batch still says what its producer has sent, and where reading goes
    /// on.
    fn fate_of_emptied(&self, header: &BatchHeader, bytes: &[u8], is_last: bool) -> Fate {
        let last_of_producer = header.producer.is_some_and(|producer| {
            self.producers.get(&producer.id) == Some(&header.last_offset())
        });
        match last_of_producer || is_last {
            true if header.record_count == 0 => Fate::Kept,
            true => Fate::Replaced(emptied(bytes)),
            false => Fate::Dropped,
        }
    }
}

/// What the segment is called that takes the place of a group.
pub(super) fn rewritten_name(group: &[ClosedSegment]) -> SegmentName {
    let generation = group.iter().map(|segment| segment.generation).max().unwrap_or(0) + 1;
    SegmentName { base_offset: group[0].base_offset, generation }
}

/// A segment being written.
struct Output {
    file: Arc<dyn DiskFile>,
    index: Index,
    interval_bytes: u64,
    /// Bytes in the file and in `pending`.
    bytes: u64,
    written: u64,
    pending: Vec<Bytes>,
}

impl Output {
    fn push(&mut self, header: &BatchHeader, bytes: Bytes) {
        self.index.add(self.bytes, header, self.interval_bytes);
        self.bytes += bytes.len() as u64;
        self.pending.push(bytes);
    }

    fn is_full(&self) -> bool {
        self.bytes - self.written >= WRITE_BYTES as u64
    }

    async fn write(&mut self) -> Result<u64, LogError> {
        let bytes = self.bytes - self.written;
        if bytes > 0 {
            self.file.write_at(self.written, std::mem::take(&mut self.pending)).await?;
            self.written = self.bytes;
        }
        Ok(bytes)
    }
}

impl Log {
    /// Writes what stays of a group into a file aside, durably. `None` when all of it stays as it
    /// is. `is_last`: nothing of the pass comes behind the group.
    pub(super) async fn rewrite(
        &self,
        task: &CompactionTask<'_>,
        rules: &mut Rules,
        group: &[ClosedSegment],
        is_last: bool,
        report: &mut CompactionReport,
    ) -> Result<Option<Rewritten>, LogError> {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let name = rewritten_name(group);
        let path = name.unfinished(self.dir());
        let mut output = Output {
            file: self.shared.disk.open(&path, OpenMode::Replace).await?,
            index: Index::new(first.base_offset),
            interval_bytes: task.policy.index_interval_bytes,
            bytes: 0,
            written: 0,
            pending: Vec::new(),
        };
        let mut is_changed = group.len() > 1;
        for segment in group {
            let ends_pass = is_last && segment == last;
            is_changed |= self.copy(task, rules, segment, ends_pass, &mut output, report).await?;
        }
        if !is_changed {
            self.shared.disk.remove(&path).await?;
            return Ok(None);
        }
        task.pace.moved(output.write().await?).await;
        output.file.sync().await?;
        report.bytes_written += output.bytes;
        let segment = ClosedSegment {
            base_offset: first.base_offset,
            end_offset: last.end_offset,
            bytes: output.bytes,
            newest: output.index.newest(),
            modified: group.iter().map(|segment| segment.modified).max().unwrap_or(last.modified),
            generation: name.generation,
        };
        Ok(Some(Rewritten { segment, index: output.index }))
    }

    /// Copies what stays of a segment. Whether anything did not stay as it was.
    async fn copy(
        &self,
        task: &CompactionTask<'_>,
        rules: &mut Rules,
        segment: &ClosedSegment,
        ends_pass: bool,
        output: &mut Output,
        report: &mut CompactionReport,
    ) -> Result<bool, LogError> {
        let mut is_changed = false;
        let mut source = Source::open(self, segment).await?;
        while let Some((batch, bytes)) = source.next(task, report).await? {
            let is_last = ends_pass && source.is_at_end();
            match rules.fate_of(&batch.header, &bytes, is_last, report)? {
                Fate::Kept => output.push(&batch.header, bytes),
                Fate::Replaced(bytes) => {
                    is_changed = true;
                    let header = BatchHeader::parse(&bytes).map_err(|error| {
                        LogError::corrupt(self.dir(), batch.header.base_offset, 0, error)
                    })?;
                    output.push(&header, bytes);
                }
                Fate::Dropped => is_changed = true,
            }
            if output.is_full() {
                let written = output.write().await?;
                task.pace.moved(written).await;
            }
        }
        Ok(is_changed)
    }
}

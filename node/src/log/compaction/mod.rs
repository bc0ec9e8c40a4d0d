//! Compaction: of each key only the newest record stays (KIP-58, KIP-280's default, KIP-534).
//!
//! A pass maps the keys of what was not compacted yet, the *dirty* section, to their newest offsets,
//! as many as fit into the map; then it writes every segment up to there anew without the records
//! that the map has outdated, several small segments into one. What stays keeps its offset, its
//! bytes and its batch; a batch that keeps everything is copied as it is.
//!
//! * Only closed segments are touched, below the high watermark, the last stable offset and the
//!   recovery point, and outside of `min.compaction.lag.ms`.
//! * A tombstone stays until `delete.retention.ms` after the pass that first came upon it, by the
//!   *delete horizon* in its batch's header, and as long as a replica may not have it.
//! * Of a producer's last batch the header stays, or its sequence numbers would be forgotten
//!   (KAFKA-8335), and of the last batch of the pass, so that whoever reads on from a removed offset
//!   finds a batch to go on from.
//! * Control batches and those of transactions are kept whole and outdate nothing. Tombstones above
//!   those of transactions stay for good: what they delete may lie there.
//!
//! The new segments are written aside and swapped in by one checkpoint, which names them: see
//! `swap`. Readers and appends go on meanwhile. A failure ends the pass and changes nothing.

mod offset_map;
mod plan;
mod rewrite;
mod swap;

pub use plan::Dirtiness;

use super::{Log, LogError, segment::ClosedSegment};
use crate::{
    codec,
    env::{BoxFuture, OpenMode},
    log::{
        reader::ReadView,
        walk::{Located, Walk},
    },
};
use bytes::Bytes;
use highwater_core::{
    partition::CompactionBounds,
    record::{BATCH_HEADER_BYTES, BatchHeader, Records},
    time::Timestamp,
    types::Offset,
};
use offset_map::OffsetMap;
use plan::Plan;
use rewrite::{Rules, rewritten_name};
use std::time::Duration;

/// What a topic wants of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// `min.cleanable.dirty.ratio`, in millionths.
    pub min_dirty_ratio_millionths: u32,
    /// `min.compaction.lag.ms`.
    pub min_lag: Duration,
    /// `max.compaction.lag.ms`; `None` is unlimited.
    pub max_lag: Option<Duration>,
    /// `delete.retention.ms`.
    pub delete_retention: Duration,
    /// `segment.bytes`: the most that goes into one segment.
    pub segment_bytes: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
}

/// What one compaction goes by.
pub struct CompactionTask<'a> {
    /// The wall clock when it begins.
    pub now: Timestamp,
    /// How far it may go.
    pub bounds: CompactionBounds,
    /// What the topic wants.
    pub policy: CompactionPolicy,
    /// `log.cleaner.dedupe.buffer.size`: bytes of the map from keys to offsets.
    pub map_bytes: u64,
    /// The secret of the map's hashes.
    pub hash_key: [u8; 16],
    /// Told of every piece that was read or written.
    pub pace: &'a dyn Pace,
}

/// Lets a compaction go no faster than it may.
pub trait Pace: Send + Sync {
    /// Completes when the compaction may go on, which has just moved so many bytes.
    fn moved(&self, bytes: u64) -> BoxFuture<'static, ()>;
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Times that the map was filled.
    pub passes: u64,
    /// Bytes of segments read, those read twice counted twice.
    pub bytes_read: u64,
    /// Bytes of segments written.
    pub bytes_written: u64,
    /// Records that are gone.
    pub records_removed: u64,
    /// Batches whose records could not be read, which were kept whole.
    pub unreadable_batches: u64,
    /// Whether it went as far as it was to. If not, a truncation or a deletion came between.
    pub complete: bool,
}

/// How far a step came.
enum Step<T> {
    Done(T),
    /// The log has changed under it: what was done of it is void.
    Superseded,
}

impl Log {
    /// Compacts everything that the task allows, in as many passes as the map takes. One at a
    /// time for a log.
    ///
    /// # Errors
    /// When the disk fails, stored bytes are not what was written, or the log has stopped. The log
    /// goes on as it was; passes and groups of segments that were done before stay done.
    pub async fn compact(&self, task: &CompactionTask<'_>) -> Result<CompactionReport, LogError> {
        // Segments are swapped in the checkpoint, so it has to know them.
        self.checkpoint(task.bounds.side.clone()).await?;
        self.clear_leftovers().await?;
        let cuts = self.shared.lock().cuts;
        let mut report = CompactionReport::default();
        loop {
            let plan = {
                let state = self.shared.lock();
                let end = task.bounds.cleanable_end.min(state.stored.recovery_segment);
                state.compaction_plan(task.now, end, &task.policy)
            };
            if plan.dirty().next().is_none() {
                report.complete = self.shared.lock().cuts == cuts;
                return Ok(report);
            }
            match self.pass(task, &plan, cuts, &mut report).await? {
                Step::Done(()) => report.passes += 1,
                Step::Superseded => return Ok(report),
            }
        }
    }

    async fn pass(
        &self,
        task: &CompactionTask<'_>,
        plan: &Plan,
        cuts: u64,
        report: &mut CompactionReport,
    ) -> Result<Step<()>, LogError> {
        let Step::Done((map, end)) = self.map_keys(task, plan, report).await? else {
            return Ok(Step::Superseded);
        };
        let log_start = self.shared.lock().log_start_offset;
        let mut rules = Rules::new(task, map, end, log_start);
        let groups = plan.groups(end, &task.policy);
        let last = groups.len().saturating_sub(1);
        for (number, group) in groups.iter().enumerate() {
            let replaced =
                self.replace(task, &mut rules, group, (number == last, cuts), report).await;
            match replaced {
                Ok(Step::Done(())) => {}
                Ok(Step::Superseded) => return Ok(Step::Superseded),
                Err(error) => {
                    self.abandon(rewritten_name(group));
                    if self.has_all(group) {
                        return Err(error);
                    }
                    return Ok(Step::Superseded);
                }
            }
        }
        self.compacted(end, cuts).await
    }

    /// Writes a group anew and swaps it in, unless all of it stays as it is.
    async fn replace(
        &self,
        task: &CompactionTask<'_>,
        rules: &mut Rules,
        group: &[ClosedSegment],
        (is_last, cuts): (bool, u64),
        report: &mut CompactionReport,
    ) -> Result<Step<()>, LogError> {
        match self.rewrite(task, rules, group, is_last, report).await? {
            Some(rewritten) => self.swap(group, rewritten, cuts).await,
            None => Ok(Step::Done(())),
        }
    }

    fn has_all(&self, group: &[ClosedSegment]) -> bool {
        let state = self.shared.lock();
        group.iter().all(|segment| state.closed.get(&segment.base_offset) == Some(segment))
    }

    /// The newest offsets of the keys of the dirty section, as far as they fit into the map, and
    /// where that ends (exclusive).
    async fn map_keys(
        &self,
        task: &CompactionTask<'_>,
        plan: &Plan,
        report: &mut CompactionReport,
    ) -> Result<Step<(OffsetMap, Offset)>, LogError> {
        let mut map = OffsetMap::new(task.map_bytes, &task.hash_key);
        let mut end = plan.first_dirty;
        for segment in plan.dirty() {
            let mapped = self.map_segment(task, segment, (&mut map, &mut end), report).await;
            match self.unless_replaced(segment, mapped)? {
                Some(true) => end = segment.end_offset,
                Some(false) => return Ok(Step::Done((map, end))),
                None => return Ok(Step::Superseded),
            }
        }
        Ok(Step::Done((map, end)))
    }

    /// Whether the whole segment fitted into the map.
    async fn map_segment(
        &self,
        task: &CompactionTask<'_>,
        segment: &ClosedSegment,
        (map, end): (&mut OffsetMap, &mut Offset),
        report: &mut CompactionReport,
    ) -> Result<bool, LogError> {
        let first_dirty = *end;
        let mut source = Source::open(self, segment).await?;
        while let Some((batch, bytes)) = source.next(task, report).await? {
            let header = &batch.header;
            if header.next_offset() <= first_dirty {
                continue;
            }
            if outdates(header) {
                if !map.has_room_for(header.record_count.into()) {
                    return Ok(false);
                }
                map_batch(map, header, &bytes, first_dirty);
            }
            *end = header.next_offset();
        }
        Ok(true)
    }
}

/// Whether the records of a batch outdate earlier ones. Nothing is known yet of the fate of those in
/// a transaction.
fn outdates(header: &BatchHeader) -> bool {
    !header.is_control && !header.is_transactional
}

/// Notes the keys of a batch. One that cannot be read outdates nothing, in no part.
fn map_batch(map: &mut OffsetMap, header: &BatchHeader, bytes: &[u8], first_dirty: Offset) {
    let Ok(body) = codec::decompress(header.compression, &bytes[BATCH_HEADER_BYTES..]) else {
        return;
    };
    if Records::in_body(header, &body).any(|record| record.is_err()) {
        return;
    }
    for record in Records::in_body(header, &body).flatten() {
        if let Some(key) = record.key.filter(|_| record.offset >= first_dirty) {
            map.put(key, record.offset);
        }
    }
}

/// A segment that is read from its beginning to its end, every batch checked.
struct Source<'a> {
    log: &'a Log,
    view: ReadView,
    walk: Walk,
    /// Bytes read that the pace has not been told of.
    untold: u64,
}

/// Bytes read between two words to the pace.
const PACE_BYTES: u64 = 1 << 20;

impl<'a> Source<'a> {
    async fn open(log: &'a Log, segment: &ClosedSegment) -> Result<Self, LogError> {
        let path = segment.name().log(log.dir());
        let file = log.shared.disk.open(&path, OpenMode::Read).await?;
        let view = ReadView {
            file,
            path,
            from: (segment.base_offset, 0),
            bytes: segment.bytes,
            end_offset: segment.end_offset,
            has_gaps: log.shared.lock().has_gaps,
        };
        let walk = view.walk().checking();
        Ok(Self { log, view, walk, untold: 0 })
    }

    /// The next batch. Those wholly below the log start are not checked: their epochs may be
    /// forgotten.
    async fn next(
        &mut self,
        task: &CompactionTask<'_>,
        report: &mut CompactionReport,
    ) -> Result<Option<(Located, Bytes)>, LogError> {
        let Some(batch) = self.walk.next().await? else { return Ok(None) };
        let bytes = self.walk.bytes_of(&batch).await?;
        let log_start = self.log.shared.lock().log_start_offset;
        if batch.header.next_offset() > log_start {
            self.log.check_batch(&self.view, &batch.header, &bytes, batch.position)?;
        }
        report.bytes_read += bytes.len() as u64;
        self.untold += bytes.len() as u64;
        if self.untold >= PACE_BYTES || self.is_at_end() {
            task.pace.moved(std::mem::take(&mut self.untold)).await;
        }
        Ok(Some((batch, bytes)))
    }

    fn is_at_end(&self) -> bool {
        self.walk.position() == self.view.bytes
    }
}

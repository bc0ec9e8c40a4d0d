//! The log engine: one partition's batches on disk, durable before anybody is told so.
//!
//! A log is a directory of segments, each named by the offset of its first record, and a
//! `checkpoint` ([`docs/formats.md`](../../../docs/formats.md)). Appends are queued and flushed in
//! group commit: while one round of batches is being synced the next is written, and one sync
//! covers everything that was written before it. Reads never wait for appends. An idle log has no
//! task, no timer and no work.
//!
//! What survives a power cut: every batch whose [`LogEvent::Flushed`] was reported, a log start
//! whose [`Log::advance_start`] returned, and nothing that was never written. A tail behind the
//! last flush may survive in part, from its beginning and in whole batches. What a truncation or
//! a reset has dropped does not come back once it was reported as flushed, and never behind newer
//! records.
//!
//! What is not repaired: damage before the recovery point or in any segment but the last is
//! reported with file and position, and the log does not open. Only an invalid tail of the last
//! segment behind the recovery point is cut.

mod checkpoint;
mod compaction;
mod cut;
mod error;
mod format;
mod index;
mod maintenance;
mod reader;
mod recovery;
mod segment;
mod state;
mod timestamps;
mod walk;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use compaction::{CompactionPolicy, CompactionReport, CompactionTask, Dirtiness, Pace};
pub use error::LogError;
pub use maintenance::remove_leftovers;
pub use recovery::ScannedTail;

use crate::{env::Disk, tasks::Tasks};
use cut::{Cut, CutKind};
use highwater_core::{
    partition::{Recovered, SegmentSummary, SideState},
    producers::ProducerStates,
    record::PlacedBatch,
    time::Now,
    types::{Offset, WriteId},
};
use state::{Append, State};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// How a log lays out its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A batch that would make the segment larger begins a new one (`segment.bytes`). A single
    /// larger batch gets a segment of its own.
    pub segment_bytes: u64,
    /// An append to a segment that is older than this begins a new one (`segment.ms`), by the
    /// monotonic clock, counted from the segment's first append since the log was opened.
    pub segment_age: Duration,
    /// Bytes of batches between two index entries (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    /// Bytes flushed since the last checkpoint that make another one due: what recovery has to
    /// read after a crash.
    pub checkpoint_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 1024 * 1024 * 1024,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            index_interval_bytes: 4096,
            checkpoint_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Something that happened to a log by itself. Reported in order, from the log's own task: the
/// receiver must not block.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// Every append up to and including this one is in the files and can be read. It is not
    /// durable. Not reported for every append: [`LogEvent::Flushed`] says it too.
    Written(WriteId),
    /// Every append, truncation and reset up to and including this one is durable. While a
    /// truncation or a reset is pending, nothing before it is reported on its own.
    Flushed(WriteId),
    /// The log takes nothing any more, and what was not reported as flushed never will be. What
    /// was flushed can still be read.
    Failed(LogError),
    /// Much was flushed since the last checkpoint, or a segment was closed:
    /// [`Log::checkpoint`] is wanted soon.
    CheckpointDue,
}

/// Receives the events of a log.
pub type LogEvents = Arc<dyn Fn(LogEvent) + Send + Sync>;

/// What was found when a log was opened. All of it is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredLog {
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The offset behind the last record.
    pub log_end_offset: Offset,
    /// The end, exclusive, of what the last checkpoint knew to be committed, as far as it is in the log.
    pub high_watermark: Offset,
    /// Epochs and producers as of the end.
    pub side: SideState,
    /// What of it may yet be truncated.
    pub tail: ScannedTail,
    /// Whether the log had been closed, so that nothing had to be scanned.
    pub clean: bool,
    /// Bytes of an invalid tail that were cut.
    pub cut_bytes: u64,
}

impl RecoveredLog {
    /// What the partition machine begins with.
    #[must_use]
    pub fn into_recovered(self) -> Recovered {
        Recovered {
            log_start_offset: self.log_start_offset,
            log_end_offset: self.log_end_offset,
            high_watermark: self.high_watermark,
            epochs: self.side.epochs,
            producers: self.tail.producers,
            tail: self.tail.headers.into(),
        }
    }
}

/// One partition's log. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// What the clones of a log and its task share.
struct Shared {
    disk: Arc<dyn Disk>,
    tasks: Tasks,
    dir: PathBuf,
    events: LogEvents,
    state: Mutex<State>,
    /// Wakes the writer for a new append.
    appended: Notify,
    /// Wakes whoever waits for the writer to end.
    idle: Notify,
    /// Checkpoints and changes of the log start, one at a time.
    maintenance: Semaphore,
}

impl Log {
    /// Opens the log in `dir`, creating it when there is none, and recovers it from a crash. What
    /// the last checkpoint does not tell was appended at `now`, for retention.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when stored bytes are not what was written, [`LogError::Io`] when the
    /// disk fails. Nothing is changed on the disk except an invalid tail that may be cut, and
    /// segments below the log start.
    pub async fn open(
        disk: Arc<dyn Disk>,
        tasks: &Tasks,
        dir: PathBuf,
        options: LogOptions,
        now: Now,
        events: LogEvents,
    ) -> Result<(Self, RecoveredLog), LogError> {
        let (state, recovered) = recovery::recover(&*disk, &dir, options, now.wall).await?;
        let shared = Shared {
            disk,
            tasks: tasks.clone(),
            dir,
            events,
            state: Mutex::new(state),
            appended: Notify::new(),
            idle: Notify::new(),
            maintenance: Semaphore::new(1),
        };
        Ok((Self { shared: Arc::new(shared) }, recovered))
    }

    /// Queues a batch for the log's end; the batches of a log are placed one behind the other, and
    /// their leader epochs, whoever led, never go back.
    /// [`LogEvent::Flushed`] follows when it is durable. A log that has failed or was closed drops
    /// it. What is queued is bounded by the memory that the callers hold permits for.
    pub fn append(&self, now: Now, write: WriteId, batch: PlacedBatch) {
        let starts_writer = self.shared.lock().enqueue(Append { now, write, batch });
        self.wake_writer(starts_writer);
    }

    /// Drops everything at or above `to`, a batch boundary not above what was queued, in order
    /// with the appends; the next append follows at `to`. When this returns, new readers see nothing
    /// of it. [`LogEvent::Flushed`] follows when it is gone for good. A crash before that leaves a
    /// log that ends at `to` or at a batch behind it. Below the log start, this is a
    /// [`Log::reset`].
    ///
    /// `side` is the state as of `to` or of a batch boundary before it: what the checkpoint falls
    /// back to when it knows of dropped batches.
    ///
    /// Failures are reported as those of an append. A log that has failed or was closed ignores it.
    ///
    /// # Panics
    /// When `to` is above what was queued, or `side` is newer than `to`.
    pub fn truncate(&self, now: Now, write: WriteId, to: Offset, side: SideState) {
        self.cut(Cut { now, write, to, kind: CutKind::Truncate(side) });
    }

    /// Drops the whole log, in order with the appends, and restarts it empty at `to`, wherever it
    /// was before: that is the log start and where the next append follows. When this returns, new
    /// readers see nothing. [`LogEvent::Flushed`] follows when it is durable. A crash before that
    /// leaves the log as it was, or the empty one. `producers` are those as of `to`, of which no batch
    /// will tell.
    ///
    /// Failures are reported as those of an append. A log that has failed or was closed ignores it.
    pub fn reset(&self, now: Now, write: WriteId, to: Offset, producers: ProducerStates) {
        self.cut(Cut { now, write, to, kind: CutKind::Reset(producers) });
    }

    fn cut(&self, cut: Cut) {
        let starts_writer = self.shared.lock().request_cut(cut);
        self.wake_writer(starts_writer);
    }

    fn wake_writer(&self, starts: bool) {
        if starts {
            self.shared.tasks.spawn("log-writer", writer::run(self.shared.clone()));
        } else {
            self.shared.appended.notify_one();
        }
    }

    /// The closed segments that hold records at or above the log start, oldest first.
    #[must_use]
    pub fn closed_segments(&self) -> Vec<SegmentSummary> {
        let state = self.shared.lock();
        let held = state.log_start_offset..=state.end;
        let closed = state.closed.values().map(|segment| segment.summary());
        closed
            .filter(|segment| {
                held.contains(&segment.end_offset) && segment.end_offset != *held.start()
            })
            .collect()
    }

    /// The segment that is appended to; `None` while it is empty or about to be cut.
    #[must_use]
    pub fn active_segment(&self) -> Option<SegmentSummary> {
        let state = self.shared.lock();
        let active = &state.active;
        let holds_records = active.written > 0 && !state.cut_is_pending();
        holds_records.then(|| SegmentSummary {
            base_offset: active.base_offset,
            end_offset: state.end,
            bytes: active.written,
            max_timestamp: active.index.newest().map(|newest| newest.timestamp),
            modified: active.modified,
        })
    }

    /// Closes the segment that is appended to when everything in it is durable, unless it is
    /// empty. Failures are reported as those of an append.
    pub fn roll(&self) {
        let starts_writer = self.shared.lock().request_roll();
        self.wake_writer(starts_writer);
    }

    /// Size of all segments, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let state = self.shared.lock();
        let closed: u64 = state.closed.values().map(|segment| segment.bytes).sum();
        closed + state.active.written
    }

    /// Takes over changed options, from the next append on.
    pub fn configure(&self, options: LogOptions) {
        self.shared.lock().options = options;
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }
}

impl Shared {
    /// The state. Nothing panics while it is held, and it is never held across an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

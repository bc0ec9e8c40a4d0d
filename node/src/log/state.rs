//! What a log knows in memory.

use super::{
    LogError, LogOptions,
    cut::Cut,
    index::Index,
    segment::{ClosedSegment, OpenSegment, SegmentName},
};
use crate::env::DiskFile;
use highwater_core::{
    epochs::EpochCache,
    record::{BatchHeader, PlacedBatch},
    time::{Instant, Now, Timestamp},
    types::{Offset, WriteId},
};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

/// How many closed segments of a log are kept open: reads of old records move on in order.
const OPEN_SEGMENTS: usize = 2;

/// A batch on its way to the disk.
pub(super) struct Append {
    pub(super) now: Now,
    pub(super) write: WriteId,
    pub(super) batch: PlacedBatch,
}

/// What the writer has to do, in this order.
pub(super) enum Queued {
    Append(Append),
    Cut(Cut),
}

/// The segment that is appended to.
#[derive(Clone)]
pub(super) struct ActiveSegment {
    pub(super) base_offset: Offset,
    /// How often compaction has written it anew, before it was cut and became the active one.
    pub(super) generation: u32,
    /// Offset behind its last batch, or its base offset while it has none.
    pub(super) records_end: Offset,
    /// Invariant: the log's end, unless a cut is pending. Above `records_end` only when a cut has
    /// ended the log where compaction had left a gap.
    pub(super) end_offset: Offset,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) index: Index,
    /// Bytes of batches in the file. The file may be longer while a write is under way or after
    /// one failed; what lies behind is not part of the log.
    pub(super) written: u64,
    /// When the first batch was appended since the log was opened.
    pub(super) first_append: Option<Instant>,
    /// Wall clock of the last append.
    pub(super) modified: Timestamp,
}

/// Whether a log takes appends.
pub(super) enum Status {
    Open,
    /// It takes no more, and what is queued is still written.
    Closing,
    /// It failed, was closed or deleted.
    Stopped(LogError),
}

pub(super) struct State {
    pub(super) options: LogOptions,
    pub(super) status: Status,
    /// Invariant: `log_start_offset <= flushed <= end`.
    pub(super) log_start_offset: Offset,
    pub(super) flushed: Offset,
    pub(super) end: Offset,
    /// Offset behind everything queued. Invariant: at least `end` while the log is open.
    pub(super) queued_end: Offset,
    /// By base offset. Invariant: without a gap, and the last one ends where `active` begins.
    /// While a cut is pending, these and `active` still hold what lies outside of the log.
    pub(super) closed: BTreeMap<Offset, ClosedSegment>,
    pub(super) active: ActiveSegment,
    /// Recently read closed segments, the latest last. Invariant: at most [`OPEN_SEGMENTS`].
    pub(super) open_segments: VecDeque<(Offset, OpenSegment)>,
    /// Indexes of closed segments that have no index file yet.
    pub(super) unsaved_indexes: BTreeMap<Offset, Arc<Index>>,
    /// The leader epoch of every batch: a batch's own epoch lies outside its CRC.
    pub(super) epochs: EpochCache,
    pub(super) queue: VecDeque<Queued>,
    /// The cuts in the queue, and whether the writer is carrying another one out.
    pub(super) queued_cuts: usize,
    pub(super) cut_under_way: bool,
    /// Goes up whenever records may have left the log at its end: what was found out about it
    /// before may be wrong.
    pub(super) cuts: u64,
    pub(super) writer_runs: bool,
    /// The active segment is to be closed although it is neither full nor old.
    pub(super) roll_requested: bool,
    /// Bytes flushed since the last checkpoint, and whether another was asked for.
    pub(super) flushed_since_checkpoint: u64,
    pub(super) checkpoint_asked: bool,
    /// What the last checkpoint says.
    pub(super) stored: Stored,
    /// Whether offsets may be missing between batches. Invariant: the checkpoint says so before any
    /// are.
    pub(super) has_gaps: bool,
    /// A batch that leaves a gap is queued.
    pub(super) gap_queued: bool,
    /// Compaction has been through everything below it.
    pub(super) compacted_to: Offset,
    /// Goes up whenever compaction has replaced segments: files that a reader wanted may be gone.
    pub(super) rewrites: u64,
    /// Compaction may have left files that are not part of the log, and the checkpoint may name
    /// either set of them.
    pub(super) has_strays: bool,
}

/// What the last checkpoint says that later changes must respect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) log_start_offset: Offset,
    pub(super) recovery_offset: Offset,
    /// Base offset of the segment that holds the recovery offset. Every segment below is named with
    /// its generation.
    pub(super) recovery_segment: Offset,
    pub(super) high_watermark: Offset,
}

impl Stored {
    /// A checkpoint could not be written: the stored one may say this or that.
    pub(super) fn may_be(&mut self, other: Self) {
        self.log_start_offset = self.log_start_offset.max(other.log_start_offset);
        self.recovery_offset = self.recovery_offset.max(other.recovery_offset);
        self.recovery_segment = self.recovery_segment.min(other.recovery_segment);
        self.high_watermark = self.high_watermark.max(other.high_watermark);
    }
}

/// What recovery found, to make the first state of.
pub(super) struct Opened {
    pub(super) log_start_offset: Offset,
    pub(super) end: Offset,
    pub(super) closed: BTreeMap<Offset, ClosedSegment>,
    pub(super) unsaved_indexes: BTreeMap<Offset, Arc<Index>>,
    pub(super) active: ActiveSegment,
    pub(super) epochs: EpochCache,
    pub(super) stored: Stored,
    pub(super) scanned_bytes: u64,
    pub(super) has_gaps: bool,
    pub(super) compacted_to: Offset,
}

impl ActiveSegment {
    pub(super) fn name(&self) -> SegmentName {
        SegmentName { base_offset: self.base_offset, generation: self.generation }
    }
}

impl State {
    pub(super) fn new(options: LogOptions, opened: Opened) -> Self {
        Self {
            options,
            status: Status::Open,
            log_start_offset: opened.log_start_offset,
            flushed: opened.end,
            end: opened.end,
            queued_end: opened.end,
            closed: opened.closed,
            active: opened.active,
            open_segments: VecDeque::new(),
            unsaved_indexes: opened.unsaved_indexes,
            epochs: opened.epochs,
            queue: VecDeque::new(),
            queued_cuts: 0,
            cut_under_way: false,
            cuts: 0,
            writer_runs: false,
            roll_requested: false,
            flushed_since_checkpoint: opened.scanned_bytes,
            checkpoint_asked: false,
            stored: opened.stored,
            has_gaps: opened.has_gaps,
            gap_queued: false,
            compacted_to: opened.compacted_to,
            rewrites: 0,
            has_strays: false,
        }
    }

    /// Queues an append, unless the log is closing or has stopped. Returns whether a writer must be started.
    pub(super) fn enqueue(&mut self, append: Append) -> bool {
        if !self.is_open() {
            return false;
        }
        let header = &append.batch.header;
        assert!(header.base_offset >= self.queued_end, "batches follow one another");
        // Only a copy of a log that was compacted has gaps.
        self.gap_queued |= header.base_offset > self.queued_end;
        let epoch = header.leader_epoch.expect("a placed batch has a leader epoch");
        // A leadership that appended nothing left no trace in the log: another leader's older
        // batches may follow.
        self.epochs.truncate_from_end(self.queued_end);
        assert!(self.epochs.assign(epoch, self.queued_end), "leader epochs never go back");
        self.queued_end = header.next_offset();
        self.queue.push_back(Queued::Append(append));
        !std::mem::replace(&mut self.writer_runs, true)
    }

    /// Wants the active segment closed, unless it is empty or the log takes no appends. Returns
    /// whether a writer must be started.
    pub(super) fn request_roll(&mut self) -> bool {
        if !self.is_open() || self.active.written == 0 {
            return false;
        }
        self.roll_requested = true;
        !std::mem::replace(&mut self.writer_runs, true)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.status, Status::Open)
    }

    /// Takes no more appends from now on.
    pub(super) fn begin_closing(&mut self) {
        if self.is_open() {
            self.status = Status::Closing;
        }
    }

    /// Why the log has stopped, if it has.
    pub(super) fn stopped(&self) -> Option<&LogError> {
        match &self.status {
            Status::Open | Status::Closing => None,
            Status::Stopped(reason) => Some(reason),
        }
    }

    /// Stops the log for good. The first reason stays.
    pub(super) fn stop(&mut self, reason: LogError) {
        self.queue.clear();
        self.queued_cuts = 0;
        if self.stopped().is_none() {
            self.status = Status::Stopped(reason);
        }
    }

    /// What a reader hears of an offset that is not in the log.
    pub(super) fn out_of_range(&self, offset: Offset) -> LogError {
        let (log_start_offset, log_end_offset) = (self.log_start_offset, self.end);
        LogError::OffsetOutOfRange { offset, log_start_offset, log_end_offset }
    }

    /// Whether there is a segment with this base offset.
    pub(super) fn has_segment(&self, base_offset: Offset) -> bool {
        self.active.base_offset == base_offset || self.closed.contains_key(&base_offset)
    }

    /// Whether a batch of the log has the epoch that it was appended in. Only the newest records
    /// of a batch that reaches below the log start are sure to be known.
    pub(super) fn epoch_matches(&self, header: &BatchHeader) -> bool {
        self.epochs.epoch_at(header.last_offset()) == header.leader_epoch
    }

    /// A closed segment that is open already.
    pub(super) fn open_segment(&mut self, base_offset: Offset) -> Option<OpenSegment> {
        let at = self.open_segments.iter().position(|(base, _)| *base == base_offset)?;
        let found = self.open_segments.remove(at)?;
        self.open_segments.push_back(found.clone());
        Some(found.1)
    }

    /// Keeps a closed segment open, and lets the one go that was not read for longest.
    pub(super) fn keep_open(&mut self, base_offset: Offset, segment: OpenSegment) {
        self.forget_open(base_offset);
        if self.open_segments.len() == OPEN_SEGMENTS {
            self.open_segments.pop_front();
        }
        self.open_segments.push_back((base_offset, segment));
    }

    pub(super) fn forget_open(&mut self, base_offset: Offset) {
        self.open_segments.retain(|(base, _)| *base != base_offset);
    }

    /// Closes the active segment and goes on with a new one that begins at the log's end.
    pub(super) fn roll(&mut self, mut next: ActiveSegment) {
        // A cut may have been asked for while the new segment was made. It will find both.
        let is_durable = self.flushed == self.end || self.cut_is_pending();
        assert!(is_durable, "a segment is closed when it is durable");
        assert_eq!(next.base_offset, self.active.records_end, "segments follow without a gap");
        next.end_offset = self.active.end_offset;
        self.roll_requested = false;
        let closed = std::mem::replace(&mut self.active, next);
        let segment = ClosedSegment {
            base_offset: closed.base_offset,
            end_offset: closed.records_end,
            bytes: closed.written,
            newest: closed.index.newest(),
            modified: closed.modified,
            generation: closed.generation,
        };
        let index = Arc::new(closed.index);
        self.closed.insert(segment.base_offset, segment);
        self.unsaved_indexes.insert(segment.base_offset, index.clone());
        self.keep_open(segment.base_offset, OpenSegment { file: closed.file, index });
    }

    /// Asks for a checkpoint when one is due and was not asked for since the last one.
    pub(super) fn asks_for_checkpoint(&mut self, rolled: bool) -> bool {
        let due = rolled || self.flushed_since_checkpoint >= self.options.checkpoint_bytes;
        due && !std::mem::replace(&mut self.checkpoint_asked, true)
    }

    /// A checkpoint that was asked for is over, so another may be asked for. One that could not be
    /// written is not tried again before as much was flushed as makes one due.
    pub(super) fn checkpoint_over(&mut self, written: bool) {
        self.checkpoint_asked = false;
        if !written {
            self.flushed_since_checkpoint = 0;
        }
    }
}

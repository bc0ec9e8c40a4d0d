//! Dropping records at the log's end: truncation to an offset, and reset of the whole log.
//!
//! In memory a cut counts at once; the files follow when the writer comes to it, with no write and
//! no sync under way. What makes each step crash-safe:
//!
//! A truncation first lowers the checkpoint if it knows of anything at or above the new end, then
//! removes the later segments, newest first and each one durably, then cuts the segment that holds
//! the new end and syncs it. Whatever a crash leaves is a prefix of the old log that reaches the new
//! end, and nothing is appended before the cut is durable.
//!
//! A reset first stores a checkpoint of the empty log that says that a restart is under way:
//! recovery then removes every segment. When all are gone, one without that mark replaces it.

use super::{
    LogError, LogEvent, Shared,
    checkpoint::Checkpoint,
    index::Index,
    recovery::{remove_all_segments, remove_segment},
    segment::{ClosedSegment, OpenSegment, SegmentName},
    state::{ActiveSegment, Queued, State, Stored},
    walk::Walk,
    writer::create_segment,
};
use crate::env::OpenMode;
use highwater_core::{
    epochs::EpochCache,
    partition::SideState,
    producers::ProducerStates,
    sometimes,
    time::Now,
    types::{Offset, WriteId},
};

/// A truncation or a reset on its way to the disk.
pub(super) struct Cut {
    pub(super) now: Now,
    pub(super) write: WriteId,
    /// The new end; of a reset, the new start too.
    pub(super) to: Offset,
    pub(super) kind: CutKind,
}

pub(super) enum CutKind {
    /// With the state as of the new end or before.
    Truncate(SideState),
    /// With the producers as of the new start.
    Reset(ProducerStates),
}

impl Cut {
    /// Whether a later truncation to `end` makes this one pointless.
    fn is_covered_by(&self, end: Offset) -> bool {
        matches!(self.kind, CutKind::Truncate(_)) && self.to >= end
    }
}

/// Carries out the cut at the front of the queue. Everything before it is durable. An error ends
/// the log.
pub(super) async fn carry_out(shared: &Shared) -> Result<(), LogError> {
    let _permit = shared.maintenance().await?;
    // A log that was stopped meanwhile has no queue.
    let Some(cut) = shared.lock().take_cut() else { return Ok(()) };
    let stored_start = shared.lock().stored.log_start_offset;
    match cut.kind {
        CutKind::Truncate(side) if cut.to >= stored_start => {
            truncate(shared, cut.now, cut.to, side).await?;
        }
        // Only an unclean election cuts below the log start.
        CutKind::Truncate(_) => {
            restart(shared, cut.now, cut.to, ProducerStates::default()).await?;
        }
        CutKind::Reset(producers) => restart(shared, cut.now, cut.to, producers).await?,
    }
    let reports = {
        let mut state = shared.lock();
        state.cut_under_way = false;
        !state.cut_is_pending()
    };
    if reports {
        (shared.events)(LogEvent::Flushed(cut.write));
    }
    Ok(())
}

async fn truncate(shared: &Shared, now: Now, to: Offset, side: SideState) -> Result<(), LogError> {
    shared.remove_strays().await?;
    let mut active = segment_cut_at(shared, to).await?;
    if active.written == 0 {
        (active.modified, active.first_append) = (now.wall, None);
    }
    let (file, bytes) = (active.file.clone(), active.written);
    let (removed, stored) = {
        let mut state = shared.lock();
        (state.go_on_in(active), state.stored)
    };
    if stored.recovery_offset > to || stored.high_watermark > to {
        shared.lower_checkpoint(to, side).await?;
    }
    for name in removed {
        remove_segment(&*shared.disk, &shared.dir, name).await?;
        shared.disk.sync_dir(&shared.dir).await?;
    }
    file.truncate(bytes).await?;
    file.sync().await?;
    Ok(())
}

/// The segment that holds `to` as it is when everything from there on is gone. Nothing is changed.
async fn segment_cut_at(shared: &Shared, to: Offset) -> Result<ActiveSegment, LogError> {
    let (closed, interval_bytes, has_gaps) = {
        let state = shared.lock();
        (state.closed_segment_at(to), state.options.index_interval_bytes, state.has_gaps)
    };
    let mut segment = match closed {
        None => shared.lock().active.clone(),
        Some(closed) => {
            sometimes!(CutReopensSegment);
            reopened(shared, &closed, interval_bytes).await?
        }
    };
    let from = match to.0.checked_sub(1) {
        Some(last) if to > segment.base_offset => segment.index.truncate(Offset(last)),
        _ => {
            segment.index = Index::new(segment.base_offset);
            (segment.base_offset, 0)
        }
    };
    let (file, path) = (segment.file.clone(), segment.path.clone());
    let mut walk = Walk::new(file, path, from, segment.written).checking().with_gaps(has_gaps);
    let mut end = from;
    while end.0 < to
        && let Some(batch) = walk.next().await?
        && batch.header.base_offset < to
    {
        walk.check_crc(&batch).await?;
        segment.index.add(batch.position, &batch.header, interval_bytes);
        end = (walk.offset(), walk.position());
    }
    (segment.records_end, segment.written) = end;
    segment.end_offset = to;
    let ends_in_gap = has_gaps && segment.records_end < to;
    if segment.records_end != to && !ends_in_gap {
        let reason = format!("a truncation to {to} must find a batch boundary there");
        return Err(LogError::corrupt(&segment.path, to, segment.written, reason));
    }
    Ok(segment)
}

/// A closed segment, to be appended to again.
async fn reopened(
    shared: &Shared,
    closed: &ClosedSegment,
    interval_bytes: u64,
) -> Result<ActiveSegment, LogError> {
    let (disk, dir) = (&*shared.disk, &shared.dir);
    let unsaved = shared.lock().unsaved_indexes.get(&closed.base_offset).cloned();
    let index = match unsaved {
        Some(index) => index,
        None => {
            let has_gaps = shared.lock().has_gaps;
            OpenSegment::open(disk, dir, closed, interval_bytes, has_gaps).await?.index
        }
    };
    let path = closed.name().log(dir);
    Ok(ActiveSegment {
        base_offset: closed.base_offset,
        generation: closed.generation,
        records_end: closed.end_offset,
        end_offset: closed.end_offset,
        file: disk.open(&path, OpenMode::Write).await?,
        path,
        index: (*index).clone(),
        written: closed.bytes,
        first_append: None,
        modified: closed.modified,
    })
}

async fn restart(
    shared: &Shared,
    now: Now,
    to: Offset,
    producers: ProducerStates,
) -> Result<(), LogError> {
    let (disk, dir) = (&*shared.disk, &shared.dir);
    // A truncation becomes a restart when its end turns out to lie below the stored log start.
    shared.lock().raise_start(to);
    let mut checkpoint = Checkpoint::of_empty_log(to, now.wall);
    checkpoint.side.producers = producers;
    Checkpoint { restarting: true, ..checkpoint.clone() }.save(disk, dir).await?;
    remove_all_segments(disk, dir).await?;
    checkpoint.save(disk, dir).await?;
    let active = create_segment(disk, dir, to, now.wall).await?;
    shared.lock().begin_again(active);
    Ok(())
}

impl State {
    /// Queues a cut, unless the log is closing or has stopped, and takes out of the log what it
    /// drops. Returns whether a writer must be started.
    pub(super) fn request_cut(&mut self, mut cut: Cut) -> bool {
        if !self.is_open() {
            return false;
        }
        if matches!(cut.kind, CutKind::Truncate(_)) && cut.to < self.log_start_offset {
            cut.kind = CutKind::Reset(ProducerStates::default());
        }
        let to = cut.to;
        match &cut.kind {
            CutKind::Truncate(side) => {
                assert!(to <= self.queued_end, "a truncation does not lengthen the log");
                assert!(side.offset <= to, "a truncation keeps what its side state knows");
                self.queue.retain(|queued| match queued {
                    Queued::Append(append) => append.batch.header.base_offset < to,
                    Queued::Cut(earlier) => !earlier.is_covered_by(to),
                });
                self.end = self.end.min(to);
                self.flushed = self.flushed.min(to);
                self.epochs.truncate_from_end(to);
                self.compacted_to = self.compacted_to.min(to);
            }
            CutKind::Reset(_) => {
                self.queue.clear();
                (self.log_start_offset, self.flushed, self.end) = (to, to, to);
                self.epochs = EpochCache::default();
            }
        }
        self.queued_end = to;
        self.queue.push_back(Queued::Cut(cut));
        self.queued_cuts = self.queued_cuts().count();
        self.cuts += 1;
        !std::mem::replace(&mut self.writer_runs, true)
    }

    /// Whether the files still hold what is no longer in the log.
    pub(super) fn cut_is_pending(&self) -> bool {
        self.cut_under_way || self.queued_cuts > 0
    }

    /// What a write or a sync that was under way when a cut was queued may still add to the log:
    /// batches that end at or before this offset.
    pub(super) fn cut_limit(&self) -> Offset {
        if self.queued_cuts == 0 {
            return Offset(u64::MAX);
        }
        let limits = self.queued_cuts().map(|cut| match cut.kind {
            CutKind::Truncate(_) => cut.to,
            CutKind::Reset(_) => Offset(0),
        });
        limits.min().unwrap_or(Offset(u64::MAX))
    }

    fn queued_cuts(&self) -> impl Iterator<Item = &Cut> {
        self.queue.iter().filter_map(|queued| match queued {
            Queued::Append(_) => None,
            Queued::Cut(cut) => Some(cut),
        })
    }

    /// The cut at the front of the queue, which is now under way.
    fn take_cut(&mut self) -> Option<Cut> {
        match self.queue.pop_front()? {
            Queued::Append(_) => unreachable!("a cut waits at the front, or one that covers it"),
            Queued::Cut(cut) => {
                self.queued_cuts -= 1;
                self.cut_under_way = true;
                Some(cut)
            }
        }
    }

    /// The closed segment that holds `to`; `None` when it is the active one.
    fn closed_segment_at(&self, to: Offset) -> Option<ClosedSegment> {
        if to >= self.active.base_offset {
            return None;
        }
        let segment = self.closed.range(..=to).next_back();
        Some(*segment.expect("the log start is in a segment").1)
    }

    /// Goes on in a segment that was cut, and forgets the later ones: their names, newest first.
    fn go_on_in(&mut self, active: ActiveSegment) -> Vec<SegmentName> {
        let base_offset = active.base_offset;
        let later = self.closed.split_off(&base_offset);
        self.unsaved_indexes.split_off(&base_offset);
        self.open_segments.retain(|(base, _)| *base < base_offset);
        let last = std::mem::replace(&mut self.active, active).name();
        self.roll_requested = false;
        self.cuts += 1;
        let later = later.into_values().rev().map(|segment| segment.name());
        let removed = [last].into_iter().chain(later);
        removed.filter(|name| name.base_offset > base_offset).collect()
    }

    /// Readers find nothing below `to` any more. Later cuts may have moved the start elsewhere.
    fn raise_start(&mut self, to: Offset) {
        self.log_start_offset = self.log_start_offset.max(to.min(self.end));
        self.cuts += 1;
    }

    /// Goes on with an empty log.
    fn begin_again(&mut self, active: ActiveSegment) {
        let start = active.base_offset;
        self.closed.clear();
        self.unsaved_indexes.clear();
        self.open_segments.clear();
        self.active = active;
        self.roll_requested = false;
        self.stored = Stored {
            log_start_offset: start,
            recovery_offset: start,
            recovery_segment: start,
            high_watermark: start,
        };
        (self.has_gaps, self.has_strays, self.compacted_to) = (false, false, start);
        self.flushed_since_checkpoint = 0;
        self.checkpoint_asked = false;
        self.cuts += 1;
    }
}

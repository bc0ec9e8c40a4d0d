//! The writer: group commit, with the next round being written while the last one is synced.
//!
//! It runs while there is something to do and ends when everything queued is durable. A failed
//! write ends the log after what was written before has been synced; a failed sync ends it at once
//! and for good, because nothing tells what of the file is on the device.

use super::{
    LogError, LogEvent, Shared, cut,
    index::Index,
    segment::SegmentName,
    state::{ActiveSegment, Queued, State},
};
use crate::env::{BoxFuture, Disk, DiskFile, OpenMode};
use bytes::Bytes;
use highwater_core::{
    mutant::Mutant,
    record::BatchHeader,
    sometimes,
    time::{Instant, Timestamp},
    types::{Offset, WriteId},
};
use std::{future::pending, io, sync::Arc};

/// Bytes of batches in one write, unless a single batch is larger.
const ROUND_BYTES: u64 = 4 * 1024 * 1024;
/// Batches in one write.
const ROUND_BATCHES: usize = 4096;
/// Written bytes that may wait for their sync before the next write waits too.
const UNFLUSHED_BYTES: u64 = 16 * 1024 * 1024;

/// Batches that are written together.
struct Round {
    headers: Vec<BatchHeader>,
    last: WriteId,
    bytes: u64,
    first_append: Instant,
    modified: Timestamp,
}

/// What a sync covers.
#[derive(Clone, Copy)]
struct Covered {
    end: Offset,
    last: WriteId,
}

/// What to do while no write is under way.
enum Next {
    Write(Round, Arc<dyn DiskFile>, u64, Vec<Bytes>),
    Roll,
    Cut,
    /// The checkpoint must say that the log may have gaps before there is one.
    AllowGaps,
    /// Nothing is queued, or too much waits for a sync.
    Wait,
}

/// The writer's position between the queue and the device.
struct Writer {
    shared: Arc<Shared>,
    /// A write and the round it writes.
    writing: Option<Round>,
    write: Option<BoxFuture<'static, io::Result<()>>>,
    syncing: Option<Covered>,
    sync: Option<BoxFuture<'static, io::Result<()>>>,
    /// The newest append that was written; synced when it equals `flushed`.
    written: Option<Covered>,
    unflushed_bytes: u64,
    syncing_bytes: u64,
}

/// Writes and syncs until everything queued is durable or the log has stopped.
pub(super) async fn run(shared: Arc<Shared>) {
    let writer = Writer {
        shared: shared.clone(),
        writing: None,
        write: None,
        syncing: None,
        sync: None,
        written: None,
        unflushed_bytes: 0,
        syncing_bytes: 0,
    };
    writer.run().await;
    shared.idle.notify_waiters();
}

impl Writer {
    async fn run(mut self) {
        loop {
            let next = if self.write.is_none() { self.next() } else { Next::Wait };
            match next {
                Next::Write(round, file, position, chunks) => {
                    self.writing = Some(round);
                    self.write = Some(file.write_at(position, chunks));
                }
                Next::Roll if self.is_flushed() => {
                    if let Err(error) = self.roll().await {
                        return self.fail(error);
                    }
                    continue;
                }
                Next::Cut if self.is_flushed() => {
                    if let Err(error) = cut::carry_out(&self.shared).await {
                        return self.fail(error);
                    }
                    continue;
                }
                Next::AllowGaps => {
                    if let Err(error) = self.shared.allow_gaps().await {
                        self.flush_the_rest().await;
                        return self.fail(error);
                    }
                    continue;
                }
                Next::Roll | Next::Cut | Next::Wait => {}
            }
            self.start_sync();
            if self.write.is_none() && self.sync.is_none() {
                if self.shared.lock().end_writer() {
                    return;
                }
                continue;
            }
            let may_write = self.write.is_none();
            tokio::select! {
                biased;
                result = settled(&mut self.sync) => {
                    if let Err(error) = self.synced(result).await {
                        self.abandon_write().await;
                        return self.fail(error);
                    }
                }
                result = settled(&mut self.write) => {
                    let round = self.writing.take().expect("a write has its round");
                    match result {
                        Ok(()) => self.wrote(round),
                        Err(error) => {
                            sometimes!(WriteFailed);
                            sometimes!(DiskFull, error.kind() == io::ErrorKind::StorageFull);
                            self.flush_the_rest().await;
                            return self.fail(error.into());
                        }
                    }
                }
                () = self.shared.appended.notified(), if may_write => {}
            }
        }
    }

    /// Takes the next round off the queue, or says why there is none.
    fn next(&self) -> Next {
        if self.unflushed_bytes >= UNFLUSHED_BYTES {
            return Next::Wait;
        }
        let mut state = self.shared.lock();
        let first = match state.queue.front() {
            Some(Queued::Cut(_)) => return Next::Cut,
            _ if state.roll_requested => return Next::Roll,
            Some(Queued::Append(_)) if state.gap_queued && !state.has_gaps => {
                return Next::AllowGaps;
            }
            Some(Queued::Append(first)) => first,
            None => return Next::Wait,
        };
        if state.must_roll(first.batch.size_in_bytes() as u64, first.now.monotonic) {
            return Next::Roll;
        }
        let (file, position) = (state.active.file.clone(), state.active.written);
        let (round, chunks) = state.take_round();
        Next::Write(round, file, position, chunks)
    }

    fn is_flushed(&self) -> bool {
        self.sync.is_none() && self.written.is_none()
    }

    /// Starts a sync of what was written since the last one began.
    fn start_sync(&mut self) {
        if self.sync.is_some() {
            return;
        }
        if let Some(covered) = self.written.take() {
            self.syncing = Some(covered);
            self.syncing_bytes = self.unflushed_bytes;
            self.sync = Some(self.shared.lock().active.file.sync());
        }
    }

    /// The round is in the file: it can be read, and the next sync covers it.
    fn wrote(&mut self, round: Round) {
        self.unflushed_bytes += round.bytes;
        let reports = {
            let mut state = self.shared.lock();
            state.place(&round);
            self.written = Some(Covered { end: state.active.end_offset, last: round.last });
            !state.cut_is_pending()
        };
        if reports {
            (self.shared.events)(LogEvent::Written(round.last));
        }
    }

    /// A sync has ended.
    async fn synced(&mut self, result: io::Result<()>) -> Result<(), LogError> {
        let covered = self.syncing.take().expect("a sync covers something");
        if let Err(error) = result {
            sometimes!(SyncFailed);
            if !Mutant::FsyncErrorRetried.is_planted() {
                return Err(error.into());
            }
            let path = self.shared.lock().active.path.clone();
            self.shared.disk.open(&path, OpenMode::Write).await?.sync().await?;
        }
        let covered = match self.written {
            Some(later) if Mutant::SyncCoversLaterWrite.is_planted() => later,
            _ => covered,
        };
        self.unflushed_bytes -= self.syncing_bytes;
        let (reports, due) = {
            let mut state = self.shared.lock();
            state.flushed = state.flushed.max(covered.end.min(state.cut_limit()));
            state.flushed_since_checkpoint += self.syncing_bytes;
            (!state.cut_is_pending(), state.asks_for_checkpoint(false))
        };
        if reports {
            (self.shared.events)(LogEvent::Flushed(covered.last));
        }
        if due {
            (self.shared.events)(LogEvent::CheckpointDue);
        }
        Ok(())
    }

    /// After a failed write: cuts off what it left behind, as far as that is possible, and syncs
    /// what was written before it.
    async fn flush_the_rest(&mut self) {
        let (file, written) = {
            let state = self.shared.lock();
            (state.active.file.clone(), state.active.written)
        };
        if self.sync.is_some() {
            let result = settled(&mut self.sync).await;
            if let Err(error) = self.synced(result).await {
                return self.fail(error);
            }
        }
        if let Err(error) = file.truncate(written).await {
            tracing::warn!(%error, "the rest of a failed write stays; recovery will judge it");
        }
        self.start_sync();
        if self.sync.is_some() {
            let result = settled(&mut self.sync).await;
            if let Err(error) = self.synced(result).await {
                self.fail(error);
            }
        }
    }

    /// After a failed sync: no write may be under way when the log is said to have failed.
    async fn abandon_write(&mut self) {
        if self.write.is_some() {
            let _ = settled(&mut self.write).await;
        }
    }

    /// Begins a new segment. The old one is durable, and the new one's directory entry is before
    /// anything is written to it: only the last segment can have a torn tail.
    async fn roll(&mut self) -> Result<(), LogError> {
        let (end, modified) = {
            let state = self.shared.lock();
            (state.active.records_end, state.active.modified)
        };
        let next = create_segment(&*self.shared.disk, &self.shared.dir, end, modified).await?;
        let due = {
            let mut state = self.shared.lock();
            state.roll(next);
            state.asks_for_checkpoint(true)
        };
        if due {
            (self.shared.events)(LogEvent::CheckpointDue);
        }
        Ok(())
    }

    fn fail(&self, error: LogError) {
        let first = {
            let mut state = self.shared.lock();
            let first = state.stopped().is_none();
            state.stop(error.clone());
            state.writer_runs = false;
            first
        };
        if first {
            (self.shared.events)(LogEvent::Failed(error));
        }
    }
}

/// Creates an empty segment, durably. `modified` holds until the first append.
pub(super) async fn create_segment(
    disk: &dyn Disk,
    dir: &std::path::Path,
    base_offset: Offset,
    modified: Timestamp,
) -> Result<ActiveSegment, LogError> {
    let path = SegmentName::appended(base_offset).log(dir);
    let file = disk.open(&path, OpenMode::CreateNew).await?;
    disk.sync_dir(dir).await?;
    Ok(ActiveSegment {
        base_offset,
        generation: 0,
        records_end: base_offset,
        end_offset: base_offset,
        path,
        file,
        index: Index::new(base_offset),
        written: 0,
        first_append: None,
        modified,
    })
}

/// The result of the operation under way, which is then over; waits for ever when there is none.
async fn settled<T>(operation: &mut Option<BoxFuture<'static, T>>) -> T {
    match operation {
        Some(running) => {
            let result = running.await;
            *operation = None;
            result
        }
        None => pending().await,
    }
}

impl State {
    /// Whether a batch of that size begins a new segment. An empty segment takes any batch.
    fn must_roll(&self, bytes: u64, now: Instant) -> bool {
        let active = &self.active;
        let too_old =
            active.first_append.is_some_and(|first| now.since(first) >= self.options.segment_age);
        active.written > 0 && (active.written + bytes > self.options.segment_bytes || too_old)
    }

    /// The batches at the front of the queue that are written together. At least one.
    fn take_round(&mut self) -> (Round, Vec<Bytes>) {
        let Some(Queued::Append(first)) = self.queue.front() else {
            panic!("a round has a batch");
        };
        let mut round = Round {
            headers: Vec::new(),
            last: first.write,
            bytes: 0,
            first_append: first.now.monotonic,
            modified: first.now.wall,
        };
        let mut chunks = Vec::new();
        let room = self.options.segment_bytes.saturating_sub(self.active.written);
        while let Some(Queued::Append(append)) = self.queue.front() {
            let bytes = round.bytes + append.batch.size_in_bytes() as u64;
            let fits = bytes <= ROUND_BYTES.min(room) && round.headers.len() < ROUND_BATCHES;
            if !round.headers.is_empty() && !fits {
                break;
            }
            let Some(Queued::Append(append)) = self.queue.pop_front() else {
                unreachable!("the front was just seen");
            };
            round.bytes = bytes;
            round.last = append.write;
            round.modified = append.now.wall;
            round.headers.push(append.batch.header);
            chunks.extend(append.batch.chunks);
        }
        (round, chunks)
    }

    /// Makes a written round part of the log, except what a cut has dropped meanwhile.
    fn place(&mut self, round: &Round) {
        let interval_bytes = self.options.index_interval_bytes;
        let limit = self.cut_limit();
        let is_dropped = |header: &BatchHeader| header.next_offset() > limit;
        sometimes!(WriteOvertakenByCut, round.headers.iter().any(is_dropped));
        let active = &mut self.active;
        for header in round.headers.iter().take_while(|header| !is_dropped(header)) {
            active.index.add(active.written, header, interval_bytes);
            active.written += header.size_in_bytes as u64;
            active.records_end = header.next_offset();
            active.end_offset = active.records_end;
            self.end = active.end_offset;
        }
        active.first_append.get_or_insert(round.first_append);
        active.modified = round.modified;
    }

    /// Lets the writer end when nothing is queued.
    fn end_writer(&mut self) -> bool {
        self.writer_runs = !self.queue.is_empty() || self.roll_requested;
        !self.writer_runs
    }
}

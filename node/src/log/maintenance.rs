//! What happens to a log beside appends and reads: checkpoints, the log start, the end of it.

use super::{
    Log, LogError, Shared,
    checkpoint::Checkpoint,
    index::Index,
    recovery::remove_segment,
    segment::{ClosedSegment, save_index},
    state::State,
};
use crate::env::Disk;
use highwater_core::{
    mutant::Mutant, partition::SideState, sometimes, time::Timestamp, types::Offset,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::SemaphorePermit;

/// Ending of the name of a directory that is being removed.
const DELETED: &str = ".deleted";

impl Log {
    /// Makes `side` durable with everything else that recovery wants to know, so that it need not
    /// read what lies below `side.offset`. An older state than the last checkpoint's is ignored, and
    /// so is one from before a truncation or a reset, and every one while such is pending.
    ///
    /// # Errors
    /// When the disk fails: the last checkpoint stays, and the log goes on. A log that has stopped
    /// takes no checkpoint.
    ///
    /// # Panics
    /// When `side` knows more than was ever flushed.
    pub async fn checkpoint(&self, side: SideState) -> Result<(), LogError> {
        let taken_at = self.shared.lock().cuts;
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        let result = self.shared.save_checkpoint(side, taken_at, Purpose::Routine).await;
        self.shared.lock().checkpoint_over(result.is_ok());
        result.map(|_| ())
    }

    /// Moves the log start to `to`, durably, and then removes the segments that lie wholly below
    /// it. A start that is not above the present one changes nothing.
    ///
    /// # Errors
    /// When the disk fails: the log start is then where it was, on the disk it may be at `to`.
    /// [`LogError::OffsetOutOfRange`] when a truncation or a reset came between: likewise.
    /// A log that has stopped stays as it is.
    ///
    /// # Panics
    /// When `to` is above `side.offset`, or `side` knows more than was ever flushed.
    pub async fn advance_start(&self, to: Offset, side: SideState) -> Result<(), LogError> {
        assert!(to <= side.offset, "the log starts at or before its flushed end");
        let taken_at = self.shared.lock().cuts;
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        if to <= self.shared.lock().log_start_offset {
            return Ok(());
        }
        let saved = self.shared.save_checkpoint(side, taken_at, Purpose::LogStart(to)).await?;
        let removed = {
            let mut state = self.shared.lock();
            if !saved || state.cuts != taken_at {
                return Err(state.out_of_range(to));
            }
            state.advance_start(to)
        };
        for segment in removed {
            // It is outside of the log already: what cannot be removed now is removed at the next
            // start.
            if let Err(error) =
                remove_segment(&*self.shared.disk, &self.shared.dir, segment.name()).await
            {
                tracing::warn!(%error, "a segment below the log start stays for now");
            }
        }
        Ok(())
    }

    /// Takes no more appends from now on, waits until everything queued is durable, and leaves a checkpoint
    /// that makes the next opening read nothing. `side` is asked for when all is flushed.
    ///
    /// # Errors
    /// When the disk fails, or the log has failed before: recovery will scan.
    pub async fn close(&self, side: impl FnOnce() -> SideState) -> Result<(), LogError> {
        self.shared.lock().begin_closing();
        self.shared.writer_ended().await;
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        let taken_at = self.shared.lock().cuts;
        let result = self.shared.save_checkpoint(side(), taken_at, Purpose::Close).await;
        self.shared.lock().stop(self.shared.closed());
        result.map(|_| ())
    }

    /// Takes no more appends and removes the log with all its files. A crash leaves all of it, or
    /// a directory that [`remove_leftovers`] removes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn delete(&self) -> Result<(), LogError> {
        sometimes!(DeletedWhileWriting, self.shared.lock().writer_runs);
        self.shared.lock().stop(self.shared.closed());
        self.shared.writer_ended().await;
        let _permit = self.shared.maintenance().await?;
        let (disk, dir) = (&*self.shared.disk, &self.shared.dir);
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(DELETED);
        let deleted = dir.with_file_name(name);
        remove_dir(disk, &deleted).await?;
        disk.rename(dir, &deleted).await?;
        if let Some(parent) = parent_of(dir) {
            disk.sync_dir(parent).await?;
        }
        remove_dir(disk, &deleted).await
    }
}

/// Removes what deletions left in `data_dir` when a crash interrupted them, and returns how many
/// there were.
///
/// # Errors
/// When the disk fails.
pub async fn remove_leftovers(disk: &dyn Disk, data_dir: &Path) -> Result<usize, LogError> {
    let mut left = disk.list(data_dir).await?;
    left.retain(|entry| entry.is_dir && entry.name.ends_with(DELETED));
    if !left.is_empty() {
        // The process may have died between the rename and its sync: a power cut that undoes the
        // rename must not bring back a log of which some files are gone.
        disk.sync_dir(data_dir).await?;
    }
    for entry in &left {
        remove_dir(disk, &data_dir.join(&entry.name)).await?;
    }
    Ok(left.len())
}

async fn remove_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    match disk.remove_dir(dir).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The directory that holds `dir`'s entry; `None` when it is the working directory.
fn parent_of(dir: &Path) -> Option<&Path> {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// Why a checkpoint is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Routine,
    LogStart(Offset),
    Close,
}

/// The side state that a checkpoint takes.
enum Side {
    Given,
    /// That of the last checkpoint: the given one is older or of another log end. The segments that
    /// recovery would need below the last one may be gone.
    Stored,
}

impl Shared {
    /// Waits for the turn to change side files.
    pub(super) async fn maintenance(&self) -> Result<SemaphorePermit<'_>, LogError> {
        self.maintenance.acquire().await.map_err(|_| self.closed())
    }

    /// Nothing may be written to the directory of a log that was closed or deleted: it may be
    /// another log's by now.
    pub(super) fn check_not_stopped(&self) -> Result<(), LogError> {
        self.lock().stopped().cloned().map_or(Ok(()), Err)
    }

    fn closed(&self) -> LogError {
        LogError::Closed { dir: PathBuf::clone(&self.dir) }
    }

    /// Waits until no writer runs.
    async fn writer_ended(&self) {
        loop {
            let idle = self.idle.notified();
            if !self.lock().writer_runs {
                return;
            }
            self.appended.notify_one();
            idle.await;
        }
    }

    /// The side state of the last checkpoint.
    pub(super) async fn stored_side(&self) -> Result<SideState, LogError> {
        let stored = Checkpoint::load(&*self.disk, &self.dir).await?;
        stored.map(|checkpoint| checkpoint.side).ok_or_else(|| {
            LogError::corrupt(&self.dir, Offset(0), 0, "the checkpoint has disappeared")
        })
    }

    /// Writes a checkpoint with `side`, which was taken when the log had seen `taken_at` cuts, or with
    /// the stored side state. Returns whether it was written. The turn to change side files must be
    /// held.
    async fn save_checkpoint(
        &self,
        side: SideState,
        taken_at: u64,
        purpose: Purpose,
    ) -> Result<bool, LogError> {
        let choice = self.lock().choose_side(&side, taken_at);
        let side = match choice {
            Side::Given => side,
            Side::Stored
                if purpose == Purpose::Routine
                    && side.offset < self.lock().stored.recovery_offset =>
            {
                return Ok(false);
            }
            Side::Stored => self.stored_side().await?,
        };
        let (checkpoint, unsaved) = {
            let state = self.lock();
            let log_start_offset = match purpose {
                Purpose::LogStart(to) => to,
                Purpose::Routine | Purpose::Close => state.log_start_offset,
            };
            // Between a cut and its end, memory and files are two logs.
            if state.cuts != taken_at || state.cut_is_pending() || log_start_offset > side.offset {
                return Ok(false);
            }
            state.checkpoint_at(side, log_start_offset, purpose == Purpose::Close)
        };
        self.write_checkpoint(checkpoint, unsaved).await?;
        Ok(true)
    }

    /// Replaces a checkpoint that knows of batches at or above `to`, where the log will end. The
    /// turn to change side files must be held.
    pub(super) async fn lower_checkpoint(
        &self,
        to: Offset,
        side: SideState,
    ) -> Result<(), LogError> {
        let stored = self.lock().stored;
        let mut side = if stored.recovery_offset > to { side } else { self.stored_side().await? };
        side.high_watermark = side.high_watermark.min(to);
        let (checkpoint, unsaved) = {
            let state = self.lock();
            // What a state below the first segment tells is as good as one of its beginning.
            side.offset = side.offset.max(state.first_base_offset());
            state.checkpoint_at(side, stored.log_start_offset, false)
        };
        self.write_checkpoint(checkpoint, unsaved).await
    }

    /// Says in the checkpoint that offsets may be missing in the log from now on.
    pub(super) async fn allow_gaps(&self) -> Result<(), LogError> {
        let _permit = self.maintenance().await?;
        self.check_not_stopped()?;
        self.amend_checkpoint(|checkpoint| checkpoint.has_gaps = true).await?;
        self.lock().has_gaps = true;
        Ok(())
    }

    /// Changes something in the checkpoint that is stored. The turn to change side files must be
    /// held.
    pub(super) async fn amend_checkpoint(
        &self,
        change: impl FnOnce(&mut Checkpoint),
    ) -> Result<(), LogError> {
        let stored = Checkpoint::load(&*self.disk, &self.dir).await?;
        let mut checkpoint = stored.ok_or_else(|| {
            LogError::corrupt(&self.dir, Offset(0), 0, "the checkpoint has disappeared")
        })?;
        change(&mut checkpoint);
        checkpoint.save(&*self.disk, &self.dir).await
    }

    /// Writes the indexes of segments that were closed meanwhile, then the checkpoint.
    pub(super) async fn write_checkpoint(
        &self,
        checkpoint: Checkpoint,
        unsaved: Vec<(ClosedSegment, Arc<Index>)>,
    ) -> Result<(), LogError> {
        for (segment, index) in &unsaved {
            save_index(&*self.disk, &self.dir, segment, index).await?;
        }
        if let Err(error) = checkpoint.save(&*self.disk, &self.dir).await {
            sometimes!(CheckpointFailed);
            self.lock().stored.may_be(checkpoint.stored());
            return Err(error);
        }
        let mut state = self.lock();
        for (segment, _) in unsaved {
            state.unsaved_indexes.remove(&segment.base_offset);
        }
        state.stored = checkpoint.stored();
        state.flushed_since_checkpoint = 0;
        state.checkpoint_asked = false;
        Ok(())
    }
}

impl State {
    /// Whether a checkpoint may take `side`. Whoever took it may have done so before a cut that
    /// this log has seen: then it knows more than is flushed, or its last batch has another epoch.
    fn choose_side(&self, side: &SideState, taken_at: u64) -> Side {
        assert!(
            side.offset <= self.flushed || self.cuts > 0,
            "a checkpoint holds only what is flushed"
        );
        let last = Offset(side.offset.0.saturating_sub(1));
        let same_log = |epoch| self.epochs.epoch_at(last) == Some(epoch);
        let fits = self.cuts == taken_at
            && side.offset <= self.flushed
            && side.epochs.epoch_at(last).is_none_or(same_log);
        // After a cut, a state as of the checkpoint's own offset could be the old log's.
        let is_newer = side.offset > self.stored.recovery_offset
            || side.offset == self.stored.recovery_offset && self.cuts == 0;
        if fits && is_newer { Side::Given } else { Side::Stored }
    }

    /// What a checkpoint with this side state says, and the closed segments in it whose index has
    /// no file yet.
    pub(super) fn checkpoint_at(
        &self,
        mut side: SideState,
        log_start_offset: Offset,
        clean: bool,
    ) -> (Checkpoint, Vec<(ClosedSegment, Arc<Index>)>) {
        // Another leader's older batches may follow a leadership that appended nothing.
        // Nothing lies between the last batch and an end that a cut has put into a gap: what recovery
        // must find reaches to the batch.
        side.offset = side.offset.min(self.active.records_end);
        side.epochs.truncate_from_end(side.offset);
        let recovery_offset =
            if Mutant::RecoveryPointAhead.is_planted() { self.end } else { side.offset };
        let (index, modified) = self.recovery_segment(recovery_offset);
        let closed = self.closed.range(..index.base_offset()).map(|(_, segment)| *segment);
        let closed: Vec<_> =
            closed.filter(|segment| segment.end_offset > log_start_offset).collect();
        let unsaved = |segment: &ClosedSegment| {
            self.unsaved_indexes.get(&segment.base_offset).map(|index| (*segment, index.clone()))
        };
        let unsaved = closed.iter().filter_map(unsaved).collect();
        let checkpoint = Checkpoint {
            clean,
            restarting: false,
            log_start_offset,
            recovery_offset,
            side,
            closed,
            index,
            modified,
            has_gaps: self.has_gaps,
            compacted_to: self.compacted_to,
        };
        (checkpoint, unsaved)
    }

    fn first_base_offset(&self) -> Offset {
        self.closed.keys().next().copied().unwrap_or(self.active.base_offset)
    }

    /// The index of the segment that a scan from `offset` begins in, and its last change. All of
    /// the index, although what lies behind `offset` may never become durable: recovery cuts it.
    fn recovery_segment(&self, offset: Offset) -> (Index, Timestamp) {
        if offset >= self.active.base_offset {
            return (self.active.index.clone(), self.active.modified);
        }
        let (base_offset, segment) =
            self.closed.range(..=offset).next_back().expect("the flushed end is in a segment");
        let index = self.unsaved_indexes.get(base_offset);
        // Without its index the segment is scanned from its beginning.
        (
            index.map_or_else(|| Index::new(*base_offset), |index| (**index).clone()),
            segment.modified,
        )
    }

    /// Moves the log start and takes out the segments wholly below it.
    fn advance_start(&mut self, to: Offset) -> Vec<ClosedSegment> {
        self.log_start_offset = to;
        let mut removed = Vec::new();
        while let Some(first) = self.closed.first_entry()
            && first.get().end_offset <= to
        {
            removed.push(first.remove());
        }
        for segment in &removed {
            self.forget_open(segment.base_offset);
            self.unsaved_indexes.remove(&segment.base_offset);
        }
        removed
    }
}

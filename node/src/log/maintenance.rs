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
use highwater_core::{mutant::Mutant, partition::SideState, time::Timestamp, types::Offset};
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
    /// read what lies below `side.offset`. An older state than the last checkpoint's is ignored.
    ///
    /// # Errors
    /// When the disk fails: the last checkpoint stays, and the log goes on. A log that has stopped
    /// takes no checkpoint.
    ///
    /// # Panics
    /// When `side` knows more than is flushed.
    pub async fn checkpoint(&self, side: SideState) -> Result<(), LogError> {
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        let result = self.shared.save_checkpoint(side, None, false).await;
        self.shared.lock().checkpoint_over(result.is_ok());
        result
    }

    /// Moves the log start to `to`, durably, and then removes the segments that lie wholly below
    /// it. A start that is not above the present one changes nothing.
    ///
    /// # Errors
    /// When the disk fails: the log start is then where it was, on the disk it may be at `to`.
    /// A log that has stopped stays as it is.
    ///
    /// # Panics
    /// When `to` is above `side.offset`, or `side` knows more than is flushed.
    pub async fn advance_start(&self, to: Offset, side: SideState) -> Result<(), LogError> {
        assert!(to <= side.offset, "the log starts at or before its flushed end");
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        if to <= self.shared.lock().log_start_offset {
            return Ok(());
        }
        self.shared.save_checkpoint(side, Some(to), false).await?;
        let removed = self.shared.lock().advance_start(to);
        for segment in removed {
            // It is outside of the log already: what cannot be removed now is removed at the next
            // start.
            if let Err(error) =
                remove_segment(&*self.shared.disk, &self.shared.dir, segment.base_offset).await
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
        let result = self.shared.save_checkpoint(side(), None, true).await;
        self.shared.lock().stop(self.shared.closed());
        result
    }

    /// Takes no more appends and removes the log with all its files. A crash leaves all of it, or
    /// a directory that [`remove_leftovers`] removes.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn delete(&self) -> Result<(), LogError> {
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
    let mut removed = 0;
    for entry in disk.list(data_dir).await? {
        if entry.is_dir && entry.name.ends_with(DELETED) {
            remove_dir(disk, &data_dir.join(entry.name)).await?;
            removed += 1;
        }
    }
    Ok(removed)
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

impl Shared {
    /// Waits for the turn to change side files.
    async fn maintenance(&self) -> Result<SemaphorePermit<'_>, LogError> {
        self.maintenance.acquire().await.map_err(|_| self.closed())
    }

    /// Nothing may be written to the directory of a log that was closed or deleted: it may be
    /// another log's by now.
    fn check_not_stopped(&self) -> Result<(), LogError> {
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

    /// The side state, unless the last checkpoint holds a newer one. The segments that recovery
    /// would need below that one may be gone.
    fn newer_side(&self, side: SideState) -> Option<SideState> {
        (side.offset >= self.lock().checkpoint_offset).then_some(side)
    }

    /// The side state of the last checkpoint.
    async fn stored_side(&self) -> Result<SideState, LogError> {
        let stored = Checkpoint::load(&*self.disk, &self.dir).await?;
        stored.map(|checkpoint| checkpoint.side).ok_or_else(|| {
            LogError::corrupt(&self.dir, Offset(0), 0, "the checkpoint has disappeared")
        })
    }

    /// Writes the indexes of segments that were closed meanwhile, then the checkpoint. The turn to
    /// change side files must be held.
    async fn save_checkpoint(
        &self,
        side: SideState,
        log_start_offset: Option<Offset>,
        clean: bool,
    ) -> Result<(), LogError> {
        let side = match self.newer_side(side) {
            Some(side) => side,
            None if log_start_offset.is_none() => return Ok(()),
            None => self.stored_side().await?,
        };
        let (checkpoint, unsaved) = {
            let state = self.lock();
            let checkpoint = state.checkpoint_at(side, log_start_offset, clean);
            let unsaved = state.unsaved_below(&checkpoint);
            (checkpoint, unsaved)
        };
        for (segment, index) in &unsaved {
            save_index(&*self.disk, &self.dir, segment, index).await?;
        }
        checkpoint.save(&*self.disk, &self.dir).await?;
        let mut state = self.lock();
        for (segment, _) in unsaved {
            state.unsaved_indexes.remove(&segment.base_offset);
        }
        state.checkpoint_offset = checkpoint.recovery_offset;
        state.flushed_since_checkpoint = 0;
        state.checkpoint_asked = false;
        Ok(())
    }
}

impl State {
    /// What a checkpoint with this side state says.
    fn checkpoint_at(
        &self,
        side: SideState,
        log_start_offset: Option<Offset>,
        clean: bool,
    ) -> Checkpoint {
        assert!(side.offset <= self.flushed, "a checkpoint holds only what is flushed");
        let recovery_offset =
            if Mutant::RecoveryPointAhead.is_planted() { self.end } else { side.offset };
        let log_start_offset = log_start_offset.unwrap_or(self.log_start_offset);
        let (index, modified) = self.recovery_segment(recovery_offset);
        let closed = self.closed.range(..index.base_offset()).map(|(_, segment)| *segment);
        let closed = closed.filter(|segment| segment.end_offset > log_start_offset).collect();
        Checkpoint { clean, log_start_offset, recovery_offset, side, closed, index, modified }
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

    /// The closed segments of a checkpoint whose index has no file yet.
    fn unsaved_below(&self, checkpoint: &Checkpoint) -> Vec<(ClosedSegment, Arc<Index>)> {
        let unsaved = |segment: &ClosedSegment| {
            self.unsaved_indexes.get(&segment.base_offset).map(|index| (*segment, index.clone()))
        };
        checkpoint.closed.iter().filter_map(unsaved).collect()
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

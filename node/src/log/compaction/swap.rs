//! Putting rewritten segments in the place of the old ones, whole or not at all.
//!
//! The checkpoint names every closed segment with its generation, and it is replaced as one file:
//! that is the swap. Before it, the new segment gets its name and is durable with its index; behind
//! it, the old ones are removed, durably. Recovery believes the checkpoint and removes what it does
//! not name: the new segment when a crash came before the swap, the old ones when it came behind.
//!
//! When the checkpoint could not be written it is not known which set the stored one names. Both
//! stay then, as *strays*, until one was written; a truncation, which lowers what the checkpoint
//! names, waits for that.

use super::{Step, rewrite::Rewritten};
use crate::log::{
    Log, LogError, Shared,
    recovery::{is_stray, list_segments, remove_segment, remove_unfinished},
    segment::{ClosedSegment, SegmentName, save_index},
    state::State,
};
use highwater_core::{mutant::Mutant, types::Offset};

impl Log {
    /// Swaps a rewritten segment in for the group that it was made of, unless the log has been cut
    /// since it had seen `cuts` cuts, or the group is no longer there.
    pub(super) async fn swap(
        &self,
        group: &[ClosedSegment],
        rewritten: Rewritten,
        cuts: u64,
    ) -> Result<Step<()>, LogError> {
        let shared = &*self.shared;
        let _permit = shared.maintenance().await?;
        shared.check_not_stopped()?;
        let Rewritten { segment, index } = rewritten;
        let (disk, dir, name) = (&*shared.disk, self.dir(), segment.name());
        if !shared.lock().may_swap(group, cuts) {
            self.abandon(name);
            return Ok(Step::Superseded);
        }
        save_index(disk, dir, &segment, &index).await?;
        // From here on there may be files that the checkpoint does not name.
        shared.lock().has_strays = true;
        disk.rename(&name.unfinished(dir), &name.log(dir)).await?;
        if !Mutant::SwapWithoutDirSync.is_planted() {
            disk.sync_dir(dir).await?;
        }
        let side = shared.stored_side().await?;
        let (had_gaps, checkpoint, unsaved) = {
            let mut state = shared.lock();
            let had_gaps = std::mem::replace(&mut state.has_gaps, true);
            state.replace(group, &[segment]);
            let log_start = state.log_start_offset;
            let (checkpoint, unsaved) = state.checkpoint_at(side, log_start, false);
            (had_gaps, checkpoint, unsaved)
        };
        if let Err(error) = shared.write_checkpoint(checkpoint, unsaved).await {
            let mut state = shared.lock();
            state.replace(&[segment], group);
            state.has_gaps = had_gaps;
            return Err(error);
        }
        let old: Vec<_> = group.iter().map(ClosedSegment::name).collect();
        shared.remove_replaced(&old).await;
        Ok(Step::Done(()))
    }

    /// Notes, durably, that everything below `to` is compacted.
    pub(super) async fn compacted(&self, to: Offset, cuts: u64) -> Result<Step<()>, LogError> {
        let shared = &*self.shared;
        let _permit = shared.maintenance().await?;
        shared.check_not_stopped()?;
        {
            let state = shared.lock();
            if state.cuts != cuts || state.cut_is_pending() {
                return Ok(Step::Superseded);
            }
        }
        shared.amend_checkpoint(|checkpoint| checkpoint.compacted_to = to).await?;
        let mut state = shared.lock();
        // A cut may have been asked for meanwhile.
        if state.cuts == cuts {
            state.compacted_to = to;
        }
        Ok(Step::Done(()))
    }

    /// Removes what an earlier compaction has left.
    pub(super) async fn clear_leftovers(&self) -> Result<(), LogError> {
        let _permit = self.shared.maintenance().await?;
        self.shared.check_not_stopped()?;
        if self.shared.lock().cut_is_pending() {
            return Ok(());
        }
        self.shared.remove_strays().await
    }

    /// Forgets the file of a rewrite that has failed. What cannot be removed now is at the next
    /// start, or is written over.
    pub(super) fn abandon(&self, name: SegmentName) {
        let (disk, path) = (self.shared.disk.clone(), name.unfinished(self.dir()));
        self.shared
            .tasks
            .spawn("abandon-compaction", async move { drop(disk.remove(&path).await) });
    }
}

impl Shared {
    /// Removes the files of a group that was replaced. The log is right with them too.
    async fn remove_replaced(&self, old: &[SegmentName]) {
        let removed = async {
            for name in old {
                remove_segment(&*self.disk, &self.dir, *name).await?;
            }
            self.disk.sync_dir(&self.dir).await.map_err(LogError::from)
        };
        match removed.await {
            Ok(()) => self.lock().has_strays = false,
            Err(error) => {
                tracing::warn!(%error, "segments that compaction has replaced stay for now");
            }
        }
    }

    /// Makes sure that the directory holds nothing that compaction has left, and the checkpoint names
    /// what this log reads. The turn to change side files must be held.
    pub(in crate::log) async fn remove_strays(&self) -> Result<(), LogError> {
        if !self.lock().has_strays {
            return Ok(());
        }
        let side = self.stored_side().await?;
        let (checkpoint, unsaved) = {
            let state = self.lock();
            state.checkpoint_at(side, state.stored.log_start_offset, false)
        };
        self.write_checkpoint(checkpoint, unsaved).await?;
        remove_unfinished(&*self.disk, &self.dir).await?;
        for name in list_segments(&*self.disk, &self.dir).await? {
            let stray = {
                let state = self.lock();
                name.base_offset < state.active.base_offset && is_stray(name, &state.closed)
            };
            if stray {
                remove_segment(&*self.disk, &self.dir, name).await?;
            }
        }
        self.disk.sync_dir(&self.dir).await?;
        self.lock().has_strays = false;
        Ok(())
    }
}

impl State {
    fn may_swap(&self, group: &[ClosedSegment], cuts: u64) -> bool {
        let is_there =
            |segment: &ClosedSegment| self.closed.get(&segment.base_offset) == Some(segment);
        let is_named = |segment: &ClosedSegment| segment.end_offset <= self.stored.recovery_segment;
        self.cuts == cuts
            && !self.cut_is_pending()
            && group.iter().all(|segment| is_there(segment) && is_named(segment))
    }

    /// Puts segments in the place of others that reach as far.
    fn replace(&mut self, old: &[ClosedSegment], new: &[ClosedSegment]) {
        for segment in old {
            self.closed.remove(&segment.base_offset);
            self.unsaved_indexes.remove(&segment.base_offset);
            self.forget_open(segment.base_offset);
        }
        self.closed.extend(new.iter().map(|segment| (segment.base_offset, *segment)));
        self.rewrites += 1;
    }
}

//! What compaction may touch at this moment (KIP-58, KIP-534).

use super::{LogHealth, Partition, SideState, role::Role};
use crate::{sometimes, types::Offset};

/// How far compaction may go in a replica's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionBounds {
    /// Records at or above it, exclusive bound, stay as they are: they may yet be cut, or belong to
    /// a transaction that is not decided.
    pub cleanable_end: Offset,
    /// Tombstones at or above it, exclusive bound, stay whatever their age: a replica may not have
    /// them yet. Were they gone when it comes for them, the deleted values would live on in it.
    pub tombstones_end: Offset,
    /// The state as of an offset that is flushed and committed.
    pub side: SideState,
}

impl Partition {
    /// Up to where compaction may go, exclusive; `None` as for [`Partition::compaction_bounds`].
    #[must_use]
    pub fn cleanable_end(&self) -> Option<Offset> {
        let compacts = self.config.cleanup_policy.compact && self.health == LogHealth::Healthy;
        let settled = self.journal.settled_offset().min(self.flushed_offset);
        compacts.then(|| self.last_stable_offset().min(settled))
    }

    /// What compaction may touch; `None` when the topic is not compacted or the log takes nothing.
    #[must_use]
    pub fn compaction_bounds(&self) -> Option<CompactionBounds> {
        let cleanable_end = self.cleanable_end()?;
        let side = self.side_state();
        sometimes!(TombstonesWaitForReplica, !self.all_are_in_sync());
        // What every replica was in sync with below the high watermark, it has.
        let tombstones_end = if self.all_are_in_sync() { cleanable_end } else { Offset(0) };
        Some(CompactionBounds { cleanable_end, tombstones_end, side })
    }

    fn all_are_in_sync(&self) -> bool {
        match &self.role {
            Role::Leader(leading) => leading.all_are_in_sync(),
            Role::Follower(_) => self.isr_is_complete,
        }
    }
}

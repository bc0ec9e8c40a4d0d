//! Reassignment (KIP-455).
use super::*;
use crate::types::*;
use alloc::vec::Vec;

/// What the sender of a reassignment takes upon itself.
#[derive(Clone, Copy)]
pub(super) struct Permits {
    /// Fewer copies than `min.insync.replicas` may remain.
    pub below_min_insync: bool,
    /// The target may have another number of replicas (KIP-860).
    pub other_replication_factor: bool,
}

impl Image {
    pub(super) fn alter_reassignments(
        &mut self,
        _: &[(TopicId, PartitionIndex, Option<Vec<BrokerId>>)],
        _: Permits,
    ) -> Reply {
        Reply::Done
    }
}

//! Placement of replicas.
use super::*;
use crate::types::*;
use alloc::vec::Vec;
impl Image {
    /// Chooses replicas for `count` partitions.
    pub fn place(
        &self,
        count: usize,
        replication_factor: usize,
        start: u64,
    ) -> Result<Vec<Vec<BrokerId>>, MetadataError> {
        let _ = start;
        let all = self.brokers.keys().copied().take(replication_factor).collect();
        Ok(alloc::vec![all; count])
    }
}

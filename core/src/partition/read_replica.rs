//! Which replica a consumer had better read from (KIP-392).

use super::{Partition, role::Role};
use crate::types::{BrokerId, Offset};

impl Partition {
    /// The follower that a consumer at `offset` is sent to; `None` when it is served here. Asked
    /// of a leader only: a follower sends nobody away.
    ///
    /// `is_near` says which brokers are in the consumer's rack. A leader that is there serves the
    /// consumer itself. A follower must be in sync, or a consumer would fall behind with it, and be
    /// known to have the offset. Of several the one that is furthest takes it, then the one that
    /// caught up last, then the one with the largest number, as in Kafka.
    #[must_use]
    pub fn preferred_read_replica(
        &self,
        offset: Offset,
        is_near: impl Fn(BrokerId) -> bool,
    ) -> Option<BrokerId> {
        let Role::Leader(leading) = &self.role else { return None };
        if is_near(self.options.broker) {
            return None;
        }
        let near = leading.read_replicas(offset).filter(|replica| is_near(replica.broker));
        let best = near.max_by_key(|replica| (replica.end, replica.caught_up, replica.broker));
        best.map(|replica| replica.broker)
    }
}

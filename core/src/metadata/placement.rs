//! Where the replicas of new partitions go.

use super::{Image, MetadataError};
use crate::types::BrokerId;
use alloc::{collections::BTreeMap, vec::Vec};

impl Image {
    /// Chooses replicas for `count` partitions, the preferred leader first, on brokers that are
    /// neither fenced nor shutting down. Draw `start` at random, so that the first partitions of
    /// many topics do not pile up on the first broker.
    ///
    /// As in Kafka, racks alternate: the leaders go round the racks, and the replicas of one
    /// partition are on as many racks as there can be. Within a rack the brokers take turns. All
    /// brokers without a rack are one rack.
    ///
    /// # Errors
    /// [`MetadataError::InvalidReplicationFactor`] when the factor is 0 or more than the brokers.
    pub fn place(
        &self,
        count: usize,
        replication_factor: usize,
        start: u64,
    ) -> Result<Vec<Vec<BrokerId>>, MetadataError> {
        let racks = self.racks();
        let possible = racks.iter().map(Vec::len).sum();
        if replication_factor == 0 || replication_factor > possible {
            let wanted = replication_factor;
            return Err(MetadataError::InvalidReplicationFactor { wanted, possible });
        }
        // Small enough that nothing below overflows; the remainder is as random as the whole.
        let start = usize::try_from(start % (1 << 31)).expect("31 bits");
        let stripes = (start..).take(count);
        Ok(stripes.map(|stripe| place_one(&racks, replication_factor, stripe)).collect())
    }

    /// The brokers that can take replicas, by rack.
    fn racks(&self) -> Vec<Vec<BrokerId>> {
        let mut racks = BTreeMap::<_, Vec<BrokerId>>::new();
        for (broker, registration) in self.brokers().filter(|(_, broker)| broker.is_active()) {
            racks.entry(registration.rack.as_deref()).or_default().push(broker);
        }
        racks.into_values().collect()
    }
}

/// The replicas of the partition number `stripe`. Once all racks had a leader, the next brokers of
/// the racks have their turn; and once all brokers of a rack had theirs, other followers go with
/// them, so that the partitions of a dead broker do not all move to the same one.
fn place_one(racks: &[Vec<BrokerId>], replication_factor: usize, stripe: usize) -> Vec<BrokerId> {
    let (turn, first_rack) = (stripe / racks.len(), stripe % racks.len());
    let mut replicas = Vec::with_capacity(replication_factor);
    for round in 0.. {
        for step in 0..racks.len() {
            let rack = &racks[(first_rack + step) % racks.len()];
            if replicas.len() == replication_factor {
                return replicas;
            }
            if round >= rack.len() {
                continue;
            }
            let shift = turn / rack.len();
            let place = match (step, round) {
                (0, 0) => turn,
                // Never the leader's own place again.
                (0, _) => turn + 1 + (shift + round - 1) % (rack.len() - 1),
                (_, _) => turn + shift + round,
            };
            replicas.push(rack[place % rack.len()]);
        }
    }
    unreachable!("there are at least as many brokers as replicas")
}

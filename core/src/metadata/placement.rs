//! Where the replicas of new partitions go.

use super::{BrokerRegistration, Image, MetadataError};
use crate::types::BrokerId;
use alloc::{collections::BTreeMap, vec::Vec};

impl Image {
    /// Chooses replicas for `count` partitions, the preferred leader first. Draw `start` at random, so
    /// that the first partitions of many topics do not pile up on the first broker.
    ///
    /// As in Kafka, racks alternate: the leaders go round the racks, and the replicas of one
    /// partition are on as many racks as there can be. Within a rack the brokers take turns. All
    /// brokers without a rack are one rack.
    ///
    /// Fenced brokers take replicas only where the living ones do not suffice, those first whose racks
    /// have the fewest: a topic can be created while one of three brokers restarts. They take turns as
    /// preferred leaders, too, so that what is created while a cluster starts is not led by its first
    /// broker for ever. A broker that is on its way down takes nothing.
    ///
    /// # Errors
    /// [`MetadataError::InvalidReplicationFactor`] when the factor is 0 or more than the brokers, and
    /// when none of them lives.
    pub fn place(
        &self,
        count: usize,
        replication_factor: usize,
        start: u64,
    ) -> Result<Vec<Vec<BrokerId>>, MetadataError> {
        let living = self.racks(BrokerRegistration::is_active);
        let all = self.racks(|broker| broker.is_active() || broker.fenced);
        let possible = if living.is_empty() { 0 } else { brokers_of(&all) };
        if replication_factor == 0 || replication_factor > possible {
            let wanted = replication_factor;
            return Err(MetadataError::InvalidReplicationFactor { wanted, possible });
        }
        // Small enough that nothing below overflows; the remainder is as random as the whole.
        let start = usize::try_from(start % (1 << 31)).expect("31 bits");
        let stripes = (start..).take(count);
        if replication_factor <= brokers_of(&living) {
            return Ok(stripes
                .map(|stripe| place_one(&living, replication_factor, stripe))
                .collect());
        }
        let place = |stripe| {
            let taken = self.with_some_fenced(&living, replication_factor, stripe);
            let mut replicas = place_one(&all, possible, stripe);
            replicas.retain(|broker| taken.contains(broker));
            replicas
        };
        Ok(stripes.map(place).collect())
    }

    /// All living brokers, and fenced ones until there are so many: each time one of the racks that have
    /// the fewest by then, in turn.
    fn with_some_fenced(
        &self,
        living: &[Vec<BrokerId>],
        count: usize,
        stripe: usize,
    ) -> Vec<BrokerId> {
        let rack = |broker: &BrokerId| self.broker(*broker).and_then(|known| known.rack.as_deref());
        let mut taken: Vec<BrokerId> = living.iter().flatten().copied().collect();
        let mut of_rack = BTreeMap::<Option<&str>, usize>::new();
        taken.iter().for_each(|broker| *of_rack.entry(rack(broker)).or_default() += 1);
        let fenced = self.brokers().filter(|(_, broker)| broker.fenced);
        let mut fenced: Vec<BrokerId> = fenced.map(|(id, _)| id).collect();
        while taken.len() < count {
            let has = |broker: &BrokerId| of_rack.get(&rack(broker)).copied().unwrap_or(0);
            let Some(least) = fenced.iter().map(has).min() else { break };
            let best: Vec<BrokerId> =
                fenced.iter().copied().filter(|broker| has(broker) == least).collect();
            let next = best[stripe % best.len()];
            *of_rack.entry(rack(&next)).or_default() += 1;
            fenced.retain(|broker| *broker != next);
            taken.push(next);
        }
        taken
    }

    /// The brokers that are so, by rack.
    fn racks(&self, are_so: impl Fn(&BrokerRegistration) -> bool) -> Vec<Vec<BrokerId>> {
        let mut racks = BTreeMap::<_, Vec<BrokerId>>::new();
        for (broker, registration) in self.brokers().filter(|(_, broker)| are_so(broker)) {
            racks.entry(registration.rack.as_deref()).or_default().push(broker);
        }
        racks.into_values().collect()
    }
}

fn brokers_of(racks: &[Vec<BrokerId>]) -> usize {
    racks.iter().map(Vec::len).sum()
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

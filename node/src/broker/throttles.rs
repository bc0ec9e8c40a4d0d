//! The throttles of replication on this broker: as a leader and as a follower (KIP-73).

use super::TopicPartition;
use highwater_core::{
    config::ThrottledRates,
    metadata::Image,
    throttle::{ReplicationQuota, ThrottledPartitions},
    time::Instant,
    types::{BrokerId, PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Both directions.
#[derive(Default)]
pub struct Throttles {
    /// What followers take from here.
    pub leader: Throttle,
    /// What is taken from leaders.
    pub follower: Throttle,
}

/// One direction.
#[derive(Default)]
pub struct Throttle(Mutex<State>);

#[derive(Default)]
struct State {
    quota: ReplicationQuota,
    topics: BTreeMap<TopicId, ThrottledPartitions>,
}

impl Throttles {
    /// Takes over rates and lists of the metadata.
    pub fn follow(
        &self,
        image: &Image,
        broker: BrokerId,
        static_configs: &BTreeMap<String, String>,
    ) {
        let rates = image.config_layers(None, broker, static_configs).throttled_rates();
        let ThrottledRates { leader, follower } = rates;
        self.leader.follow(image, broker, leader, "leader.replication.throttled.replicas");
        self.follower.follow(image, broker, follower, "follower.replication.throttled.replicas");
    }
}

impl Throttle {
    fn follow(&self, image: &Image, broker: BrokerId, limit: Option<u64>, list: &str) {
        let listed = image.topics().filter_map(|topic| {
            let partitions = ThrottledPartitions::parse(topic.configs.get(list)?, broker);
            Some((topic.id, partitions))
        });
        let topics = listed.collect();
        let mut state = self.lock();
        state.quota.set_limit(limit);
        state.topics = topics;
    }

    /// Until when a replica that is out of sync has to wait; `None` when it need not.
    pub fn holds_up(&self, now: Instant, partition: &TopicPartition) -> Option<Instant> {
        let mut state = self.lock();
        let is_throttled = state.is_throttled(partition.topic_id, partition.index);
        if is_throttled { state.quota.exceeded_until(now) } else { None }
    }

    /// Counts records on their way, if their partition is throttled.
    pub fn record(&self, now: Instant, partition: &TopicPartition, bytes: usize) {
        let mut state = self.lock();
        if bytes > 0 && state.is_throttled(partition.topic_id, partition.index) {
            state.quota.record(now, bytes as u64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_throttled(&self, topic: TopicId, index: PartitionIndex) -> bool {
        self.topics.get(&topic).is_some_and(|partitions| partitions.contains(index))
    }
}

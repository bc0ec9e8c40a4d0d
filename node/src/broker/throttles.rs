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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    topics: Topics,
}

/// What is throttled of the topics that have a list.
type Topics = Arc<BTreeMap<TopicId, Arc<Listed>>>;

/// The list of one topic.
struct Listed {
    /// As the topic's configuration has it.
    text: String,
    partitions: ThrottledPartitions,
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
        // The lock is for those who replicate; only one task follows the metadata.
        let known = self.lock().topics.clone();
        let topics = lists(image, broker, list, &known);
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
        self.topics.get(&topic).is_some_and(|listed| listed.partitions.contains(index))
    }
}

/// The lists of an image. Most are as they were: any change of the metadata comes here, and during a
/// reassignment every topic may have a list of all its partitions.
fn lists(image: &Image, broker: BrokerId, list: &str, known: &Topics) -> Topics {
    let listed = image.topics().filter_map(|topic| {
        let text = topic.configs.get(list)?;
        let before = known.get(&topic.id).filter(|listed| listed.text == *text);
        let listed = before.cloned().unwrap_or_else(|| {
            let partitions = ThrottledPartitions::parse(text, broker);
            Arc::new(Listed { text: text.clone(), partitions })
        });
        Some((topic.id, listed))
    });
    Arc::new(listed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::{
        metadata::{Command, ConfigChange, ConfigUpdate, NewTopic},
        time::Timestamp,
        types::{Incarnation, MetadataOffset},
    };

    const LIST: &str = "leader.replication.throttled.replicas";
    const BROKER: BrokerId = BrokerId(1);

    fn apply(image: &mut Image, command: &Command) {
        let at = MetadataOffset(image.applied().0 + 1);
        image.apply(at, command).expect("the commands of tests are carried out");
    }

    fn topic(number: u8) -> TopicId {
        TopicId([number; 16])
    }

    /// Topics 1 and 2 of two partitions each, of which the first are throttled.
    fn image() -> Image {
        let mut image = Image::default();
        apply(
            &mut image,
            &Command::RegisterBroker {
                broker: BROKER,
                incarnation: Incarnation(1),
                rack: None,
                client_endpoint: Default::default(),
                peer_endpoint: Default::default(),
                directory: Default::default(),
                clean_shutdown_of: None,
                at: Timestamp(0),
            },
        );
        let epoch = image.broker(BROKER).expect("registered").epoch;
        apply(&mut image, &Command::UnfenceBroker { broker: BROKER, epoch });
        let topics = [1, 2].map(|number| NewTopic {
            id: topic(number),
            name: format!("t{number}"),
            replicas: vec![vec![BROKER]; 2],
            configs: BTreeMap::from([(LIST.to_owned(), "0:1".to_owned())]),
        });
        apply(&mut image, &Command::CreateTopics { topics: topics.into() });
        image
    }

    fn set(image: &mut Image, number: u8, list: Option<&str>) {
        let change = list.map_or(ConfigChange::Delete, |list| ConfigChange::Set(list.to_owned()));
        let update = ConfigUpdate::Incremental(BTreeMap::from([(LIST.to_owned(), change)]));
        apply(image, &Command::SetTopicConfigs { topic: topic(number), update });
    }

    #[test]
    fn a_list_is_read_when_it_has_changed() {
        let mut image = image();
        let first = lists(&image, BROKER, LIST, &Topics::default());
        set(&mut image, 2, Some("1:1"));
        let second = lists(&image, BROKER, LIST, &first);
        assert!(Arc::ptr_eq(&first[&topic(1)], &second[&topic(1)]), "it is as it was");
        let throttled = |index| second[&topic(2)].partitions.contains(PartitionIndex(index));
        assert_eq!((throttled(0), throttled(1)), (false, true));
        set(&mut image, 1, None);
        let third = lists(&image, BROKER, LIST, &second);
        assert_eq!(third.keys().collect::<Vec<_>>(), [&topic(2)]);
        apply(&mut image, &Command::DeleteTopic { topic: topic(2) });
        assert!(lists(&image, BROKER, LIST, &third).is_empty());
    }
}

//! The metadata as of one position of its log.

use crate::time::Timestamp;
use crate::{
    config::ConfigLayers,
    types::{
        BrokerEpoch, BrokerId, Incarnation, LeaderEpoch, MetadataOffset, PartitionEpoch,
        PartitionIndex, TopicId,
    },
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The most partitions one topic may have.
pub const MAX_PARTITIONS_PER_TOPIC: usize = 10_000;

/// The metadata. Equal positions of the log mean equal images.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Image {
    /// Position in the metadata log up to which commands are applied.
    pub(super) applied: MetadataOffset,
    pub(super) topics: BTreeMap<TopicId, Topic>,
    /// Invariant: exactly the names of `topics`.
    pub(super) ids: BTreeMap<String, TopicId>,
    pub(super) broker_defaults: BTreeMap<String, String>,
    pub(super) broker_configs: BTreeMap<BrokerId, BTreeMap<String, String>>,
    pub(super) brokers: BTreeMap<BrokerId, BrokerRegistration>,
    /// The process that registered first of all.
    pub(super) founder: Option<Incarnation>,
    /// Invariant: no id at or above it was ever handed out.
    pub(super) next_producer_id: u64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Its partitions, by index. Invariant: at least one, at most [`MAX_PARTITIONS_PER_TOPIC`].
    pub partitions: Vec<PartitionRegistration>,
    /// Its own configuration.
    pub configs: BTreeMap<String, String>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionRegistration {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The replicas that have every acknowledged record.
    pub isr: Vec<BrokerId>,
    /// The broker that leads it.
    pub leader: Option<BrokerId>,
    /// The epoch of that leadership.
    pub leader_epoch: LeaderEpoch,
    /// Bumped by every change of this registration.
    pub partition_epoch: PartitionEpoch,
}

/// A host and a port, as other machines reach them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// Granted at this registration.
    pub epoch: BrokerEpoch,
    /// The process that registered.
    pub incarnation: Incarnation,
    /// When it did, by its wall clock.
    pub registered_at: Timestamp,
}

impl Image {
    /// Position in the metadata log up to which commands are applied.
    #[must_use]
    pub fn applied(&self) -> MetadataOffset {
        self.applied
    }

    /// Moves on to a later position whose entry of the log holds no command.
    pub fn advance(&mut self, at: MetadataOffset) {
        assert!(at > self.applied, "entries are applied once, in the order of the log");
        self.applied = at;
    }

    /// The process that registered first of all: as old as the metadata, and so an id for it.
    #[must_use]
    pub fn founder(&self) -> Option<Incarnation> {
        self.founder
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<&Topic> {
        self.topics.get(self.ids.get(name)?)
    }

    /// A partition by its topic's id.
    #[must_use]
    pub fn partition(&self, id: TopicId, index: PartitionIndex) -> Option<&PartitionRegistration> {
        self.topic(id)?.partitions.get(index.0 as usize)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.ids.values().map(|id| &self.topics[id])
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The registration of a broker.
    #[must_use]
    pub fn broker(&self, broker: BrokerId) -> Option<&BrokerRegistration> {
        self.brokers.get(&broker)
    }

    /// Every registered broker, by id.
    pub fn brokers(&self) -> impl Iterator<Item = (BrokerId, &BrokerRegistration)> {
        self.brokers.iter().map(|(id, registration)| (*id, registration))
    }

    /// The dynamic configuration of one broker, or of `None`, the default of all.
    #[must_use]
    pub fn broker_configs(&self, broker: Option<BrokerId>) -> Option<&BTreeMap<String, String>> {
        match broker {
            None => Some(&self.broker_defaults),
            Some(broker) => self.broker_configs.get(&broker),
        }
    }

    /// The layers of configuration of a topic on a broker, on top of that broker's file. A topic
    /// that does not exist has no layer of its own.
    #[must_use]
    pub fn config_layers<'a>(
        &'a self,
        topic: Option<TopicId>,
        broker: BrokerId,
        static_broker: &'a BTreeMap<String, String>,
    ) -> ConfigLayers<'a> {
        ConfigLayers {
            topic: topic.and_then(|id| self.topic(id)).map(|topic| &topic.configs),
            dynamic_broker: self.broker_configs.get(&broker),
            dynamic_default: Some(&self.broker_defaults),
            static_broker: Some(static_broker),
        }
    }
}

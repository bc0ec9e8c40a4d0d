//! The metadata as of one position of its log.

#[cfg(doc)]
use crate::config::Durability;
use crate::{
    config::ConfigLayers,
    time::Timestamp,
    types::{
        BrokerEpoch, BrokerId, DirectoryId, Incarnation, LeaderEpoch, MetadataOffset,
        PartitionEpoch, PartitionIndex, TopicId,
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
    /// The features whose level is not the one that they begin with. Invariant: names and levels
    /// of [`super::SUPPORTED_FEATURES`].
    pub(super) features: BTreeMap<String, u16>,
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
    /// The brokers that hold it, the preferred leader first. During a reassignment: the target,
    /// then `removing`. Invariant: not empty, no broker twice.
    pub replicas: Vec<BrokerId>,
    /// The replicas that have every acknowledged record. Invariant: replicas, in their order; empty
    /// only where a topic with [`Durability::Replicated`] lost its last member.
    pub isr: Vec<BrokerId>,
    /// Eligible leader replicas (KIP-966): not in the ISR, and they still have every acknowledged
    /// record. Invariant: replicas, in their order; empty while the ISR has `min.insync.replicas`
    /// members.
    pub elr: Vec<BrokerId>,
    /// Without a leader: the last one.
    pub last_known_leader: Option<BrokerId>,
    /// Replicas that a reassignment adds (KIP-455). Invariant: replicas.
    pub adding: Vec<BrokerId>,
    /// Replicas that a reassignment removes when it completes. Invariant: replicas; disjoint from
    /// its target.
    pub removing: Vec<BrokerId>,
    /// The broker that leads it. Invariant: in the ISR, neither fenced nor shutting down.
    pub leader: Option<BrokerId>,
    /// Bumped by every change of leadership, also to none, and when replicas leave.
    pub leader_epoch: LeaderEpoch,
    /// Bumped by every change of this registration.
    pub partition_epoch: PartitionEpoch,
    /// Replicas whose log takes no records until their broker restarts. Invariant: replicas, in
    /// their order; one of them is in the ISR, or leads, only where nobody else may.
    pub failed: Vec<BrokerId>,
}

impl PartitionRegistration {
    /// The replicas once the present reassignment is done; without one, the replicas.
    pub fn target(&self) -> impl Iterator<Item = BrokerId> + Clone + '_ {
        self.replicas.iter().copied().filter(|replica| !self.removing.contains(replica))
    }

    /// Whether replicas are being added or removed.
    #[must_use]
    pub fn is_being_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
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
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its rack or zone.
    pub rack: Option<String>,
    /// Where clients reach it.
    pub client_endpoint: Endpoint,
    /// Where other brokers reach it.
    pub peer_endpoint: Endpoint,
    /// It is not known to be alive: it leads nothing and joins no ISR (KIP-631, KIP-841).
    pub fenced: bool,
    /// It wants to stop: it leads nothing any more and joins no ISR.
    pub in_controlled_shutdown: bool,
}

impl BrokerRegistration {
    /// Whether it may lead partitions and join ISRs.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
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

    /// Whether a broker is registered and may lead partitions and join ISRs.
    #[must_use]
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.broker(broker).is_some_and(BrokerRegistration::is_active)
    }

    /// Whether a broker leads any partition.
    #[must_use]
    pub fn leads_any(&self, broker: BrokerId) -> bool {
        self.partitions().any(|(_, _, partition)| partition.leader == Some(broker))
    }

    /// Every partition, by topic id and index.
    pub fn partitions(
        &self,
    ) -> impl Iterator<Item = (TopicId, PartitionIndex, &PartitionRegistration)> {
        self.topics.values().flat_map(|topic| {
            let indexed = (0..).map(PartitionIndex).zip(&topic.partitions);
            indexed.map(|(index, partition)| (topic.id, index, partition))
        })
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

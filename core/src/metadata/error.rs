//! Why a command changed nothing.

use crate::{
    config::ConfigError,
    types::{BrokerId, TopicId},
};
use alloc::{borrow::Cow, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a command was refused. Every variant names the Kafka error code that a client gets for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataError {
    /// TOPIC_ALREADY_EXISTS.
    TopicExists {
        /// The topic's name.
        name: String,
        /// The existing topic's id.
        id: TopicId,
    },
    /// TOPIC_ALREADY_EXISTS: the id was used before, which a fresh random id never is.
    TopicIdExists {
        /// The id.
        id: TopicId,
    },
    /// UNKNOWN_TOPIC_ID, or UNKNOWN_TOPIC_OR_PARTITION for clients that ask by name.
    UnknownTopic {
        /// The id.
        id: TopicId,
    },
    /// INVALID_TOPIC_EXCEPTION: not a legal name.
    InvalidTopicName {
        /// The name.
        name: String,
        /// The rule it breaks.
        rule: Cow<'static, str>,
    },
    /// INVALID_TOPIC_EXCEPTION: a metric of both topics would have the same name.
    TopicNameCollides {
        /// The name.
        name: String,
        /// The existing topic's name.
        existing: String,
    },
    /// INVALID_PARTITIONS: no partition, too many, or a count that is not above the present one.
    InvalidPartitions {
        /// How many the topic would have.
        count: usize,
        /// How many it has.
        current: usize,
    },
    /// INVALID_REPLICA_ASSIGNMENT: a partition without replicas or with one twice.
    InvalidReplicas {
        /// The rule that is broken.
        rule: Cow<'static, str>,
    },
    /// INVALID_REPLICATION_FACTOR or INVALID_REPLICA_ASSIGNMENT: a replica on a broker that never
    /// registered.
    UnknownBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// INVALID_CONFIG.
    InvalidConfig(ConfigError),
    /// INVALID_REQUEST: a count of producer ids of zero, or no ids are left.
    InvalidProducerIds,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicExists { name, .. } => write!(formatter, "topic {name:?} already exists"),
            Self::TopicIdExists { id } => write!(formatter, "topic id {id} is taken"),
            Self::UnknownTopic { id } => write!(formatter, "no topic has the id {id}"),
            Self::InvalidTopicName { name, rule } => {
                write!(formatter, "invalid topic name {name:?}: {rule}")
            }
            Self::TopicNameCollides { name, existing } => write!(
                formatter,
                "topic name {name:?} collides with {existing:?}: in metric names '.' and '_' are \
                 the same"
            ),
            Self::InvalidPartitions { count, current } => write!(
                formatter,
                "a topic with {current} partitions cannot be given {count}; it needs more than it \
                 has and at most {}",
                super::image::MAX_PARTITIONS_PER_TOPIC
            ),
            Self::InvalidReplicas { rule } => write!(formatter, "invalid replicas: {rule}"),
            Self::UnknownBroker { broker } => {
                write!(formatter, "broker {broker} is not registered")
            }
            Self::InvalidConfig(error) => error.fmt(formatter),
            Self::InvalidProducerIds => {
                formatter.write_str("producer ids come in blocks of one or more, up to 2^63")
            }
        }
    }
}

impl core::error::Error for MetadataError {}

impl From<ConfigError> for MetadataError {
    fn from(error: ConfigError) -> Self {
        Self::InvalidConfig(error)
    }
}

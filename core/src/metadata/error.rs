//! Why a command changed nothing.

use crate::{
    config::ConfigError,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId},
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
    /// INVALID_REPLICA_ASSIGNMENT: a partition without replicas, with one twice, or, when it is new,
    /// with none on a live broker.
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
    /// INVALID_REPLICATION_FACTOR.
    InvalidReplicationFactor {
        /// How many replicas are wanted.
        wanted: usize,
        /// How many can be had.
        possible: usize,
    },
    /// UNKNOWN_TOPIC_OR_PARTITION.
    UnknownPartition {
        /// The topic.
        topic: TopicId,
        /// The partition.
        index: PartitionIndex,
    },
    /// BROKER_ID_NOT_REGISTERED.
    BrokerNotRegistered {
        /// The broker.
        broker: BrokerId,
    },
    /// STALE_BROKER_EPOCH: another process has registered since.
    StaleBrokerEpoch {
        /// The broker.
        broker: BrokerId,
        /// The epoch of its registration.
        current: BrokerEpoch,
    },
    /// DUPLICATE_BROKER_REGISTRATION: the broker is not fenced, and has another data directory.
    DuplicateBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// INVALID_REQUEST: only a fenced broker that holds no replica can be forgotten.
    BrokerInUse {
        /// The broker.
        broker: BrokerId,
        /// What it still does.
        reason: Cow<'static, str>,
    },
    /// FENCED_LEADER_EPOCH: the sender does not lead the partition in that epoch.
    FencedLeaderEpoch {
        /// The leader.
        leader: Option<BrokerId>,
        /// The epoch of the partition.
        current: LeaderEpoch,
    },
    /// INVALID_UPDATE_VERSION: the partition has changed since (KIP-497).
    StalePartitionEpoch {
        /// The epoch of the partition.
        current: PartitionEpoch,
    },
    /// INELIGIBLE_REPLICA: the member is fenced, shutting down or another process by now (KIP-841,
    /// KIP-903).
    IneligibleReplica {
        /// The member.
        broker: BrokerId,
        /// Why it may not be in the ISR.
        reason: Cow<'static, str>,
    },
    /// INVALID_REQUEST: no ISR can look like that.
    InvalidIsr {
        /// The rule that is broken.
        rule: Cow<'static, str>,
    },
    /// ELECTION_NOT_NEEDED: there is such a leader already.
    ElectionNotNeeded,
    /// PREFERRED_LEADER_NOT_AVAILABLE: it is not in the ISR, fenced or shutting down.
    PreferredLeaderNotAvailable {
        /// The preferred leader.
        preferred: BrokerId,
    },
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE: no replica is alive.
    EligibleLeadersNotAvailable,
    /// NO_REASSIGNMENT_IN_PROGRESS: nothing to cancel.
    NoReassignmentInProgress,
    /// INVALID_REPLICA_ASSIGNMENT: the change would leave fewer copies than
    /// `min.insync.replicas`.
    BelowMinInsyncReplicas {
        /// How many there would be.
        remaining: usize,
        /// `min.insync.replicas`.
        min_insync: u32,
    },
    /// INVALID_REPLICA_ASSIGNMENT: without the replicas that the reassignment adds, no replica
    /// would have every record.
    WouldBeUnclean,
    /// INVALID_UPDATE_VERSION: no such feature, or no such level of it.
    UnsupportedFeature {
        /// The feature.
        name: String,
        /// The level that is wanted.
        level: u16,
        /// The highest level; 0 when there is no such feature.
        highest: u16,
    },
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
            Self::InvalidReplicationFactor { possible: 0, .. } => {
                formatter.write_str("no broker is alive to lead a new partition")
            }
            Self::InvalidReplicationFactor { wanted, possible } => write!(
                formatter,
                "{wanted} replicas are not possible here; at least 1 and at most {possible} are"
            ),
            Self::UnknownPartition { topic, index } => {
                write!(formatter, "topic {topic} has no partition {index}")
            }
            Self::BrokerNotRegistered { broker } => {
                write!(formatter, "broker {broker} is not registered")
            }
            Self::StaleBrokerEpoch { broker, current } => {
                write!(formatter, "broker {broker} has registered again, in epoch {current}")
            }
            Self::DuplicateBroker { broker } => write!(
                formatter,
                "broker {broker} is alive with another data directory: give every node a node.id of \
                 its own"
            ),
            Self::BrokerInUse { broker, reason } => {
                write!(formatter, "broker {broker} cannot be forgotten: {reason}")
            }
            Self::FencedLeaderEpoch { leader: Some(leader), current } => {
                write!(formatter, "broker {leader} leads the partition, in epoch {current}")
            }
            Self::FencedLeaderEpoch { leader: None, current } => {
                write!(formatter, "the partition has no leader, in epoch {current}")
            }
            Self::StalePartitionEpoch { current } => {
                write!(formatter, "the partition has changed; its epoch is {current}")
            }
            Self::IneligibleReplica { broker, reason } => {
                write!(formatter, "broker {broker} may not be in the ISR: {reason}")
            }
            Self::InvalidIsr { rule } => write!(formatter, "invalid ISR: {rule}"),
            Self::ElectionNotNeeded => formatter.write_str("the partition has such a leader"),
            Self::PreferredLeaderNotAvailable { preferred } => write!(
                formatter,
                "broker {preferred} is not in the ISR, or fenced, or shutting down"
            ),
            Self::EligibleLeadersNotAvailable => {
                formatter.write_str("no replica of the partition is alive")
            }
            Self::NoReassignmentInProgress => {
                formatter.write_str("the partition is not being reassigned")
            }
            Self::BelowMinInsyncReplicas { remaining, min_insync } => write!(
                formatter,
                "it would leave {remaining} in-sync replicas, and min.insync.replicas is \
                 {min_insync}"
            ),
            Self::WouldBeUnclean => formatter.write_str(
                "only replicas that the reassignment adds have every record, and unclean leader \
                 election is not enabled",
            ),
            Self::UnsupportedFeature { name, level, highest: 0 } => {
                write!(formatter, "there is no feature {name:?} to set to level {level}")
            }
            Self::UnsupportedFeature { name, level, highest } => {
                write!(formatter, "feature {name:?} has no level {level}; its highest is {highest}")
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

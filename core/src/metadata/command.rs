//! The commands of the metadata log and their answers.

use super::MetadataError;
use crate::{
    time::Timestamp,
    types::{BrokerEpoch, BrokerId, Incarnation, PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// A change of the metadata. The order of variants and fields is part of the log's format: append
/// only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates topics, each on its own. Answered with [`Reply::TopicsCreated`].
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
    },
    /// Deletes a topic. Answered with [`Reply::Done`].
    DeleteTopic {
        /// The topic.
        topic: TopicId,
    },
    /// Adds partitions to a topic. Answered with [`Reply::Done`].
    CreatePartitions {
        /// The topic.
        topic: TopicId,
        /// Index of the first added partition: fails unless the topic has exactly so many now.
        first: PartitionIndex,
        /// The replicas of each added partition, the preferred leader first.
        replicas: Vec<Vec<BrokerId>>,
    },
    /// Changes a topic's own configuration. Answered with [`Reply::Done`].
    SetTopicConfigs {
        /// The topic.
        topic: TopicId,
        /// The change.
        update: ConfigUpdate,
    },
    /// Changes the dynamic configuration of brokers. Answered with [`Reply::Done`].
    SetBrokerConfigs {
        /// The broker; `None` is the default of all.
        broker: Option<BrokerId>,
        /// The change.
        update: ConfigUpdate,
    },
    /// Reserves producer ids. Answered with [`Reply::ProducerIds`].
    AllocateProducerIds {
        /// How many, at least 1.
        count: u32,
    },
    /// A broker process has started. Answered with [`Reply::BrokerRegistered`].
    RegisterBroker {
        /// The broker.
        broker: BrokerId,
        /// The process.
        incarnation: Incarnation,
        /// When, by its wall clock; only for people to read.
        at: Timestamp,
    },
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// A fresh random id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The replicas of each partition, the preferred leader first.
    pub replicas: Vec<Vec<BrokerId>>,
    /// Its own configuration.
    pub configs: BTreeMap<String, String>,
}

/// How configuration changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigUpdate {
    /// It becomes exactly this (AlterConfigs).
    Replace(BTreeMap<String, String>),
    /// Only these names change (IncrementalAlterConfigs).
    Incremental(BTreeMap<String, ConfigChange>),
}

/// How one configuration changes (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// It falls back to the next layer.
    Delete,
    /// A list gains these items, separated by commas.
    Append(String),
    /// A list loses these items, separated by commas.
    Subtract(String),
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// What became of each topic, in the order of the command.
    TopicsCreated(Vec<Result<TopicId, MetadataError>>),
    /// The producer ids `first` (inclusive) to `first + count` (exclusive) are the sender's.
    ProducerIds {
        /// The first id.
        first: u64,
        /// How many.
        count: u32,
    },
    /// The broker has registered and leads its partitions in new epochs.
    BrokerRegistered {
        /// Its new broker epoch.
        broker_epoch: BrokerEpoch,
    },
    /// Nothing to tell.
    Done,
}

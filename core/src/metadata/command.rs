//! The commands of the metadata log and their answers.

use super::{Endpoint, MetadataError};
use crate::{
    time::Timestamp,
    types::{
        BrokerEpoch, BrokerId, DirectoryId, Incarnation, LeaderEpoch, PartitionEpoch,
        PartitionIndex, TopicId,
    },
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
        /// Its rack or zone.
        rack: Option<String>,
        /// Where clients reach it.
        client_endpoint: Endpoint,
        /// Where other brokers reach it.
        peer_endpoint: Endpoint,
        /// Its data directory.
        directory: DirectoryId,
        /// The registration of the process before it, if that one closed every log cleanly
        /// (KIP-966); `None` after a crash or at a first start.
        clean_shutdown_of: Option<BrokerEpoch>,
        /// When, by its wall clock; only for people to read.
        at: Timestamp,
    },
    /// A broker's session has expired (KIP-631). Answered with [`Reply::Done`].
    FenceBroker {
        /// The broker.
        broker: BrokerId,
        /// The registration that is meant.
        epoch: BrokerEpoch,
    },
    /// A broker is alive and knows its registration (KIP-631). Answered with [`Reply::Done`].
    UnfenceBroker {
        /// The broker.
        broker: BrokerId,
        /// The registration that is meant.
        epoch: BrokerEpoch,
    },
    /// A broker wants to stop: it hands over what it leads (KIP-631). Answered with
    /// [`Reply::Done`].
    BeginControlledShutdown {
        /// The broker.
        broker: BrokerId,
        /// The registration that is meant.
        epoch: BrokerEpoch,
    },
    /// Forgets a fenced broker that holds no replica (KIP-631). Answered with [`Reply::Done`].
    UnregisterBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// A leader changes the ISR of its partitions (KIP-497). Answered with
    /// [`Reply::PartitionsAltered`].
    AlterPartition {
        /// The leader.
        broker: BrokerId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// The changes, each on its own.
        changes: Vec<IsrChange>,
    },
    /// Elects leaders (KIP-460). Answered with [`Reply::LeadersElected`].
    ElectLeaders {
        /// The partitions; `None` is all of them.
        partitions: Option<Vec<(TopicId, PartitionIndex)>>,
        /// Which leaders.
        kind: ElectionKind,
    },
    /// Begins, replaces or cancels reassignments (KIP-455). Answered with
    /// [`Reply::ReassignmentsAltered`].
    AlterReassignments {
        /// The partitions, each on its own, with their target replicas, the preferred leader
        /// first; `None` cancels.
        changes: Vec<(TopicId, PartitionIndex, Option<Vec<BrokerId>>)>,
        /// Whether a partition may end up with fewer replicas or ISR members than
        /// `min.insync.replicas`.
        force: bool,
        /// Whether the target may have another number of replicas (KIP-860).
        allow_replication_factor_change: bool,
    },
    /// Finalizes the level of a feature (KIP-584). Answered with [`Reply::Done`].
    UpdateFeatures {
        /// The feature.
        name: String,
        /// The level; 0 takes the feature out of use.
        level: u16,
    },
    /// Replicas of a broker can take nothing any more, because their disk has failed: until the
    /// broker registers again they are in no ISR that has another member, and lead only where
    /// nobody else may. Answered with [`Reply::Done`].
    FailReplicas {
        /// The broker.
        broker: BrokerId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// The partitions; those that it holds no replica of are passed over.
        partitions: Vec<(TopicId, PartitionIndex)>,
    },
}

/// A leader's proposal for the ISR of a partition (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrChange {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub index: PartitionIndex,
    /// The epoch that the proposer leads.
    pub leader_epoch: LeaderEpoch,
    /// The registration that the proposal is made from.
    pub partition_epoch: PartitionEpoch,
    /// The members, the leader among them, each with the registration that the leader knows it by
    /// (KIP-903).
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// Which leaders an election makes (KIP-460).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionKind {
    /// The first replica, where it is in the ISR.
    Preferred,
    /// Any live replica, where there is no leader; records may be lost.
    Unclean,
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
    /// The broker has registered; it is fenced until it is known to be alive.
    BrokerRegistered {
        /// Its new broker epoch.
        broker_epoch: BrokerEpoch,
    },
    /// What became of each change, in the order of the command: the partition's epoch from then
    /// on, also when there was nothing to change.
    PartitionsAltered(Vec<Result<PartitionEpoch, MetadataError>>),
    /// What became of each partition, in the order of the command. Of an election in all
    /// partitions: those that needed one.
    LeadersElected(Vec<((TopicId, PartitionIndex), Result<(), MetadataError>)>),
    /// What became of each change, in the order of the command.
    ReassignmentsAltered(Vec<Result<(), MetadataError>>),
    /// Nothing to tell.
    Done,
}

//! What the configuration says about a topic's replicas, as the metadata log decides by it.
//!
//! Only the topic's own configuration and the cluster's dynamic default count: every node must come
//! to the same decision, and a broker's own file is known to that broker alone.

use super::Image;
use crate::{
    config::{Durability, definition},
    mutant::Mutant,
    types::{PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, string::String};

/// The rules of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplicationRules {
    /// `min.insync.replicas`, at least 1.
    pub min_insync: u32,
    /// `durability`.
    pub durability: Durability,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
}

impl Image {
    /// How many in-sync replicas a partition needs before it acknowledges `acks=all` and before its
    /// high watermark advances: `min.insync.replicas` of the topic or the cluster's default, at
    /// least 1 and at most the partition's replicas. 1 for a partition that does not exist.
    ///
    /// Leaders must use this number and not one of their own configuration: eligible leader
    /// replicas are kept by it (KIP-966).
    #[must_use]
    pub fn min_insync_replicas(&self, topic: TopicId, index: PartitionIndex) -> u32 {
        let replicas = self.partition(topic, index).map_or(1, |found| found.replicas.len());
        let replicas = u32::try_from(replicas).expect("replicas are distinct brokers");
        self.replication_rules(topic).min_insync.min(replicas)
    }

    /// What acknowledged records of a topic have survived. Leaders must use this and not their own
    /// configuration: replicas stay eligible or not by it.
    #[must_use]
    pub fn durability(&self, topic: TopicId) -> Durability {
        self.replication_rules(topic).durability
    }

    /// Whether a replica that is not in sync may lead a partition of a topic.
    #[must_use]
    pub fn allows_unclean_election(&self, topic: TopicId) -> bool {
        self.replication_rules(topic).unclean
    }

    pub(super) fn replication_rules(&self, topic: TopicId) -> ReplicationRules {
        let topic = self.topic(topic).map(|topic| &topic.configs);
        let value = |name| self.value_for_all(topic, name);
        ReplicationRules {
            min_insync: value("min.insync.replicas").parse().expect("checked when it is set"),
            durability: match value("durability") {
                "replicated" => Durability::Replicated,
                _ => Durability::Fsynced,
            },
            unclean: value("unclean.leader.election.enable") == "true"
                || Mutant::UncleanAlwaysAllowed.is_planted(),
        }
    }

    /// The rules of every topic.
    pub(super) fn all_replication_rules(&self) -> BTreeMap<TopicId, ReplicationRules> {
        self.topics.keys().map(|topic| (*topic, self.replication_rules(*topic))).collect()
    }

    /// The value that a topic configuration has for every broker.
    fn value_for_all<'a>(
        &'a self,
        topic: Option<&'a BTreeMap<String, String>>,
        name: &str,
    ) -> &'a str {
        let definition = definition(name).expect("the name is in the table");
        let synonyms = definition.synonyms.iter();
        let of_cluster = || synonyms.clone().find_map(|it| self.broker_defaults.get(it.name));
        let set = topic.and_then(|configs| configs.get(name)).or_else(of_cluster);
        set.map_or(definition.default, |value| value.trim())
    }
}

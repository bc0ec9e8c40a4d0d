//! Replaying commands: total, deterministic, all or nothing.

use super::{
    BrokerRegistration, Command, ConfigUpdate, Image, MetadataError, NewTopic,
    PartitionRegistration, Reply, Topic,
    configs::updated,
    image::MAX_PARTITIONS_PER_TOPIC,
    names::{collide, validate_topic_name},
    reassignment::Permits,
};
use crate::{
    config::{validate_broker_config, validate_topic_config},
    sometimes,
    types::{
        BrokerEpoch, BrokerId, LeaderEpoch, MetadataOffset, PartitionEpoch, PartitionIndex, TopicId,
    },
};
use alloc::vec::Vec;

impl Image {
    /// Applies the command at position `at` of the metadata log (the offset that follows it).
    /// A command that fails changes nothing but the position.
    pub fn apply(&mut self, at: MetadataOffset, command: &Command) -> Result<Reply, MetadataError> {
        assert!(at > self.applied, "commands are applied once, in the order of the log");
        self.applied = at;
        match command {
            Command::CreateTopics { topics } => Ok(Reply::TopicsCreated(
                topics.iter().map(|topic| self.create_topic(topic)).collect(),
            )),
            Command::DeleteTopic { topic } => self.delete_topic(*topic),
            Command::CreatePartitions { topic, first, replicas } => {
                self.create_partitions(*topic, *first, replicas)
            }
            Command::SetTopicConfigs { topic, update } => self.set_topic_configs(*topic, update),
            Command::SetBrokerConfigs { broker, update } => {
                self.set_broker_configs(*broker, update)
            }
            Command::AllocateProducerIds { count } => self.allocate_producer_ids(*count),
            Command::RegisterBroker {
                broker,
                incarnation,
                rack,
                client_endpoint,
                peer_endpoint,
                directory,
                clean_shutdown_of,
                at: registered_at,
            } => {
                let registration = BrokerRegistration {
                    epoch: BrokerEpoch(at.0),
                    incarnation: *incarnation,
                    registered_at: *registered_at,
                    directory: *directory,
                    rack: rack.clone(),
                    client_endpoint: client_endpoint.clone(),
                    peer_endpoint: peer_endpoint.clone(),
                    fenced: true,
                    in_controlled_shutdown: false,
                };
                self.register_broker(*broker, registration, *clean_shutdown_of)
            }
            Command::FenceBroker { broker, epoch } => self.fence_broker(*broker, *epoch),
            Command::UnfenceBroker { broker, epoch } => self.unfence_broker(*broker, *epoch),
            Command::BeginControlledShutdown { broker, epoch } => {
                self.begin_controlled_shutdown(*broker, *epoch)
            }
            Command::FailReplicas { broker, epoch, partitions } => {
                self.fail_replicas(*broker, *epoch, partitions)
            }
            Command::UnregisterBroker { broker } => self.unregister_broker(*broker),
            Command::AlterPartition { broker, broker_epoch, changes } => {
                self.alter_partitions(*broker, *broker_epoch, changes)
            }
            Command::ElectLeaders { partitions, kind } => {
                Ok(self.elect_leaders(partitions.as_deref(), *kind))
            }
            Command::AlterReassignments { changes, force, allow_replication_factor_change } => {
                let permits = Permits {
                    below_min_insync: *force,
                    other_replication_factor: *allow_replication_factor_change,
                };
                Ok(self.alter_reassignments(changes, permits))
            }
            Command::UpdateFeatures { name, level } => self.update_feature(name, *level),
        }
    }

    /// Whether a topic could be created at this moment; what CreateTopics answers when it is only
    /// asked to validate.
    pub fn check_new_topic(&self, topic: &NewTopic) -> Result<(), MetadataError> {
        validate_topic_name(&topic.name)?;
        if let Some(id) = self.ids.get(&topic.name) {
            return Err(MetadataError::TopicExists { name: topic.name.clone(), id: *id });
        }
        if let Some(existing) = self.colliding_name(&topic.name) {
            let (name, existing) = (topic.name.clone(), existing.into());
            return Err(MetadataError::TopicNameCollides { name, existing });
        }
        if self.topics.contains_key(&topic.id) {
            return Err(MetadataError::TopicIdExists { id: topic.id });
        }
        self.check_replicas(0, &topic.replicas)?;
        topic.configs.iter().try_for_each(|(name, value)| validate_topic_config(name, value))?;
        Ok(())
    }

    /// Whether partitions could be added to a topic at this moment.
    pub fn check_new_partitions(
        &self,
        topic: TopicId,
        first: PartitionIndex,
        replicas: &[Vec<BrokerId>],
    ) -> Result<(), MetadataError> {
        let current = self.existing(topic)?.partitions.len();
        let wanted = first.0 as usize + replicas.len();
        if first.0 as usize != current {
            return Err(MetadataError::InvalidPartitions { count: wanted, current });
        }
        self.check_replicas(current, replicas)
    }

    /// Whether a topic's configuration could be changed so at this moment.
    pub fn check_topic_configs(
        &self,
        topic: TopicId,
        update: &ConfigUpdate,
    ) -> Result<(), MetadataError> {
        updated(&self.existing(topic)?.configs, update, validate_topic_config)?;
        Ok(())
    }

    /// Whether the brokers' configuration could be changed so at this moment.
    pub fn check_broker_configs(
        &self,
        broker: Option<BrokerId>,
        update: &ConfigUpdate,
    ) -> Result<(), MetadataError> {
        let none = Default::default();
        let current = self.broker_configs(broker).unwrap_or(&none);
        updated(current, update, validate_broker_config)?;
        Ok(())
    }

    fn create_topic(&mut self, topic: &NewTopic) -> Result<TopicId, MetadataError> {
        self.check_new_topic(topic)?;
        let update = ConfigUpdate::Replace(topic.configs.clone());
        let configs = updated(&Default::default(), &update, validate_topic_config)?;
        self.ids.insert(topic.name.clone(), topic.id);
        let partitions =
            topic.replicas.iter().map(|replicas| self.new_partition(replicas)).collect();
        let registration = Topic { id: topic.id, name: topic.name.clone(), partitions, configs };
        self.topics.insert(topic.id, registration);
        Ok(topic.id)
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<Reply, MetadataError> {
        let topic = self.topics.remove(&id).ok_or(MetadataError::UnknownTopic { id })?;
        let removed = self.ids.remove(&topic.name);
        assert!(removed == Some(id), "every topic is registered under its name");
        Ok(Reply::Done)
    }

    fn create_partitions(
        &mut self,
        topic: TopicId,
        first: PartitionIndex,
        replicas: &[Vec<BrokerId>],
    ) -> Result<Reply, MetadataError> {
        self.check_new_partitions(topic, first, replicas)?;
        let added: Vec<_> = replicas.iter().map(|replicas| self.new_partition(replicas)).collect();
        self.existing_mut(topic)?.partitions.extend(added);
        Ok(Reply::Done)
    }

    fn set_topic_configs(
        &mut self,
        topic: TopicId,
        update: &ConfigUpdate,
    ) -> Result<Reply, MetadataError> {
        let configs = updated(&self.existing(topic)?.configs, update, validate_topic_config)?;
        let rules = self.all_replication_rules();
        self.existing_mut(topic)?.configs = configs;
        self.follow_new_rules(&rules);
        Ok(Reply::Done)
    }

    fn set_broker_configs(
        &mut self,
        broker: Option<BrokerId>,
        update: &ConfigUpdate,
    ) -> Result<Reply, MetadataError> {
        let none = Default::default();
        let current = self.broker_configs(broker).unwrap_or(&none);
        let configs = updated(current, update, validate_broker_config)?;
        match broker {
            None => {
                let rules = self.all_replication_rules();
                self.broker_defaults = configs;
                self.follow_new_rules(&rules);
            }
            Some(broker) => {
                self.broker_configs.insert(broker, configs);
            }
        }
        Ok(Reply::Done)
    }

    fn allocate_producer_ids(&mut self, count: u32) -> Result<Reply, MetadataError> {
        let first = self.next_producer_id;
        let next = first + u64::from(count);
        if count == 0 || next > i64::MAX as u64 {
            return Err(MetadataError::InvalidProducerIds);
        }
        self.next_producer_id = next;
        Ok(Reply::ProducerIds { first, count })
    }

    pub(super) fn existing(&self, id: TopicId) -> Result<&Topic, MetadataError> {
        self.topics.get(&id).ok_or(MetadataError::UnknownTopic { id })
    }

    pub(super) fn existing_partition(
        &self,
        topic: TopicId,
        index: PartitionIndex,
    ) -> Result<&PartitionRegistration, MetadataError> {
        let partitions = &self.existing(topic)?.partitions;
        let found = partitions.get(index.0 as usize);
        found.ok_or(MetadataError::UnknownPartition { topic, index })
    }

    pub(super) fn existing_partition_mut(
        &mut self,
        topic: TopicId,
        index: PartitionIndex,
    ) -> Result<&mut PartitionRegistration, MetadataError> {
        let partitions = &mut self.existing_mut(topic)?.partitions;
        let found = partitions.get_mut(index.0 as usize);
        found.ok_or(MetadataError::UnknownPartition { topic, index })
    }

    fn existing_mut(&mut self, id: TopicId) -> Result<&mut Topic, MetadataError> {
        self.topics.get_mut(&id).ok_or(MetadataError::UnknownTopic { id })
    }

    fn colliding_name(&self, name: &str) -> Option<&str> {
        self.ids.keys().map(|known| known.as_str()).find(|known| collide(known, name))
    }

    fn check_replicas(&self, current: usize, added: &[Vec<BrokerId>]) -> Result<(), MetadataError> {
        let count = current.saturating_add(added.len());
        if added.is_empty() || count > MAX_PARTITIONS_PER_TOPIC {
            return Err(MetadataError::InvalidPartitions { count, current });
        }
        added.iter().try_for_each(|replicas| self.check_new_replicas(replicas))
    }

    /// As Kafka does: without a live broker nobody could be in sync from the beginning.
    fn check_new_replicas(&self, replicas: &[BrokerId]) -> Result<(), MetadataError> {
        self.check_replica_list(replicas)?;
        if !replicas.iter().any(|replica| self.is_active(*replica)) {
            let rule =
                "one of the replicas is on a broker that is neither fenced nor shutting down";
            return Err(MetadataError::InvalidReplicas { rule: rule.into() });
        }
        Ok(())
    }

    /// Whether a partition could have these replicas.
    pub(super) fn check_replica_list(&self, replicas: &[BrokerId]) -> Result<(), MetadataError> {
        if replicas.is_empty() {
            let rule = "every partition needs at least one replica";
            return Err(MetadataError::InvalidReplicas { rule: rule.into() });
        }
        for (index, broker) in replicas.iter().enumerate() {
            if replicas[..index].contains(broker) {
                let rule = "a broker holds at most one replica of a partition";
                return Err(MetadataError::InvalidReplicas { rule: rule.into() });
            }
            if !self.brokers.contains_key(broker) {
                return Err(MetadataError::UnknownBroker { broker: *broker });
            }
        }
        Ok(())
    }

    /// A new partition is in sync wherever a broker is alive to hold it.
    fn new_partition(&self, replicas: &[BrokerId]) -> PartitionRegistration {
        let is_active = |replica: &&BrokerId| self.is_active(**replica);
        let active: Vec<_> = replicas.iter().filter(is_active).copied().collect();
        let leader = active.first().copied();
        sometimes!(CreatedWithDeadReplica, active.len() < replicas.len());
        PartitionRegistration {
            replicas: replicas.to_vec(),
            isr: active,
            elr: Vec::new(),
            last_known_leader: None,
            adding: Vec::new(),
            removing: Vec::new(),
            leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            failed: Vec::new(),
        }
    }
}

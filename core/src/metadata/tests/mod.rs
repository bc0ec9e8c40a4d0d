//! Rule tests: what each command does to the image, and that replaying them is deterministic.

mod brokers;
mod election;
mod encoding;
mod isr;
mod placement;
mod random;
mod reassignment;
mod records;
mod topics;

use super::*;
use crate::{
    config::{ConfigError, Durability},
    time::Timestamp,
    types::{
        BrokerEpoch, BrokerId, Incarnation, LeaderEpoch, MetadataOffset, PartitionEpoch,
        PartitionIndex, TopicId,
    },
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BROKER: BrokerId = BrokerId(1);
/// The topic of [`Log::of`], and its only partition.
const TOPIC: TopicId = TopicId([1; 16]);
const INDEX: PartitionIndex = PartitionIndex(0);

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn ids(numbers: &[i32]) -> Vec<BrokerId> {
    numbers.iter().copied().map(BrokerId).collect()
}

/// Applies commands one after the other.
struct Log {
    image: Image,
}

impl Log {
    /// A log in which broker 1 is alive.
    fn new() -> Self {
        Self::with_brokers(1)
    }

    /// A log in which the brokers from 1 to `count` are alive.
    fn with_brokers(count: i32) -> Self {
        let mut log = Self { image: Image::default() };
        for broker in 1..=count {
            log.apply(register(broker, 1)).expect("registering never fails");
            log.unfence(broker);
        }
        log
    }

    /// A log in which the brokers from 1 to `count` are alive and a topic has one partition, with
    /// replicas on the first three of them.
    fn of(count: i32, configs: &[(&str, &str)]) -> Self {
        let mut log = Self::with_brokers(count);
        log.create_one(&[1, 2, 3], configs);
        log
    }

    fn create_one(&mut self, replicas: &[i32], configs: &[(&str, &str)]) {
        let (replicas, configs) = (vec![ids(replicas)], map(configs));
        self.create(NewTopic { replicas, configs, ..topic("t", 1) }).expect("new");
    }

    fn apply(&mut self, command: Command) -> Result<Reply, MetadataError> {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, &command)
    }

    fn create(&mut self, topic: NewTopic) -> Result<TopicId, MetadataError> {
        match self.apply(Command::CreateTopics { topics: vec![topic] }) {
            Ok(Reply::TopicsCreated(mut topics)) => topics.remove(0),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn epoch(&self, broker: i32) -> BrokerEpoch {
        self.image.broker(BrokerId(broker)).expect("registered").epoch
    }

    fn unfence(&mut self, broker: i32) {
        self.apply(unfence(broker, self.epoch(broker).0)).expect("the epoch is right");
    }

    fn fence(&mut self, broker: i32) {
        let epoch = self.epoch(broker);
        let command = Command::FenceBroker { broker: BrokerId(broker), epoch };
        self.apply(command).expect("the epoch is right");
    }

    /// The log of the broker's replica fails.
    fn fail(&mut self, broker: i32) {
        let (epoch, partitions) = (self.epoch(broker), vec![(TOPIC, INDEX)]);
        let command = Command::FailReplicas { broker: BrokerId(broker), epoch, partitions };
        self.apply(command).expect("the epoch is right");
    }

    fn shut_down(&mut self, broker: i32) {
        let epoch = self.epoch(broker);
        let command = Command::BeginControlledShutdown { broker: BrokerId(broker), epoch };
        self.apply(command).expect("the epoch is right");
    }

    /// The broker registers as a new process.
    fn restart(&mut self, broker: i32, clean: bool) {
        let known = self.image.broker(BrokerId(broker)).expect("registered");
        let (next, previous) = (known.incarnation.0 + 1, known.epoch);
        let mut command = register(broker, next);
        let Command::RegisterBroker { clean_shutdown_of, .. } = &mut command else {
            unreachable!("just made")
        };
        *clean_shutdown_of = clean.then_some(previous);
        self.apply(command).expect("registering never fails");
    }

    fn partition(&self) -> &PartitionRegistration {
        self.image.partition(TOPIC, INDEX).expect("created")
    }

    /// The change of the partition's ISR that its leader would propose.
    fn proposal(&self, isr: &[i32]) -> IsrChange {
        let partition = self.partition();
        IsrChange {
            topic: TOPIC,
            index: INDEX,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.iter().map(|broker| (BrokerId(*broker), self.epoch(*broker))).collect(),
        }
    }

    fn propose(&mut self, change: IsrChange) -> Result<PartitionEpoch, MetadataError> {
        let broker = self.partition().leader.expect("only a leader proposes");
        let broker_epoch = self.epoch(broker.0);
        let command = Command::AlterPartition { broker, broker_epoch, changes: vec![change] };
        match self.apply(command)? {
            Reply::PartitionsAltered(mut outcomes) => outcomes.remove(0),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The leader changes the ISR.
    fn set_isr(&mut self, isr: &[i32]) {
        self.propose(self.proposal(isr)).expect("allowed");
    }

    fn set_config(&mut self, name: &str, value: &str) {
        self.apply(set(1, incremental(&[(name, ConfigChange::Set(value.into()))]))).expect("valid");
    }

    fn set_default(&mut self, name: &str, value: &str) {
        let update = incremental(&[(name, ConfigChange::Set(value.into()))]);
        self.apply(Command::SetBrokerConfigs { broker: None, update }).expect("valid");
    }

    /// The partition in one line: leader, ISR, eligible leader replicas, and the epochs of the
    /// leader and of the partition.
    fn shown(&self) -> String {
        let partition = self.partition();
        let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        let (isr, elr) = (numbers(&partition.isr), numbers(&partition.elr));
        let leader = partition.leader.map_or("none".into(), |leader| leader.to_string());
        let (leader_epoch, epoch) = (partition.leader_epoch, partition.partition_epoch);
        format!("leader {leader} isr {isr:?} elr {elr:?} epochs {leader_epoch} {epoch}")
    }
}

impl Image {
    /// The fingerprint of everything but the position.
    fn fingerprint_at_zero(&self) -> u64 {
        let mut image = self.clone();
        image.applied = MetadataOffset(0);
        image.fingerprint()
    }
}

fn register(broker: i32, incarnation: u128) -> Command {
    Command::RegisterBroker {
        broker: BrokerId(broker),
        incarnation: Incarnation(incarnation),
        rack: None,
        client_endpoint: Endpoint { host: "a".into(), port: 9092 },
        peer_endpoint: Endpoint { host: "a".into(), port: 9093 },
        directory: crate::types::DirectoryId(0),
        clean_shutdown_of: None,
        at: Timestamp(5),
    }
}

fn unfence(broker: i32, epoch: u64) -> Command {
    Command::UnfenceBroker { broker: BrokerId(broker), epoch: BrokerEpoch(epoch) }
}

fn topic(name: &str, id: u8) -> NewTopic {
    NewTopic {
        id: TopicId([id; 16]),
        name: name.into(),
        replicas: vec![vec![BROKER]; 2],
        configs: BTreeMap::new(),
    }
}

fn set(topic: u8, update: ConfigUpdate) -> Command {
    Command::SetTopicConfigs { topic: TopicId([topic; 16]), update }
}

fn incremental(changes: &[(&str, ConfigChange)]) -> ConfigUpdate {
    let changes = changes.iter().map(|(name, change)| (name.to_string(), change.clone()));
    ConfigUpdate::Incremental(changes.collect())
}

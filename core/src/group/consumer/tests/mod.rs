//! Rule tests: a heartbeat to the exact records and answer that it comes to.

mod both;
mod bounds;
mod commits;
mod describing;
mod epochs;
mod expressions;
mod joining;
mod leaving;
mod metadata;
mod migrating;
mod mixing;
mod protocols;
mod reconciling;
mod statics;
mod timeouts;
mod validation;

use super::*;
use crate::{
    group::{
        ConsumerGroupValue, ConsumerMemberValue, CurrentAssignmentValue, MemberId,
        RegularExpressionValue, TopicPartitions,
    },
    metadata::{Command, NewTopic},
    time::Timestamp,
    types::{BrokerId, Incarnation, MetadataOffset, PartitionIndex, TopicId},
};
use alloc::{string::ToString, sync::Arc, vec};
use core::time::Duration;

const INTERVAL: Duration = Duration::from_secs(5);
const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);

/// A coordinator of consumer groups, the metadata that it sees, and the log that it writes.
struct World {
    groups: ConsumerGroups,
    image: Image,
    config: GroupConfig,
    now: Now,
    log: Vec<Record>,
}

impl World {
    /// One broker without a rack, and no topics.
    fn new() -> Self {
        let mut world = Self {
            groups: ConsumerGroups::default(),
            image: Image::default(),
            config: GroupConfig::default(),
            now: Now { monotonic: Instant(0), wall: Timestamp(1_000) },
            log: Vec::new(),
        };
        world.register(1, None);
        world
    }

    /// Topics with so many partitions each; the first one's id begins with 1.
    fn with_topics(topics: &[(&str, usize)]) -> Self {
        let mut world = Self::new();
        for (number, (name, partitions)) in (1..).zip(topics) {
            world.create_topic(number, name, *partitions);
        }
        world
    }

    fn command(&mut self, command: &Command) {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, command).expect("the commands of tests are carried out");
    }

    fn register(&mut self, broker: i32, rack: Option<&str>) {
        let incarnation = Incarnation(self.image.applied().0.into());
        self.command(&Command::RegisterBroker {
            broker: BrokerId(broker),
            incarnation,
            rack: rack.map(ToString::to_string),
            client_endpoint: Default::default(),
            peer_endpoint: Default::default(),
            directory: Default::default(),
            clean_shutdown_of: None,
            at: Timestamp(0),
        });
        let epoch = self.image.broker(BrokerId(broker)).expect("registered").epoch;
        self.command(&Command::UnfenceBroker { broker: BrokerId(broker), epoch });
    }

    fn create_topic(&mut self, number: u8, name: &str, partitions: usize) {
        let replicas = vec![vec![BrokerId(1)]; partitions];
        let topic =
            NewTopic { id: topic(number), name: name.into(), replicas, configs: BTreeMap::new() };
        self.command(&Command::CreateTopics { topics: vec![topic] });
    }

    fn grow_topic(&mut self, number: u8, to: u32) {
        let first = self.image.topic(topic(number)).expect("exists").partitions.len() as u32;
        let replicas = vec![vec![BrokerId(1)]; (to - first) as usize];
        let first = PartitionIndex(first);
        self.command(&Command::CreatePartitions { topic: topic(number), first, replicas });
    }

    fn delete_topic(&mut self, number: u8) {
        self.command(&Command::DeleteTopic { topic: topic(number) });
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic.after(time);
        self.now.wall.0 += time.as_millis() as i64;
    }

    /// Sends a heartbeat. Its records are replayed at once.
    fn heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
    ) -> Result<(Vec<Record>, ConsumerHeartbeatAnswer), GroupError> {
        let before = self.groups.groups.clone();
        let mut records = Vec::new();
        let Self { groups, image, config, now, .. } = self;
        let answer = groups.heartbeat(*now, image, config, request, &mut records);
        assert_eq!(self.groups.groups, before, "a decision leaves the hard state alone");
        let answer = answer.inspect_err(|_| assert!(records.is_empty()))?;
        self.replay(&records);
        Ok((records, answer))
    }

    /// Sends a heartbeat that is accepted.
    fn accepted(&mut self, request: &ConsumerHeartbeat) -> (Vec<Record>, ConsumerHeartbeatAnswer) {
        self.heartbeat(request).expect("the heartbeat is accepted")
    }

    /// Sends a heartbeat that is refused.
    fn refused(&mut self, request: &ConsumerHeartbeat) -> GroupError {
        self.heartbeat(request).expect_err("the heartbeat is refused")
    }

    fn tick(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        self.groups.tick(self.now, &self.image, &self.config, &mut records);
        self.replay(&records);
        records
    }

    fn replay(&mut self, records: &[Record]) {
        for record in records {
            let offset = Offset(self.log.len() as u64);
            self.groups.replay(offset, record);
            self.log.push(record.clone());
        }
        assert_eq!(self.groups.groups, self.reloaded().groups, "the log says what the state is");
    }

    /// The groups as another coordinator reads them from the log.
    fn reloaded(&self) -> ConsumerGroups {
        let mut groups = ConsumerGroups::default();
        for (offset, record) in (0..).map(Offset).zip(&self.log) {
            groups.replay(offset, record);
        }
        groups
    }

    /// Another broker becomes the coordinator.
    fn fail_over(&mut self) {
        self.groups = self.reloaded();
        self.groups.loaded(self.now, &self.config);
    }

    fn group(&self) -> &ConsumerGroup {
        &self.groups.groups["g"]
    }

    fn member(&self, id: &str) -> &member::Member {
        self.group().member(id).expect("a member")
    }

    /// What a member is told to own when it sends a heartbeat with its own epoch and what it owns
    /// by then; it owns that from then on.
    fn beat(&mut self, client: &mut Client) -> ConsumerHeartbeatAnswer {
        let (_, answer) = self.accepted(&client.heartbeat());
        client.obey(&answer);
        answer
    }
}

/// A consumer that does what it is told.
struct Client {
    id: MemberId,
    epoch: u32,
    owned: TopicPartitions,
}

impl Client {
    /// Joins group `g`.
    fn join(world: &mut World, id: &str, topics: &[&str]) -> Self {
        let (_, answer) = world.accepted(&join(id, topics));
        let mut client = Self { id: id.into(), epoch: 0, owned: TopicPartitions::new() };
        client.obey(&answer);
        client
    }

    fn obey(&mut self, answer: &ConsumerHeartbeatAnswer) {
        assert_eq!(answer.member, self.id);
        self.epoch = epoch(answer);
        if let Some(assignment) = &answer.assignment {
            self.owned = assignment.clone();
        }
    }

    fn heartbeat(&self) -> ConsumerHeartbeat {
        ConsumerHeartbeat { owned: Some(self.owned.clone()), ..stay(&self.id, self.epoch) }
    }
}

/// Lets everybody send heartbeats until nothing changes.
fn settle(world: &mut World, clients: &mut [&mut Client]) {
    for _ in 0..20 {
        let before = world.log.len();
        for client in clients.iter_mut() {
            world.beat(client);
        }
        if world.log.len() == before {
            return;
        }
    }
    panic!("the group does not come to rest");
}

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn names(topics: &[&str]) -> Vec<Arc<str>> {
    topics.iter().map(|topic| Arc::from(*topic)).collect()
}

/// Partitions by the topic's number.
fn partitions(of: &[(u8, &[u32])]) -> TopicPartitions {
    let indexes = |partitions: &[u32]| partitions.iter().copied().map(PartitionIndex).collect();
    of.iter().map(|(number, partitions)| (topic(*number), indexes(partitions))).collect()
}

/// Partitions by the topic's number, each with the epoch in which it was assigned.
fn assigned(of: &[(u8, &[(u32, u32)])]) -> member::EpochsByPartition {
    let pairs = |partitions: &[(u32, u32)]| {
        partitions.iter().map(|(partition, epoch)| (PartitionIndex(*partition), *epoch)).collect()
    };
    of.iter().map(|(number, partitions)| (topic(*number), pairs(partitions))).collect()
}

/// The heartbeat with which a member joins group `g`.
fn join(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        epoch: MemberEpoch::Join,
        rebalance_timeout: Some(REBALANCE),
        topics: Some(names(topics)),
        owned: Some(TopicPartitions::new()),
        ..stay(member, 0)
    }
}

/// The heartbeat with which a static member joins group `g`.
fn join_static(member: &str, instance: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance: Some(instance.into()), ..join(member, topics) }
}

/// The heartbeat with which a member joins group `g` and subscribes by regular expression.
fn join_matching(member: &str, expression: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        topics: None,
        regular_expression: Some(expression.into()),
        ..join(member, &[])
    }
}

/// The heartbeat of a member of group `g` that has nothing to tell.
fn stay(member: &str, epoch: u32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        member: member.into(),
        fresh_member: "fresh".into(),
        epoch: MemberEpoch::Stay(epoch),
        instance: None,
        rack: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout: None,
        topics: None,
        regular_expression: None,
        assignor: None,
        owned: None,
    }
}

fn leave(member: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { epoch: MemberEpoch::Leave, ..stay(member, 0) }
}

fn leave_static(member: &str, instance: &str, epoch: MemberEpoch) -> ConsumerHeartbeat {
    ConsumerHeartbeat { epoch, instance: Some(instance.into()), ..stay(member, 0) }
}

fn epoch(answer: &ConsumerHeartbeatAnswer) -> u32 {
    match answer.epoch {
        MemberEpoch::Stay(epoch) => epoch,
        other => panic!("{other:?} is the answer to a leave"),
    }
}

fn answer(
    member: &str,
    epoch: u32,
    assignment: Option<TopicPartitions>,
) -> ConsumerHeartbeatAnswer {
    ConsumerHeartbeatAnswer {
        member: member.into(),
        epoch: MemberEpoch::Stay(epoch),
        heartbeat_interval: INTERVAL,
        assignment,
    }
}

/// What a member that joins with these topics says of itself.
fn about(topics: &[&str]) -> ConsumerMemberValue {
    ConsumerMemberValue {
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        topics: names(topics),
        rebalance_timeout: REBALANCE,
        ..ConsumerMemberValue::default()
    }
}

fn member_record(member: &str, value: Option<ConsumerMemberValue>) -> Record {
    Record::ConsumerMember { group: "g".into(), member: member.into(), value }
}

fn group_record(epoch: u32, metadata_hash: u64) -> Record {
    let value = Some(ConsumerGroupValue { epoch, metadata_hash });
    Record::ConsumerGroup { group: "g".into(), value }
}

fn target_record(member: &str, value: Option<TopicPartitions>) -> Record {
    Record::TargetAssignment { group: "g".into(), member: member.into(), value }
}

fn target_epoch_record(epoch: u32) -> Record {
    Record::TargetAssignmentEpoch { group: "g".into(), value: Some(epoch) }
}

fn current_record(member: &str, value: Option<CurrentAssignmentValue>) -> Record {
    Record::CurrentAssignment { group: "g".into(), member: member.into(), value }
}

fn expression_record(expression: &str, value: Option<RegularExpressionValue>) -> Record {
    Record::RegularExpression { group: "g".into(), expression: expression.into(), value }
}

/// A member that has what it is to have.
fn stable(
    epoch: u32,
    previous_epoch: u32,
    assigned: member::EpochsByPartition,
) -> CurrentAssignmentValue {
    CurrentAssignmentValue {
        epoch: Some(epoch),
        previous_epoch,
        state: MemberState::Stable,
        assigned,
        pending_revocation: BTreeMap::new(),
    }
}

/// A member that waits for partitions of others.
fn unreleased(
    epoch: u32,
    previous_epoch: u32,
    assigned: member::EpochsByPartition,
) -> CurrentAssignmentValue {
    let state = MemberState::UnreleasedPartitions;
    CurrentAssignmentValue { state, ..stable(epoch, previous_epoch, assigned) }
}

/// A member that has partitions to give up.
fn unrevoked(
    epoch: u32,
    previous_epoch: u32,
    assigned: member::EpochsByPartition,
    pending_revocation: member::EpochsByPartition,
) -> CurrentAssignmentValue {
    CurrentAssignmentValue {
        state: MemberState::UnrevokedPartitions,
        pending_revocation,
        ..stable(epoch, previous_epoch, assigned)
    }
}

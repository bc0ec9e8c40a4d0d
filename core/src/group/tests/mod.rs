//! Rule tests: requests to exact records and answers.

mod deleting;
mod expiry;
mod joining;
mod leaving;
mod limits;
mod loading;
mod offsets;
mod sessions;
mod showing;
mod statics;
mod syncing;

use super::*;
use crate::{
    coordinator::Shard,
    metadata::{Command, Endpoint, Image, NewTopic},
    time::{Instant, Now, Timestamp},
    types::{
        BrokerId, DirectoryId, Incarnation, MetadataOffset, Offset, PartitionIndex, RequestId,
        TopicId,
    },
};
use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use bytes::Bytes;
use core::time::Duration;

const WALL: i64 = 1_000_000_000_000;
const GROUP: &str = "g";
/// Session and rebalance timeouts of the members here.
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "t";
const OTHER_TOPIC: &str = "u";

/// A shard, its log and its clocks.
struct Fixture {
    shard: GroupShard,
    config: GroupConfig,
    image: Image,
    now: Now,
    log: Vec<Record>,
    answers: BTreeMap<RequestId, Response>,
    requests: u64,
}

impl Fixture {
    fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    fn with(config: GroupConfig) -> Self {
        let mut image = image_with_a_broker();
        create_topic(&mut image, TOPIC, 1);
        create_topic(&mut image, OTHER_TOPIC, 2);
        let mut fixture = Self {
            shard: GroupShard::new(&config),
            config,
            image,
            now: Now { monotonic: Instant(1), wall: Timestamp(WALL) },
            log: Vec::new(),
            answers: BTreeMap::new(),
            requests: 0,
        };
        fixture.reload();
        fixture
    }

    /// Another coordinator takes over: what waits is refused, the log is read.
    fn reload(&mut self) {
        self.shard = GroupShard::new(&self.config);
        for (offset, record) in (0..).map(Offset).zip(&self.log) {
            self.shard.replay(offset, record);
        }
        self.shard.loaded(self.now, &self.image);
    }

    fn carry_out(&mut self, decision: Decided) -> Vec<Record> {
        for record in &decision.records {
            self.shard.replay(Offset(self.log.len() as u64), record);
            self.log.push(record.clone());
        }
        if !decision.records.is_empty() {
            self.shard.replayed(self.now, &self.image);
        }
        for (request, answer) in decision.answers {
            let before = self.answers.insert(request, answer);
            assert!(before.is_none(), "answered twice: {before:?}");
        }
        decision.records
    }

    /// Asks; the request's id and the records that were decided.
    fn send(&mut self, body: Request) -> (RequestId, Vec<Record>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let mut decision = Decided::default();
        self.shard.handle(self.now, &self.image, request, body, &mut decision);
        (request, self.carry_out(decision))
    }

    /// Asks something that is answered at once.
    fn ask(&mut self, body: Request) -> Response {
        let (request, _) = self.send(body);
        self.answers.remove(&request).expect("answered at once")
    }

    fn tick(&mut self) -> Vec<Record> {
        let mut decision = Decided::default();
        self.shard.tick(self.now, &self.image, &mut decision);
        self.carry_out(decision)
    }

    /// Lets time pass and does what is due meanwhile; the records that were decided.
    fn pass(&mut self, duration: Duration) -> Vec<Record> {
        let end = self.now.monotonic.after(duration);
        let mut records = Vec::new();
        for turn in 0.. {
            assert!(turn < 10_000, "the shard has always something to do");
            let Some(due) = self.shard.next_deadline().filter(|due| *due <= end) else { break };
            self.pass_to(due.max(self.now.monotonic));
            records.extend(self.tick());
        }
        self.pass_to(end);
        records
    }

    fn pass_to(&mut self, instant: Instant) {
        let passed = instant.since(self.now.monotonic);
        self.now.monotonic = instant;
        self.now.wall.0 += passed.as_millis() as i64;
    }

    fn join(&mut self, join: Join) -> RequestId {
        self.send(Request::Join(join)).0
    }

    fn is_parked(&self, request: RequestId) -> bool {
        !self.answers.contains_key(&request)
    }

    fn joined(&mut self, request: RequestId) -> Joined {
        match self.answers.remove(&request) {
            Some(Response::Joined(Ok(joined))) => joined,
            other => panic!("not joined: {other:?}"),
        }
    }

    /// The error of a refused join, and the member id that goes with it.
    fn refused(&mut self, request: RequestId) -> (GroupError, String) {
        match self.answers.remove(&request) {
            Some(Response::Joined(Err(JoinRefused { error, member }))) => {
                (error, member.to_string())
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn synced(&mut self, request: RequestId) -> Result<Bytes, GroupError> {
        match self.answers.remove(&request) {
            Some(Response::Synced(synced)) => synced.map(|synced| synced.assignment),
            other => panic!("not a sync's answer: {other:?}"),
        }
    }

    /// Members of these names join, the first leads; they are in generation 1, to be assigned.
    fn completing(&mut self, names: &[&str]) {
        let joins: Vec<RequestId> = names.iter().map(|name| self.join(first_join(name))).collect();
        self.pass(self.config.initial_rebalance_delay);
        for prolonged in 0.. {
            if !self.is_parked(joins[0]) {
                break;
            }
            assert!(prolonged < 100, "the rebalance does not end");
            self.pass(self.config.initial_rebalance_delay);
        }
        for join in joins {
            self.joined(join);
        }
    }

    /// The same, and each has synced and got its own name as its assignment.
    fn stable(&mut self, names: &[&str]) {
        self.completing(names);
        self.assign(1, names);
    }

    /// Every member syncs, the first of them as the leader.
    fn assign(&mut self, generation: u32, names: &[&str]) {
        for name in names.iter().skip(1).chain(names.iter().take(1)) {
            let given = if *name == names[0] { names } else { &[] };
            self.send(sync(name, generation, given));
        }
        self.answers.clear();
    }

    fn state(&mut self) -> GroupState {
        match self.ask(Request::Describe { group: GROUP.into() }) {
            Response::Described(Ok(described)) => described.state,
            Response::Described(Err(GroupError::GroupIdNotFound)) => GroupState::Dead,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &str, generation: u32) -> Result<(), GroupError> {
        let identity = identity(member, generation);
        match self.ask(Request::Heartbeat { group: GROUP.into(), identity }) {
            Response::Heartbeat(outcome) => outcome,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn leave(&mut self, leavers: Vec<Leaver>) -> Vec<Result<(), GroupError>> {
        match self.ask(Request::Leave { group: GROUP.into(), members: leavers }) {
            Response::Left(Ok(outcomes)) => outcomes,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn commit(&mut self, identity: Identity, offset: u64) -> Result<(), GroupError> {
        self.commit_for(identity, TOPIC, offset)
    }

    fn commit_for(
        &mut self,
        identity: Identity,
        topic: &str,
        offset: u64,
    ) -> Result<(), GroupError> {
        let offsets = vec![to_commit(topic, offset)];
        let commit = CommitOffsets { group: GROUP.into(), identity, retention: None, offsets };
        self.send_commit(commit)
    }

    fn send_commit(&mut self, commit: CommitOffsets) -> Result<(), GroupError> {
        match self.ask(Request::CommitOffsets(commit)) {
            Response::Committed(outcomes) => outcomes?.remove(0),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The committed offset of partition 0.
    fn committed(&mut self, topic: &str) -> Option<u64> {
        let topics = Some(vec![(topic.into(), vec![PartitionIndex(0)])]);
        let offsets = self.fetch(topics);
        let committed = offsets[0].partitions[0].1.as_ref().expect("stable");
        committed.as_ref().map(|committed| committed.offset.0)
    }

    fn fetch(&mut self, topics: Option<Vec<(Arc<str>, Vec<PartitionIndex>)>>) -> Vec<TopicOffsets> {
        let group = GROUP.into();
        let fetch = FetchOffsets { group, member: None, topics, require_stable: true };
        match self.ask(Request::FetchOffsets(fetch)) {
            Response::Offsets(Ok(offsets)) => offsets,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn apply(&mut self, command: &Command) {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, command).expect("valid");
    }

    /// The last record of the group.
    fn last_value(&self) -> ClassicGroupValue {
        let mut records = self.log.iter().rev();
        let value = records.find_map(|record| match record {
            Record::Group { value, .. } => Some(value.clone()),
            _ => None,
        });
        value.expect("a record of the group").expect("no tombstone")
    }
}

fn image_with_a_broker() -> Image {
    let mut image = Image::default();
    let endpoint = || Endpoint { host: "a".into(), port: 9092 };
    let register = Command::RegisterBroker {
        broker: BrokerId(1),
        incarnation: Incarnation(1),
        rack: None,
        client_endpoint: endpoint(),
        peer_endpoint: endpoint(),
        directory: DirectoryId(0),
        clean_shutdown_of: None,
        at: Timestamp(WALL),
    };
    image.apply(MetadataOffset(1), &register).expect("valid");
    let epoch = image.broker(BrokerId(1)).expect("registered").epoch;
    let unfence = Command::UnfenceBroker { broker: BrokerId(1), epoch };
    image.apply(MetadataOffset(2), &unfence).expect("valid");
    image
}

fn create_topic(image: &mut Image, name: &str, id: u8) {
    create_topic_of(image, name, id, 3);
}

fn create_topic_of(image: &mut Image, name: &str, id: u8, partitions: usize) {
    let topic = NewTopic {
        id: TopicId([id; 16]),
        name: name.into(),
        replicas: vec![vec![BrokerId(1)]; partitions],
        configs: BTreeMap::new(),
    };
    let at = MetadataOffset(image.applied().0 + 1);
    image.apply(at, &Command::CreateTopics { topics: vec![topic] }).expect("valid");
    assert!(image.topic_named(name).is_some(), "created");
}

/// A consumer's metadata: version 1, the topics, no user data, nothing owned.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.into()
}

/// A consumer joins for the first time and will be called `name`.
fn first_join(name: &str) -> Join {
    Join {
        group: GROUP.into(),
        member: "".into(),
        fresh_member: name.into(),
        instance: None,
        client_id: "client".into(),
        client_host: "/10.0.0.1".into(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription(&[TOPIC]))],
        must_know_its_id: false,
        can_skip_assignment: true,
        reason: None,
    }
}

/// A member joins again.
fn again(name: &str) -> Join {
    Join { member: name.into(), ..first_join("unused") }
}

fn static_join(name: &str, instance: &str) -> Join {
    Join { instance: Some(instance.into()), ..first_join(name) }
}

fn speaking(join: Join, protocols: &[&str]) -> Join {
    let protocols = protocols.iter().map(|name| (name.to_string(), subscription(&[TOPIC])));
    Join { protocols: protocols.collect(), ..join }
}

fn subscribing(join: Join, topics: &[&str]) -> Join {
    Join { protocols: vec![("range".into(), subscription(topics))], ..join }
}

fn identity(member: &str, generation: u32) -> Identity {
    Identity { member: member.into(), instance: None, generation: Some(generation) }
}

fn of_instance(member: &str, instance: &str, generation: u32) -> Identity {
    Identity { instance: Some(instance.into()), ..identity(member, generation) }
}

/// Nobody in particular.
fn nobody() -> Identity {
    Identity { member: "".into(), instance: None, generation: None }
}

/// A member syncs, and gives each of these members its own name as its assignment.
fn sync(member: &str, generation: u32, given: &[&str]) -> Request {
    let given = given.iter().map(|name| (MemberId::from(*name), Bytes::from(name.to_string())));
    Request::Sync(Sync {
        group: GROUP.into(),
        identity: identity(member, generation),
        protocol_type: None,
        protocol: None,
        assignments: given.collect(),
    })
}

fn leaver(member: &str) -> Leaver {
    Leaver { member: member.into(), instance: None, reason: None }
}

fn to_commit(topic: &str, offset: u64) -> OffsetToCommit {
    OffsetToCommit {
        topic: topic.into(),
        topic_id: None,
        partition: PartitionIndex(0),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "".into(),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn names(members: &[JoinedMember]) -> Vec<String> {
    members.iter().map(|member| member.member.to_string()).collect()
}

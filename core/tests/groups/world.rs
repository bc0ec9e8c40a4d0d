//! One partition of groups, its log, its coordinators one after the other, and their clients.

mod judge;

use crate::{
    clients::{Client, Phase},
    ghost::{Entry, Ghost, Key, TOPICS, subscription},
    statistics::Statistics,
};
use core::time::Duration;
use highwater_core::{
    coordinator::{Coordinator, CoordinatorError, Effect, Effects, Input, Shard},
    group::{
        CommitOffsets, FetchOffsets, GroupConfig, GroupError, GroupId, GroupShard, Identity,
        Leaver, OffsetToCommit, Record, Request, Response,
    },
    metadata::{Command, Endpoint, Image, NewTopic},
    time::{Instant, Now, Timestamp},
    types::{
        BrokerId, DirectoryId, Incarnation, LeaderEpoch, MetadataOffset, Offset, PartitionIndex,
        RequestId, TopicId,
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, VecDeque};

const GROUPS: usize = 3;
const CLIENTS: usize = 4;
const RETENTION: Duration = Duration::from_secs(90);

/// What an answer is judged by: the world as it was when the request was decided.
enum Judge {
    Join(usize),
    Sync(usize, Identity),
    Heartbeat { client: Option<usize>, is_member: bool },
    Commit { client: Option<usize>, may: bool, end: u64, key: Key, offset: Offset },
    Fetch { key: Key, expected: Option<Offset> },
    Leave,
    DeleteGroup(GroupId),
    DeleteOffsets,
}

pub struct World {
    random: ChaCha8Rng,
    now: Now,
    image: Image,
    config: GroupConfig,
    coordinator: Coordinator<GroupShard>,
    epoch: LeaderEpoch,
    log: Vec<Entry>,
    ghost: Ghost,
    high_watermark: u64,
    inputs: VecDeque<Input<GroupShard>>,
    asked: BTreeMap<RequestId, Judge>,
    /// A request is being handled, and not a tick.
    is_request: bool,
    clients: Vec<Client>,
    /// Who clients were before they restarted.
    zombies: Vec<(GroupId, Identity)>,
    names: u64,
    topic_ids: u8,
    pub statistics: Statistics,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let config = GroupConfig {
            offsets_retention: RETENTION,
            offsets_retention_check_interval: Duration::from_secs(7),
            ..GroupConfig::default()
        };
        let mut world = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Now { monotonic: Instant(1), wall: Timestamp(1_000_000_000_000) },
            image: image(),
            coordinator: Coordinator::new(config.clone(), Duration::from_secs(5)),
            config,
            epoch: LeaderEpoch(0),
            log: Vec::new(),
            ghost: Ghost::default(),
            high_watermark: 0,
            inputs: VecDeque::new(),
            asked: BTreeMap::new(),
            is_request: false,
            clients: Vec::new(),
            zombies: Vec::new(),
            names: 0,
            topic_ids: 0,
            statistics: Statistics::default(),
        };
        for name in TOPICS {
            world.create_topic(name);
        }
        for index in 0..GROUPS * CLIENTS {
            let client = world.client(index % GROUPS, index);
            world.clients.push(client);
        }
        world.elect();
        world
    }

    fn client(&mut self, group: usize, index: usize) -> Client {
        let is_consumer = group > 0;
        let seconds = |random: &mut ChaCha8Rng| Duration::from_secs(random.random_range(10..20));
        let mut client = Client {
            group: format!("g{group}").as_str().into(),
            instance: self.random.random_bool(0.4).then(|| format!("i{index}").as_str().into()),
            member: "".into(),
            generation: 0,
            phase: Phase::Outside,
            pending: None,
            next: self.now.monotonic,
            is_faithful: self.random.random_bool(0.5),
            is_excused: true,
            protocol_type: if is_consumer { "consumer" } else { "connect" },
            protocols: Vec::new(),
            session_timeout: seconds(&mut self.random),
            rebalance_timeout: seconds(&mut self.random),
            must_know_its_id: self.random.random_bool(0.7),
            to_assign: Vec::new(),
            owes_heartbeat: false,
        };
        self.subscribe(&mut client);
        client
    }

    fn subscribe(&mut self, client: &mut Client) {
        let metadata = match self.random.random_range(0..12) {
            0 => subscription(&[]),
            _ => {
                let first = self.random.random_range(0..TOPICS.len());
                subscription(&[TOPICS[first], TOPICS[(first + 1) % TOPICS.len()]])
            }
        };
        client.protocols = vec![("range".into(), metadata.clone())];
        if self.random.random_bool(0.5) {
            client.protocols.insert(0, ("sticky".into(), metadata));
        }
    }

    fn create_topic(&mut self, name: &str) {
        self.topic_ids += 1;
        let topic = NewTopic {
            id: TopicId([self.topic_ids; 16]),
            name: name.into(),
            replicas: vec![vec![BrokerId(1)]],
            configs: BTreeMap::new(),
        };
        self.apply(&Command::CreateTopics { topics: vec![topic] });
    }

    fn apply(&mut self, command: &Command) {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, command).expect("valid");
    }

    pub fn turn(&mut self) {
        self.statistics.turns += 1;
        let passed = Duration::from_millis(self.random.random_range(0..700));
        self.now.monotonic = self.now.monotonic.after(passed);
        self.now.wall.0 += passed.as_millis() as i64;
        self.faults();
        if self.coordinator.next_deadline().is_some_and(|due| due <= self.now.monotonic) {
            self.step(Input::Tick);
        }
        if self.random.random_bool(0.6) {
            self.advance_high_watermark();
        }
        for index in 0..self.clients.len() {
            if self.clients[index].pending.is_none()
                && self.clients[index].next <= self.now.monotonic
            {
                self.act(index);
            }
        }
        if self.random.random_bool(0.3) {
            self.act_as_zombie();
        }
        if self.random.random_bool(0.02) {
            self.check_replay();
        }
    }

    fn advance_high_watermark(&mut self) {
        self.high_watermark = self.log.len() as u64;
        let (epoch, to) = (self.epoch, Offset(self.high_watermark));
        self.step(Input::HighWatermarkAdvanced { epoch, to });
    }

    fn faults(&mut self) {
        if self.random.random_bool(0.01) {
            self.elect();
        }
        if self.random.random_bool(0.004) {
            self.desert();
        }
        if self.random.random_bool(0.01) {
            let hours = self.random.random_range(-48..48);
            self.now.wall.0 += hours * 3_600_000;
        }
        if self.random.random_bool(0.01) && self.topic_ids < 250 {
            let name = TOPICS[self.random.random_range(0..TOPICS.len())];
            match self.image.topic_named(name).map(|topic| topic.id) {
                Some(topic) => self.apply(&Command::DeleteTopic { topic }),
                None => self.create_topic(name),
            }
            // The coordinator may be asked before it is told.
            if self.random.random_bool(0.5) {
                self.step(Input::Tick);
            }
        }
    }

    /// All clients of a group leave at once, and stay away for a while.
    fn desert(&mut self) {
        let group: GroupId = format!("g{}", self.random.random_range(0..GROUPS)).as_str().into();
        let away = Duration::from_secs(self.random.random_range(10..200));
        let mut members = Vec::new();
        for client in self.clients.iter_mut().filter(|client| client.group == group) {
            let (member, instance) = (client.member.clone(), client.instance.clone());
            members.push(Leaver { member, instance, reason: None });
            client.member = "".into();
            client.phase = Phase::Outside;
            client.is_excused = true;
            client.next = self.now.monotonic.after(away);
        }
        self.ask(Request::Leave { group, members }, Judge::Leave);
    }

    /// Another broker becomes the coordinator. What was not replicated may be lost.
    fn elect(&mut self) {
        self.statistics.elections += 1;
        if self.random.random_bool(0.5) {
            let cut = self.log.len() as u64 - self.high_watermark;
            self.statistics.lost_records += cut;
            self.log.truncate(self.high_watermark as usize);
            self.ghost = Ghost::of(&self.log);
        }
        let epoch = LeaderEpoch(self.epoch.0 + 1);
        self.step(Input::Resigned { epoch });
        assert!(self.asked.is_empty(), "whatever waits is refused");
        self.epoch = epoch;
        self.coordinator = Coordinator::new(self.config.clone(), Duration::from_secs(5));
        // Each process has a monotonic clock of its own, and the next one need not be ahead.
        self.step(Input::Elected { epoch });
        // What was replicated is durable by now, before anything else happens.
        self.advance_high_watermark();
        for client in &mut self.clients {
            client.is_excused = true;
        }
    }

    fn step(&mut self, input: Input<GroupShard>) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let mut effects = Effects::new();
            self.coordinator.step(self.now, &self.image, input, &mut effects);
            for effect in effects {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect<GroupShard>) {
        match effect {
            Effect::Load { attempt, .. } => {
                let records = (0..).map(Offset).zip(self.log.iter());
                let records = records.map(|(offset, entry)| (offset, entry.record.clone()));
                let records = records.collect();
                let end = Offset(self.log.len() as u64);
                let high_watermark = Offset(self.high_watermark);
                self.inputs.push_back(Input::Loaded { attempt, records, end });
                self.inputs.push_back(Input::LoadEnded { attempt, end, high_watermark });
            }
            Effect::Append { write, records, .. } => {
                if self.random.random_bool(0.003) {
                    self.statistics.failed_appends += 1;
                    for client in &mut self.clients {
                        client.is_excused = true;
                    }
                    self.inputs.push_front(Input::AppendFailed { write });
                    return;
                }
                let base_offset = Offset(self.log.len() as u64);
                for record in records {
                    self.append(record);
                }
                let end = Offset(self.log.len() as u64);
                self.inputs.push_front(Input::Appended { write, base_offset, end });
            }
            Effect::Respond { request, response } => self.on_answer(request, response),
            Effect::Refuse { request, error } => self.on_refusal(request, error),
        }
    }

    fn append(&mut self, record: Record) {
        match &record {
            Record::OffsetCommit { group, topic, partition, value: None } if !self.is_request => {
                let key = (group.clone(), topic.clone(), *partition);
                let now = self.now.monotonic;
                self.ghost.check_expiry(now, &self.image, &key, RETENTION);
                self.statistics.expired += 1;
            }
            Record::Group { value: None, .. } => self.statistics.removed_groups += 1,
            Record::Group { value: Some(value), .. } if value.leader.is_some() => {
                self.statistics.assigned += 1;
            }
            Record::Group { value: Some(value), .. } if value.members.is_empty() => {
                self.statistics.emptied += 1;
            }
            Record::Group { .. } => self.statistics.generations += 1,
            _ => {}
        }
        let entry = Entry { record, at: self.now.monotonic };
        self.ghost.apply(&entry);
        self.log.push(entry);
    }

    fn ask(&mut self, body: Request, judge: Judge) -> RequestId {
        self.names += 1;
        let request = RequestId(self.names);
        self.asked.insert(request, judge);
        self.is_request = true;
        self.step(Input::Request { request, body });
        self.is_request = false;
        request
    }

    fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("m{}", self.names)
    }

    /// Asks for a client, which waits for the answer unless it has come already.
    fn ask_for(&mut self, client: usize, body: Request, judge: Judge) {
        let before = self.names + 1;
        self.clients[client].pending = Some(RequestId(before));
        let request = self.ask(body, judge);
        assert_eq!(request, RequestId(before));
    }

    fn act(&mut self, index: usize) {
        if !self.clients[index].is_faithful && self.misbehave(index) {
            return;
        }
        let client = self.clients[index].clone();
        match client.phase {
            Phase::Outside => {
                let fresh = self.fresh_name();
                self.ask_for(index, client.join(fresh.as_str().into()), Judge::Join(index));
            }
            Phase::Joined => {
                let judge = Judge::Sync(index, client.identity());
                self.ask_for(index, client.sync(), judge);
            }
            Phase::Member if client.owes_heartbeat => {
                self.clients[index].owes_heartbeat = false;
                self.heartbeat(Some(index), client.group.clone(), client.identity());
            }
            Phase::Member => {
                // A rebalance is told by heartbeats alone.
                self.clients[index].owes_heartbeat = true;
                match self.random.random_bool(0.7) {
                    true => self.commit(Some(index), client.group.clone(), client.identity()),
                    false => self.fetch(client.group),
                }
            }
        }
        self.sleep(index, 2000);
    }

    fn sleep(&mut self, index: usize, at_most: u64) {
        let millis = self.random.random_range(0..at_most);
        self.clients[index].next = self.now.monotonic.after(Duration::from_millis(millis));
    }

    /// Whether the client does something that a faithful one does not do.
    fn misbehave(&mut self, index: usize) -> bool {
        match self.random.random_range(0..60) {
            0 => self.sleep(index, 60_000),
            1 | 2 => {
                // It restarts and does not know who it was.
                let client = &mut self.clients[index];
                self.zombies.push((client.group.clone(), client.identity()));
                client.member = "".into();
                client.phase = Phase::Outside;
            }
            3 => {
                let mut client = self.clients[index].clone();
                self.subscribe(&mut client);
                client.phase = Phase::Outside;
                self.clients[index] = client;
            }
            4 => {
                let client = &mut self.clients[index];
                let (member, instance) = (client.member.clone(), client.instance.clone());
                let members = vec![Leaver { member, instance, reason: None }];
                let group = client.group.clone();
                client.member = "".into();
                client.phase = Phase::Outside;
                self.ask(Request::Leave { group, members }, Judge::Leave);
                self.sleep(index, 200_000);
            }
            5 => {
                let group = self.clients[index].group.clone();
                let judge = Judge::DeleteGroup(group.clone());
                self.ask(Request::DeleteGroup { group }, judge);
            }
            6 => {
                let group = self.clients[index].group.clone();
                let topics = vec![(self.topic().into(), vec![PartitionIndex(0)])];
                self.ask(Request::DeleteOffsets { group, topics }, Judge::DeleteOffsets);
            }
            _ => return false,
        }
        true
    }

    fn act_as_zombie(&mut self) {
        let group: GroupId = format!("g{}", self.random.random_range(0..=GROUPS)).as_str().into();
        if self.zombies.is_empty() || self.random.random_bool(0.2) {
            let nobody = Identity { member: "".into(), instance: None, generation: None };
            self.commit(None, group, nobody);
            return;
        }
        let at = self.random.random_range(0..self.zombies.len());
        let (group, identity) = self.zombies[at].clone();
        match self.random.random_range(0..3) {
            0 => self.heartbeat(None, group, identity),
            1 => self.commit(None, group, identity),
            _ => drop(self.zombies.swap_remove(at)),
        }
    }

    fn heartbeat(&mut self, client: Option<usize>, group: GroupId, identity: Identity) {
        let is_member = self.ghost.is_member(&group, &identity);
        let judge = Judge::Heartbeat { client, is_member };
        let body = Request::Heartbeat { group, identity };
        match client {
            Some(client) => self.ask_for(client, body, judge),
            None => drop(self.ask(body, judge)),
        }
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.random.random_range(0..TOPICS.len())]
    }

    fn commit(&mut self, client: Option<usize>, group: GroupId, identity: Identity) {
        let may = match identity.generation {
            None => !self.ghost.has_members(&group),
            Some(_) => self.ghost.is_member(&group, &identity),
        };
        let key: Key = (group.clone(), self.topic().into(), PartitionIndex(0));
        self.names += 1;
        let offset = Offset(self.names);
        let wanted = OffsetToCommit {
            topic: key.1.clone(),
            topic_id: None,
            partition: key.2,
            offset,
            leader_epoch: None,
            metadata: "".into(),
        };
        let judge = Judge::Commit { client, may, end: self.log.len() as u64, key, offset };
        let offsets = vec![wanted];
        let body =
            Request::CommitOffsets(CommitOffsets { group, identity, retention: None, offsets });
        match client {
            Some(client) => self.ask_for(client, body, judge),
            None => drop(self.ask(body, judge)),
        }
    }

    fn fetch(&mut self, group: GroupId) {
        let key: Key = (group.clone(), self.topic().into(), PartitionIndex(0));
        let expected = self.ghost.committed(&self.image, &key);
        let topics = Some(vec![(key.1.clone(), vec![key.2])]);
        let fetch = FetchOffsets { group, member: None, topics, require_stable: true };
        self.ask(Request::FetchOffsets(fetch), Judge::Fetch { key, expected });
    }
}

fn image() -> Image {
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
        at: Timestamp(0),
    };
    image.apply(MetadataOffset(1), &register).expect("valid");
    let epoch = image.broker(BrokerId(1)).expect("registered").epoch;
    let unfence = Command::UnfenceBroker { broker: BrokerId(1), epoch };
    image.apply(MetadataOffset(2), &unfence).expect("valid");
    image
}

//! A coordinator, its log, and consumers around it.

use crate::{
    checks::Ghost,
    member::{Consumer, Life, REBALANCE_TIMEOUT},
};
use highwater_core::{
    group::{
        ConsumerHeartbeat, ConsumerHeartbeatAnswer, GroupConfig, GroupError, GroupState, Identity,
        MemberEpoch, MemberId, MemberState, Record, TopicPartitions,
        consumer::{ConsumerGroup, ConsumerGroups},
    },
    metadata::{Command, Image, NewTopic},
    time::{Instant, Now, Timestamp},
    types::{BrokerId, Incarnation, MetadataOffset, Offset, PartitionIndex, TopicId},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const SESSION: Duration = Duration::from_secs(30);
/// The most consumers at a time.
const CONSUMERS: usize = 8;
const NAMES: [&str; 5] = ["a1", "a2", "a3", "b1", "b2"];
const EXPRESSIONS: [&str; 4] = ["a.*", "b.*", ".*2", "a1|b1"];
const INSTANCES: [&str; 3] = ["i", "j", "k"];

/// How often things happened, over all runs.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    heartbeats: u64,
    lost_answers: u64,
    missed_epochs: u64,
    fenced: u64,
    removed: u64,
    moved: u64,
    static_returns: u64,
    late_commits: u64,
    refused_commits: u64,
    waits: u64,
}

impl Statistics {
    pub fn add(&mut self, other: &Self) {
        self.heartbeats += other.heartbeats;
        self.lost_answers += other.lost_answers;
        self.missed_epochs += other.missed_epochs;
        self.fenced += other.fenced;
        self.removed += other.removed;
        self.moved += other.moved;
        self.static_returns += other.static_returns;
        self.late_commits += other.late_commits;
        self.refused_commits += other.refused_commits;
        self.waits += other.waits;
    }

    /// Of a hundred seeds; planted bugs are looked for in fewer.
    #[cfg(not(madsim))]
    pub fn assert_not_vacuous(&self) {
        for count in [
            self.heartbeats,
            self.lost_answers,
            self.missed_epochs,
            self.fenced,
            self.removed,
            self.moved,
            self.static_returns,
            self.late_commits,
            self.refused_commits,
            self.waits,
        ] {
            assert!(count > 20, "too little happened: {self:?}");
        }
    }
}

pub struct World {
    rng: ChaCha8Rng,
    groups: ConsumerGroups,
    config: GroupConfig,
    image: Image,
    now: Now,
    log: Vec<Record>,
    ghost: Ghost,
    consumers: Vec<Consumer>,
    /// When each member was heard of last, or its session began anew.
    heard: BTreeMap<MemberId, Instant>,
    /// Since when each member has had the same partitions to give up.
    revoking: BTreeMap<MemberId, Instant>,
    next_consumer: u32,
    next_topic: u8,
    pub statistics: Statistics,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let config = GroupConfig { consumer_session_timeout: SESSION, ..GroupConfig::default() };
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            groups: ConsumerGroups::default(),
            config,
            image: Image::default(),
            now: Now { monotonic: Instant(0), wall: Timestamp(0) },
            log: Vec::new(),
            ghost: Ghost::default(),
            consumers: Vec::new(),
            heard: BTreeMap::new(),
            revoking: BTreeMap::new(),
            next_consumer: 0,
            next_topic: 0,
            statistics: Statistics::default(),
        };
        world.command(&Command::RegisterBroker {
            broker: BrokerId(1),
            incarnation: Incarnation(1),
            rack: None,
            client_endpoint: Default::default(),
            peer_endpoint: Default::default(),
            directory: Default::default(),
            clean_shutdown_of: None,
            at: Timestamp(0),
        });
        let epoch = world.image.broker(BrokerId(1)).expect("registered").epoch;
        world.command(&Command::UnfenceBroker { broker: BrokerId(1), epoch });
        for name in &NAMES[..3] {
            world.create_topic(name);
        }
        world
    }

    /// One thing happens.
    pub fn turn(&mut self) {
        match self.rng.random_range(0..100) {
            0..45 => self.some_heartbeat(),
            45..60 => self.some_give_up(),
            60..75 => self.pass(),
            75..82 => self.begin_consumer(),
            82..86 => self.end_consumer(),
            86..89 => self.change_subscription(),
            89..92 => self.change_topics(),
            92..95 => self.move_coordinator(),
            _ => self.some_commit(),
        }
        self.check();
    }

    /// Nothing goes wrong any more: the group comes to rest, with everything consumed once (G12).
    pub fn settle(&mut self) {
        for _ in 0..150 {
            self.advance(Duration::from_secs(1));
            for place in 0..self.consumers.len() {
                self.consumers[place].give_up();
                self.heartbeat(place, true);
                self.consumers[place].give_up();
            }
            self.bury();
            self.check();
        }
        let state = self.groups.describe("g").map(|group| group.state);
        let rests = [Ok(GroupState::Stable), Ok(GroupState::Empty)].contains(&state);
        assert!(rests || self.log.is_empty(), "G12: {state:?} {:#?}", self.ghost);
        let mut expected = BTreeSet::new();
        for consumer in &self.consumers {
            assert!(self.ghost.about.contains_key(&consumer.id), "G12: {} is out", consumer.id);
            for topic in self.ghost.subscribed(&consumer.id, &self.image) {
                let count = self.image.topic(topic).expect("exists").partitions.len() as u32;
                expected.extend((0..count).map(|index| (topic, PartitionIndex(index))));
            }
            self.check_expression(consumer);
        }
        let found: BTreeSet<_> = self.consumers.iter().flat_map(Consumer::consumes).collect();
        assert_eq!(found, expected, "G12: everything is consumed");
        self.check_replay();
    }

    /// In the end an expression has been resolved to what it matches.
    fn check_expression(&self, consumer: &Consumer) {
        let Some(expression) = &consumer.expression else { return };
        let matches = |name: &str| match &**expression {
            "a.*" => name.starts_with('a'),
            "b.*" => name.starts_with('b'),
            ".*2" => name.ends_with('2'),
            "a1|b1" => name == "a1" || name == "b1",
            other => panic!("{other} is not in the list"),
        };
        let names = self.image.topics().map(|topic| topic.name.as_str());
        let expected: Vec<Arc<str>> = names.filter(|name| matches(name)).map(Arc::from).collect();
        assert_eq!(self.ghost.expressions[expression], expected, "G12: {expression}");
    }

    fn some_heartbeat(&mut self) {
        if let Some(place) = self.some_consumer() {
            let arrives = self.rng.random_bool(0.8);
            self.heartbeat(place, arrives);
            self.bury();
        }
    }

    fn some_consumer(&mut self) -> Option<usize> {
        let count = self.consumers.len();
        (count > 0).then(|| self.rng.random_range(0..count))
    }

    /// A consumer sends its heartbeat; its answer may not arrive.
    fn heartbeat(&mut self, place: usize, arrives: bool) {
        self.consumers[place].prepare();
        let Some(request) = self.consumers[place].heartbeat() else { return };
        let before = self.ghost.clone();
        let outcome = self.serve(&request);
        self.statistics.heartbeats += 1;
        self.check_outcome(&before, &request, &outcome);
        if outcome == Err(GroupError::FencedMemberEpoch) {
            self.statistics.fenced += 1;
        }
        let consumer = &mut self.consumers[place];
        if arrives {
            consumer.obey(outcome);
        } else {
            self.statistics.lost_answers += 1;
            consumer.is_unsure = true;
            if consumer.life != Life::Joined {
                consumer.life = Life::Gone;
            }
        }
    }

    fn serve(
        &mut self,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        let mut records = Vec::new();
        let Self { groups, now, image, config, .. } = self;
        let outcome = groups.heartbeat(*now, image, config, request, &mut records);
        self.replay(&records);
        if outcome.is_ok() && matches!(request.epoch, MemberEpoch::Join | MemberEpoch::Stay(_)) {
            self.heard.insert(request.member.clone(), self.now.monotonic);
        }
        outcome
    }

    /// Whether a heartbeat was rightly taken (G11), and a static member got back what it had.
    fn check_outcome(
        &mut self,
        before: &Ghost,
        request: &ConsumerHeartbeat,
        outcome: &Result<ConsumerHeartbeatAnswer, GroupError>,
    ) {
        let is_fenced = *outcome == Err(GroupError::FencedMemberEpoch);
        assert!(!is_fenced || request.epoch != MemberEpoch::Join, "who joins has no epoch");
        let Ok(answer) = outcome else { return };
        if let (MemberEpoch::Stay(epoch), Some(known)) =
            (request.epoch, before.current.get(&request.member))
            && known.epoch != Some(epoch)
        {
            assert_eq!(epoch, known.previous_epoch, "G11: a stale epoch is taken");
            let owned = request.owned.clone().unwrap_or_default();
            for (topic, partitions) in owned {
                for partition in partitions {
                    let assigned = known.assigned.get(&topic);
                    assert!(assigned.is_some_and(|assigned| assigned.contains_key(&partition)));
                }
            }
            self.statistics.missed_epochs += 1;
        }
        let Some(instance) = request.instance.clone() else { return };
        let holder =
            before.about.iter().find(|(_, about)| about.instance == Some(instance.clone()));
        let Some((holder, _)) = holder else { return };
        let had = &before.current[holder];
        if request.epoch == MemberEpoch::Join
            && had.epoch.is_none()
            && before.epoch == self.ghost.epoch
        {
            let target = before.target.get(holder).cloned().unwrap_or_default();
            for (topic, partitions) in &had.assigned {
                for partition in partitions.keys() {
                    let of_topic = |all: &TopicPartitions| {
                        all.get(topic).is_some_and(|p| p.contains(partition))
                    };
                    let is_kept = answer.assignment.as_ref().is_some_and(of_topic);
                    assert_eq!(is_kept, of_topic(&target), "{instance} has what it had");
                }
            }
            self.statistics.static_returns += 1;
        }
    }

    fn replay(&mut self, records: &[Record]) {
        for record in records {
            self.groups.replay(Offset(self.log.len() as u64), record);
            self.ghost.follow(record, &self.image);
            self.log.push(record.clone());
            if let Record::CurrentAssignment { member, value, .. } = record {
                self.revoking.remove(member);
                if let Some(value) = value
                    && value.state == MemberState::UnrevokedPartitions
                    && value.epoch.is_some()
                {
                    self.statistics.waits += 1;
                    self.revoking.insert(member.clone(), self.now.monotonic);
                }
            }
        }
        self.heard.retain(|member, _| self.ghost.about.contains_key(member));
    }

    fn some_give_up(&mut self) {
        if let Some(place) = self.some_consumer() {
            self.consumers[place].give_up();
        }
    }

    fn pass(&mut self) {
        let millis = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(0..25_000),
            _ => self.rng.random_range(0..3_000),
        };
        self.advance(Duration::from_millis(millis));
    }

    /// Time passes, and the coordinator ticks when it wants to.
    fn advance(&mut self, time: Duration) {
        let until = self.now.monotonic.after(time);
        while let Some(due) = self.groups.next_deadline().filter(|due| *due <= until) {
            self.now.monotonic = due.max(self.now.monotonic);
            self.tick();
        }
        self.now.monotonic = until;
        self.now.wall.0 += time.as_millis() as i64;
    }

    fn tick(&mut self) {
        let members = self.ghost.about.len();
        let mut records = Vec::new();
        let Self { groups, now, image, config, .. } = self;
        groups.tick(*now, image, config, &mut records);
        self.replay(&records);
        self.statistics.removed += (members - self.ghost.about.len()) as u64;
        let now = self.now.monotonic;
        for member in self.ghost.about.keys() {
            let silent = now.since(self.heard[member]);
            assert!(silent < SESSION, "{member} is silent for {silent:?}");
            if let Some(since) = self.revoking.get(member) {
                let late = now.since(*since);
                assert!(late < REBALANCE_TIMEOUT, "{member} gives nothing up for {late:?}");
            }
        }
    }

    fn begin_consumer(&mut self) {
        if self.consumers.len() >= CONSUMERS {
            return;
        }
        self.next_consumer += 1;
        let instance = self.rng.random_bool(0.4).then(|| pick(&mut self.rng, &INSTANCES));
        let mut consumer = Consumer {
            id: format!("m{}", self.next_consumer).into(),
            instance: instance.map(Into::into),
            topics: Vec::new(),
            expression: None,
            assignor: self.rng.random_bool(0.3).then(|| pick(&mut self.rng, &["range", "uniform"])),
            life: Life::Joined,
            epoch: None,
            owned: TopicPartitions::new(),
            told: TopicPartitions::new(),
            is_unsure: false,
            has_news: false,
        };
        self.subscribe(&mut consumer);
        self.consumers.push(consumer);
    }

    fn subscribe(&mut self, consumer: &mut Consumer) {
        let rng = &mut self.rng;
        // Most have the same in mind, so that groups are homogeneous now and then.
        consumer.topics = match rng.random_range(0..4) {
            0 => {
                NAMES.iter().filter(|_| rng.random_bool(0.4)).map(|name| Arc::from(*name)).collect()
            }
            _ => NAMES[..2].iter().map(|name| Arc::from(*name)).collect(),
        };
        consumer.expression = rng.random_bool(0.3).then(|| pick(rng, &EXPRESSIONS).into());
        consumer.has_news = true;
    }

    fn end_consumer(&mut self) {
        let Some(place) = self.some_consumer() else { return };
        let consumer = &mut self.consumers[place];
        consumer.life = match self.rng.random_range(0..3) {
            // The process dies.
            0 => Life::Gone,
            // A static member shuts down.
            1 if consumer.instance.is_some() && consumer.epoch.is_some() => Life::SteppingOut,
            _ if consumer.epoch.is_some() => Life::Leaving,
            _ => Life::Gone,
        };
        consumer.prepare();
        let instance = consumer.instance.clone();
        if consumer.life == Life::SteppingOut && self.consumers.len() < CONSUMERS {
            // It is about to be started again.
            let arrives = self.rng.random_bool(0.8);
            let (topics, expression) =
                (self.consumers[place].topics.clone(), self.consumers[place].expression.clone());
            self.heartbeat(place, arrives);
            self.begin_consumer();
            let next = self.consumers.last_mut().expect("just begun");
            (next.instance, next.topics, next.expression) = (instance, topics, expression);
        }
        self.bury();
    }

    fn bury(&mut self) {
        self.consumers.retain(|consumer| consumer.life != Life::Gone);
    }

    fn change_subscription(&mut self) {
        let Some(place) = self.some_consumer() else { return };
        let mut consumer = self.consumers[place].clone();
        self.subscribe(&mut consumer);
        self.consumers[place] = consumer;
    }

    fn change_topics(&mut self) {
        let name = pick(&mut self.rng, &NAMES);
        let Some(topic) = self.image.topic_named(name) else {
            self.create_topic(name);
            return;
        };
        let (id, count) = (topic.id, topic.partitions.len() as u32);
        if self.rng.random_bool(0.4) {
            self.command(&Command::DeleteTopic { topic: id });
        } else if count < 8 {
            let replicas = vec![vec![BrokerId(1)]];
            let first = PartitionIndex(count);
            self.command(&Command::CreatePartitions { topic: id, first, replicas });
        }
    }

    fn create_topic(&mut self, name: &str) {
        self.next_topic += 1;
        let replicas = vec![vec![BrokerId(1)]; self.rng.random_range(1..6)];
        let id = TopicId([self.next_topic; 16]);
        let topic = NewTopic { id, name: name.into(), replicas, configs: BTreeMap::new() };
        self.command(&Command::CreateTopics { topics: vec![topic] });
    }

    fn command(&mut self, command: &Command) {
        let at = MetadataOffset(self.image.applied().0 + 1);
        self.image.apply(at, command).expect("the world commands what is possible");
    }

    /// Another broker reads the log and goes on.
    fn move_coordinator(&mut self) {
        self.check_replay();
        self.groups = self.reloaded();
        self.groups.loaded(self.now, &self.config);
        let now = self.now.monotonic;
        self.heard.values_mut().chain(self.revoking.values_mut()).for_each(|since| *since = now);
        self.statistics.moved += 1;
    }

    fn reloaded(&self) -> ConsumerGroups {
        let mut groups = ConsumerGroups::default();
        for (offset, record) in (0..).map(Offset).zip(&self.log) {
            groups.replay(offset, record);
        }
        groups
    }

    /// The replay law.
    fn check_replay(&self) {
        let reloaded = self.reloaded();
        let all = |groups: &ConsumerGroups| -> Vec<ConsumerGroup> {
            groups.values().map(|(_, group)| group.clone()).collect()
        };
        assert_eq!(all(&self.groups), all(&reloaded), "the log says what the state is");
    }

    /// A consumer commits what it consumes, or did a moment ago.
    fn some_commit(&mut self) {
        let Some(place) = self.some_consumer() else { return };
        let consumer = &self.consumers[place];
        let Some(epoch) = consumer.epoch else { return };
        let epoch = epoch.saturating_sub(self.rng.random_range(0..3));
        let ids: Vec<TopicId> = self.image.topics().map(|topic| topic.id).collect();
        if ids.is_empty() {
            return;
        }
        let topic = pick(&mut self.rng, &ids);
        let partition = PartitionIndex(self.rng.random_range(0..5));
        let identity =
            Identity { member: consumer.id.clone(), instance: None, generation: Some(epoch) };
        let offsets = std::iter::once(("?", Some(topic), partition));
        let outcome = self.groups.check_commit(&self.image, "g", &identity, offsets);
        let expected = self.ghost.current.get(&consumer.id).is_some_and(|current| {
            let since = |of: &BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>| {
                of.get(&topic).and_then(|of_topic| of_topic.get(&partition).copied())
            };
            let since = since(&current.assigned).or(since(&current.pending_revocation));
            current.epoch.is_some_and(|known| {
                epoch == known || (epoch < known && since.is_some_and(|since| since <= epoch))
            })
        });
        assert_eq!(outcome.is_ok(), expected, "{} commits in {epoch}: {outcome:?}", consumer.id);
        if expected {
            self.statistics.late_commits +=
                u64::from(self.ghost.current[&consumer.id].epoch != Some(epoch));
        } else {
            self.statistics.refused_commits += 1;
        }
    }

    /// What holds after every step.
    fn check(&self) {
        self.ghost.check();
        // G7: a consumer that the coordinator has removed may not know it yet, but does not count.
        let mut consumed: BTreeMap<(TopicId, PartitionIndex), &MemberId> = BTreeMap::new();
        let members = self.consumers.iter().filter(|one| self.ghost.about.contains_key(&one.id));
        for consumer in members {
            for partition in consumer.consumes() {
                let other = consumed.insert(partition, &consumer.id);
                assert_eq!(other, None, "G7: {} consumes {partition:?}, too", consumer.id);
            }
        }
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

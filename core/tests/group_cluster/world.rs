//! The brokers, the clients, the network between them, and what happens next.

use crate::{
    broker::{Broker, FASTEST_CLOCK, Load},
    clients::{Client, Mint},
    ghost::Ghost,
    log::{Entry, Partition},
    statistics::Statistics,
    view::{Batch, Live, View},
};
use highwater_core::{
    coordinator::{CoordinatorError, Effect, Effects, Input, Shard},
    group::{GroupConfig, GroupShard, MigrationPolicy, Record, Request, Response},
    metadata::{Command, Image, NewTopic},
    types::{
        BrokerId, Incarnation, LeaderEpoch, MetadataOffset, Offset, PartitionIndex, RequestId,
        TopicId,
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

pub const MILLI: u64 = 1_000_000;
/// A broker that has not heard for so long who leads doubts that it does.
const DOUBT_AFTER: u64 = 1_000 * MILLI;
/// More messages under way than this are lost.
const QUEUE_MAX: usize = 80;
pub const TOPICS: [&str; 4] = ["apples", "pears", "plums", "nuts"];

pub type Outcome = Result<Response, CoordinatorError>;

/// Something under way.
#[derive(Clone)]
pub enum Message {
    Request { client: usize, seq: u64, to: usize, body: Request },
    Answer { client: usize, seq: u64, outcome: Outcome },
}

/// What this seed is about.
pub struct Settings {
    pub group: GroupConfig,
    pub loss: f64,
    pub fault_rate: u32,
    pub topics_change: bool,
    pub wall_steps: bool,
    pub churn: f64,
    /// The most records of a log that are read at once, exclusive.
    pub load_piece: usize,
}

pub struct World {
    pub random: ChaCha8Rng,
    /// Nanoseconds of true time.
    pub time: u64,
    pub settings: Settings,
    pub partition: Partition,
    /// When each leader epoch began.
    elected_at: Vec<u64>,
    pub brokers: Vec<Broker>,
    pub images: Vec<Rc<Image>>,
    next_topic: u8,
    pub network: Vec<Message>,
    pub clients: Vec<Client>,
    pub mint: Mint,
    pub ghost: Ghost,
    next_request: u64,
    pub statistics: Statistics,
}

fn group_config(random: &mut ChaCha8Rng) -> GroupConfig {
    use MigrationPolicy::{Bidirectional, Disabled, Downgrade, Upgrade};
    let policies = [Bidirectional, Bidirectional, Upgrade, Downgrade, Disabled];
    GroupConfig {
        min_session_timeout: Duration::from_millis(100),
        initial_rebalance_delay: Duration::from_millis([0, 100, 400][random.random_range(0..3)]),
        max_size: [3, 100, 100][random.random_range(0..3)],
        offsets_retention: Duration::from_secs([2, 5, 30][random.random_range(0..3)]),
        offsets_retention_check_interval: Duration::from_millis(500),
        consumer_session_timeout: Duration::from_secs(2),
        consumer_heartbeat_interval: Duration::from_millis(300),
        consumer_max_size: [3, 100, 100][random.random_range(0..3)],
        migration_policy: policies[random.random_range(0..5)],
        ..GroupConfig::default()
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let replicas = random.random_range(1..=4_usize);
        let min_insync = random.random_range(1..=replicas.min(2));
        let group = group_config(&mut random);
        let mut mint = Mint::default();
        let clients = Client::draw_all(&mut random, &mut mint);
        let brokers = (0..replicas).map(|_| Broker::new(&group, &mut random)).collect();
        let mut world = Self {
            settings: Settings {
                group,
                loss: [0.0, 0.02, 0.1][random.random_range(0..3)],
                fault_rate: [0, 4, 12][random.random_range(0..3)],
                topics_change: random.random_bool(0.6),
                wall_steps: random.random_bool(0.4),
                churn: [0.0, 0.02, 0.06][random.random_range(0..3)],
                load_piece: [20, 1500, 1500][random.random_range(0..3)],
            },
            random,
            time: 1 << 34,
            partition: Partition::new(replicas, min_insync),
            elected_at: Vec::new(),
            brokers,
            images: vec![Rc::default()],
            next_topic: 0,
            network: Vec::new(),
            clients,
            mint,
            ghost: Ghost::default(),
            next_request: 0,
            statistics: Statistics::default(),
        };
        world.register_broker();
        for name in &TOPICS[..3] {
            world.create_topic(name);
        }
        let newest = world.images.len() - 1;
        world.brokers.iter_mut().for_each(|broker| broker.image = newest);
        world.partition.elect(&mut world.random, |_| true);
        (0..replicas).for_each(|who| world.learn(who));
        world
    }

    /// One thing happens.
    pub fn turn(&mut self) {
        self.time += self.random.random_range(0..6 * MILLI);
        let who = self.random.random_range(0..self.brokers.len());
        match self.random.random_range(0..1000) {
            0..340 => self.deliver_any(),
            340..590 => {
                let client = self.random.random_range(0..self.clients.len());
                self.act(client);
            }
            590..740 => self.replicate(who),
            740..850 => self.tell_high_watermark(who),
            850..905 => self.tick(who),
            905..950 => self.load_some(who),
            950..965 => self.learn(who),
            965..969 => self.see_image(who),
            969..970 => self.confirm(who),
            970..975 => self.compact(who),
            975..978 => self.check_reload(who),
            978..981 if self.settings.topics_change => self.change_topics(),
            981..990 => self.fault(who),
            _ => {}
        }
    }

    pub fn newest_image(&self) -> Rc<Image> {
        self.images.last().expect("there is always one").clone()
    }

    fn command(&mut self, command: &Command) {
        let mut image = (*self.newest_image()).clone();
        let at = MetadataOffset(image.applied().0 + 1);
        image.apply(at, command).expect("the command is carried out");
        self.images.push(Rc::new(image));
    }

    fn register_broker(&mut self) {
        self.command(&Command::RegisterBroker {
            broker: BrokerId(1),
            incarnation: Incarnation(1),
            rack: None,
            client_endpoint: Default::default(),
            peer_endpoint: Default::default(),
            directory: Default::default(),
            clean_shutdown_of: None,
            at: Default::default(),
        });
        let epoch = self.newest_image().broker(BrokerId(1)).expect("registered").epoch;
        self.command(&Command::UnfenceBroker { broker: BrokerId(1), epoch });
    }

    fn create_topic(&mut self, name: &str) {
        self.next_topic += 1;
        let id = TopicId([self.next_topic; 16]);
        let replicas = vec![vec![BrokerId(1)]; self.random.random_range(1..5)];
        let topic = NewTopic { id, name: name.into(), replicas, configs: BTreeMap::new() };
        self.command(&Command::CreateTopics { topics: vec![topic] });
    }

    /// A topic comes, grows, or goes.
    fn change_topics(&mut self) {
        let name = TOPICS[self.random.random_range(0..TOPICS.len())];
        let image = self.newest_image();
        let Some(topic) = image.topic_named(name) else {
            if self.next_topic < 250 {
                self.create_topic(name);
            }
            return;
        };
        if self.random.random_bool(0.3) {
            self.statistics.topics_deleted += 1;
            self.command(&Command::DeleteTopic { topic: topic.id });
        } else if topic.partitions.len() < 6 {
            self.statistics.topics_grown += 1;
            let first = PartitionIndex(topic.partitions.len() as u32);
            let replicas = vec![vec![BrokerId(1)]];
            self.command(&Command::CreatePartitions { topic: topic.id, first, replicas });
        }
    }

    pub fn see_image(&mut self, who: usize) {
        let newest = self.images.len() - 1;
        let known = self.brokers[who].image;
        if self.brokers[who].up && known < newest {
            self.brokers[who].image = self.random.random_range(known + 1..=newest);
            self.step(who, Input::Tick, None);
        }
    }

    /// Something is sent, and may not arrive.
    pub fn send(&mut self, message: Message) {
        if self.random.random_bool(self.settings.loss) {
            self.statistics.lost_messages += 1;
            return;
        }
        if self.network.len() >= QUEUE_MAX {
            self.statistics.lost_messages += 1;
            self.network.remove(0);
        }
        self.network.push(message);
    }

    fn deliver_any(&mut self) {
        let Some(newest) = self.network.len().checked_sub(1) else { return };
        let mut pick = || self.random.random_range(0..=newest);
        let index = pick().min(pick()).min(pick());
        let repeats = self.random.random_bool(self.settings.loss / 3.0);
        let message = if repeats && !says_what_it_owns(&self.network[index]) {
            self.statistics.duplicates += 1;
            self.network[index].clone()
        } else {
            self.network.remove(index)
        };
        self.deliver(message);
    }

    pub fn deliver(&mut self, message: Message) {
        match message {
            Message::Answer { client, seq, outcome } => self.answered(client, seq, outcome),
            Message::Request { client, seq, to, body } => {
                if self.is_obsolete(client, seq, &body) || !self.brokers[to].up {
                    return;
                }
                self.ask(to, client, seq, body);
            }
        }
    }

    /// A connection does not deliver what a later one has overtaken: what a member says that it
    /// owns is never older than what it does.
    fn is_obsolete(&self, client: usize, seq: u64, body: &Request) -> bool {
        let Request::ConsumerHeartbeat(heartbeat) = body else { return false };
        let is_current = self.clients.get(client).is_some_and(|client| client.waits_for(seq));
        !is_current && heartbeat.owned.is_some()
    }

    /// A broker takes a request.
    pub fn ask(&mut self, who: usize, client: usize, seq: u64, mut body: Request) {
        if let Request::Join(join) = &mut body {
            // The broker draws it, and so nobody else has it even if a request comes twice.
            join.fresh_member = self.mint.fresh("c");
        }
        self.next_request += 1;
        self.statistics.requests += 1;
        let request = RequestId(self.next_request);
        self.doubt(who);
        let waiting = self.expect(who, client, seq, &body);
        let joins = matches!(body, Request::Join(_));
        self.brokers[who].requests.insert(request, waiting);
        let asked = body.clone();
        self.step(who, Input::Request { request, body }, Some(&asked));
        if joins && let Some(shard) = self.brokers[who].coordinator.shard() {
            let parked = shard.clone().waiting().contains(&request);
            if let Some(waiting) = self.brokers[who].requests.get_mut(&request) {
                waiting.parked = parked;
            }
        }
    }

    /// Whether an epoch was over for so long that its leader must have noticed.
    pub fn is_long_over(&mut self, epoch: u32) -> bool {
        while self.elected_at.len() <= self.partition.epoch() as usize {
            self.elected_at.push(self.time);
        }
        let ended_at = self.elected_at.get(epoch as usize + 1);
        ended_at.is_some_and(|at| self.time > at + DOUBT_AFTER)
    }

    /// Before anything else: a leader that was replaced long ago and was not told doubts itself.
    fn doubt(&mut self, who: usize) {
        let Some(epoch) = self.brokers[who].coordinator.epoch() else { return };
        if self.is_long_over(epoch.0) {
            self.statistics.doubts += 1;
            self.step(who, Input::Doubted { epoch }, None);
        }
    }

    /// A leader doubts itself for nothing.
    pub fn doubt_for_nothing(&mut self, who: usize) {
        if let Some(epoch) = self.brokers[who].coordinator.epoch() {
            self.statistics.vain_doubts += 1;
            self.step(who, Input::Doubted { epoch }, None);
        }
    }

    /// A doubt is over, if there was any.
    fn confirm(&mut self, who: usize) {
        let replica = &self.partition.replicas[who];
        if self.brokers[who].up && replica.leads && replica.epoch == self.partition.epoch() {
            let epoch = LeaderEpoch(replica.epoch);
            self.step(who, Input::Confirmed { epoch }, None);
        }
    }

    /// Steps a coordinator and does what it wants.
    pub fn step(&mut self, who: usize, input: Input<GroupShard>, asked: Option<&Request>) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            self.statistics.steps += 1;
            let broker = &mut self.brokers[who];
            let now = broker.now(self.time);
            let image = self.images[broker.image].clone();
            let mut effects = Effects::new();
            broker.coordinator.step(now, &image, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Load { epoch, attempt } => {
                        next = self.begin_load(who, epoch, attempt);
                    }
                    Effect::Append { epoch, write, records } => {
                        next = Some(match self.append(who, epoch, &records, asked) {
                            Some(base) => Input::Appended {
                                write,
                                base_offset: Offset(base),
                                end: Offset(base + records.len() as u64),
                            },
                            None => Input::AppendFailed { write },
                        });
                    }
                    Effect::Respond { request, response } => {
                        let waiting = self.answer(who, request);
                        self.check_answer(who, &waiting, &response);
                        let (client, seq) = (waiting.client, waiting.seq);
                        self.send(Message::Answer { client, seq, outcome: Ok(response) });
                    }
                    Effect::Refuse { request, error } => {
                        self.statistics.refusals += 1;
                        let waiting = self.answer(who, request);
                        let (client, seq) = (waiting.client, waiting.seq);
                        self.send(Message::Answer { client, seq, outcome: Err(error) });
                    }
                }
            }
        }
    }

    fn append(
        &mut self,
        who: usize,
        epoch: LeaderEpoch,
        records: &[Record],
        asked: Option<&Request>,
    ) -> Option<u64> {
        // A refused append leaves nothing in the log: the partition's machine decides in one step.
        let fails = self.settings.fault_rate > 0 && self.random.random_bool(0.004);
        let now = self.brokers[who].now(self.time);
        let appended = (!fails).then(|| self.partition.append(who, epoch.0, records, self.time));
        let Some(base) = appended.flatten() else {
            self.statistics.failed_appends += 1;
            return None;
        };
        self.note_records(epoch.0, base, records);
        let retention = self.settings.group.offsets_retention.as_nanos() as u64;
        let broker = &mut self.brokers[who];
        let live = Live {
            image: &self.images[broker.image],
            request: asked,
            retention: retention * 1000 / FASTEST_CLOCK,
            fast: FASTEST_CLOCK,
        };
        let batch =
            Batch { base, records: records.iter().collect(), at: self.time, live: Some(live) };
        broker.view.apply(&batch);
        self.note_members(who, records, now.monotonic);
        Some(base)
    }

    fn begin_load(
        &mut self,
        who: usize,
        epoch: LeaderEpoch,
        attempt: highwater_core::types::WriteId,
    ) -> Option<Input<GroupShard>> {
        let replica = &self.partition.replicas[who];
        self.statistics.loads += 1;
        let fails = self.settings.fault_rate > 0 && self.random.random_bool(0.03);
        if !replica.leads || replica.epoch != epoch.0 || fails {
            self.statistics.failed_loads += 1;
            return Some(Input::LoadFailed { attempt });
        }
        let (entries, high_watermark) = (replica.entries.clone(), replica.high_watermark);
        let broker = &mut self.brokers[who];
        broker.forget();
        broker.newest_load = Some(attempt);
        broker.loads.push(Load { attempt, entries, high_watermark, next: 0 });
        None
    }

    /// A piece of a log is read; it need not be the load that the coordinator waits for.
    pub fn load_some(&mut self, who: usize) {
        let count = self.brokers[who].loads.len();
        if count == 0 || !self.brokers[who].up {
            return;
        }
        let index = self.random.random_range(0..count);
        self.statistics.late_loads += u64::from(index + 1 < count);
        let piece = self.random.random_range(1..self.settings.load_piece);
        let load = &mut self.brokers[who].loads[index];
        let (attempt, from) = (load.attempt, load.next);
        let to = (from + piece).min(load.entries.len());
        load.next = to;
        let records = (from as u64..).zip(&load.entries[from..to]);
        let records: Vec<(Offset, Record)> = records
            .filter(|(_, entry)| !entry.compacted)
            .map(|(at, entry)| (Offset(at), (*entry.record).clone()))
            .collect();
        let is_over = to == load.entries.len();
        self.step(who, Input::Loaded { attempt, records, end: Offset(to as u64) }, None);
        if is_over {
            let load = self.brokers[who].loads.remove(index);
            let high_watermark = Offset(load.high_watermark);
            let end = Offset(to as u64);
            if self.brokers[who].newest_load == Some(attempt) {
                self.brokers[who].view = view_of(&load.entries);
                self.brokers[who].loaded_at = self.time;
            }
            self.step(who, Input::LoadEnded { attempt, end, high_watermark }, None);
            self.check_reload(who);
        }
    }

    /// The broker's log hears of the newest epoch, and its coordinator, sooner or later.
    pub fn learn(&mut self, who: usize) {
        if !self.brokers[who].up {
            return;
        }
        let end = self.partition.replicas[who].end();
        if self.random.random_bool(0.6) {
            self.partition.learn(who);
        }
        let replica = &self.partition.replicas[who];
        self.statistics.lost_tails += u64::from(replica.end() < end);
        let (epoch, leads) = (replica.epoch, replica.leads);
        let broker = &mut self.brokers[who];
        if broker.told < epoch && self.random.random_bool(0.6) {
            broker.told = epoch;
            broker.told_high_watermark = 0;
            let epoch = LeaderEpoch(epoch);
            let input = if leads { Input::Elected { epoch } } else { Input::Resigned { epoch } };
            self.step(who, input, None);
        }
    }

    pub fn replicate(&mut self, who: usize) {
        if self.brokers[who].up {
            let end = self.partition.replicas[who].end();
            let records = self.random.random_range(0..60);
            self.partition.replicate(who, records);
            self.statistics.lost_tails += u64::from(self.partition.replicas[who].end() < end);
        }
    }

    pub fn tell_high_watermark(&mut self, who: usize) {
        self.doubt(who);
        let replica = &self.partition.replicas[who];
        let (epoch, to) = (replica.epoch, replica.high_watermark);
        let broker = &mut self.brokers[who];
        if broker.up && replica.leads && to > broker.told_high_watermark {
            broker.told_high_watermark = to;
            let (epoch, to) = (LeaderEpoch(epoch), Offset(to));
            self.step(who, Input::HighWatermarkAdvanced { epoch, to }, None);
        }
    }

    /// Does what is due, until nothing is (LV10).
    pub fn tick(&mut self, who: usize) {
        if !self.brokers[who].up {
            return;
        }
        self.doubt(who);
        for _ in 0..100 {
            let broker = &self.brokers[who];
            let now = broker.now(self.time).monotonic;
            if broker.coordinator.next_deadline().is_none_or(|at| at > now) {
                return self.check_late_members(who);
            }
            self.step(who, Input::Tick, None);
        }
        panic!("LV10: there is always something to do");
    }

    pub fn compact(&mut self, who: usize) {
        let high_watermark = self.partition.replicas[who].high_watermark;
        let bound = self.random.random_range(0..=high_watermark);
        let drops = self.brokers[who].loads.is_empty() && self.random.random_bool(0.6);
        self.statistics.compacted += self.partition.compact(who, bound, drops);
    }

    /// G5: what a fresh shard reads from the log, compacted or not, is what the live one knows.
    pub fn check_reload(&mut self, who: usize) {
        let Some(shard) = self.brokers[who].coordinator.shard() else { return };
        let replica = &self.partition.replicas[who];
        if !replica.leads
            || self.brokers[who].coordinator.epoch().map(|e| e.0) != Some(replica.epoch)
        {
            return;
        }
        let mut reloaded = GroupShard::new(&self.settings.group);
        for (at, entry) in replica.readable() {
            reloaded.replay(Offset(at), &entry.record);
        }
        let (live, reloaded) = (shard.hard_state(), reloaded.hard_state());
        if live != reloaded {
            let compacted = replica.entries.iter().any(|entry| entry.compacted);
            panic!("G5: compacted {compacted}: the log says {reloaded:#?}, the shard {live:#?}");
        }
        self.check_view(who, &live);
    }
}

/// Whether it is a heartbeat that tells what a member owns. Such a one is not taken twice: a client
/// that sends it again does not hear the first answer any more.
fn says_what_it_owns(message: &Message) -> bool {
    let Message::Request { body: Request::ConsumerHeartbeat(heartbeat), .. } = message else {
        return false;
    };
    heartbeat.owned.is_some()
}

/// What a log says, batch by batch.
fn view_of(entries: &[Entry]) -> View {
    let mut view = View::default();
    let mut base = 0;
    while let Some(first) = entries.get(base) {
        let end = first.batch_end as usize;
        let records: Vec<&Record> =
            entries[base..end].iter().map(|entry| Arc::as_ref(&entry.record)).collect();
        view.apply(&Batch { base: base as u64, records, at: first.at, live: None });
        base = end;
    }
    view
}

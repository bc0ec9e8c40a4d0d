//! The brokers, the network between them, and what happens next.

use crate::{
    broker::{Broker, Expected, Process, Stamp},
    clients::{Mint, Producer},
    controller::{Controller, Verdict},
    fetching::{Fetching, Serving},
    ghost::Ghost,
    producing::Sent,
    statistics::Statistics,
};
use highwater_core::{
    config::TopicConfig,
    partition::{
        Effects, Input, IsrOutcome, IsrProposal, OffsetSpec, ReadPosition, ReplicaBatches,
        ReplicaFetchError, ReplicaPosition,
    },
    replica_session::{SessionFetch, SessionTurn},
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, RequestId},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// More messages under way than this are lost.
const QUEUE_MAX: usize = 60;
/// So many messages are kept to be repeated much later.
const ARCHIVE_MAX: usize = 12;
/// The controller's place in the network.
pub const CONTROLLER: i32 = 0;

/// Something under way between two processes.
#[derive(Clone)]
pub enum Message {
    Fetch {
        from: BrokerId,
        incarnation: u64,
        to: BrokerId,
        call: u64,
        epoch: BrokerEpoch,
        fetch: SessionFetch<()>,
        /// Where the follower is, whether the fetch names it or not.
        at: ReplicaPosition,
        heard: Option<Stamp>,
    },
    Fetched {
        from: BrokerId,
        to: BrokerId,
        incarnation: u64,
        call: u64,
        /// `None`: the leader does not know the session.
        next: Option<SessionTurn>,
        /// `None`: there is nothing to tell.
        answer: Option<FetchAnswer>,
        stamp: Stamp,
    },
    Flushed {
        from: BrokerId,
        to: BrokerId,
        epoch: BrokerEpoch,
        at: LeaderEpoch,
        flushed: Offset,
    },
    Proposal {
        from: BrokerId,
        incarnation: u64,
        at: LeaderEpoch,
        proposal: IsrProposal,
        told: bool,
    },
    Decided {
        to: BrokerId,
        incarnation: u64,
        at: LeaderEpoch,
        base: PartitionEpoch,
        is: IsrOutcome,
    },
}

#[derive(Clone)]
pub struct FetchAnswer {
    pub leader_epoch: LeaderEpoch,
    pub fetch_offset: Offset,
    pub outcome: Result<ReplicaBatches, ReplicaFetchError>,
}

/// What this seed is about.
pub struct Settings {
    pub config: TopicConfig,
    pub deletes: bool,
    pub loss: f64,
    /// How often a leader forgets a follower's fetch session.
    pub lost_sessions: f64,
    /// How often a broker hears of the metadata when it might.
    pub hearing: f64,
    pub fault_rate: u32,
}

pub struct World {
    pub random: ChaCha8Rng,
    /// Nanoseconds of true time.
    pub time: u64,
    pub settings: Settings,
    pub controller: Controller,
    pub brokers: Vec<Broker>,
    pub network: Vec<Message>,
    /// Messages that were delivered, and will be again much later.
    archive: Vec<Message>,
    /// From whom to whom nothing gets through.
    pub cut: BTreeSet<(i32, i32)>,
    pub producers: Vec<Producer>,
    /// What each producer has sent and has not arrived.
    pub arriving: Vec<VecDeque<Sent>>,
    pub mint: Mint,
    pub ghost: Ghost,
    /// Brokers that may have lost records and were not back in the ISR since.
    pub lossy: BTreeSet<BrokerId>,
    pub next_request: u64,
    pub next_incarnation: u64,
    pub statistics: Statistics,
    /// What a partition has just answered to a fetch, and whether it wants to hear again at once.
    pub replica_answer: Option<(bool, Result<ReplicaBatches, ReplicaFetchError>)>,
    effects: Effects,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = [2, 3, 3, 3, 3, 4, 5][random.random_range(0..7)];
        let min_insync = random.random_range(1..=(count as usize).min(3));
        let counts_flushed = random.random_bool(0.7);
        let expires = random.random_bool(0.2);
        let deletes = random.random_bool(0.3);
        let expiration = Duration::from_secs(if expires { 3 } else { 86_400 });
        let config = TopicConfig { producer_id_expiration: expiration, ..TopicConfig::default() };
        let controller = Controller::new(&mut random, count, min_insync, counts_flushed);
        let brokers = (1..=count).map(|id| Broker::new(BrokerId(id), &mut random)).collect();
        let idempotent = if expires { 0 } else { random.random_range(1..4) };
        let mut world = Self {
            settings: Settings {
                config,
                deletes,
                loss: [0.0, 0.05, 0.2][random.random_range(0..3)],
                lost_sessions: 0.01,
                hearing: [1.0, 1.0, 0.1][random.random_range(0..3)],
                fault_rate: [3, 20, 60][random.random_range(0..3)],
            },
            random,
            time: 1 << 40,
            controller,
            brokers,
            network: Vec::new(),
            archive: Vec::new(),
            cut: BTreeSet::new(),
            producers: (0..idempotent).map(Producer::new).collect(),
            arriving: (0..idempotent).map(|_| VecDeque::new()).collect(),
            mint: Mint::default(),
            ghost: Ghost::new(!expires),
            lossy: BTreeSet::new(),
            next_request: 0,
            next_incarnation: 0,
            statistics: Statistics::default(),
            replica_answer: None,
            effects: Effects::new(),
        };
        for who in 0..world.brokers.len() {
            let epoch = world.controller.broker_epoch(world.brokers[who].id);
            world.boot(who, epoch);
        }
        world
    }

    /// One thing happens.
    pub fn turn(&mut self) {
        self.time += self.random.random_range(0..20_000_000);
        let who = self.random.random_range(0..self.brokers.len());
        match self.random.random_range(0..1000) {
            0..320 => self.deliver_any(),
            320..470 => self.send_fetch(who),
            470..510 => self.send_flush_report(who),
            510..570 => self.write(who),
            570..660 => self.flush(who),
            660..720 => self.produce(who),
            720..740 if !self.producers.is_empty() => {
                let client = self.random.random_range(0..self.producers.len());
                self.arrive(client, 1);
            }
            740..800 => self.tick(who),
            800..840 => self.tell_image(who),
            840..870 => self.read(who),
            870..880 => self.list_latest(who),
            880..890 => self.check_side_state(who),
            890..900 => self.delete(who),
            900..910 => self.persist_start(who),
            910..930 => self.heartbeat(who),
            _ if self.random.random_range(0..60) < self.settings.fault_rate => self.fault(who),
            _ => {}
        }
    }

    /// Steps a partition, performs what it wants, and checks everything.
    pub fn step(&mut self, who: usize, input: Input) {
        self.statistics.steps += 1;
        let broker = &mut self.brokers[who];
        let now = broker.now(self.time);
        let process = broker.process.as_mut().expect("a process takes inputs");
        let mut effects = core::mem::take(&mut self.effects);
        process.partition.step(now, input, &mut effects);
        for effect in effects.drain(..) {
            self.perform(who, effect);
        }
        self.effects = effects;
        self.check_broker(who);
        self.check_members();
    }

    pub fn boot(&mut self, who: usize, broker_epoch: BrokerEpoch) {
        let config = self.settings.config.clone();
        let partition = self.brokers[who].recover(&mut self.random, self.time, config);
        self.next_incarnation += 1;
        let registered_in = self.controller.history.len() - 1;
        self.brokers[who].process = Some(Process {
            partition,
            incarnation: self.next_incarnation,
            broker_epoch,
            next_image: registered_in,
            registered_in,
            has_failed: false,
            requests: BTreeMap::new(),
            heard: BTreeMap::new(),
            fetching: Fetching::default(),
            serving: Serving::new(broker_epoch),
        });
        self.check_broker(who);
    }

    pub fn index_of(id: BrokerId) -> usize {
        id.0 as usize - 1
    }

    pub fn is_cut(&self, from: i32, to: i32) -> bool {
        self.cut.contains(&(from, to))
    }

    pub fn expect(&mut self, who: usize, expected: Expected) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let process = self.brokers[who].process.as_mut().expect("a process takes requests");
        process.requests.insert(request, expected);
        request
    }

    pub fn send(&mut self, message: Message) {
        if self.random.random_bool(self.settings.loss) {
            return self.lose(message);
        }
        if self.network.len() < QUEUE_MAX {
            self.network.push(message);
        } else {
            let oldest = core::mem::replace(&mut self.network[0], message);
            self.network.rotate_left(1);
            self.lose(oldest);
        }
    }

    /// A proposal may be known to be lost.
    fn lose(&mut self, message: Message) {
        self.statistics.lost_messages += 1;
        if let Message::Proposal { from, incarnation, at, proposal, told: false } = message
            && self.random.random_bool(0.5)
        {
            let (base, is) = (proposal.partition_epoch, IsrOutcome::Unknown);
            let decided = Message::Decided { to: from, incarnation, at, base, is };
            self.network.push(decided);
        }
    }

    fn deliver_any(&mut self) {
        let Some(newest) = self.network.len().checked_sub(1) else { return };
        let mut pick = || self.random.random_range(0..=newest);
        let index = pick().min(pick());
        let message = match &mut self.network[index] {
            message @ (Message::Fetch { .. }
            | Message::Fetched { .. }
            | Message::Flushed { .. })
                if self.random.random_bool(0.05) =>
            {
                self.statistics.duplicates += 1;
                let place = self.random.random_range(0..ARCHIVE_MAX);
                if place < self.archive.len() {
                    core::mem::replace(&mut self.archive[place], message.clone())
                } else {
                    self.archive.push(message.clone());
                    message.clone()
                }
            }
            // A proposal that nobody waits for any more takes long.
            Message::Proposal { told: true, .. } if self.random.random_bool(0.9) => return,
            // The leader gives up waiting, and the proposal is still under way.
            Message::Proposal { from, incarnation, at, proposal, told }
                if !*told && self.random.random_bool(0.1) =>
            {
                *told = true;
                let (base, is) = (proposal.partition_epoch, IsrOutcome::Unknown);
                Message::Decided { to: *from, incarnation: *incarnation, at: *at, base, is }
            }
            _ => self.network.remove(index),
        };
        self.deliver(message);
    }

    pub fn deliver(&mut self, message: Message) {
        let (from, to) = match &message {
            Message::Fetch { from, to, .. }
            | Message::Fetched { from, to, .. }
            | Message::Flushed { from, to, .. } => (from.0, to.0),
            Message::Proposal { from, .. } => (from.0, CONTROLLER),
            Message::Decided { to, .. } => (CONTROLLER, to.0),
        };
        if self.is_cut(from, to) {
            return self.lose(message);
        }
        if to == CONTROLLER {
            return self.decide(message);
        }
        let who = Self::index_of(BrokerId(to));
        if self.brokers[who].is_paused {
            self.network.push(message);
            return;
        }
        let Some(process) = &self.brokers[who].process else { return };
        let current = process.incarnation;
        match message {
            Message::Fetch { .. } => self.serve_fetch(who, message),
            Message::Fetched { from, incarnation, call, next, answer, stamp, .. }
                if incarnation == current =>
            {
                self.take_answer(who, (from, stamp), (call, next), answer);
            }
            Message::Flushed { from, epoch, at, flushed, .. } => {
                let (follower, broker_epoch, leader_epoch) = (from, epoch, at);
                self.step(
                    who,
                    Input::ReplicaFlushed { follower, broker_epoch, leader_epoch, flushed },
                );
            }
            Message::Decided { incarnation, at, base, is, .. } if incarnation == current => {
                let (leader_epoch, partition_epoch, outcome) = (at, base, is);
                self.step(who, Input::IsrAnswered { leader_epoch, partition_epoch, outcome });
            }
            _ => {}
        }
    }

    fn decide(&mut self, message: Message) {
        let Message::Proposal { from, incarnation, at, proposal, told } = message else { return };
        let verdict = self.controller.alter(from, at, &proposal);
        self.controller_changed();
        let is = match verdict {
            Verdict::Accepted(partition_epoch) => IsrOutcome::Accepted { partition_epoch },
            Verdict::Superseded | Verdict::Ineligible => {
                self.statistics.refusals += 1;
                IsrOutcome::Refused
            }
        };
        if !told {
            let base = proposal.partition_epoch;
            self.send(Message::Decided { to: from, incarnation, at, base, is });
        }
    }

    pub fn send_flush_report(&mut self, who: usize) {
        let broker = &self.brokers[who];
        let Some(process) = broker.process.as_ref().filter(|_| broker.is_live()) else { return };
        if let Some((to, at, flushed)) = process.partition.flush_report() {
            let epoch = process.broker_epoch;
            self.send(Message::Flushed { from: broker.id, to, epoch, at, flushed });
        }
    }

    fn write(&mut self, who: usize) {
        let broker = &mut self.brokers[who];
        if !broker.is_live() || broker.has_failed() || broker.disk.unwritten() == 0 {
            return;
        }
        let count = self.random.random_range(1..=broker.disk.unwritten());
        if let Some(through) = broker.disk.write(count) {
            self.step(who, Input::Written { through });
        }
    }

    fn flush(&mut self, who: usize) {
        let unflushed = self.brokers[who].disk.unflushed();
        if unflushed > 0 {
            let count = self.random.random_range(1..=unflushed);
            self.flush_some(who, count);
        }
    }

    pub fn flush_some(&mut self, who: usize, count: usize) {
        let broker = &mut self.brokers[who];
        if !broker.is_live() || broker.has_failed() {
            return;
        }
        if let Some(through) = broker.disk.flush(count) {
            if let Some(cut) = broker.disk.take_cut() {
                broker.trusted_durable = broker.trusted_durable.min(self.ghost.count_below(cut));
            }
            self.step(who, Input::Flushed { through });
        }
    }

    pub fn tick(&mut self, who: usize) {
        let broker = &self.brokers[who];
        let now = broker.now(self.time).monotonic;
        let Some(process) = broker.process.as_ref().filter(|_| broker.is_live()) else { return };
        if process.partition.next_deadline().is_some_and(|at| at <= now) {
            self.step(who, Input::Tick);
            let process = self.brokers[who].process.as_ref().expect("it took the tick");
            let next = process.partition.next_deadline();
            assert!(next.is_none_or(|at| at > now), "a tick is enough");
        }
    }

    /// Images go forward, but not every one is seen, and old ones are told again.
    fn tell_image(&mut self, who: usize) {
        let broker = &self.brokers[who];
        let Some(process) = broker.process.as_ref().filter(|_| broker.is_live()) else { return };
        let newest = self.controller.history.len() - 1;
        let (next, oldest) = (process.next_image, process.registered_in);
        let hears = self.random.random_bool(self.settings.hearing);
        if self.is_cut(CONTROLLER, broker.id.0) || next > newest || !hears {
            return;
        }
        if self.random.random_bool(0.1) && next > oldest {
            let old = self.controller.history[self.random.random_range(oldest..next)].clone();
            if old.partition_epoch < self.controller.history[next - 1].partition_epoch {
                return self.step(who, Input::Assigned(old));
            }
        }
        let mut pick = || self.random.random_range(next..=newest);
        let image = pick().max(pick());
        self.tell(who, image);
        // A new leader is asked before it has heard of anybody.
        if self.settings.deletes && self.random.random_bool(0.1) {
            self.delete(who);
        }
    }

    pub fn tell(&mut self, who: usize, image: usize) {
        let process = self.brokers[who].process.as_mut().expect("a process is told");
        process.next_image = image + 1;
        let assignment = self.controller.history[image].clone();
        self.step(who, Input::Assigned(assignment));
    }

    fn read(&mut self, who: usize) {
        let broker = &self.brokers[who];
        if !broker.is_live() {
            return;
        }
        let offset = self.random.random_range(broker.disk.start..=self.ghost.end());
        let knows = self.random.random_bool(0.5);
        let position = ReadPosition {
            offset: Offset(offset),
            current_leader_epoch: knows.then_some(LeaderEpoch(self.controller.leader_epoch)),
            last_fetched_epoch: offset
                .checked_sub(1)
                .and_then(|last| self.ghost.epoch_at(last))
                .map(LeaderEpoch)
                .filter(|_| self.random.random_bool(0.5)),
            from_follower: self.random.random_bool(0.8),
        };
        let request = self.expect(who, Expected::Readable { offset, is_current: knows });
        let park = self.random.random_bool(0.2);
        self.step(who, Input::Fetch { request, position, park });
    }

    fn list_latest(&mut self, who: usize) {
        if !self.brokers[who].is_live() {
            return;
        }
        let current = LeaderEpoch(self.controller.leader_epoch);
        let is_current = self.random.random_bool(0.8);
        let request = self.expect(who, Expected::Latest { is_current });
        let current_leader_epoch = is_current.then_some(current);
        self.step(
            who,
            Input::ListOffsets { request, spec: OffsetSpec::Latest, current_leader_epoch },
        );
    }

    pub fn delete(&mut self, who: usize) {
        if self.settings.deletes && self.brokers[who].is_live() {
            let process = self.brokers[who].process.as_ref().expect("it is live");
            let high_watermark = process.partition.high_watermark().0;
            let low = self.brokers[who].disk.start.min(high_watermark);
            // At times what is gone already.
            let is_gone = self.random.random_bool(0.25);
            let to = if is_gone { 0 } else { self.random.random_range(low..=high_watermark) };
            let told = self.ghost.told_deleted;
            let request = self.expect(who, Expected::Deleted { to, told });
            self.step(who, Input::DeleteRecords { request, before: Some(Offset(to)) });
            if self.random.random_bool(0.1) {
                self.step(who, Input::DeletionOverdue { request });
            }
        }
    }

    pub fn persist_start(&mut self, who: usize) {
        let broker = &mut self.brokers[who];
        if !broker.is_live() || broker.has_failed() {
            return;
        }
        if let Some(to) = broker.disk.starts.pop_front() {
            if self.random.random_bool(0.1) {
                return self.step(who, Input::LogStartNotPersisted { to: Offset(to) });
            }
            broker.disk.start = broker.disk.start.max(to);
            self.ghost.deleted = self.ghost.deleted.max(to);
            self.step(who, Input::LogStartPersisted { to: Offset(to) });
        }
    }

    /// A fenced broker that knows its registration is let in again.
    pub fn heartbeat(&mut self, who: usize) {
        let broker = &self.brokers[who];
        let Some(process) = broker.process.as_ref().filter(|_| broker.is_live()) else { return };
        let is_heard = !self.is_cut(broker.id.0, CONTROLLER) && !process.has_failed;
        let hears = is_heard && !self.is_cut(CONTROLLER, broker.id.0);
        if is_heard && process.next_image > process.registered_in {
            self.controller.unfence(broker.id);
            self.controller_changed();
        }
        let patience = Duration::from_millis(500);
        let out_of_touch = Input::OutOfTouch {
            resumed: highwater_core::time::Instant(0),
            patience,
            vouches_for: patience,
        };
        self.step(who, if hears { Input::InTouch } else { out_of_touch });
    }
}

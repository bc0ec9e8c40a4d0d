//! Following: one fetcher and one reporter for each leader that this broker has followers of.
//!
//! A fetcher asks its leader for every partition in one call, which the leader answers when there
//! is something to tell; the answers go to the machines, and the next call says where they are
//! then. It names only those that have moved, in a session with the leader (KIP-227), and looks only
//! at those that say so. A call that the leader may let wait is hurried when there are partitions
//! that it does not name: a new leadership must not wait for them. Nothing is fetched while the disk
//! has too much to write already. The reporter tells flushed offsets between two calls, so that an
//! acknowledgement need not wait for the next records.

use super::{
    Moves, PartitionDriver, Throttles,
    backlog::{AnswerMemory, Backlog},
    replica_sessions::{Key, key_of},
};
use crate::{
    env::{Clock, Transport},
    peer::messages::{
        AnswerStamp, FetchedPartition, FlushedPartition, PeerReply, PeerRequest, ReplicaFetch,
        ReplicaFetchPartition, ReplicaFlushed,
    },
    tasks::{TaskHandle, Tasks},
};
use highwater_core::{
    partition::{Input, Partition, ReplicaBatches, ReplicaPosition},
    replica_session::FollowerSession,
    time::Instant,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How much longer than the leader may wait a call is waited for.
const ANSWER_SLACK: Duration = Duration::from_millis(1_500);
/// How long a report of flushed offsets is waited for.
const REPORT_PATIENCE: Duration = Duration::from_millis(1_000);
/// While so many whole answers wait for the disk, no more is fetched.
const BACKLOG_ANSWERS: usize = 2;
/// The first pause after a call or a partition failed.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What the fetchers may use.
pub struct ReplicationOptions {
    /// `replica.fetch.wait.max.ms`.
    pub wait: Duration,
    /// `replica.fetch.response.max.bytes`.
    pub max_bytes: u32,
}

/// The followers of this broker, by leader.
pub struct Replication {
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    tasks: Tasks,
    options: ReplicationOptions,
    throttles: Arc<Throttles>,
    broker_epoch: BrokerEpoch,
    /// What was fetched and is not written yet.
    backlog: Arc<Backlog>,
    leaders: Mutex<BTreeMap<BrokerId, Followed>>,
}

/// What is followed of one leader.
struct Followed {
    shared: Arc<Leader>,
    tasks: [TaskHandle<()>; 2],
}

/// What is followed of one leader, and in which epochs.
type Partitions = BTreeMap<Key, (Arc<PartitionDriver>, LeaderEpoch)>;

/// What the two tasks of one leader share.
struct Leader {
    broker: BrokerId,
    partitions: Mutex<Partitions>,
    /// Other partitions are followed, or in another epoch.
    changed: Notify,
    /// What has happened to the partitions since.
    moves: Arc<Moves>,
    /// The newest flushed offset that the leader was told, by partition.
    told: Mutex<BTreeMap<Key, (LeaderEpoch, Offset)>>,
}

impl Replication {
    /// Nothing is followed yet.
    pub fn new(
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
        tasks: Tasks,
        (options, throttles): (ReplicationOptions, Arc<Throttles>),
        broker_epoch: BrokerEpoch,
    ) -> Arc<Self> {
        let backlog = Backlog::new(BACKLOG_ANSWERS * options.max_bytes as usize);
        let leaders = Mutex::default();
        Arc::new(Self {
            clock,
            transport,
            tasks,
            options,
            throttles,
            broker_epoch,
            backlog,
            leaders,
        })
    }

    /// Takes over which partitions follow whom. Called by one task only.
    pub fn follow(self: &Arc<Self>, drivers: &[Arc<PartitionDriver>]) {
        let mut wanted: BTreeMap<BrokerId, Partitions> = BTreeMap::new();
        for driver in drivers {
            if let Some((leader, position)) = driver.inspect(Partition::fetch_position) {
                let key = key_of(&driver.id);
                let followed = (driver.clone(), position.leader_epoch);
                wanted.entry(leader).or_default().insert(key, followed);
            }
        }
        let mut leaders = lock(&self.leaders);
        leaders.retain(|leader, followed| {
            let stays = wanted.contains_key(leader);
            if !stays {
                followed.tasks.iter().for_each(TaskHandle::abort);
            }
            stays
        });
        for (leader, partitions) in wanted {
            let followed = leaders.entry(leader).or_insert_with(|| self.start(leader));
            followed.shared.follow(partitions);
        }
    }

    fn start(self: &Arc<Self>, broker: BrokerId) -> Followed {
        let shared = Arc::new(Leader {
            broker,
            partitions: Mutex::default(),
            changed: Notify::new(),
            moves: Arc::default(),
            told: Mutex::default(),
        });
        let fetching = Fetcher {
            replication: self.clone(),
            leader: shared.clone(),
            heard: None,
            session: FollowerSession::default(),
            looked: None,
            resting: BTreeMap::new(),
            behind: BTreeSet::new(),
            held_up_until: None,
        };
        let tasks = [
            self.tasks.spawn("replica-fetcher", fetching.run()),
            self.tasks.spawn("flush-reporter", report(self.clone(), shared.clone())),
        ];
        Followed { shared, tasks }
    }
}

impl Leader {
    /// Takes over which partitions are followed.
    fn follow(&self, partitions: Partitions) {
        for (driver, _) in partitions.values() {
            driver.report_moves_to(self.moves.clone());
        }
        let mut followed = lock(&self.partitions);
        let is_open = |key: &Key, driver: &Arc<PartitionDriver>| {
            followed.get(key).is_some_and(|(before, _)| Arc::ptr_eq(before, driver))
        };
        let opened = partitions.iter().filter(|(key, (driver, _))| !is_open(key, driver));
        self.moves.followed(opened.map(|(key, _)| *key));
        let epoch_of = |key: &Key| followed.get(key).map(|(_, epoch)| *epoch);
        if partitions.iter().any(|(key, (_, epoch))| epoch_of(key) != Some(*epoch)) {
            self.changed.notify_one();
        }
        *followed = partitions;
    }

    fn driver(&self, key: &Key) -> Option<Arc<PartitionDriver>> {
        lock(&self.partitions).get(key).map(|(driver, _)| driver.clone())
    }
}

/// What became of a call.
enum Called {
    Answered(Vec<FetchedPartition>),
    SessionLost,
    Failed,
}

/// The task that fetches from one leader.
struct Fetcher {
    replication: Arc<Replication>,
    leader: Arc<Leader>,
    /// The stamp of the leader's newest answer.
    heard: Option<AnswerStamp>,
    session: FollowerSession<Key>,
    /// When every partition was looked at last.
    looked: Option<Instant>,
    /// Partitions whose last fetch failed: when to ask again, and the next pause.
    resting: BTreeMap<Key, (Instant, Duration)>,
    /// Partitions that are out of sync: a throttle may hold them up.
    behind: BTreeSet<Key>,
    /// When a partition may be fetched again that was left out for its throttle.
    held_up_until: Option<Instant>,
}

impl Fetcher {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            self.replication.backlog.has_room().await;
            let now = self.replication.clock.now().monotonic;
            self.look(now);
            if self.session.is_empty() {
                self.rest(now).await;
                continue;
            }
            match self.call().await {
                Called::Answered(answers) => {
                    backoff = BACKOFF_MIN;
                    let bytes = answers.iter().filter_map(|answer| answer.outcome.as_ref().ok());
                    let bytes = bytes.map(|fetched| fetched.records.len()).sum();
                    let memory = self.replication.backlog.answer(bytes);
                    answers.into_iter().for_each(|answer| self.take(answer, &memory));
                }
                Called::SessionLost => self.session.lost(),
                Called::Failed => {
                    let until = self.replication.clock.now().monotonic.after(backoff);
                    self.replication.clock.sleep_until(until).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Takes over where every partition is that may fetch now. Those that did not say that they have
    /// moved are looked at as often as an idle leader answers.
    fn look(&mut self, now: Instant) {
        let moved = self.leader.moves.take();
        let is_due = |at: Instant| now >= at.after(self.replication.options.wait);
        let mut keys = moved.partitions;
        let followed = lock(&self.leader.partitions);
        if moved.all || self.looked.is_none_or(is_due) {
            self.looked = Some(now);
            self.resting.retain(|key, _| followed.contains_key(key));
            self.behind.retain(|key| followed.contains_key(key));
            keys.extend(followed.keys().chain(self.session.wanted()));
        }
        keys.extend(self.behind.iter().chain(self.resting.keys()));
        let driver_of = |key: &Key| followed.get(key).map(|(driver, _)| driver.clone());
        let drivers: Vec<_> = keys.iter().map(|key| (*key, driver_of(key))).collect();
        drop(followed);
        self.held_up_until = None;
        for (key, driver) in drivers {
            let position = driver.and_then(|driver| self.position(now, key, &driver));
            self.session.want(key, position);
        }
        moved.opened.into_iter().for_each(|key| self.session.say_again(key));
    }

    /// Where a partition is, if it may fetch now.
    fn position(
        &mut self,
        now: Instant,
        key: Key,
        driver: &PartitionDriver,
    ) -> Option<ReplicaPosition> {
        let state = |machine: &Partition| {
            let position = machine.fetch_position().filter(|_| !machine.is_starting_over());
            (position, machine.is_in_sync())
        };
        let (position, is_in_sync) = driver.inspect(state);
        let (_, position) = position.filter(|(leader, _)| *leader == self.leader.broker)?;
        if is_in_sync {
            self.behind.remove(&key);
        } else {
            self.behind.insert(key);
        }
        if self.resting.get(&key).is_some_and(|(until, _)| now < *until) {
            return None;
        }
        let throttle = &self.replication.throttles.follower;
        if !is_in_sync && let Some(until) = throttle.holds_up(now, &driver.id) {
            self.held_up_until = self.held_up_until.into_iter().chain([until]).min();
            return None;
        }
        Some(position)
    }

    /// Waits until something may be fetched of which nothing could be at `now`. A partition whose
    /// pause was over then had another reason, which no pause says the end of.
    async fn rest(&self, now: Instant) {
        let pauses = self.resting.values().map(|(until, _)| *until).chain(self.held_up_until);
        let next = pauses.filter(|until| *until > now).min();
        let clock = &self.replication.clock;
        let until = next.unwrap_or_else(|| clock.now().monotonic.after(BACKOFF_MAX));
        tokio::select! {
            biased;
            () = self.leader.changed.notified() => {}
            () = self.leader.moves.resumed() => {}
            () = clock.sleep_until(until) => {}
        }
    }

    async fn call(&mut self) -> Called {
        let Replication { clock, transport, options, broker_epoch, .. } = &*self.replication;
        let fetch = self.session.next_fetch();
        let named = fetch
            .named
            .into_iter()
            .map(|((topic, index), position)| ReplicaFetchPartition { topic, index, position });
        let partitions: Vec<_> = named.collect();
        {
            let mut told = lock(&self.leader.told);
            for ReplicaFetchPartition { topic, index, position } in &partitions {
                let flushed = (position.leader_epoch, position.flushed_offset);
                told.insert((*topic, *index), flushed);
            }
        }
        let request = PeerRequest::Fetch(ReplicaFetch {
            broker_epoch: *broker_epoch,
            session: fetch.session,
            partitions,
            forgotten: fetch.forgotten,
            max_wait_millis: u32::try_from(options.wait.as_millis()).unwrap_or(u32::MAX),
            max_bytes: options.max_bytes,
            heard: self.heard,
        });
        let deadline = clock.now().monotonic.after(options.wait + ANSWER_SLACK);
        let answer = transport.call(self.leader.broker, request, deadline);
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            never = self.hurry() => match never {},
        };
        match answer {
            Ok(PeerReply::Fetched(fetched)) => {
                self.heard = Some(fetched.stamp);
                self.session.answered(fetched.session);
                Called::Answered(fetched.partitions)
            }
            Ok(PeerReply::SessionLost) => Called::SessionLost,
            Ok(other) => {
                tracing::debug!(leader = %self.leader.broker, ?other, "no records from the leader");
                Called::Failed
            }
            Err(error) => {
                tracing::debug!(%error, "fetch from the leader failed");
                Called::Failed
            }
        }
    }

    /// Lets the leader answer the call under way whenever there are partitions that it does not name
    /// and may: others are followed, one has started over, or a pause is over.
    async fn hurry(&self) -> Infallible {
        let Replication { clock, transport, .. } = &*self.replication;
        let now = clock.now().monotonic;
        let pauses = self.resting.values().map(|(until, _)| *until);
        let mut next = pauses.filter(|until| *until > now).min();
        loop {
            let pause = async {
                match next {
                    Some(until) => clock.sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.leader.changed.notified() => {}
                () = self.leader.moves.resumed() => {}
                () = pause => next = None,
            }
            let deadline = clock.now().monotonic.after(REPORT_PATIENCE);
            // Without it the call is answered when its wait is over.
            if let Err(error) =
                transport.call(self.leader.broker, PeerRequest::HurryFetch, deadline).await
            {
                tracing::debug!(%error, "the leader could not be asked to hurry");
            }
        }
    }

    fn take(&mut self, answer: FetchedPartition, memory: &Arc<AnswerMemory>) {
        let FetchedPartition { topic, index, leader_epoch, fetch_offset, outcome } = answer;
        let key = (topic, index);
        let Some(driver) = self.leader.driver(&key) else { return self.session.say_again(key) };
        match &outcome {
            Ok(fetched) => {
                self.resting.remove(&key);
                let now = self.replication.clock.now().monotonic;
                let throttle = &self.replication.throttles.follower;
                throttle.record(now, &driver.id, fetched.records.len());
            }
            Err(error) => {
                tracing::debug!(partition = %driver.id, %error, "the leader gave nothing");
                let pause = self.resting.get(&key).map_or(BACKOFF_MIN, |(_, pause)| *pause);
                let until = self.replication.clock.now().monotonic.after(pause);
                self.resting.insert(key, (until, (pause * 2).min(BACKOFF_MAX)));
                // Once it is fetched again it is named.
                self.session.want(key, None);
            }
        }
        let outcome = outcome.map(|fetched| ReplicaBatches {
            high_watermark: fetched.high_watermark,
            log_start_offset: fetched.log_start_offset,
            diverging: fetched.diverging,
            records: memory.hold(fetched.records),
        });
        driver.tell(Input::Fetched { leader_epoch, fetch_offset, outcome });
    }
}

/// The task that reports flushed offsets to one leader.
async fn report(replication: Arc<Replication>, leader: Arc<Leader>) {
    loop {
        let flushed = leader.moves.take_flushed().await;
        let partitions = unreported(&leader, &flushed);
        if partitions.is_empty() {
            continue;
        }
        let broker_epoch = replication.broker_epoch;
        let report = PeerRequest::Flushed(ReplicaFlushed { broker_epoch, partitions });
        let deadline = replication.clock.now().monotonic.after(REPORT_PATIENCE);
        // What a lost report would have said the next fetch says too.
        if let Err(error) = replication.transport.call(leader.broker, report, deadline).await {
            tracing::debug!(%error, "report of flushed offsets failed");
        }
    }
}

/// What was flushed and not told the leader yet; it is told from now on.
fn unreported(leader: &Leader, flushed: &BTreeSet<Key>) -> Vec<FlushedPartition> {
    let drivers: Vec<_> = flushed.iter().filter_map(|key| leader.driver(key)).collect();
    let mut told = lock(&leader.told);
    let reports = drivers.iter().filter_map(|driver| {
        let (to, leader_epoch, flushed_offset) = driver.inspect(Partition::flush_report)?;
        let (topic, index) = key_of(&driver.id);
        let known = told.insert((topic, index), (leader_epoch, flushed_offset));
        let is_new = known != Some((leader_epoch, flushed_offset));
        (to == leader.broker && is_new).then_some(FlushedPartition {
            topic,
            index,
            leader_epoch,
            flushed_offset,
        })
    });
    reports.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

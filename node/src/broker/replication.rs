//! Following: one fetcher and one reporter for each leader that this broker has followers of.
//!
//! A fetcher asks its leader for every partition in one call, which the leader answers when there
//! is something to tell; the answers go to the machines, and the next call says where they are
//! then. The reporter tells flushed offsets between two calls, so that an acknowledgement need not
//! wait for the next records.

use super::{PartitionDriver, Throttles, TopicPartition};
use crate::{
    env::{Clock, Transport},
    peer::messages::{
        AnswerStamp, FetchedPartition, FlushedPartition, PeerReply, PeerRequest, ReplicaFetch,
        ReplicaFetchPartition, ReplicaFlushed,
    },
    tasks::{TaskHandle, Tasks},
};
use highwater_core::{
    partition::{Input, Partition, ReplicaBatches},
    time::Instant,
    types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How much longer than the leader may wait a call is waited for.
const ANSWER_SLACK: Duration = Duration::from_millis(1_500);
/// How long a report of flushed offsets is waited for.
const REPORT_PATIENCE: Duration = Duration::from_millis(1_000);
/// The first pause after a call or a partition failed.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

type Key = (TopicId, PartitionIndex);

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
    leaders: Mutex<BTreeMap<BrokerId, Followed>>,
}

/// What is followed of one leader.
struct Followed {
    shared: Arc<Leader>,
    tasks: [TaskHandle<()>; 2],
}

/// What the two tasks of one leader share.
struct Leader {
    broker: BrokerId,
    partitions: Mutex<BTreeMap<Key, Arc<PartitionDriver>>>,
    /// Other partitions are followed, or one of them may fetch again.
    changed: Notify,
    /// Something was flushed.
    flushed: Arc<Notify>,
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
        let leaders = Mutex::default();
        Arc::new(Self { clock, transport, tasks, options, throttles, broker_epoch, leaders })
    }

    /// Takes over which partitions follow whom. Called by one task only.
    pub fn follow(self: &Arc<Self>, drivers: &[Arc<PartitionDriver>]) {
        let mut wanted: BTreeMap<BrokerId, BTreeMap<Key, Arc<PartitionDriver>>> = BTreeMap::new();
        for driver in drivers {
            if let Some((leader, _)) = driver.inspect(Partition::fetch_position) {
                let key = key_of(&driver.id);
                wanted.entry(leader).or_default().insert(key, driver.clone());
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
            for driver in partitions.values() {
                driver.report_flushes_to(followed.shared.flushed.clone());
            }
            *lock(&followed.shared.partitions) = partitions;
            followed.shared.changed.notify_one();
        }
    }

    fn start(self: &Arc<Self>, broker: BrokerId) -> Followed {
        let shared = Arc::new(Leader {
            broker,
            partitions: Mutex::default(),
            changed: Notify::new(),
            flushed: Arc::new(Notify::new()),
            told: Mutex::default(),
        });
        let fetching = Fetcher {
            replication: self.clone(),
            leader: shared.clone(),
            heard: None,
            resting: BTreeMap::new(),
            held_up_until: None,
            turn: 0,
        };
        let tasks = [
            self.tasks.spawn("replica-fetcher", fetching.run()),
            self.tasks.spawn("flush-reporter", report(self.clone(), shared.clone())),
        ];
        Followed { shared, tasks }
    }
}

/// The task that fetches from one leader.
struct Fetcher {
    replication: Arc<Replication>,
    leader: Arc<Leader>,
    /// The stamp of the leader's newest answer.
    heard: Option<AnswerStamp>,
    /// Partitions whose last fetch failed: when to ask again, and the next pause.
    resting: BTreeMap<Key, (Instant, Duration)>,
    /// When a partition may be fetched again that was left out for its throttle.
    held_up_until: Option<Instant>,
    /// Where the next request begins, so that no partition always comes last.
    turn: usize,
}

impl Fetcher {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let now = self.replication.clock.now().monotonic;
            let partitions = self.positions(now);
            if partitions.is_empty() {
                self.rest(now).await;
                continue;
            }
            match self.call(partitions).await {
                Some(answers) => {
                    backoff = BACKOFF_MIN;
                    answers.into_iter().for_each(|answer| self.take(answer));
                }
                None => {
                    let until = self.replication.clock.now().monotonic.after(backoff);
                    self.replication.clock.sleep_until(until).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Where every partition is that may fetch now.
    fn positions(&mut self, now: Instant) -> Vec<ReplicaFetchPartition> {
        let drivers: Vec<_> = {
            let followed = lock(&self.leader.partitions);
            self.resting.retain(|key, _| followed.contains_key(key));
            followed.values().cloned().collect()
        };
        let mut partitions = Vec::with_capacity(drivers.len());
        self.held_up_until = None;
        for driver in drivers {
            let (topic, index) = key_of(&driver.id);
            if self.resting.get(&(topic, index)).is_some_and(|(until, _)| now < *until) {
                continue;
            }
            let state = |machine: &Partition| (machine.fetch_position(), machine.is_in_sync());
            let (position, is_in_sync) = driver.inspect(state);
            if let Some((leader, position)) = position
                && leader == self.leader.broker
            {
                let throttle = &self.replication.throttles.follower;
                if !is_in_sync && let Some(until) = throttle.holds_up(now, &driver.id) {
                    self.held_up_until = self.held_up_until.into_iter().chain([until]).min();
                    continue;
                }
                partitions.push(ReplicaFetchPartition { topic, index, position });
            }
        }
        if !partitions.is_empty() {
            self.turn = (self.turn + 1) % partitions.len();
            partitions.rotate_left(self.turn);
        }
        partitions
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
            () = clock.sleep_until(until) => {}
        }
    }

    async fn call(
        &mut self,
        partitions: Vec<ReplicaFetchPartition>,
    ) -> Option<Vec<FetchedPartition>> {
        let Replication { clock, transport, options, broker_epoch, .. } = &*self.replication;
        {
            let mut told = lock(&self.leader.told);
            for ReplicaFetchPartition { topic, index, position } in &partitions {
                let flushed = (position.leader_epoch, position.flushed_offset);
                told.insert((*topic, *index), flushed);
            }
        }
        let request = PeerRequest::Fetch(ReplicaFetch {
            broker_epoch: *broker_epoch,
            partitions,
            max_wait_millis: u32::try_from(options.wait.as_millis()).unwrap_or(u32::MAX),
            max_bytes: options.max_bytes,
            heard: self.heard,
        });
        let deadline = clock.now().monotonic.after(options.wait + ANSWER_SLACK);
        match transport.call(self.leader.broker, request, deadline).await {
            Ok(PeerReply::Fetched(fetched)) => {
                self.heard = Some(fetched.stamp);
                Some(fetched.partitions)
            }
            Ok(other) => {
                tracing::debug!(leader = %self.leader.broker, ?other, "no records from the leader");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "fetch from the leader failed");
                None
            }
        }
    }

    fn take(&mut self, answer: FetchedPartition) {
        let FetchedPartition { topic, index, leader_epoch, fetch_offset, outcome } = answer;
        let key = (topic, index);
        let driver = lock(&self.leader.partitions).get(&key).cloned();
        let Some(driver) = driver else { return };
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
            }
        }
        let outcome = outcome.map(|fetched| ReplicaBatches {
            high_watermark: fetched.high_watermark,
            log_start_offset: fetched.log_start_offset,
            diverging: fetched.diverging,
            records: fetched.records,
        });
        driver.tell(Input::Fetched { leader_epoch, fetch_offset, outcome });
    }
}

/// The task that reports flushed offsets to one leader.
async fn report(replication: Arc<Replication>, leader: Arc<Leader>) {
    loop {
        leader.flushed.notified().await;
        let partitions = unreported(&leader);
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
fn unreported(leader: &Leader) -> Vec<FlushedPartition> {
    let drivers: Vec<_> = lock(&leader.partitions).values().cloned().collect();
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

fn key_of(id: &TopicPartition) -> Key {
    (id.topic_id, id.index)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

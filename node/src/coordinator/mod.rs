//! The group coordinators of this broker: one for each partition of `__consumer_offsets` that it
//! leads.
//!
//! `core::coordinator` decides; here it is driven. Each coordinator is a task (`driver`) that owns
//! its machine and takes requests from a bounded queue. It begins with the leadership of its
//! partition, in one leader epoch, and ends with it; what it knows it reads from the partition's
//! log (`loading`), and what it decides it appends there, in Kafka's own encoding (`records`).

mod census;
mod driver;
mod loading;
mod rebalances;
mod records;

use crate::{
    broker::{Lookup, PartitionDriver, Partitions},
    config::BrokerConfig,
    env::{self, Clock, Doors},
    metrics::Metrics,
    quorum::Quorum,
    tasks::Tasks,
};
use driver::{Asked, Driver};
use highwater_core::{
    coordinator::CoordinatorError,
    group::{GroupConfig, Request, Response},
    metadata::{Image, OFFSETS_TOPIC},
    mutant::Mutant,
    types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot};

/// Requests that may wait for one coordinator. It answers most of them at once, so only one that
/// cannot keep up has so many.
const REQUESTS_QUEUED_MAX: usize = 1_024;

/// What a coordinator answers.
pub type Answer = Result<Response, CoordinatorError>;

/// The coordinators of this broker.
pub struct Coordinators {
    broker: BrokerId,
    config: GroupConfig,
    answer_timeout: Duration,
    clock: Arc<dyn Clock>,
    quorum: Arc<dyn Quorum>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    /// `None` once the broker closes: no coordinator begins any more.
    led: RwLock<Option<BTreeMap<PartitionIndex, Led>>>,
}

/// A partition that this broker leads, and the way to its coordinator.
struct Led {
    topic: TopicId,
    epoch: LeaderEpoch,
    requests: mpsc::Sender<Asked>,
    /// Tells the coordinator to look at the image and at its partition.
    changed: Arc<Notify>,
    /// Never used: its end is the message that another broker leads, or that this one closes.
    _leads: oneshot::Sender<()>,
}

impl Coordinators {
    /// No coordinator yet: they begin when the image is followed.
    pub fn new(
        config: &BrokerConfig,
        doors: &Doors,
        quorum: Arc<dyn Quorum>,
        tasks: Tasks,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            broker: config.node_id,
            config: config.groups.clone(),
            answer_timeout: config.offsets_commit_timeout,
            clock: env::timers(doors.clock.clone(), Mutant::MemberSessionsByWallClock),
            quorum,
            tasks,
            metrics,
            led: RwLock::new(Some(BTreeMap::new())),
        }
    }

    /// Begins and ends coordinators as the image says who leads, and tells those that go on that
    /// there is another image. Called by one task only, after the partitions are in line with the
    /// image.
    pub fn follow(&self, image: &Image, partitions: &Partitions) {
        let drivers = self.led_partitions(image, partitions);
        let mut guard = self.write();
        let Some(led) = &mut *guard else { return };
        led.retain(|index, kept| {
            drivers.get(index).is_some_and(|(driver, epoch)| {
                (driver.id.topic_id, *epoch) == (kept.topic, kept.epoch)
            })
        });
        for (index, (driver, epoch)) in drivers {
            match led.get(&index) {
                Some(kept) => kept.changed.notify_one(),
                None => drop(led.insert(index, self.begin(driver, epoch))),
            }
        }
    }

    /// Ends every coordinator, for good: what waits is refused.
    pub fn close(&self) {
        *self.write() = None;
    }

    /// Puts a request to the coordinator of a partition, and waits for the answer.
    ///
    /// # Errors
    /// When this broker is not the coordinator, or not able to answer now.
    pub async fn ask(&self, index: PartitionIndex, body: Request) -> Answer {
        let requests = {
            let led = self.read();
            led.as_ref().and_then(|led| led.get(&index)).map(|led| led.requests.clone())
        };
        let Some(requests) = requests else { return Err(self.absence(index)) };
        let (answer, answered) = oneshot::channel();
        match requests.try_send(Asked { body, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.metrics.groups.queue_refusals.increment();
                return Err(CoordinatorError::NotAvailable);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(CoordinatorError::NotCoordinator);
            }
        }
        // A coordinator that ends drops what is queued for it.
        answered.await.unwrap_or(Err(CoordinatorError::NotCoordinator))
    }

    /// The partitions whose coordinator this broker is.
    pub fn led(&self) -> Vec<PartitionIndex> {
        self.read().as_ref().map(|led| led.keys().copied().collect()).unwrap_or_default()
    }

    /// Partitions that this broker leads and has open, with their leader epochs.
    fn led_partitions(
        &self,
        image: &Image,
        partitions: &Partitions,
    ) -> BTreeMap<PartitionIndex, (Arc<PartitionDriver>, LeaderEpoch)> {
        let Some(topic) = image.topic_named(OFFSETS_TOPIC) else { return BTreeMap::new() };
        let indexed = (0..).map(PartitionIndex).zip(&topic.partitions);
        let led = indexed.filter(|(_, partition)| partition.leader == Some(self.broker));
        led.filter_map(|(index, partition)| match partitions.get(topic.id, index) {
            Lookup::Open(driver) => Some((index, (driver, partition.leader_epoch))),
            Lookup::Opening | Lookup::Offline | Lookup::Unknown => None,
        })
        .collect()
    }

    fn begin(&self, partition: Arc<PartitionDriver>, epoch: LeaderEpoch) -> Led {
        let (requests, queue) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let (leads, ended) = oneshot::channel();
        let changed = Arc::new(Notify::new());
        let topic = partition.id.topic_id;
        // Here and not in the task: tasks need not begin in the order in which they were spawned,
        // and an older coordinator must not take the place of this one.
        partition.report_commits_to(changed.clone());
        let driver = Driver::new(driver::Parts {
            config: self.config.clone(),
            answer_timeout: self.answer_timeout,
            epoch,
            partition,
            clock: self.clock.clone(),
            quorum: self.quorum.clone(),
            metrics: self.metrics.clone(),
            changed: changed.clone(),
        });
        self.tasks.spawn("group-coordinator", driver.run(queue, ended));
        Led { topic, epoch, requests, changed, _leads: leads }
    }

    /// Why there is no coordinator for a partition here.
    fn absence(&self, index: PartitionIndex) -> CoordinatorError {
        let image = self.quorum.image();
        let topic = image.topic_named(OFFSETS_TOPIC);
        let partition = topic.and_then(|topic| topic.partitions.get(index.0 as usize));
        match partition {
            // It was elected a moment ago, or its log cannot be opened.
            Some(partition) if partition.leader == Some(self.broker) => {
                CoordinatorError::NotAvailable
            }
            _ => CoordinatorError::NotCoordinator,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<BTreeMap<PartitionIndex, Led>>> {
        self.led.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<BTreeMap<PartitionIndex, Led>>> {
        self.led.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The partition of `__consumer_offsets` that holds a group, out of `partitions`, which is at least
/// one: as in Kafka by Java's hash of the group's name, so that both agree on a topic.
#[must_use]
pub fn partition_of(group: &str, partitions: usize) -> PartitionIndex {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The one number without a positive counterpart counts as zero.
    let positive = hash.checked_abs().unwrap_or(0);
    let partitions = i32::try_from(partitions).expect("a topic's partitions fit an i32");
    PartitionIndex(u32::try_from(positive % partitions).expect("it is not negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_where_kafka_looks_for_it() {
        for (group, index) in [
            ("", 0),
            ("abc", 4),
            ("test", 48),
            // Its hash is the smallest number there is.
            ("polygenelubricants", 0),
            // Its hash is negative.
            ("console-consumer", 40),
            // Two units of UTF-16.
            ("\u{1f600}", 49),
            ("groupe-é", 2),
        ] {
            assert_eq!(partition_of(group, 50), PartitionIndex(index), "{group}");
        }
    }
}

//! The partitions of this broker: opened, reconfigured and deleted as the metadata image says.

use super::{
    IsrChanges,
    driver::{DriverParts, EventRoute, PartitionDriver},
    refused_produces::RefusedProduces,
    touch::{Lease, LeaseTerms},
};
use crate::{
    config::BrokerConfig,
    env::{self, Doors},
    log::{self, Log, LogError, LogOptions},
    metrics::Metrics,
    tasks::Tasks,
};
use highwater_core::{
    config::{Durability, TopicConfig},
    metadata::{Image, PartitionRegistration, Topic},
    mutant::Mutant,
    partition::{Assignment, Input, Partition, ReplicaOptions},
    record::ProducerIdentity,
    sometimes,
    types::{PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

/// A partition, for people and for lookups.
#[derive(Clone, Debug)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's index.
    pub index: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.index)
    }
}

/// What stands for a partition.
#[derive(Clone)]
pub enum Lookup {
    /// It can be used.
    Open(Arc<PartitionDriver>),
    /// Its log is being opened.
    Opening,
    /// Its log could not be opened; the reason was logged.
    Offline,
    /// There is no such partition here.
    Unknown,
}

type Key = (TopicId, PartitionIndex);

/// Every partition that the image gives to this broker.
pub struct Partitions {
    doors: Doors,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    options: ReplicaOptions,
    lease: Arc<Lease>,
    isr_changes: Arc<IsrChanges>,
    static_configs: BTreeMap<String, String>,
    dir: PathBuf,
    slots: RwLock<BTreeMap<Key, Slot>>,
    refused: RefusedProduces,
}

#[derive(Clone)]
struct Slot {
    id: TopicPartition,
    lookup: Lookup,
    config: TopicConfig,
    assignment: Assignment,
}

/// What a newer image changes about files.
pub struct FileChanges {
    gone: Vec<Slot>,
    new: Vec<Slot>,
}

impl Partitions {
    /// Keeps partitions under `dir`, one directory each: `<topic>/<index>.<topic id>`.
    pub fn new(
        doors: Doors,
        tasks: Tasks,
        metrics: Arc<Metrics>,
        config: &BrokerConfig,
        isr_changes: Arc<IsrChanges>,
        dir: PathBuf,
    ) -> Self {
        let options =
            ReplicaOptions { broker: config.node_id, lag_max: config.replica_lag_time_max };
        let session = config.broker_session_timeout;
        let terms = LeaseTerms {
            patience: session,
            vouches_for: session + config.replica_fetch_wait_max,
            // An answer to a sign of life is waited for that long.
            look_interval: config.broker_heartbeat_interval * 2,
        };
        Self {
            lease: Arc::new(Lease::endless(doors.clock.clone(), terms)),
            doors,
            tasks,
            metrics,
            options,
            isr_changes,
            static_configs: config.static_configs(),
            dir,
            slots: RwLock::default(),
            refused: RefusedProduces::default(),
        }
    }

    /// Up to when nobody can have replaced this broker as a leader for its silence.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Removes what deletions left half done when a crash interrupted them.
    /// A directory of a topic that the image does not know is reported and left alone: it may be
    /// all that a lost metadata log has left.
    pub async fn sweep(&self, image: &Image) -> Result<(), LogError> {
        let disk = &*self.doors.disk;
        let entries = match disk.list(&self.dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        for topic in entries.into_iter().filter(|entry| entry.is_dir) {
            let removed = log::remove_leftovers(disk, &self.dir.join(&topic.name)).await?;
            if removed > 0 {
                tracing::info!(topic = topic.name, removed, "removed deleted partitions");
            }
            let ids: Vec<String> = image
                .topic_named(&topic.name)
                .iter()
                .map(|topic| format!(".{}", topic.id))
                .collect();
            for left in disk.list(&self.dir.join(&topic.name)).await? {
                if left.is_dir && !ids.iter().any(|id| left.name.ends_with(id)) {
                    tracing::warn!(
                        directory = %self.dir.join(&topic.name).join(&left.name).display(),
                        "this partition belongs to no topic: remove it if the topic was deleted"
                    );
                }
            }
        }
        Ok(())
    }

    /// The partition of that id and index.
    pub fn get(&self, topic: TopicId, index: PartitionIndex) -> Lookup {
        self.read().get(&(topic, index)).map_or(Lookup::Unknown, |slot| slot.lookup.clone())
    }

    /// A batch was refused because its partition is not open here, or was not a moment ago.
    pub fn note_refused(&self, topic: TopicId, index: PartitionIndex, batch: ProducerIdentity) {
        self.refused.note((topic, index), self.doors.clock.now().monotonic, batch);
        if let Lookup::Open(driver) = self.get(topic, index) {
            self.tell_refused(&driver);
        }
    }

    fn tell_refused(&self, driver: &PartitionDriver) {
        for batch in self.refused.take((driver.id.topic_id, driver.id.index)) {
            driver.tell(Input::ProduceRefused(batch));
        }
    }

    /// Every open partition, in the order of topic id and index.
    pub fn open(&self) -> Vec<Arc<PartitionDriver>> {
        let slots = self.read();
        let open = slots.values().filter_map(|slot| match &slot.lookup {
            Lookup::Open(driver) => Some(driver.clone()),
            Lookup::Opening | Lookup::Offline | Lookup::Unknown => None,
        });
        open.collect()
    }

    /// Partitions that exist and those of them that are offline.
    pub fn counts(&self) -> (usize, usize) {
        let slots = self.read();
        let offline = slots.values().filter(|slot| matches!(slot.lookup, Lookup::Offline)).count();
        (slots.len(), offline)
    }

    /// Tells the open partitions what the image says of them: who leads, how they are configured, that
    /// they are here no more. Nothing is written or waited for. Returns what is to be done with files
    /// then. Called by one task only, with ever newer images.
    pub fn tell(&self, image: &Image) -> FileChanges {
        let gone = self.take_missing(image);
        let mut new = Vec::new();
        for topic in image.topics() {
            let config = self.config_of(image, topic);
            for (partition, index) in topic.partitions.iter().zip(0..) {
                if !partition.replicas.contains(&self.options.broker) {
                    continue;
                }
                let index = PartitionIndex(index);
                let key = (topic.id, index);
                let assignment = assignment_of(image, topic.id, index, partition);
                let known = self.read().get(&key).cloned();
                match known {
                    Some(slot) => self.update(key, slot, &config, assignment),
                    None => new.push(self.reserve(topic, index, &config, assignment)),
                }
            }
        }
        FileChanges { gone, new }
    }

    /// Deletes the logs of partitions that are gone, and opens those of new ones.
    pub async fn carry_out(self: &Arc<Self>, changes: FileChanges) {
        for slot in changes.gone {
            self.delete(slot).await;
        }
        let mut opening = Vec::new();
        for Slot { id, config, assignment, .. } in changes.new {
            let this = self.clone();
            opening.push(self.tasks.spawn("open-partition", async move {
                this.open_slot(id, config, assignment).await;
            }));
        }
        for task in opening {
            // An aborted task can only mean that the whole broker is going down.
            let _ = task.join().await;
        }
    }

    /// Closes every log with a checkpoint of what is flushed. Whether all of them could be.
    pub async fn close(&self) -> bool {
        let mut clean = true;
        for driver in self.open() {
            if let Err(error) = driver.close().await {
                tracing::error!(partition = %driver.id, %error, "not closed cleanly");
                clean = false;
            }
        }
        clean
    }

    fn config_of(&self, image: &Image, topic: &Topic) -> TopicConfig {
        image
            .config_layers(Some(topic.id), self.options.broker, &self.static_configs)
            .effective()
            .expect("configuration is checked when it is set")
    }

    fn reserve(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        config: &TopicConfig,
        assignment: Assignment,
    ) -> Slot {
        let id = TopicPartition { topic: topic.name.as_str().into(), topic_id: topic.id, index };
        let slot = Slot { id, lookup: Lookup::Opening, config: config.clone(), assignment };
        self.write().insert((topic.id, index), slot.clone());
        slot
    }

    async fn open_slot(&self, id: TopicPartition, config: TopicConfig, assignment: Assignment) {
        let key = (id.topic_id, id.index);
        let lookup = match self.open_partition(&id, config, assignment).await {
            Ok(driver) => {
                self.tell_refused(&driver);
                Lookup::Open(driver)
            }
            Err(error) => {
                tracing::error!(
                    partition = %id, %error,
                    "the partition is offline: its log could not be opened"
                );
                sometimes!(PartitionOffline);
                self.isr_changes.fail(&id);
                Lookup::Offline
            }
        };
        if let Some(slot) = self.write().get_mut(&key) {
            slot.lookup = lookup;
        }
    }

    async fn open_partition(
        &self,
        id: &TopicPartition,
        config: TopicConfig,
        assignment: Assignment,
    ) -> Result<Arc<PartitionDriver>, LogError> {
        let route = EventRoute::default();
        let dir = partition_dir(&self.dir, id);
        let options = log_options(&config);
        let disk = self.doors.disk.clone();
        let now = self.doors.clock.now();
        let (log, recovered) =
            Log::open(disk, &self.tasks, dir, options, now, route.callback()).await?;
        let recovered = recovered.into_recovered();
        recovered
            .check(assignment.leader_epoch)
            .map_err(|error| LogError::corrupt(log.dir(), recovered.log_end_offset, 0, error))?;
        let clock = env::timers(self.doors.clock.clone(), Mutant::IsrLagByWallClock);
        let parts = DriverParts {
            id: id.clone(),
            metrics: self.metrics.topic(&id.topic),
            machine: Partition::new(self.doors.clock.now(), self.options, config, recovered),
            log,
            clock,
            tasks: self.tasks.clone(),
            isr_changes: self.isr_changes.clone(),
            lease: self.lease.clone(),
        };
        let driver = PartitionDriver::new(parts, &route);
        driver.tell(Input::Assigned(assignment));
        Ok(driver)
    }

    /// Tells an open partition what has changed for it.
    fn update(&self, key: Key, slot: Slot, config: &TopicConfig, assignment: Assignment) {
        if slot.config == *config && slot.assignment == assignment {
            return;
        }
        if let Lookup::Open(driver) = &slot.lookup {
            if slot.config != *config {
                driver.log().configure(log_options(config));
                driver.tell(Input::ConfigChanged(config.clone()));
            }
            if slot.assignment != assignment {
                driver.tell(Input::Assigned(assignment.clone()));
            }
        }
        self.write().insert(key, Slot { config: config.clone(), assignment, ..slot });
    }

    /// Takes the partitions away of which there is no replica here any more.
    fn take_missing(&self, image: &Image) -> Vec<Slot> {
        let missing: Vec<Key> = {
            let slots = self.read();
            let broker = self.options.broker;
            let is_gone = |(topic, index): &&Key| {
                let found = image.partition(*topic, *index);
                found.is_none_or(|partition| !partition.replicas.contains(&broker))
            };
            slots.keys().filter(is_gone).copied().collect()
        };
        let taken = missing.into_iter().filter_map(|key| {
            let slot = self.write().remove(&key)?;
            if image.topic(key.0).is_none() {
                self.metrics.forget_topic(&slot.id.topic);
            }
            sometimes!(ReplicaMovedAway, image.topic(key.0).is_some());
            if let Lookup::Open(driver) = &slot.lookup {
                driver.tell(Input::LogFailed { readable: false });
            }
            Some(slot)
        });
        taken.collect()
    }

    async fn delete(&self, slot: Slot) {
        let removed = match slot.lookup {
            Lookup::Open(driver) => driver.log().delete().await,
            Lookup::Offline | Lookup::Opening | Lookup::Unknown => {
                let dir = partition_dir(&self.dir, &slot.id);
                self.doors.disk.remove_dir(&dir).await.map_err(LogError::from)
            }
        };
        if let Err(error) = removed {
            tracing::error!(partition = %slot.id, %error, "files not removed");
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a partition's machine has to know of the image.
fn assignment_of(
    image: &Image,
    topic: TopicId,
    index: PartitionIndex,
    partition: &PartitionRegistration,
) -> Assignment {
    let eligible = partition.replicas.iter().filter_map(|replica| {
        let registration = image.broker(*replica)?;
        let is_sound = partition.leader == Some(*replica) || !partition.failed.contains(replica);
        (registration.is_active() && is_sound).then_some((*replica, registration.epoch))
    });
    Assignment {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        eligible: eligible.collect(),
        min_insync: match Mutant::LeaderIgnoresMinInsync.is_planted() {
            true => 1,
            false => image.min_insync_replicas(topic, index) as usize,
        },
        counts_flushed: image.durability(topic) == Durability::Fsynced,
    }
}

/// The directory of a partition. The id keeps a topic apart from an earlier one of its name.
fn partition_dir(dir: &Path, id: &TopicPartition) -> PathBuf {
    dir.join(&*id.topic).join(format!("{}.{}", id.index, id.topic_id))
}

fn log_options(config: &TopicConfig) -> LogOptions {
    LogOptions {
        segment_bytes: u64::from(config.segment_bytes),
        segment_age: segment_age(config),
        index_interval_bytes: u64::from(config.index_interval_bytes),
        ..LogOptions::default()
    }
}

/// What is never closed is never compacted.
fn segment_age(config: &TopicConfig) -> Duration {
    let max_lag = config.max_compaction_lag.filter(|_| config.cleanup_policy.compact);
    max_lag.map_or(config.segment_age, |max_lag| max_lag.min(config.segment_age))
}

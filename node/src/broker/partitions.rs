//! The partitions of this broker: opened, reconfigured and deleted as the metadata image says.

use super::driver::{EventRoute, PartitionDriver};
use crate::{
    config::BrokerConfig,
    env::Doors,
    log::{self, Log, LogError, LogOptions},
    metrics::Metrics,
    tasks::Tasks,
};
use highwater_core::{
    config::TopicConfig,
    metadata::{Image, Topic},
    partition::{Input, Partition},
    types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId},
};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
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
    broker: BrokerId,
    static_configs: BTreeMap<String, String>,
    dir: PathBuf,
    slots: RwLock<BTreeMap<Key, Slot>>,
}

#[derive(Clone)]
struct Slot {
    id: TopicPartition,
    lookup: Lookup,
    config: TopicConfig,
}

impl Partitions {
    /// Keeps partitions under `dir`, one directory each: `<topic>/<index>.<topic id>`.
    pub fn new(
        doors: Doors,
        tasks: Tasks,
        metrics: Arc<Metrics>,
        config: &BrokerConfig,
        dir: PathBuf,
    ) -> Self {
        let (broker, static_configs) = (config.node_id, config.static_configs());
        Self { doors, tasks, metrics, broker, static_configs, dir, slots: RwLock::default() }
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

    /// Brings the open partitions in line with the image: opens new ones, reconfigures, deletes.
    /// Called by one task only, with ever newer images.
    pub async fn follow(self: &Arc<Self>, image: &Image) {
        self.delete_missing(image).await;
        let mut opening = Vec::new();
        for topic in image.topics() {
            let config = self.config_of(image, topic);
            for (partition, index) in topic.partitions.iter().zip(0..) {
                let index = PartitionIndex(index);
                let key = (topic.id, index);
                let known = self.read().get(&key).cloned();
                match known {
                    Some(slot) if slot.config == config => {}
                    Some(slot) => self.reconfigure(key, slot, &config),
                    None => {
                        let id = self.reserve(topic, index, &config);
                        let epoch = partition.leader_epoch;
                        let (this, config) = (self.clone(), config.clone());
                        opening.push(self.tasks.spawn("open-partition", async move {
                            this.open_slot(id, config, epoch).await;
                        }));
                    }
                }
            }
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
            .config_layers(Some(topic.id), self.broker, &self.static_configs)
            .effective()
            .expect("configuration is checked when it is set")
    }

    fn reserve(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        config: &TopicConfig,
    ) -> TopicPartition {
        let id = TopicPartition { topic: topic.name.as_str().into(), topic_id: topic.id, index };
        let slot = Slot { id: id.clone(), lookup: Lookup::Opening, config: config.clone() };
        self.write().insert((topic.id, index), slot);
        id
    }

    async fn open_slot(&self, id: TopicPartition, config: TopicConfig, epoch: LeaderEpoch) {
        let key = (id.topic_id, id.index);
        let lookup = match self.open_partition(&id, config, epoch).await {
            Ok(driver) => Lookup::Open(driver),
            Err(error) => {
                tracing::error!(
                    partition = %id, %error,
                    "the partition is offline: its log could not be opened"
                );
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
        epoch: LeaderEpoch,
    ) -> Result<Arc<PartitionDriver>, LogError> {
        let route = EventRoute::default();
        let dir = partition_dir(&self.dir, id);
        let options = log_options(&config);
        let disk = self.doors.disk.clone();
        let (log, recovered) = Log::open(disk, &self.tasks, dir, options, route.callback()).await?;
        let recovered = recovered.into_recovered();
        recovered
            .check(epoch)
            .map_err(|error| LogError::corrupt(log.dir(), recovered.log_end_offset, 0, error))?;
        let machine = Partition::new(self.doors.clock.now(), config, epoch, recovered);
        let clock = self.doors.clock.clone();
        let metrics = self.metrics.topic(&id.topic);
        Ok(PartitionDriver::new(
            id.clone(),
            metrics,
            machine,
            log,
            clock,
            self.tasks.clone(),
            &route,
        ))
    }

    fn reconfigure(&self, key: Key, slot: Slot, config: &TopicConfig) {
        if let Lookup::Open(driver) = &slot.lookup {
            driver.log().configure(log_options(config));
            driver.tell(Input::ConfigChanged(config.clone()));
        }
        self.write().insert(key, Slot { config: config.clone(), ..slot });
    }

    async fn delete_missing(&self, image: &Image) {
        let missing: Vec<Key> = {
            let slots = self.read();
            let gone = slots.keys().filter(|(topic, _)| image.topic(*topic).is_none());
            gone.copied().collect()
        };
        for key in missing {
            let Some(slot) = self.write().remove(&key) else { continue };
            self.metrics.forget_topic(&slot.id.topic);
            let removed = match slot.lookup {
                Lookup::Open(driver) => {
                    driver.tell(Input::LogFailed { readable: false });
                    driver.log().delete().await
                }
                Lookup::Offline | Lookup::Opening | Lookup::Unknown => {
                    let dir = partition_dir(&self.dir, &slot.id);
                    self.doors.disk.remove_dir(&dir).await.map_err(LogError::from)
                }
            };
            if let Err(error) = removed {
                tracing::error!(partition = %slot.id, %error, "files not removed");
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory of a partition. The id keeps a topic apart from an earlier one of its name.
fn partition_dir(dir: &Path, id: &TopicPartition) -> PathBuf {
    dir.join(&*id.topic).join(format!("{}.{}", id.index, id.topic_id))
}

fn log_options(config: &TopicConfig) -> LogOptions {
    LogOptions {
        segment_bytes: u64::from(config.segment_bytes),
        segment_age: config.segment_age,
        index_interval_bytes: u64::from(config.index_interval_bytes),
        ..LogOptions::default()
    }
}

//! The configuration of topics: names, defaults and rules in one table, values typed.

mod error;
mod layers;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use error::ConfigError;
pub use layers::{ConfigLayers, ConfigSource, ConfigSynonym, ResolvedConfig, ThrottledRates};
pub use table::{BrokerSynonym, ConfigDefinition, TOPIC_CONFIGS, broker_config_names, definition};
pub use value::{ConfigType, nearest, validate_broker_config, validate_topic_config};

use crate::record::TimestampType;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// What may be done to old records (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Delete them by age and size.
    pub delete: bool,
    /// Keep the newest record of each key.
    pub compact: bool,
}

/// What an acknowledged record has survived (`durability`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Durability {
    /// It is flushed to the disks of every in-sync replica: a crash of all of them loses nothing.
    #[default]
    Fsynced,
    /// It is in the memory of every in-sync replica, as in Kafka: a crash of all of them at once
    /// may lose it.
    Replicated,
}

/// The effective configuration of a topic, as far as the broker acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `min.cleanable.dirty.ratio`, in millionths: the share of a log that must be uncompacted
    /// before it is compacted.
    pub min_cleanable_dirty_ratio_millionths: u32,
    /// `min.compaction.lag.ms`: the shortest time a record stays uncompacted.
    pub min_compaction_lag: Duration,
    /// `max.compaction.lag.ms`: the longest time a record stays uncompacted; `None` is unlimited.
    pub max_compaction_lag: Option<Duration>,
    /// `delete.retention.ms`: how long compaction keeps a tombstone that it has come upon.
    pub delete_retention: Duration,
    /// `retention.ms`; `None` is unlimited.
    pub retention: Option<Duration>,
    /// `retention.bytes` of one partition; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`: size at which a segment is closed.
    pub segment_bytes: u32,
    /// `segment.ms`: age at which a segment is closed.
    pub segment_age: Duration,
    /// `segment.jitter.ms`: at most this much is taken off `segment_age`, at random.
    pub segment_jitter: Duration,
    /// `segment.index.bytes`: the largest size of a segment's index.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: bytes of batches between two index entries.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch, its 12-byte prefix included.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie in the past.
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie in the future.
    pub timestamp_after_max: Duration,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `durability`.
    pub durability: Durability,
    /// `file.delete.delay.ms`: how long a removed segment stays on disk for its readers.
    pub file_delete_delay: Duration,
    /// `preallocate`.
    pub preallocate: bool,
    /// `producer.id.expiration.ms`, which only brokers set: the silence after which an idempotent
    /// producer is forgotten.
    pub producer_id_expiration: Duration,
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        ConfigLayers::default().effective().expect("the defaults in the table are valid")
    }
}

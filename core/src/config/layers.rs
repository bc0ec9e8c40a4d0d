//! Where a value comes from: topic, broker and default, the strongest first.

use super::{
    CleanupPolicy, ConfigError, Durability, TopicConfig,
    table::{BROKER_ONLY_CONFIGS, ConfigDefinition, TOPIC_CONFIGS, definition},
    value::scaled,
};
use crate::record::TimestampType;
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

/// The layers of configuration that apply to one topic, the strongest first. The topic's layer
/// has topic-level names, the others broker-level ones; names that are not topic defaults are
/// passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigLayers<'a> {
    /// Set on the topic.
    pub topic: Option<&'a BTreeMap<String, String>>,
    /// Set on this broker at run time.
    pub dynamic_broker: Option<&'a BTreeMap<String, String>>,
    /// Set on every broker at run time.
    pub dynamic_default: Option<&'a BTreeMap<String, String>>,
    /// Set in this broker's configuration file.
    pub static_broker: Option<&'a BTreeMap<String, String>>,
}

/// Which layer a value comes from, as DescribeConfigs reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on this broker at run time.
    DynamicBroker,
    /// Set on every broker at run time.
    DynamicDefault,
    /// Set in this broker's configuration file.
    StaticBroker,
    /// Nobody set it.
    Default,
}

/// A value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedConfig {
    /// The value, in the topic configuration's own unit.
    pub value: String,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Every layer that has a value, the strongest (and so the one in effect) first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// A value in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name that it was set under.
    pub name: &'static str,
    /// The value as it was set.
    pub value: String,
    /// The layer.
    pub source: ConfigSource,
}

/// Bytes per second of throttled replicas on one broker; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottledRates {
    /// `leader.replication.throttled.rate`.
    pub leader: Option<u64>,
    /// `follower.replication.throttled.rate`.
    pub follower: Option<u64>,
}

impl ConfigLayers<'_> {
    /// The value in effect. Values in the layers are taken as they are: validate them when they
    /// are set.
    #[must_use]
    pub fn resolve(&self, definition: &ConfigDefinition) -> ResolvedConfig {
        let mut synonyms = Vec::new();
        let mut value = None;
        if let Some(set) = self.topic.and_then(|topic| topic.get(definition.name)) {
            value = Some((set.clone(), ConfigSource::Topic));
            let source = ConfigSource::Topic;
            synonyms.push(ConfigSynonym { name: definition.name, value: set.clone(), source });
        }
        for (layer, source) in [
            (self.dynamic_broker, ConfigSource::DynamicBroker),
            (self.dynamic_default, ConfigSource::DynamicDefault),
            (self.static_broker, ConfigSource::StaticBroker),
        ] {
            let Some(layer) = layer else { continue };
            for synonym in definition.synonyms {
                let Some(set) = layer.get(synonym.name) else { continue };
                value.get_or_insert_with(|| (in_own_unit(set, synonym.scale), source));
                synonyms.push(ConfigSynonym { name: synonym.name, value: set.clone(), source });
            }
        }
        let name = definition.synonyms.first().map_or(definition.name, |synonym| synonym.name);
        let default = definition.default.to_string();
        let source = ConfigSource::Default;
        synonyms.push(ConfigSynonym { name, value: default.clone(), source });
        let (value, source) = value.unwrap_or((default, source));
        ResolvedConfig { value, source, synonyms }
    }

    /// Every topic configuration with its value in effect, by name.
    pub fn describe(&self) -> impl Iterator<Item = (&'static ConfigDefinition, ResolvedConfig)> {
        TOPIC_CONFIGS.iter().map(|definition| (definition, self.resolve(definition)))
    }

    /// The values in effect, typed. Fails on a value that was not validated when it was set.
    pub fn effective(&self) -> Result<TopicConfig, ConfigError> {
        let policy = self.text("cleanup.policy")?;
        let has = |wanted| policy.split(',').any(|item| item.trim() == wanted);
        Ok(TopicConfig {
            cleanup_policy: CleanupPolicy { delete: has("delete"), compact: has("compact") },
            min_cleanable_dirty_ratio_millionths: self.millionths("min.cleanable.dirty.ratio")?,
            min_compaction_lag: self.duration("min.compaction.lag.ms")?,
            max_compaction_lag: Some(self.duration("max.compaction.lag.ms")?)
                .filter(|lag| *lag < Duration::from_millis(i64::MAX as u64)),
            delete_retention: self.duration("delete.retention.ms")?,
            retention: self.limit("retention.ms")?.map(Duration::from_millis),
            retention_bytes: self.limit("retention.bytes")?,
            segment_bytes: self.int("segment.bytes")?,
            segment_age: self.duration("segment.ms")?,
            segment_jitter: self.duration("segment.jitter.ms")?,
            segment_index_bytes: self.int("segment.index.bytes")?,
            index_interval_bytes: self.int("index.interval.bytes")?,
            max_message_bytes: self.int("max.message.bytes")?,
            timestamp_type: match self.text("message.timestamp.type")?.trim() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max: self.duration("message.timestamp.before.max.ms")?,
            timestamp_after_max: self.duration("message.timestamp.after.max.ms")?,
            min_insync_replicas: self.int("min.insync.replicas")?,
            durability: match self.text("durability")?.trim() {
                "replicated" => Durability::Replicated,
                _ => Durability::Fsynced,
            },
            file_delete_delay: self.duration("file.delete.delay.ms")?,
            preallocate: self.text("preallocate")?.trim() == "true",
            producer_id_expiration: self.duration("producer.id.expiration.ms")?,
        })
    }

    /// The rates that replication is throttled to on this broker. One that was not validated when it
    /// was set throttles nothing.
    #[must_use]
    pub fn throttled_rates(&self) -> ThrottledRates {
        let rate = |name| {
            let rate = u64::try_from(self.integer(name).ok()?).ok();
            rate.filter(|rate| *rate < i64::MAX as u64)
        };
        ThrottledRates {
            leader: rate("leader.replication.throttled.rate"),
            follower: rate("follower.replication.throttled.rate"),
        }
    }

    fn text(&self, name: &str) -> Result<String, ConfigError> {
        let definition = definition(name)
            .or_else(|| BROKER_ONLY_CONFIGS.iter().find(|known| known.name == name))
            .expect("the effective configuration only reads names in the table");
        let value = self.resolve(definition).value;
        definition.check(name, &value, 1)?;
        Ok(value)
    }

    fn integer(&self, name: &str) -> Result<i64, ConfigError> {
        Ok(self.text(name)?.trim().parse().expect("checked against the rule of an integer"))
    }

    /// A limit, where -1 is none.
    fn limit(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        Ok(u64::try_from(self.integer(name)?).ok())
    }

    fn int(&self, name: &str) -> Result<u32, ConfigError> {
        Ok(u32::try_from(self.integer(name)?).expect("checked against the rule of an int"))
    }

    /// A ratio from 0 to 1.
    fn millionths(&self, name: &str) -> Result<u32, ConfigError> {
        let ratio: f64 = self.text(name)?.trim().parse().expect("checked against the rule of one");
        Ok((ratio * 1_000_000.0 + 0.5) as u32)
    }

    fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        let millis = self.integer(name)?;
        Ok(Duration::from_millis(u64::try_from(millis).expect("durations are not negative")))
    }
}

/// Converts a broker's value (say, hours) to the topic configuration's unit, at most to the
/// largest number. Text that is no number stays, to be reported as it was set.
fn in_own_unit(value: &str, scale: i64) -> String {
    match value.trim().parse() {
        Ok(number) if scale != 1 => scaled(number, scale).unwrap_or(i64::MAX).to_string(),
        _ => value.to_string(),
    }
}

//! The one table of topic configurations.

use super::value::{ConfigType, Rule};

/// A configuration of topics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigDefinition {
    /// Its name on topics.
    pub name: &'static str,
    /// Its type.
    pub config_type: ConfigType,
    /// Its value where nobody set another.
    pub default: &'static str,
    /// The broker-level names that give topics their default, the strongest first.
    pub synonyms: &'static [BrokerSynonym],
    /// What it does here.
    pub documentation: &'static str,
    pub(super) rule: Rule,
    /// The rule in words.
    pub(super) expected: &'static str,
}

/// The broker-level name of a topic configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    /// The name.
    pub name: &'static str,
    /// How many of the topic configuration's units one of its units is (hours: 3,600,000).
    pub scale: i64,
}

/// The definition of a topic configuration.
#[must_use]
pub fn definition(name: &str) -> Option<&'static ConfigDefinition> {
    TOPIC_CONFIGS.iter().find(|definition| definition.name == name)
}

/// Every broker-level name that is accepted by [`super::validate_broker_config`].
pub fn broker_config_names() -> impl Iterator<Item = &'static str> {
    TOPIC_CONFIGS
        .iter()
        .chain(BROKER_ONLY_CONFIGS)
        .flat_map(|definition| definition.synonyms)
        .map(|synonym| synonym.name)
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const INT_MAX: i64 = i32::MAX as i64;

const BOOLEAN: Rule = Rule::OneOf(&["true", "false"]);
const NOT_NEGATIVE: Rule = Rule::Integer { min: 0, max: i64::MAX };
const POSITIVE: Rule = Rule::Integer { min: 1, max: i64::MAX };
const UNLIMITED: Rule = Rule::Integer { min: -1, max: i64::MAX };
const NOT_NEGATIVE_IN_WORDS: &str = "an integer of at least 0";
const POSITIVE_IN_WORDS: &str = "an integer of at least 1";
const UNLIMITED_IN_WORDS: &str = "-1 (unlimited) or an integer of at least 0";
const BOOLEAN_IN_WORDS: &str = "true or false";
const THROTTLED_IN_WORDS: &str = "*, or pairs partition:broker separated by commas";

macro_rules! configs {
    ($(
        $name:literal: $type:ident = $default:literal,
        [$($synonym:literal $(* $scale:ident)?),*], $rule:expr, $expected:expr, $doc:literal;
    )+) => {
        &[$(ConfigDefinition {
            name: $name,
            config_type: ConfigType::$type,
            default: $default,
            synonyms: &[$(BrokerSynonym { name: $synonym, scale: 1 $(* $scale)? }),*],
            rule: $rule,
            expected: $expected,
            documentation: $doc,
        },)+]
    };
}

/// Every topic configuration, by name.
pub const TOPIC_CONFIGS: &[ConfigDefinition] = configs! {
    "cleanup.policy": List = "delete", ["log.cleanup.policy"],
        Rule::AnyOf(&["delete", "compact"]), "delete, compact, or both separated by a comma",
        "What happens to old records: delete removes whole segments by age and size, compact keeps \
         the newest record of each key.";
    "compression.type": String = "producer", ["compression.type"],
        Rule::OneOf(&["producer"]),
        "producer: batches are stored as their producer compressed them, never recompressed",
        "Batches are stored as their producer compressed them.";
    "delete.retention.ms": Long = "86400000", ["log.cleaner.delete.retention.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "How long a tombstone stays after compaction has removed what it deletes.";
    "durability": String = "fsynced", ["default.durability"],
        Rule::OneOf(&["fsynced", "replicated"]), "fsynced or replicated",
        "What an acknowledged record has survived. fsynced: it is flushed to the disks of every \
         in-sync replica. replicated: it is in the memory of every in-sync replica, and a crash \
         of all of them at once may lose it.";
    "file.delete.delay.ms": Long = "60000", ["log.segment.delete.delay.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "How long the file of a removed segment stays for its readers.";
    "flush.messages": Long = "9223372036854775807", ["log.flush.interval.messages"],
        POSITIVE, POSITIVE_IN_WORDS,
        "Without effect: every record is flushed before it is acknowledged.";
    "flush.ms": Long = "9223372036854775807", ["log.flush.interval.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "Without effect: every record is flushed before it is acknowledged.";
    "follower.replication.throttled.replicas": List = "", [],
        Rule::ThrottledReplicas, THROTTLED_IN_WORDS,
        "Replicas that are throttled as followers, by follower.replication.throttled.rate of their \
         brokers, while they are out of sync.";
    "index.interval.bytes": Int = "4096", ["log.index.interval.bytes"],
        Rule::Integer { min: 0, max: INT_MAX }, NOT_NEGATIVE_IN_WORDS,
        "Bytes of batches between two entries of the offset index.";
    "leader.replication.throttled.replicas": List = "", [],
        Rule::ThrottledReplicas, THROTTLED_IN_WORDS,
        "Replicas whose followers are throttled while they are out of sync, by \
         leader.replication.throttled.rate of their brokers.";
    "max.compaction.lag.ms": Long = "9223372036854775807", ["log.cleaner.max.compaction.lag.ms"],
        POSITIVE, POSITIVE_IN_WORDS,
        "Time after which a record is compacted whatever min.cleanable.dirty.ratio says; segments \
         are closed at this age too.";
    "max.message.bytes": Int = "1048588", ["message.max.bytes"],
        Rule::Integer { min: 0, max: INT_MAX }, NOT_NEGATIVE_IN_WORDS,
        "Largest record batch, after compression, its 12-byte prefix included.";
    "message.timestamp.after.max.ms": Long = "3600000", ["log.message.timestamp.after.max.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "How far ahead of the broker's clock a batch's newest timestamp may lie.";
    "message.timestamp.before.max.ms": Long = "9223372036854775807",
        ["log.message.timestamp.before.max.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "How far behind the broker's clock a batch's newest timestamp may lie.";
    "message.timestamp.type": String = "CreateTime", ["log.message.timestamp.type"],
        Rule::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime or LogAppendTime",
        "Whether the producer or the broker sets the timestamps of records.";
    "min.cleanable.dirty.ratio": Double = "0.5", ["log.cleaner.min.cleanable.ratio"],
        Rule::Ratio, "a number from 0 to 1",
        "Share of a log that must be uncompacted before it is compacted.";
    "min.compaction.lag.ms": Long = "0", ["log.cleaner.min.compaction.lag.ms"],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "Shortest time a record stays uncompacted, in whole segments.";
    "min.insync.replicas": Int = "1", ["min.insync.replicas"],
        Rule::Integer { min: 1, max: INT_MAX }, POSITIVE_IN_WORDS,
        "In-sync replicas that acks=all demands, at most the number of replicas.";
    "preallocate": Boolean = "false", ["log.preallocate"],
        BOOLEAN, BOOLEAN_IN_WORDS,
        "Whether the file of a new segment is allocated at its full size.";
    "remote.storage.enable": Boolean = "false", [],
        Rule::OneOf(&["false"]), "false: tiered storage is not available",
        "Tiered storage, which is not available.";
    "retention.bytes": Long = "-1", ["log.retention.bytes"],
        UNLIMITED, UNLIMITED_IN_WORDS,
        "Size of a partition above which its oldest segments are deleted; -1 is unlimited.";
    "retention.ms": Long = "604800000",
        ["log.retention.ms", "log.retention.minutes" * MINUTE, "log.retention.hours" * HOUR],
        UNLIMITED, UNLIMITED_IN_WORDS,
        "Age above which a segment is deleted, counted from its newest record; -1 is unlimited.";
    "segment.bytes": Int = "1073741824", ["log.segment.bytes"],
        Rule::Integer { min: 1024, max: INT_MAX }, "an integer of at least 1024",
        "Size at which a segment is closed and the next one begun.";
    "segment.index.bytes": Int = "10485760", ["log.index.size.max.bytes"],
        Rule::Integer { min: 4, max: INT_MAX }, "an integer of at least 4",
        "Largest size of a segment's offset index.";
    "segment.jitter.ms": Long = "0", ["log.roll.jitter.ms", "log.roll.jitter.hours" * HOUR],
        NOT_NEGATIVE, NOT_NEGATIVE_IN_WORDS,
        "At most this much is taken off segment.ms at random, so that segments roll at \
         different times.";
    "segment.ms": Long = "604800000", ["log.roll.ms", "log.roll.hours" * HOUR],
        POSITIVE, POSITIVE_IN_WORDS,
        "Age at which a segment is closed even if it is not full.";
    "unclean.leader.election.enable": Boolean = "false", ["unclean.leader.election.enable"],
        BOOLEAN, BOOLEAN_IN_WORDS,
        "Whether a replica that is not in sync may become leader.";
};

/// What brokers alone configure and partitions still act on.
pub(super) const BROKER_ONLY_CONFIGS: &[ConfigDefinition] = configs! {
    "follower.replication.throttled.rate": Long = "9223372036854775807",
        ["follower.replication.throttled.rate"],
        POSITIVE, POSITIVE_IN_WORDS,
        "Bytes in a second that this broker takes from leaders for the replicas that \
         follower.replication.throttled.replicas of their topics name.";
    "leader.replication.throttled.rate": Long = "9223372036854775807",
        ["leader.replication.throttled.rate"],
        POSITIVE, POSITIVE_IN_WORDS,
        "Bytes in a second that this broker gives to followers of the replicas that \
         leader.replication.throttled.replicas of their topics name.";
    "producer.id.expiration.ms": Int = "86400000", ["producer.id.expiration.ms"],
        Rule::Integer { min: 1, max: INT_MAX }, POSITIVE_IN_WORDS,
        "Silence after which a partition forgets an idempotent producer.";
};

//! The keys of group coordinators and of the topic in which they keep their state.

use super::{
    keys::{ANY, I32, Key, THREADS, bytes, inert, int, millis, millis_of, number, row, set},
    value::Kind,
};
use core::time::Duration;
use highwater_core::group::MigrationPolicy;

const MIGRATION_POLICIES: &[&str] = &["disabled", "upgrade", "downgrade", "bidirectional"];

/// Every key of group coordinators.
pub(super) static GROUP_KEYS: &[Key] = &[
    row(
        "group.min.session.timeout.ms",
        millis(0, I32),
        "6000",
        "The shortest session timeout that a member of a classic group may have.",
        set!(|c, v| c.groups.min_session_timeout = millis_of(v)),
    ),
    row(
        "group.max.session.timeout.ms",
        millis(0, I32),
        "1800000",
        "The longest session timeout that a member of a classic group may have.",
        set!(|c, v| c.groups.max_session_timeout = millis_of(v)),
    ),
    row(
        "group.initial.rebalance.delay.ms",
        millis(0, I32),
        "3000",
        "How long an empty classic group waits for more members before its first rebalance.",
        set!(|c, v| c.groups.initial_rebalance_delay = millis_of(v)),
    ),
    row(
        "group.max.size",
        int(1, I32),
        "2147483647",
        "The most members of a classic group.",
        set!(|c, v| c.groups.max_size = number(v)),
    ),
    row(
        "offset.metadata.max.bytes",
        bytes(0, i16::MAX as i64),
        "4096",
        "The longest metadata that a client may commit with an offset, counted as Kafka does in \
         units of UTF-16: a character beyond 0xffff is two. Records hold no more than 32767 bytes \
         of it.",
        set!(|c, v| c.groups.offset_metadata_max_bytes = number(v)),
    ),
    row(
        "offsets.retention.minutes",
        int(1, I32),
        "10080",
        "How long committed offsets are kept after the last member of their group has left, or \
         after the commit in a group that never had members.",
        set!(|c, v| c.groups.offsets_retention = Duration::from_mins(number(v))),
    ),
    row(
        "offsets.retention.check.interval.ms",
        millis(1, ANY),
        "600000",
        "How often expired offsets are looked for.",
        set!(|c, v| c.groups.offsets_retention_check_interval = millis_of(v)),
    ),
    row(
        "offsets.commit.timeout.ms",
        millis(1, I32),
        "5000",
        "How long an answer of a group coordinator waits for its records to be committed.",
        set!(|c, v| c.offsets_commit_timeout = millis_of(v)),
    ),
    row(
        "offsets.topic.num.partitions",
        int(1, 10_000),
        "50",
        "Partitions of `__consumer_offsets`, and so the number of group coordinators. It counts \
         when the topic is created, with the first group.",
        set!(|c, v| c.offsets_topic.partitions = number(v)),
    ),
    row(
        "offsets.topic.replication.factor",
        int(1, i16::MAX as i64),
        "3",
        "Replicas of `__consumer_offsets` when it is created; in a smaller cluster as many as there \
         are brokers, which are as many as voters at least: with fewer brokers than controllers \
         set this yourself. Kafka refuses to create the topic there.",
        set!(|c, v| c.offsets_topic.replication_factor = number(v)),
    ),
    row(
        "offsets.topic.segment.bytes",
        bytes(1024, I32),
        "104857600",
        "Size of the segments of `__consumer_offsets` when it is created.",
        set!(|c, v| c.offsets_topic.segment_bytes = number(v)),
    ),
    row(
        "group.consumer.session.timeout.ms",
        millis(1, I32),
        "45000",
        "The silence after which a member of a consumer group (KIP-848) is removed.",
        set!(|c, v| c.groups.consumer_session_timeout = millis_of(v)),
    ),
    row(
        "group.consumer.heartbeat.interval.ms",
        millis(1, I32),
        "5000",
        "How often members of consumer groups are told to send heartbeats.",
        set!(|c, v| c.groups.consumer_heartbeat_interval = millis_of(v)),
    ),
    row(
        "group.consumer.max.size",
        int(1, I32),
        "2147483647",
        "The most members of a consumer group.",
        set!(|c, v| c.groups.consumer_max_size = number(v)),
    ),
    row(
        "group.consumer.migration.policy",
        Kind::Choice(MIGRATION_POLICIES),
        "bidirectional",
        "Which groups may change their type while they have members: classic groups that a member \
         of the new protocol joins (`upgrade`), consumer groups that the last such member leaves \
         (`downgrade`), both, or none.",
        set!(|c, v| c.groups.migration_policy = migration_policy(v.text())),
    ),
    row(
        "group.consumer.assignors",
        Kind::List,
        "uniform,range",
        "The assignors of consumer groups, the default one first: `uniform,range` and nothing else.",
        |_, v| match v.text().split(',').map(str::trim).eq(["uniform", "range"]) {
            true => Ok(()),
            false => Err("the assignors are `uniform,range`; members choose between them".into()),
        },
    ),
    row(
        "group.coordinator.rebalance.protocols",
        Kind::List,
        "classic,consumer",
        "The protocols of groups: `classic,consumer`. To take the second out of use, set the \
         feature `group.version` to 0.",
        |_, v| {
            let mut given: Vec<&str> = v.text().split(',').map(str::trim).collect();
            given.sort_unstable();
            match given == ["classic", "consumer"] {
                true => Ok(()),
                false => Err("the protocols are `classic,consumer`; the feature `group.version` \
                              takes the second out of use"
                    .into()),
            }
        },
    ),
    inert("group.consumer.min.session.timeout.ms", millis(1, I32), NO_GROUP_CONFIGS),
    inert("group.consumer.max.session.timeout.ms", millis(1, I32), NO_GROUP_CONFIGS),
    inert("group.consumer.min.heartbeat.interval.ms", millis(1, I32), NO_GROUP_CONFIGS),
    inert("group.consumer.max.heartbeat.interval.ms", millis(1, I32), NO_GROUP_CONFIGS),
    inert("group.coordinator.threads", int(1, I32), THREADS),
    inert("group.coordinator.background.threads", int(1, I32), THREADS),
    inert(
        "group.coordinator.append.linger.ms",
        millis(-1, I32),
        "No effect: records of coordinators are flushed together with all that wait at that moment.",
    ),
    inert(
        "offsets.load.buffer.size",
        bytes(1, I32),
        "No effect: logs are read in pieces of 1 MiB.",
    ),
    inert(
        "offsets.topic.compression.codec",
        int(0, 4),
        "No effect: records of coordinators are not compressed.",
    ),
];

const NO_GROUP_CONFIGS: &str = "No effect: groups have no configuration of their own.";

/// The kind of the row has checked the word.
fn migration_policy(word: &str) -> MigrationPolicy {
    match word {
        "disabled" => MigrationPolicy::Disabled,
        "upgrade" => MigrationPolicy::Upgrade,
        "downgrade" => MigrationPolicy::Downgrade,
        _ => MigrationPolicy::Bidirectional,
    }
}

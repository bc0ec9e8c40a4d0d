//! How a group coordinator keeps its groups.

use core::time::Duration;

/// The configuration of every group of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: the shortest session of a classic member, inclusive.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`: the longest session of a classic member, inclusive.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty classic group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: the most members of a classic group.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: the longest metadata of a committed offset, in units of
    /// UTF-16, inclusive.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`: how long offsets are kept that nobody uses (KIP-211).
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `group.consumer.session.timeout.ms`: the silence after which a member of a consumer group
    /// is fenced (KIP-848).
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: how often members of consumer groups are asked to
    /// send heartbeats.
    pub consumer_heartbeat_interval: Duration,
    /// `group.consumer.max.size`: the most members of a consumer group.
    pub consumer_max_size: usize,
    /// `group.consumer.migration.policy`: which groups may change their type while they have
    /// members.
    pub migration_policy: MigrationPolicy,
}

/// Which groups may change their type while they have members (KIP-848).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Neither.
    Disabled,
    /// Classic groups become consumer groups when the first such member joins.
    Upgrade,
    /// Consumer groups become classic groups when the last consumer member leaves.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether classic groups may become consumer groups.
    #[must_use]
    pub fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether consumer groups may become classic groups.
    #[must_use]
    pub fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for GroupConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_mins(30),
            initial_rebalance_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4096,
            offsets_retention: Duration::from_hours(7 * 24),
            offsets_retention_check_interval: Duration::from_mins(10),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_max_size: i32::MAX as usize,
            migration_policy: MigrationPolicy::Bidirectional,
        }
    }
}

//! What a partition of `__consumer_offsets` says, record by record, in Kafka's own terms and
//! layout (which the node encodes). A value of `None` is a tombstone.

use super::limits::record_size;
use crate::{
    time::Timestamp,
    types::{LeaderEpoch, Offset, PartitionIndex, TopicId},
};
use alloc::{collections::BTreeMap, collections::BTreeSet, string::String, sync::Arc, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

/// A group's name.
pub type GroupId = Arc<str>;
/// A member's identity in its group.
pub type MemberId = Arc<str>;
/// `group.instance.id`: what a static member is known by across restarts (KIP-345).
pub type InstanceId = Arc<str>;
/// Partitions by topic. Invariant: no set is empty.
pub type TopicPartitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An offset that a group has committed (key 1).
    OffsetCommit {
        /// The group.
        group: GroupId,
        /// The topic's name.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionIndex,
        /// The commit.
        value: Option<CommittedOffset>,
    },
    /// A classic group (key 2).
    Group {
        /// The group.
        group: GroupId,
        /// The group as of its last generation.
        value: Option<ClassicGroupValue>,
    },
    /// A consumer group exists, and its epoch (key 3).
    ConsumerGroup {
        /// The group.
        group: GroupId,
        /// Its epoch.
        value: Option<ConsumerGroupValue>,
    },
    /// A member of a consumer group (key 5).
    ConsumerMember {
        /// The group.
        group: GroupId,
        /// The member.
        member: MemberId,
        /// What it says of itself.
        value: Option<ConsumerMemberValue>,
    },
    /// The epoch of a consumer group's target assignment (key 6).
    TargetAssignmentEpoch {
        /// The group.
        group: GroupId,
        /// The group epoch that the target was computed for.
        value: Option<u32>,
    },
    /// A member's part of the target assignment (key 7).
    TargetAssignment {
        /// The group.
        group: GroupId,
        /// The member.
        member: MemberId,
        /// Its partitions.
        value: Option<TopicPartitions>,
    },
    /// What a member of a consumer group owns (key 8).
    CurrentAssignment {
        /// The group.
        group: GroupId,
        /// The member.
        member: MemberId,
        /// What it owns.
        value: Option<CurrentAssignmentValue>,
    },
    /// The topics that a regular expression of a consumer group's members matches (key 16).
    RegularExpression {
        /// The group.
        group: GroupId,
        /// The expression.
        expression: Arc<str>,
        /// What it matches.
        value: Option<RegularExpressionValue>,
    },
}

impl Record {
    /// The group that it is about.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        match self {
            Self::OffsetCommit { group, .. }
            | Self::Group { group, .. }
            | Self::ConsumerGroup { group, .. }
            | Self::ConsumerMember { group, .. }
            | Self::TargetAssignmentEpoch { group, .. }
            | Self::TargetAssignment { group, .. }
            | Self::CurrentAssignment { group, .. }
            | Self::RegularExpression { group, .. } => group,
        }
    }

    /// How many bytes it takes in a batch, at the most.
    #[must_use]
    pub fn size(&self) -> usize {
        record_size(self)
    }
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be consumed.
    pub offset: Offset,
    /// Leader epoch of the last record consumed (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's own words.
    pub metadata: Arc<str>,
    /// When it was committed, by the coordinator's wall clock.
    pub committed_at: Timestamp,
    /// When it expires: set only by clients older than OffsetCommit 5 that asked for a retention.
    pub expires_at: Option<Timestamp>,
    /// The topic that it was committed for, where that is known (KIP-848).
    pub topic_id: Option<TopicId>,
}

/// A classic group as of its last generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroupValue {
    /// `consumer`, `connect`, ...; empty before any member has joined.
    pub protocol_type: String,
    /// The generation.
    pub generation: u32,
    /// The protocol that the members agreed on.
    pub protocol: Option<String>,
    /// The member that assigns; `None` while it has not: the members were told of the generation,
    /// and have no assignments in it.
    pub leader: Option<MemberId>,
    /// When the group got into its present state, by the coordinator's wall clock.
    pub state_since: Option<Timestamp>,
    /// The members.
    pub members: Vec<ClassicMemberValue>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberValue {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// The silence after which it is removed.
    pub session_timeout: Duration,
    /// Its metadata for the group's protocol. Opaque.
    pub subscription: Bytes,
    /// What the leader assigned to it. Opaque.
    pub assignment: Bytes,
}

/// A consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConsumerGroupValue {
    /// Its epoch: grows whenever members, subscriptions or the topics' metadata change.
    pub epoch: u32,
    /// Hash of the metadata of the topics that it subscribes to; zero when it has none (KIP-1101).
    pub metadata_hash: u64,
}

/// What a member of a consumer group says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConsumerMemberValue {
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Its rack.
    pub rack: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The topics that it subscribes to by name, sorted, none twice.
    pub topics: Vec<Arc<str>>,
    /// The regular expression that it subscribes with.
    pub regular_expression: Option<Arc<str>>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout: Duration,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// Set for a member that speaks the classic protocol in a consumer group.
    pub classic: Option<ClassicMemberMetadata>,
}

/// What a member that speaks the classic protocol brought to a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    /// The silence after which it is removed.
    pub session_timeout: Duration,
    /// The protocols it can be assigned by, and its metadata for each. Opaque.
    pub protocols: Vec<(String, Bytes)>,
}

/// Where a member of a consumer group is on its way to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It owns what its epoch gives it.
    Stable,
    /// It was asked to give partitions up and has not confirmed it.
    UnrevokedPartitions,
    /// It waits for partitions that other members have not given up.
    UnreleasedPartitions,
    /// A coordinator newer than this one wrote it.
    Unknown,
}

/// What a member of a consumer group owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignmentValue {
    /// Its epoch; `None` for a static member that left and will be back (-2 in Kafka's record).
    pub epoch: Option<u32>,
    /// The epoch before: a member that missed the answer to a bump still sends it.
    pub previous_epoch: u32,
    /// Where it is on its way to the target.
    pub state: MemberState,
    /// What it owns, with the epoch in which each was assigned to it (KIP-1251).
    pub assigned: BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>,
    /// What it was asked to give up, likewise.
    pub pending_revocation: BTreeMap<TopicId, BTreeMap<PartitionIndex, u32>>,
}

/// The topics that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegularExpressionValue {
    /// Their names, sorted.
    pub topics: Vec<Arc<str>>,
    /// The position of the metadata log at which that was so.
    pub version: u64,
    /// When it was computed, by the coordinator's wall clock.
    pub at: Timestamp,
}

//! What a group coordinator is asked, and what it answers.

use super::{
    error::GroupError,
    record::{CommittedOffset, GroupId, InstanceId, MemberId, TopicPartitions},
};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use alloc::{string::String, sync::Arc, vec::Vec};
use bytes::Bytes;
use core::time::Duration;

/// What a group coordinator is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// JoinGroup. Answered with [`Response::Joined`], perhaps much later.
    Join(Join),
    /// SyncGroup. Answered with [`Response::Synced`], perhaps much later.
    Sync(Sync),
    /// Heartbeat. Answered with [`Response::Heartbeat`].
    Heartbeat {
        /// The group.
        group: GroupId,
        /// Who beats.
        identity: Identity,
    },
    /// LeaveGroup. Answered with [`Response::Left`].
    Leave {
        /// The group.
        group: GroupId,
        /// Who leaves.
        members: Vec<Leaver>,
    },
    /// OffsetCommit. Answered with [`Response::Committed`].
    CommitOffsets(CommitOffsets),
    /// OffsetFetch, for one group. Answered with [`Response::Offsets`].
    FetchOffsets(FetchOffsets),
    /// OffsetDelete. Answered with [`Response::OffsetsDeleted`].
    DeleteOffsets {
        /// The group.
        group: GroupId,
        /// Partitions by the topic's name.
        topics: Vec<(Arc<str>, Vec<PartitionIndex>)>,
    },
    /// DeleteGroups, for one group. Answered with [`Response::GroupDeleted`].
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// DescribeGroups, for one group. Answered with [`Response::Described`].
    Describe {
        /// The group.
        group: GroupId,
    },
    /// ConsumerGroupDescribe, for one group. Answered with [`Response::ConsumerDescribed`].
    DescribeConsumer {
        /// The group.
        group: GroupId,
    },
    /// ListGroups, for the groups of this shard. Answered with [`Response::Listed`].
    List {
        /// States to be listed, compared without regard to case; empty for all.
        states: Vec<String>,
        /// Types to be listed (`classic`, `consumer`), likewise.
        types: Vec<String>,
    },
    /// ConsumerGroupHeartbeat. Answered with [`Response::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerHeartbeat),
}

impl Request {
    /// The group that it is about; `None` of one that is about all.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Join(join) => Some(&join.group),
            Self::Sync(sync) => Some(&sync.group),
            Self::ConsumerHeartbeat(heartbeat) => Some(&heartbeat.group),
            Self::CommitOffsets(commit) => Some(&commit.group),
            Self::FetchOffsets(fetch) => Some(&fetch.group),
            Self::Heartbeat { group, .. }
            | Self::Leave { group, .. }
            | Self::DeleteOffsets { group, .. }
            | Self::DeleteGroup { group }
            | Self::Describe { group }
            | Self::DescribeConsumer { group } => Some(group),
            Self::List { .. } => None,
        }
    }
}

/// Who a member of a classic group says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id; empty before it has one.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// The generation it is in, or for a member of a consumer group its epoch; `None` for a
    /// client that manages offsets without being a member.
    pub generation: Option<u32>,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: GroupId,
    /// The member's id; empty when it joins for the first time.
    pub member: MemberId,
    /// An id that nobody has, for a member that has none: `client.id` and random letters.
    pub fresh_member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The silence after which it is removed.
    pub session_timeout: Duration,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// What it can be assigned by, its favourite first, and its metadata for each. Opaque.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether a member without an id has to join again with the id it is given (KIP-394; JoinGroup
    /// 4 and later).
    pub must_know_its_id: bool,
    /// Whether the leader can be told to leave the assignment as it is (KIP-814; JoinGroup 9).
    pub can_skip_assignment: bool,
    /// Why it joins (KIP-800).
    pub reason: Option<String>,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: GroupId,
    /// Who asks.
    pub identity: Identity,
    /// The group's protocol type as the member knows it (SyncGroup 5).
    pub protocol_type: Option<String>,
    /// The protocol as the member knows it (SyncGroup 5).
    pub protocol: Option<String>,
    /// From the leader: what each member gets. Opaque.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Its id; empty when it is named by its `group.instance.id`.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Why it leaves (KIP-800).
    pub reason: Option<String>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group.
    pub group: GroupId,
    /// Who commits.
    pub identity: Identity,
    /// How long the offsets are to be kept (OffsetCommit 2 to 4).
    pub retention: Option<Duration>,
    /// What is committed.
    pub offsets: Vec<OffsetToCommit>,
}

/// One offset to be committed. The asker has made sure that the partition exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id, where the client named it so.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to be consumed.
    pub offset: Offset,
    /// Leader epoch of the last record consumed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's own words.
    pub metadata: Arc<str>,
}

/// OffsetFetch, for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group.
    pub group: GroupId,
    /// The member that asks says it is this one, in this epoch (OffsetFetch 9). Only who says neither
    /// asks as no member: who names no member, and an epoch, is the member without a name, which
    /// nobody is.
    pub member: Option<(MemberId, Option<u32>)>,
    /// Partitions by the topic's name; `None` for everything the group has committed.
    pub topics: Option<Vec<(Arc<str>, Vec<PartitionIndex>)>>,
    /// Refuse partitions whose offset a transaction may change yet (KIP-447).
    pub require_stable: bool,
}

/// What a member of a consumer group wants with a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberEpoch {
    /// To join (0).
    Join,
    /// To leave (-1).
    Leave,
    /// A static member leaves and will be back (-2).
    LeaveForNow,
    /// To stay, in this epoch, which is above zero.
    Stay(u32),
}

/// ConsumerGroupHeartbeat (KIP-848). `None` means unchanged since the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: GroupId,
    /// The member's id, made by the client (version 1); empty for a first heartbeat of version 0.
    pub member: MemberId,
    /// An id that nobody has, for a member that has none.
    pub fresh_member: MemberId,
    /// What it wants.
    pub epoch: MemberEpoch,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Its rack.
    pub rack: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long it may take to give partitions up.
    pub rebalance_timeout: Option<Duration>,
    /// Topics that it subscribes to by name.
    pub topics: Option<Vec<Arc<str>>>,
    /// A regular expression that it subscribes with (RE2); empty for none any more.
    pub regular_expression: Option<Arc<str>>,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// The partitions that it owns.
    pub owned: Option<TopicPartitions>,
}

/// What a group coordinator answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Join`].
    Joined(Result<Joined, JoinRefused>),
    /// To [`Request::Sync`].
    Synced(Result<Synced, GroupError>),
    /// To [`Request::Heartbeat`].
    Heartbeat(Result<(), GroupError>),
    /// To [`Request::Leave`]: an outcome for each leaver, in their order.
    Left(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To [`Request::CommitOffsets`]: an outcome for each offset, in their order.
    Committed(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To [`Request::FetchOffsets`].
    Offsets(Result<Vec<TopicOffsets>, GroupError>),
    /// To [`Request::DeleteOffsets`]: an outcome for each partition, in their order.
    OffsetsDeleted(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To [`Request::DeleteGroup`].
    GroupDeleted(Result<(), GroupError>),
    /// To [`Request::Describe`].
    Described(Result<Described, GroupError>),
    /// To [`Request::DescribeConsumer`].
    ConsumerDescribed(Result<ConsumerDescribed, GroupError>),
    /// To [`Request::List`], by group id.
    Listed(Vec<Listed>),
    /// To [`Request::ConsumerHeartbeat`].
    ConsumerHeartbeat(Result<ConsumerHeartbeatAnswer, GroupError>),
}

/// Why a join was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The member's id, also the one that it has to join with after
    /// [`GroupError::MemberIdRequired`].
    pub member: MemberId,
}

/// A rebalance has come as far as its leader assigning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The new generation.
    pub generation: u32,
    /// The group's protocol type.
    pub protocol_type: String,
    /// The protocol that the members agreed on.
    pub protocol: String,
    /// The member that assigns.
    pub leader: MemberId,
    /// The member that is answered.
    pub member: MemberId,
    /// The leader is to leave the assignment as it is (KIP-814).
    pub skip_assignment: bool,
    /// For the leader: all members, and their metadata. Empty for others.
    pub members: Vec<JoinedMember>,
}

/// A member, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Its metadata for the protocol. Opaque.
    pub metadata: Bytes,
}

/// What a member was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: String,
    /// The protocol that the members agreed on.
    pub protocol: String,
    /// What the leader assigned. Opaque.
    pub assignment: Bytes,
}

/// Committed offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// The topic's name.
    pub topic: Arc<str>,
    /// By partition; an offset of `None` was never committed, or has expired.
    pub partitions: Vec<(PartitionIndex, Result<Option<CommittedOffset>, GroupError>)>,
}

/// Which protocol a group's members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// Where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Classic: its members are to join again.
    PreparingRebalance,
    /// Classic: its leader is to assign.
    CompletingRebalance,
    /// Consumer: its target assignment is being computed.
    Assigning,
    /// Consumer: its members are on their way to the target.
    Reconciling,
    /// Every member has what it was assigned.
    Stable,
    /// It does not exist.
    Dead,
}

impl GroupState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Assigning,
        Self::Reconciling,
        Self::Stable,
        Self::Dead,
    ];

    /// Kafka's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl GroupType {
    /// Kafka's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// How many groups and members a coordinator has, for its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GroupCensus {
    /// Groups by their state, in the order of [`GroupState::ALL`].
    pub groups: [usize; GroupState::ALL.len()],
    /// Members of all groups.
    pub members: usize,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The group.
    pub group: GroupId,
    /// Its protocol type.
    pub protocol_type: String,
    /// Where it is.
    pub state: GroupState,
    /// Which protocol its members speak.
    pub kind: GroupType,
}

/// A group, as DescribeGroups tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Where it is.
    pub state: GroupState,
    /// Its protocol type; empty for none.
    pub protocol_type: String,
    /// The protocol that its members agreed on; empty unless it is stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member, as DescribeGroups tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its metadata for the group's protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// What it was assigned last; empty while its leader is to assign.
    pub assignment: Bytes,
}

/// A consumer group, as ConsumerGroupDescribe tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescribed {
    /// Where it is.
    pub state: GroupState,
    /// Its epoch.
    pub epoch: u32,
    /// The epoch that the target assignment was computed for.
    pub assignment_epoch: u32,
    /// The assignor in use.
    pub assignor: String,
    /// Its members.
    pub members: Vec<ConsumerDescribedMember>,
}

/// A member, as ConsumerGroupDescribe tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescribedMember {
    /// Its id.
    pub member: MemberId,
    /// Its `group.instance.id`.
    pub instance: Option<InstanceId>,
    /// Its rack.
    pub rack: Option<String>,
    /// Its epoch; `None` for a static member that left and will be back (-2).
    pub epoch: Option<u32>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The topics that it subscribes to by name.
    pub topics: Vec<Arc<str>>,
    /// The regular expression that it subscribes with.
    pub regular_expression: Option<Arc<str>>,
    /// What it owns.
    pub assignment: TopicPartitions,
    /// What it is to own.
    pub target: TopicPartitions,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
}

/// How a member of a consumer group goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    /// Its id.
    pub member: MemberId,
    /// Its epoch; for one that left what it sent.
    pub epoch: MemberEpoch,
    /// How long it may wait before its next heartbeat.
    pub heartbeat_interval: Duration,
    /// What it is to own now; `None` for no change.
    pub assignment: Option<TopicPartitions>,
}

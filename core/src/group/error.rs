//! Why a group coordinator refuses, one variant for each Kafka error code that it can answer.

use alloc::string::String;
use core::fmt;

/// Why a request was refused. It changed nothing, except where a variant says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// UNKNOWN_MEMBER_ID.
    UnknownMemberId,
    /// ILLEGAL_GENERATION.
    IllegalGeneration,
    /// REBALANCE_IN_PROGRESS.
    RebalanceInProgress,
    /// INCONSISTENT_GROUP_PROTOCOL.
    InconsistentGroupProtocol,
    /// INVALID_GROUP_ID.
    InvalidGroupId,
    /// INVALID_SESSION_TIMEOUT.
    InvalidSessionTimeout,
    /// MEMBER_ID_REQUIRED: the client joins again under the id it gets with this (KIP-394).
    MemberIdRequired,
    /// GROUP_MAX_SIZE_REACHED: the group would have too many members, or they say too much.
    GroupMaxSizeReached,
    /// FENCED_INSTANCE_ID: a newer member has this group.instance.id (KIP-345).
    FencedInstanceId,
    /// UNRELEASED_INSTANCE_ID: the member that has this group.instance.id has not left (KIP-848).
    UnreleasedInstanceId,
    /// GROUP_ID_NOT_FOUND.
    GroupIdNotFound,
    /// NON_EMPTY_GROUP.
    NonEmptyGroup,
    /// GROUP_SUBSCRIBED_TO_TOPIC.
    GroupSubscribedToTopic,
    /// FENCED_MEMBER_EPOCH: the member rejoins with epoch 0 (KIP-848).
    FencedMemberEpoch,
    /// STALE_MEMBER_EPOCH: the member sends the request again with its newest epoch (KIP-848).
    StaleMemberEpoch,
    /// UNSUPPORTED_ASSIGNOR.
    UnsupportedAssignor,
    /// INVALID_REGULAR_EXPRESSION, with what is wrong with it.
    InvalidRegularExpression(String),
    /// OFFSET_METADATA_TOO_LARGE.
    OffsetMetadataTooLarge,
    /// INVALID_COMMIT_OFFSET_SIZE: the records of a commit are larger than one decision may write.
    InvalidCommitOffsetSize,
    /// UNKNOWN_TOPIC_OR_PARTITION.
    UnknownTopicOrPartition,
    /// UNSTABLE_OFFSET_COMMIT: a transaction that commits offsets is not over (KIP-447).
    UnstableOffsetCommit,
    /// INVALID_REQUEST, with what is wrong with it.
    InvalidRequest(String),
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::UnknownMemberId => "the group has no such member",
            Self::IllegalGeneration => "the group is in another generation",
            Self::RebalanceInProgress => "the group is rebalancing: join again",
            Self::InconsistentGroupProtocol => {
                "the protocols of the member and of the group have nothing in common"
            }
            Self::InvalidGroupId => "the group id is empty or longer than a record can hold",
            Self::InvalidSessionTimeout => {
                "the session timeout is outside of group.min.session.timeout.ms and \
                 group.max.session.timeout.ms"
            }
            Self::MemberIdRequired => "join again under this member id",
            Self::GroupMaxSizeReached => {
                "the group is too large: it has as many members as it may have, or what there is \
                 to be written of them is more than fits into one change"
            }
            Self::FencedInstanceId => "another member has this group.instance.id now",
            Self::UnreleasedInstanceId => "another member has this group.instance.id still",
            Self::GroupIdNotFound => "there is no such group",
            Self::NonEmptyGroup => "the group has members",
            Self::GroupSubscribedToTopic => "the group has members that subscribe to the topic",
            Self::FencedMemberEpoch => "the member was fenced: join again with epoch 0",
            Self::StaleMemberEpoch => "the member has a newer epoch",
            Self::UnsupportedAssignor => "no assignor has this name; known: uniform, range",
            Self::InvalidRegularExpression(reason) | Self::InvalidRequest(reason) => reason,
            Self::OffsetMetadataTooLarge => "the metadata is longer than offset.metadata.max.bytes",
            Self::InvalidCommitOffsetSize => {
                "the commit is too large: commit fewer offsets at once"
            }
            Self::UnknownTopicOrPartition => "there is no such topic or partition",
            Self::UnstableOffsetCommit => "a transaction that commits offsets is not over",
        };
        formatter.write_str(text)
    }
}

impl core::error::Error for GroupError {}

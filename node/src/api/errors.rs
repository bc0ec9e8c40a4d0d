//! From the errors of core to Kafka's error codes, and numbers to and from the wire: the one file
//! that knows both sides.

use crate::{
    quorum::ProposeError,
    wire::{ErrorCode, Str},
};
use highwater_core::{
    coordinator::CoordinatorError,
    group::GroupError,
    metadata::MetadataError,
    partition::PartitionError,
    producers::SequenceError,
    record::BatchError,
    types::{LeaderEpoch, Offset, ProducerId},
};

/// The longest error message sent.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// The code for a batch that was refused.
pub fn of_batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. }
        | BatchError::InvalidLength { .. }
        | BatchError::CrcMismatch { .. } => ErrorCode::CorruptMessage,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
        BatchError::TimestampOutOfRange { .. } | BatchError::TimestampTypeFromClient => {
            ErrorCode::InvalidTimestamp
        }
        BatchError::Transactional => ErrorCode::InvalidTxnState,
        BatchError::UnsupportedMagic { .. }
        | BatchError::NotOneBatch
        | BatchError::CountMismatch { .. }
        | BatchError::InvalidField { .. }
        | BatchError::ControlBatch
        | BatchError::InvalidRecord { .. }
        | BatchError::Compressed { .. } => ErrorCode::InvalidRecord,
    }
}

/// The code for a request that a partition refused.
pub fn of_partition(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Batch(error) => of_batch(error),
        PartitionError::Sequence(SequenceError::StaleEpoch { .. }) => {
            ErrorCode::InvalidProducerEpoch
        }
        PartitionError::Sequence(SequenceError::OutOfOrder { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        PartitionError::TooManyProducers => ErrorCode::ThrottlingQuotaExceeded,
        PartitionError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        PartitionError::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
        PartitionError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        PartitionError::NotEnoughReplicasAfterAppend => ErrorCode::NotEnoughReplicasAfterAppend,
        PartitionError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        PartitionError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        PartitionError::DeletionNotAllowed => ErrorCode::PolicyViolation,
        PartitionError::RequestTimedOut => ErrorCode::RequestTimedOut,
        PartitionError::StorageFailed => ErrorCode::KafkaStorageError,
    }
}

/// The code for a command that the metadata image refused.
pub fn of_metadata(error: &MetadataError) -> ErrorCode {
    match error {
        MetadataError::TopicExists { .. } | MetadataError::TopicIdExists { .. } => {
            ErrorCode::TopicAlreadyExists
        }
        MetadataError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        MetadataError::InvalidTopicName { .. } | MetadataError::TopicNameCollides { .. } => {
            ErrorCode::InvalidTopicException
        }
        MetadataError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        MetadataError::InvalidReplicas { .. } | MetadataError::UnknownBroker { .. } => {
            ErrorCode::InvalidReplicaAssignment
        }
        MetadataError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        MetadataError::InvalidProducerIds
        | MetadataError::BrokerInUse { .. }
        | MetadataError::InvalidIsr { .. } => ErrorCode::InvalidRequest,
        MetadataError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        MetadataError::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
        MetadataError::BrokerNotRegistered { .. } => ErrorCode::BrokerIdNotRegistered,
        MetadataError::DuplicateBroker { .. } => ErrorCode::DuplicateBrokerRegistration,
        MetadataError::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
        MetadataError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        MetadataError::StalePartitionEpoch { .. } | MetadataError::UnsupportedFeature { .. } => {
            ErrorCode::InvalidUpdateVersion
        }
        MetadataError::IneligibleReplica { .. } => ErrorCode::IneligibleReplica,
        MetadataError::ElectionNotNeeded => ErrorCode::ElectionNotNeeded,
        MetadataError::PreferredLeaderNotAvailable { .. } => ErrorCode::PreferredLeaderNotAvailable,
        MetadataError::EligibleLeadersNotAvailable => ErrorCode::EligibleLeadersNotAvailable,
        MetadataError::NoReassignmentInProgress => ErrorCode::NoReassignmentInProgress,
        MetadataError::BelowMinInsyncReplicas { .. } | MetadataError::WouldBeUnclean => {
            ErrorCode::InvalidReplicaAssignment
        }
    }
}

/// The code for a command that was not carried out.
pub fn of_proposal(error: &ProposeError) -> ErrorCode {
    match error {
        ProposeError::Refused(error) => of_metadata(error),
        ProposeError::NotStored(_) | ProposeError::Stopped => ErrorCode::KafkaStorageError,
        ProposeError::NotLeader { .. } => ErrorCode::NotController,
        ProposeError::Unknown(_) => ErrorCode::UnknownServerError,
    }
}

/// The code for a request that a group refused.
pub fn of_group(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        GroupError::InvalidRegularExpression(_) => ErrorCode::InvalidRegularExpression,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::InvalidCommitOffsetSize => ErrorCode::InvalidCommitOffsetSize,
        GroupError::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        GroupError::UnstableOffsetCommit => ErrorCode::UnstableOffsetCommit,
        GroupError::InvalidRequest(_) => ErrorCode::InvalidRequest,
    }
}

/// The code for a request that a coordinator did not answer.
pub fn of_coordinator(error: CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::Loading => ErrorCode::CoordinatorLoadInProgress,
        CoordinatorError::NotCoordinator => ErrorCode::NotCoordinator,
        CoordinatorError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
    }
}

/// An error message as the wire has it: what a client sent may be quoted in it at any length.
pub fn text(reason: impl Into<String>) -> Str {
    let mut reason = reason.into();
    if reason.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(end.unwrap_or(0));
        reason.push('…');
    }
    Str::from(reason)
}

/// An offset as the wire has it.
pub fn offset(offset: Offset) -> i64 {
    i64::try_from(offset.0).expect("offsets stay below i64::MAX")
}

/// A producer id as the wire has it.
pub fn producer_id(id: ProducerId) -> i64 {
    i64::try_from(id.0).expect("producer ids stay below 2^63")
}

/// A leader epoch of a request: -1 means that the client does not know it.
pub fn epoch(number: i32) -> Option<LeaderEpoch> {
    u32::try_from(number).ok().map(LeaderEpoch)
}

/// A leader epoch as the wire has it.
pub fn epoch_number(epoch: LeaderEpoch) -> i32 {
    i32::try_from(epoch.0).expect("a partition has fewer than 2^31 leader epochs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = text("ä".repeat(40_000));
        assert!(long.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(long.ends_with('…'));
        assert_eq!(&*text("short"), "short");
    }
}

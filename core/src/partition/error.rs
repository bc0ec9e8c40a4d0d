//! Why a partition refused a request.

use crate::{
    producers::SequenceError,
    record::BatchError,
    types::{BrokerId, LeaderEpoch, Offset},
};
use core::fmt;

/// Why a request failed. Every variant names the Kafka error code that a client gets for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionError {
    /// The batch was refused; its own error names the code.
    Batch(BatchError),
    /// The batch does not continue its producer's stream; its own error names the code.
    Sequence(SequenceError),
    /// THROTTLING_QUOTA_EXCEEDED: the partition remembers as many producers as it may and none
    /// of them has been silent for long enough.
    TooManyProducers,
    /// OFFSET_OUT_OF_RANGE: below the log start or above the log end, or, for DeleteRecords, above
    /// the high watermark.
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// Lowest offset allowed, inclusive.
        lowest: Offset,
        /// Highest offset allowed, inclusive.
        highest: Offset,
    },
    /// NOT_LEADER_OR_FOLLOWER: another broker leads.
    NotLeader {
        /// The broker that leads, if one does.
        leader: Option<BrokerId>,
        /// The epoch of that leadership.
        leader_epoch: LeaderEpoch,
    },
    /// NOT_ENOUGH_REPLICAS: fewer are in sync than `min.insync.replicas`; nothing was appended.
    NotEnoughReplicas {
        /// How many are in sync.
        in_sync: usize,
        /// How many must be.
        required: usize,
    },
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND: the record was appended, then too few were in sync. It may
    /// still become committed.
    NotEnoughReplicasAfterAppend,
    /// OFFSET_NOT_AVAILABLE: this replica does not know yet what is committed.
    OffsetNotAvailable,
    /// FENCED_LEADER_EPOCH: the client knows an older leader epoch.
    FencedLeaderEpoch {
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// UNKNOWN_LEADER_EPOCH: the client knows a newer leader epoch.
    UnknownLeaderEpoch {
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// POLICY_VIOLATION: records of a topic without `delete` in its `cleanup.policy` cannot be
    /// deleted.
    DeletionNotAllowed,
    /// REQUEST_TIMED_OUT: the record was appended but not flushed in time. It may still become
    /// durable.
    RequestTimedOut,
    /// KAFKA_STORAGE_ERROR: the log failed.
    StorageFailed,
}

impl fmt::Display for PartitionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(formatter),
            Self::Sequence(error) => error.fmt(formatter),
            Self::TooManyProducers => {
                formatter.write_str("too many producers are active on this partition; retry later")
            }
            Self::OffsetOutOfRange { offset, lowest, highest } => {
                write!(formatter, "offset {offset} is outside {lowest} to {highest}")
            }
            Self::NotLeader { leader: Some(leader), .. } => {
                write!(formatter, "broker {leader} leads the partition")
            }
            Self::NotLeader { leader: None, .. } => {
                formatter.write_str("nobody leads the partition at this moment")
            }
            Self::NotEnoughReplicas { in_sync, required } => write!(
                formatter,
                "{in_sync} replicas are in sync and min.insync.replicas is {required}"
            ),
            Self::NotEnoughReplicasAfterAppend => formatter.write_str(
                "too few replicas were in sync after the record was appended; it may still be \
                 committed",
            ),
            Self::OffsetNotAvailable => {
                formatter.write_str("this replica does not know yet what is committed; retry")
            }
            Self::FencedLeaderEpoch { current } => write!(
                formatter,
                "the leader epoch is older than the current {current}; refresh the metadata"
            ),
            Self::UnknownLeaderEpoch { current } => {
                write!(formatter, "the leader epoch is newer than the current {current}")
            }
            Self::DeletionNotAllowed => formatter.write_str(
                "the topic's cleanup.policy does not contain delete, so its records stay",
            ),
            Self::RequestTimedOut => formatter
                .write_str("the record was not flushed in time; it may still become durable"),
            Self::StorageFailed => formatter.write_str("the partition's log failed; see the log"),
        }
    }
}

impl core::error::Error for PartitionError {}

impl From<BatchError> for PartitionError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<SequenceError> for PartitionError {
    fn from(error: SequenceError) -> Self {
        Self::Sequence(error)
    }
}

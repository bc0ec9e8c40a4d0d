//! Why a partition refused a request.

use crate::{
    producers::SequenceError,
    record::BatchError,
    types::{LeaderEpoch, Offset},
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

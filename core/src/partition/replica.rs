//! What a follower and its leader say to each other about one partition.

use crate::{
    epochs::EpochEnd,
    producers::ProducerStates,
    types::{LeaderEpoch, Offset},
};
use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Where a follower's log is, as it tells its leader with every fetch (KIP-595's rule for the
/// divergence check, and the flushed offset that the high watermark is made of).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaPosition {
    /// The leader epoch that the follower knows.
    pub leader_epoch: LeaderEpoch,
    /// Its log end, exclusive: what it wants next.
    pub fetch_offset: Offset,
    /// The epoch of its last record; `None` for an empty log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// What it has flushed, exclusive.
    pub flushed_offset: Offset,
    /// Where its log starts, inclusive.
    pub log_start_offset: Offset,
}

/// What a leader answers to a follower's fetch of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaBatches {
    /// The leader's high watermark, exclusive.
    pub high_watermark: Offset,
    /// The leader's log start, inclusive.
    pub log_start_offset: Offset,
    /// The follower's log parts from the leader's here: nothing can be read before it truncates.
    pub diverging: Option<EpochEnd>,
    /// Whole batches from the fetch offset on; may be empty.
    pub records: Bytes,
}

/// Why a leader gives a follower nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaFetchError {
    /// This broker does not lead the partition, or knows nothing of it (yet).
    NotLeader,
    /// The follower knows an older leader epoch.
    FencedLeaderEpoch,
    /// The follower knows a newer leader epoch.
    UnknownLeaderEpoch,
    /// The follower's registration is older than the one that the leader knows (KIP-903), or the
    /// broker holds no replica.
    NotReplica,
    /// The fetch offset lies outside of the leader's log.
    OffsetOutOfRange {
        /// The leader's log start, inclusive.
        log_start_offset: Offset,
        /// The leader's log end, exclusive.
        log_end_offset: Offset,
        /// What is known of the producers whose batches are below the leader's log start: a log that
        /// starts over there begins with them, or their next leader would know less than this one.
        producers: ProducerStates,
    },
    /// The leader's log cannot be read.
    StorageFailed,
}

impl fmt::Display for ReplicaFetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => formatter.write_str("the broker does not lead the partition"),
            Self::FencedLeaderEpoch => formatter.write_str("the follower's leader epoch is old"),
            Self::UnknownLeaderEpoch => formatter.write_str("the leader's own epoch is older"),
            Self::NotReplica => formatter.write_str("the follower is no replica, or an old one"),
            Self::OffsetOutOfRange { log_start_offset, log_end_offset, .. } => write!(
                formatter,
                "the leader's log reaches from {log_start_offset} to {log_end_offset}"
            ),
            Self::StorageFailed => formatter.write_str("the leader's log cannot be read"),
        }
    }
}

impl core::error::Error for ReplicaFetchError {}

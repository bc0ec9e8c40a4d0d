//! What the broker remembers of its fetch sessions (KIP-227).

use highwater_core::types::{LeaderEpoch, TopicId};
use std::sync::Arc;

/// A partition as a fetch names it: by topic id from version 13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchKey {
    /// The topic's name, empty when it is named by id.
    pub topic: Arc<str>,
    /// The topic's id, nil when it is named by name.
    pub topic_id: TopicId,
    /// The partition's index on the wire.
    pub partition: i32,
}

/// From where, and how much, a partition is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset on the wire; a negative one is out of range.
    pub offset: i64,
    /// Bytes of records wanted at most, except for a first batch.
    pub max_bytes: usize,
    /// The leader epoch that the client knows.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the record before `offset`.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// The broker's fetch sessions.
pub type FetchSessions = highwater_core::fetch_session::FetchSessions<FetchKey, Position>;

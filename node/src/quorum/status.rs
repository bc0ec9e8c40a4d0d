//! Who belongs to the metadata quorum and how far each of its nodes is.

use super::Leadership;
use highwater_core::{
    metadata::Endpoint,
    time::Instant,
    types::{BrokerId, MetadataOffset},
};
use std::collections::BTreeMap;

/// The quorum as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStatus {
    /// Whose view it is.
    pub seen_by: BrokerId,
    /// Who leads.
    pub leadership: Leadership,
    /// The voters and where they serve their peers.
    pub voters: BTreeMap<BrokerId, Endpoint>,
    /// The nodes that follow without a vote.
    pub learners: BTreeMap<BrokerId, Endpoint>,
    /// The end of that node's log, exclusive.
    pub last_log_offset: MetadataOffset,
    /// The end of what that node knows to be committed, exclusive.
    pub committed_offset: MetadataOffset,
    /// What the leader knows of each node, itself included; empty elsewhere.
    pub peers: BTreeMap<BrokerId, PeerProgress>,
}

/// What the leader knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The end of the log that the node is known to have, exclusive.
    pub matched: MetadataOffset,
    /// When the last request that it answered was sent; `None` before the first one.
    pub last_contact: Option<Instant>,
}

/// Why the quorum's members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes them.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<BrokerId>,
    },
    /// The quorum refuses: another change is under way, or nobody would be left to vote.
    #[error("the metadata quorum refuses the change: {0}")]
    Refused(String),
    /// The change may have been made: look at the status before trying again.
    #[error("whether the metadata quorum was changed is unknown: {0}")]
    Unknown(String),
}

//! Consumer groups: who consumes which partition, and how far it has come.

mod classic;
mod config;
pub mod consumer;
mod deletion;
mod error;
mod limits;
mod membership;
mod messages;
mod offsets;
mod record;
mod shard;
#[cfg(test)]
mod tests;

pub use classic::MAX_PENDING_MEMBERS;
pub use config::{GroupConfig, MigrationPolicy};
pub use error::GroupError;
pub use limits::{
    DECISION_BYTES_MAX, GROUP_ASSIGNMENTS_BYTES_MAX, GROUP_DECISION_BYTES_MAX,
    GROUP_METADATA_BYTES_MAX, INSTANCE_ID_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, PROTOCOLS_MAX,
};
pub use messages::*;
pub use offsets::MAX_TOMBSTONES;
pub use record::*;
pub use shard::{GroupShard, HardState};

use crate::coordinator::Decision;

/// What a shard of groups decides.
type Decided = Decision<Record, Response>;

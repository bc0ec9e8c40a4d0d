//! What one request may make a coordinator keep, or write at once.
//!
//! A request is bounded in bytes, but what it leads to need not be: every key repeats the group id,
//! and every record of a classic group all of its members. A batch that the partition refuses as
//! too large would be decided again and again; these bounds stay well below that size.

use super::GroupId;

/// The most bytes, of keys and values, that one decision about offsets writes.
pub const DECISION_BYTES_MAX: usize = 16 << 20;

/// What a record of an offset takes besides its strings, in bytes, at the most: its own framing,
/// and what is of fixed length in key and value.
const OFFSET_RECORD_OVERHEAD: usize = 96;

/// How many bytes the record of an offset takes, at the most.
pub(super) fn offset_size(group: &GroupId, topic: &str, metadata: usize) -> usize {
    OFFSET_RECORD_OVERHEAD + group.len() + topic.len() + metadata
}

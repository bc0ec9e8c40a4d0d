//! What one request may make a coordinator keep, or write at once.
//!
//! A request is bounded in bytes, but what it leads to need not be: every key repeats the group id,
//! and every record of a classic group all of its members. A batch that the partition refuses as
//! too large would be decided again and again, and the shard loaded again each time; these bounds stay
//! well below that size ([`crate::partition::COORDINATOR_BATCH_MAX_BYTES`]).

use super::{
    ClassicMemberValue, ConsumerMemberValue, CurrentAssignmentValue, GroupError, GroupId, Join,
    MemberId, Record,
};
use alloc::{format, string::String};
use bytes::Bytes;

/// The most bytes, of keys and values, that one decision about offsets writes.
pub const DECISION_BYTES_MAX: usize = 16 << 20;

/// The most protocols that a member of the classic protocol joins with.
pub const PROTOCOLS_MAX: usize = 256;

/// The most bytes that the protocols of one member take, names and metadata together.
pub const MEMBER_METADATA_BYTES_MAX: usize = 1 << 20;

/// The most bytes that what the classic members of one group say of themselves takes.
pub const GROUP_METADATA_BYTES_MAX: usize = 32 << 20;

/// The most bytes that a leader assigns to all members. A record of a classic group holds this and
/// the metadata of its members.
pub const GROUP_ASSIGNMENTS_BYTES_MAX: usize = 24 << 20;

/// The most bytes, of keys and values, that one decision about a consumer group writes. A group of
/// which more would have to be written at once is too large: for one more member, for what a member
/// wants to subscribe to, or for the other protocol.
pub const GROUP_DECISION_BYTES_MAX: usize = 56 << 20;

/// The most bytes of the names that regular expressions match, in one decision. One expression more
/// is looked up even so.
pub const MATCHES_BYTES_MAX: usize = 4 << 20;

/// The longest `group.instance.id`, in bytes.
pub const INSTANCE_ID_BYTES_MAX: usize = 249;

/// What a member takes in the record of its group besides strings and metadata, at the most.
const MEMBER_OVERHEAD: usize = 64;

/// What a record of an offset takes besides its strings, in bytes, at the most: its own framing,
/// and what is of fixed length in key and value.
const OFFSET_RECORD_OVERHEAD: usize = 96;

/// What a record takes besides its strings, opaque bytes and partitions, in bytes, at the most: its own
/// framing, and what is of fixed length in key and value.
pub(super) const RECORD_OVERHEAD: usize = 128;

/// The longest text in a record, in bytes.
const RECORD_TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// What a string or a list takes besides what is in it, in bytes, at the most.
const LENGTH_BYTES: usize = 5;

/// How many bytes a record takes in a batch, at the most.
pub(super) fn record_size(record: &Record) -> usize {
    let group = record.group().len();
    let rest = match record {
        Record::OffsetCommit { topic, value, .. } => {
            topic.len() + value.as_ref().map_or(0, |value| value.metadata.len())
        }
        Record::Group { value: None, .. }
        | Record::ConsumerGroup { .. }
        | Record::TargetAssignmentEpoch { .. } => 0,
        Record::Group { value: Some(value), .. } => {
            let names = value.protocol.as_ref().map_or(0, String::len)
                + value.leader.as_ref().map_or(0, |leader| leader.len());
            let members = value.members.iter().map(classic_member_size);
            value.protocol_type.len() + names + members.sum::<usize>()
        }
        Record::ConsumerMember { member, value, .. } => {
            member.len() + value.as_ref().map_or(0, consumer_member_size)
        }
        Record::TargetAssignment { member, value, .. } => {
            let topics = value.iter().flat_map(|value| value.values());
            member.len() + topics.map(|of_topic| topic_size(of_topic.len())).sum::<usize>()
        }
        Record::CurrentAssignment { member, value, .. } => {
            member.len() + value.as_ref().map_or(0, current_assignment_size)
        }
        Record::RegularExpression { expression, value, .. } => {
            let topics = value.iter().flat_map(|value| &value.topics);
            expression.len() + topics.map(|name| LENGTH_BYTES + name.len()).sum::<usize>()
        }
    };
    RECORD_OVERHEAD + group + rest
}

fn classic_member_size(member: &ClassicMemberValue) -> usize {
    let instance = member.instance.as_ref().map_or(0, |instance| instance.len());
    let strings = member.member.len() + member.client_id.len() + member.client_host.len();
    MEMBER_OVERHEAD + strings + instance + member.subscription.len() + member.assignment.len()
}

fn consumer_member_size(member: &ConsumerMemberValue) -> usize {
    let optional = [
        member.instance.as_deref(),
        member.rack.as_deref(),
        member.regular_expression.as_deref(),
        member.assignor.as_deref(),
    ];
    let optional: usize = optional.into_iter().flatten().map(str::len).sum();
    let topics: usize = member.topics.iter().map(|name| LENGTH_BYTES + name.len()).sum();
    let classic = member.classic.as_ref();
    let protocols = classic.map_or(0, |classic| {
        2 * LENGTH_BYTES * classic.protocols.len() + protocols_size(&classic.protocols)
    });
    member.client_id.len() + member.client_host.len() + optional + topics + protocols
}

/// Each partition with its epoch.
fn current_assignment_size(value: &CurrentAssignmentValue) -> usize {
    let topics = value.assigned.values().chain(value.pending_revocation.values());
    topics.map(|of_topic| topic_size(2 * of_topic.len())).sum()
}

/// A topic's id and so many numbers.
fn topic_size(numbers: usize) -> usize {
    16 + 3 * LENGTH_BYTES + 4 * numbers
}

/// How many bytes the record of an offset takes, at the most.
pub(super) fn offset_size(group: &GroupId, topic: &str, metadata: usize) -> usize {
    OFFSET_RECORD_OVERHEAD + group.len() + topic.len() + metadata
}

/// Whether the metadata of an offset is longer than `max`, which is inclusive and counted in units
/// of UTF-16, as Kafka does. No record holds a text of more than 32767 bytes.
pub(super) fn is_metadata_too_long(metadata: &str, max: usize) -> bool {
    metadata.len() > RECORD_TEXT_BYTES_MAX || metadata.encode_utf16().count() > max
}

/// Checks what a member of the classic protocol says of itself.
pub(super) fn check_join(join: &Join) -> Result<(), GroupError> {
    check_instance(join.instance.as_deref())?;
    if join.protocols.len() > PROTOCOLS_MAX {
        return invalid(format!("a member may have {PROTOCOLS_MAX} protocols at the most"));
    }
    if protocols_size(&join.protocols) > MEMBER_METADATA_BYTES_MAX {
        return invalid(format!(
            "the metadata of a member's protocols may take {MEMBER_METADATA_BYTES_MAX} bytes at \
             the most"
        ));
    }
    Ok(())
}

/// Checks a `group.instance.id`.
pub(super) fn check_instance(instance: Option<&str>) -> Result<(), GroupError> {
    match instance {
        Some(id) if id.len() > INSTANCE_ID_BYTES_MAX => invalid(format!(
            "a group.instance.id may be {INSTANCE_ID_BYTES_MAX} bytes long at the most"
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks what a leader assigns.
pub(super) fn check_assignments(assignments: &[(MemberId, Bytes)]) -> Result<(), GroupError> {
    let sizes = assignments.iter().map(|(_, assignment)| assignment.len());
    match sizes.sum::<usize>() <= GROUP_ASSIGNMENTS_BYTES_MAX {
        true => Ok(()),
        false => invalid(format!(
            "the assignments of a group may take {GROUP_ASSIGNMENTS_BYTES_MAX} bytes at the most"
        )),
    }
}

/// How many bytes a classic member takes with what it says of itself, at the most. Its own id is
/// made of its client's, and so is counted as such.
pub(super) fn member_size(
    client_id: &str,
    client_host: &str,
    instance: Option<&str>,
    protocols: &[(String, Bytes)],
) -> usize {
    let strings = 2 * client_id.len() + client_host.len() + instance.map_or(0, str::len);
    MEMBER_OVERHEAD + strings + protocols_size(protocols)
}

fn protocols_size(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}

fn invalid(reason: String) -> Result<(), GroupError> {
    Err(GroupError::InvalidRequest(reason))
}

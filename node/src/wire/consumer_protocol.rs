//! What consumers of the classic protocol put into the opaque bytes of JoinGroup and SyncGroup.
//!
//! A broker only looks into them to describe a group and to take its members over into the consumer
//! protocol (KIP-848). They come from clients of all kinds, so whoever decodes them has an answer
//! for bytes that are something else.
//!
//! A version newer than the newest known one is read as that one, and what follows its fields is
//! left alone: versions only ever append fields.

use super::{DecodeError, EncodeError, Message, record};
use bytes::Bytes;

pub use super::generated::data::{
    consumer_protocol_assignment::{self, ConsumerProtocolAssignment},
    consumer_protocol_subscription::{self, ConsumerProtocolSubscription},
};

/// Reads the subscription of a member, as in the metadata of a protocol it joined with.
///
/// # Errors
/// The bytes are no subscription.
pub fn decode_subscription(bytes: Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    decode(bytes)
}

/// Reads the assignment of a member, as its leader gave it.
///
/// # Errors
/// The bytes are no assignment.
pub fn decode_assignment(bytes: Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    decode(bytes)
}

/// The bytes of a subscription.
///
/// # Errors
/// There is no such version, or a string is too long.
pub fn encode_subscription(
    subscription: &ConsumerProtocolSubscription,
    version: i16,
) -> Result<Bytes, EncodeError> {
    record::versioned(subscription, version, version)
}

/// The bytes of an assignment.
///
/// # Errors
/// There is no such version, or a string is too long.
pub fn encode_assignment(
    assignment: &ConsumerProtocolAssignment,
    version: i16,
) -> Result<Bytes, EncodeError> {
    record::versioned(assignment, version, version)
}

fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = record::bounded(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version.min(M::VERSIONS.last))
}

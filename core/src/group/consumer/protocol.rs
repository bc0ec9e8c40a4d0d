//! What members of the classic protocol say of themselves and are told: ConsumerProtocolSubscription
//! and ConsumerProtocolAssignment, which to the coordinator of a classic group are opaque.
//!
//! A member may send anything; what cannot be read is `None`.

use crate::{encoding::Decoder, group::TopicPartitions, metadata::Image, types::PartitionIndex};
use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use bytes::Bytes;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";
/// The newest version of both that is known here. Later ones only add to their ends.
const NEWEST_VERSION: i16 = 3;

/// Partitions by the topic's name.
type NamedPartitions = Vec<(Arc<str>, Vec<PartitionIndex>)>;

/// What a member subscribes to.
pub(super) struct Subscription {
    /// The version in which it is to be told its assignment.
    pub version: i16,
    /// Names of topics.
    pub topics: Vec<Arc<str>>,
    /// What it owned when it joined (version 1).
    pub owned: NamedPartitions,
    /// The generation in which it got that (version 2, KIP-792); `None` if it does not say.
    pub generation: Option<u32>,
    /// Its rack (version 3).
    pub rack: Option<String>,
}

/// Reads a ConsumerProtocolSubscription.
pub(super) fn subscription(bytes: &[u8]) -> Option<Subscription> {
    let mut decoder = Decoder::new(bytes);
    let version = version(&mut decoder)?;
    let mut topics = Vec::new();
    for _ in 0..decoder.count(size_of::<u16>()).ok()? {
        topics.push(Arc::from(string(&mut decoder)?));
    }
    user_data(&mut decoder)?;
    let owned = if version >= 1 { partitions(&mut decoder)? } else { Vec::new() };
    let generation = if version >= 2 { u32::try_from(decoder.i32().ok()?).ok() } else { None };
    let rack = if version >= 3 { nullable(&mut decoder)? } else { None };
    Some(Subscription { version, topics, owned, generation, rack })
}

/// What a member was assigned.
pub(super) struct Assignment {
    pub partitions: NamedPartitions,
    /// Its assignor told it more than partitions.
    pub has_user_data: bool,
}

/// Reads a ConsumerProtocolAssignment; no bytes are no assignment.
pub(super) fn assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment { partitions: Vec::new(), has_user_data: false });
    }
    let mut decoder = Decoder::new(bytes);
    version(&mut decoder)?;
    let partitions = partitions(&mut decoder)?;
    let has_user_data = user_data(&mut decoder)?;
    Some(Assignment { partitions, has_user_data })
}

/// Writes a ConsumerProtocolAssignment. Topics that do not exist any more are left out.
pub(super) fn encode_assignment(version: i16, assigned: &TopicPartitions, image: &Image) -> Bytes {
    let named: Vec<_> =
        assigned.iter().filter_map(|(id, of)| Some((&image.topic(*id)?.name, of))).collect();
    let mut out = Vec::new();
    out.extend(version.to_be_bytes());
    put_count(&mut out, named.len());
    for (name, partitions) in named {
        let length = u16::try_from(name.len()).expect("topic names are short");
        out.extend(length.to_be_bytes());
        out.extend(name.as_bytes());
        put_count(&mut out, partitions.len());
        for partition in partitions {
            out.extend(partition.0.to_be_bytes());
        }
    }
    // No user data.
    out.extend((-1_i32).to_be_bytes());
    Bytes::from(out)
}

/// The partitions of topics that exist, by the topic's id.
pub(super) fn by_id(named: &NamedPartitions, image: &Image) -> TopicPartitions {
    let mut of_all = TopicPartitions::new();
    for (name, partitions) in named.iter().filter(|(_, partitions)| !partitions.is_empty()) {
        if let Some(topic) = image.topic_named(name) {
            of_all.entry(topic.id).or_default().extend(partitions);
        }
    }
    of_all
}

fn version(decoder: &mut Decoder<'_>) -> Option<i16> {
    let version = decoder.i16().ok()?;
    (version >= 0).then_some(version.min(NEWEST_VERSION))
}

fn string<'a>(decoder: &mut Decoder<'a>) -> Option<&'a str> {
    let length = decoder.u16().ok()?;
    core::str::from_utf8(decoder.slice(usize::from(length)).ok()?).ok()
}

fn nullable(decoder: &mut Decoder<'_>) -> Option<Option<String>> {
    match decoder.i16().ok()? {
        ..0 => Some(None),
        length => {
            let bytes = decoder.slice(usize::from(length.unsigned_abs())).ok()?;
            Some(Some(core::str::from_utf8(bytes).ok()?.to_string()))
        }
    }
}

/// Passes over user data; whether there is any.
fn user_data(decoder: &mut Decoder<'_>) -> Option<bool> {
    let length = usize::try_from(decoder.i32().ok()?).unwrap_or(0);
    decoder.slice(length).ok()?;
    Some(length > 0)
}

fn partitions(decoder: &mut Decoder<'_>) -> Option<NamedPartitions> {
    let mut of_all = Vec::new();
    for _ in 0..decoder.count(size_of::<u16>() + size_of::<u32>()).ok()? {
        let topic = Arc::from(string(decoder)?);
        let mut partitions = Vec::new();
        for _ in 0..decoder.count(size_of::<u32>()).ok()? {
            partitions.push(PartitionIndex(u32::try_from(decoder.i32().ok()?).ok()?));
        }
        of_all.push((topic, partitions));
    }
    Some(of_all)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("assignments are bounded by the metadata");
    out.extend(count.to_be_bytes());
}

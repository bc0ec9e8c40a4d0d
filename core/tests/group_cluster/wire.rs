//! What consumers of the classic protocol say to each other through the coordinator:
//! ConsumerProtocolSubscription and ConsumerProtocolAssignment.

use bytes::Bytes;
use highwater_core::{encoding::Decoder, metadata::Image};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Partitions by the names of their topics.
pub type Named = BTreeSet<(Arc<str>, u32)>;

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn put_partitions(out: &mut Vec<u8>, partitions: &Named) {
    let mut topics: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    out.extend((topics.len() as u32).to_be_bytes());
    for (topic, partitions) in topics {
        put_string(out, topic);
        out.extend((partitions.len() as u32).to_be_bytes());
        partitions.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
    }
}

/// Version 1: topics, no user data, what is owned.
pub fn subscription(topics: &[Arc<str>], owned: &Named) -> Bytes {
    let mut out = 1_i16.to_be_bytes().to_vec();
    out.extend((topics.len() as u32).to_be_bytes());
    topics.iter().for_each(|topic| put_string(&mut out, topic));
    out.extend((-1_i32).to_be_bytes());
    put_partitions(&mut out, owned);
    out.into()
}

pub fn assignment(partitions: &Named) -> Bytes {
    let mut out = 1_i16.to_be_bytes().to_vec();
    put_partitions(&mut out, partitions);
    out.extend((-1_i32).to_be_bytes());
    out.into()
}

fn string(decoder: &mut Decoder<'_>) -> Arc<str> {
    let length = decoder.u16().expect("a length");
    let bytes = decoder.slice(length.into()).expect("a string");
    core::str::from_utf8(bytes).expect("text").into()
}

/// The topics of a subscription.
pub fn read_topics(bytes: &[u8]) -> BTreeSet<Arc<str>> {
    let mut decoder = Decoder::new(bytes);
    decoder.i16().expect("a version");
    let count = decoder.u32().expect("a count");
    (0..count).map(|_| string(&mut decoder)).collect()
}

/// The partitions of an assignment; none for no bytes.
pub fn read_assignment(bytes: &[u8]) -> Named {
    let mut named = Named::new();
    if bytes.is_empty() {
        return named;
    }
    let mut decoder = Decoder::new(bytes);
    decoder.i16().expect("a version");
    for _ in 0..decoder.u32().expect("a count") {
        let topic = string(&mut decoder);
        for _ in 0..decoder.u32().expect("a count") {
            named.insert((topic.clone(), decoder.u32().expect("a partition")));
        }
    }
    named
}

/// Assigns as the range assignor does: topic by topic, each member a run of partitions.
pub fn assign(
    image: &Image,
    members: &BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
) -> BTreeMap<Arc<str>, Named> {
    let mut assigned: BTreeMap<Arc<str>, Named> = BTreeMap::new();
    for topic in image.topics() {
        let name: Arc<str> = topic.name.as_str().into();
        let takers: Vec<&Arc<str>> =
            members.iter().filter(|(_, topics)| topics.contains(&name)).map(|(id, _)| id).collect();
        for partition in 0..topic.partitions.len() {
            if takers.is_empty() {
                break;
            }
            let taker = takers[partition * takers.len() / topic.partitions.len()];
            let of_taker = assigned.entry(taker.clone()).or_default();
            of_taker.insert((name.clone(), partition as u32));
        }
    }
    assigned
}

//! The creation of topics, as CreateTopics and Metadata share it.

use super::Context;
use crate::{quorum::ProposeError, wire::ErrorCode};
use highwater_core::{
    metadata::{Command, MetadataError, NewTopic, OFFSETS_TOPIC, Reply},
    types::{BrokerId, TopicId},
};
use std::collections::BTreeMap;

/// A topic to create, with its id drawn.
pub fn new_topic(
    context: &Context,
    name: &str,
    replicas: Vec<Vec<BrokerId>>,
    configs: BTreeMap<String, String>,
) -> NewTopic {
    NewTopic { id: fresh_topic_id(context), name: name.to_string(), replicas, configs }
}

/// The replicas of `count` partitions, `factor` of each, on live brokers as far as these suffice, and
/// spread over racks.
pub fn replicas(
    context: &Context,
    count: u32,
    factor: u32,
) -> Result<Vec<Vec<BrokerId>>, MetadataError> {
    let start = context.shared.doors.entropy.next_u64();
    context.shared.quorum.image().place(count as usize, factor as usize, start)
}

/// `default.replication.factor`.
pub fn default_factor(context: &Context) -> u32 {
    u32::try_from(context.shared.config.default_replication_factor).unwrap_or(1).max(1)
}

/// Creates topics, or only tries to; the answers are in the order of the topics.
pub async fn create(
    context: &Context,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Result<Vec<Result<TopicId, MetadataError>>, ProposeError> {
    let reply = context.shared.carry_out(Command::CreateTopics { topics }, validate_only).await?;
    let Reply::TopicsCreated(created) = reply else {
        unreachable!("a creation of topics was answered with {reply:?}")
    };
    Ok(created)
}

/// Creates a topic that a client asked metadata for, with the broker's defaults.
pub async fn create_on_demand(context: &Context, name: &str) -> Result<(), ErrorCode> {
    let count = context.shared.config.num_partitions;
    let replicas = replicas(context, count, default_factor(context))
        .map_err(|error| super::errors::of_metadata(&error))?;
    let topic = new_topic(context, name, replicas, BTreeMap::new());
    create_unless_there(context, topic).await
}

/// Creates the topic of the group coordinators, unless it exists.
pub async fn create_offsets_topic(context: &Context) -> Result<(), ErrorCode> {
    let (config, image) = (&context.shared.config, context.shared.quorum.image());
    let wanted = config.offsets_topic;
    // Voters are brokers, too, or there are as many brokers at least: a cluster that is starting has not
    // yet heard of all of them.
    let brokers = image.brokers().count().max(config.voters.len());
    let factor = (wanted.replication_factor as usize).min(brokers);
    if factor < wanted.replication_factor as usize {
        tracing::warn!(
            replicas = factor,
            wanted = wanted.replication_factor,
            "{OFFSETS_TOPIC} is created with fewer replicas than \
             offsets.topic.replication.factor: there are not more brokers"
        );
    }
    let refused = |error: &MetadataError| super::errors::of_metadata(error);
    let replicas =
        replicas(context, wanted.partitions, factor as u32).map_err(|error| refused(&error))?;
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", wanted.segment_bytes.to_string()),
    ];
    let configs = configs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let topic = new_topic(context, OFFSETS_TOPIC, replicas, configs);
    create_unless_there(context, topic).await
}

async fn create_unless_there(context: &Context, topic: NewTopic) -> Result<(), ErrorCode> {
    let created = create(context, vec![topic], false).await;
    let created = created.map_err(|error| super::errors::of_proposal(&error))?;
    match created.into_iter().next().expect("one answer for one topic") {
        Ok(_) | Err(MetadataError::TopicExists { .. }) => Ok(()),
        Err(error) => Err(super::errors::of_metadata(&error)),
    }
}

/// A random topic id; the nil id stands for "no id" on the wire and is never drawn.
fn fresh_topic_id(context: &Context) -> TopicId {
    let entropy = &context.shared.doors.entropy;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&entropy.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&entropy.next_u64().to_be_bytes());
    // Version 4, variant 1 of RFC 9562, as every client prints it.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    TopicId(bytes)
}

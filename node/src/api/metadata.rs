//! Metadata (key 3): the brokers, and the topics with the leaders of their partitions.

use super::{
    Context,
    authorized_operations::{self, OF_CLUSTER, OF_TOPIC},
    creation, errors, leader_hints,
};
use crate::wire::{
    ErrorCode, Str,
    generated::metadata::{
        MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
        MetadataResponsePartition, MetadataResponseTopic,
    },
};
use highwater_core::{
    metadata::{Image, PartitionRegistration, Topic, is_internal_topic},
    types::{BrokerId, TopicId},
};
use std::collections::BTreeSet;

/// Describes the topics asked for, or all; creates missing ones where that is allowed.
pub async fn handle(context: Context, request: MetadataRequest) -> MetadataResponse {
    // Before version 1 an empty list means all topics, afterwards null does.
    let wanted = request.topics.filter(|topics| context.version > 0 || !topics.is_empty());
    if let Some(topics) = &wanted {
        let allowed = context.version < 4 || request.allow_auto_topic_creation;
        if allowed && context.shared.config.auto_create_topics {
            create_missing(&context, topics).await;
        }
    }
    let image = context.shared.quorum.image();
    let mut topics: Vec<_> = match &wanted {
        Some(topics) => {
            // Each topic once, however often it is named.
            let mut found = BTreeSet::new();
            let once = |wanted: &&MetadataRequestTopic| {
                found.insert((wanted.topic_id, wanted.name.clone()))
            };
            topics.iter().filter(once).map(|wanted| find(&image, wanted)).collect()
        }
        None => image.topics().map(|topic| describe(&image, topic)).collect(),
    };
    for topic in topics.iter_mut().filter(|topic| topic.error_code == ErrorCode::None as i16) {
        topic.topic_authorized_operations =
            authorized_operations::when(request.include_topic_authorized_operations, OF_TOPIC);
    }
    let shared = &context.shared;
    MetadataResponse {
        brokers: leader_hints::live_nodes(&image)
            .map(|node| MetadataResponseBroker {
                node_id: node.id,
                host: node.host,
                port: node.port,
                rack: node.rack,
            })
            .collect(),
        cluster_id: Some(Str::from(shared.cluster_id.clone())),
        controller_id: leader_hints::controller_id(&context, &image),
        topics,
        cluster_authorized_operations: authorized_operations::when(
            request.include_cluster_authorized_operations,
            OF_CLUSTER,
        ),
        ..Default::default()
    }
}

async fn create_missing(context: &Context, topics: &[MetadataRequestTopic]) {
    for topic in topics {
        let Some(name) = topic.name.as_deref() else { continue };
        // The cluster's own topics are created by those who use them.
        if is_internal_topic(name) || context.shared.quorum.image().topic_named(name).is_some() {
            continue;
        }
        if let Err(code) = creation::create_on_demand(context, name).await {
            // The description that follows tells the client that there is no such topic.
            tracing::warn!(topic = name, ?code, peer = %context.peer, "topic not auto-created");
        }
    }
}

fn find(image: &Image, wanted: &MetadataRequestTopic) -> MetadataResponseTopic {
    let missing = |code: ErrorCode| MetadataResponseTopic {
        error_code: code as i16,
        name: wanted.name.clone(),
        topic_id: wanted.topic_id,
        ..Default::default()
    };
    if wanted.topic_id != TopicId::default() {
        let topic = image.topic(wanted.topic_id);
        return topic
            .map_or_else(|| missing(ErrorCode::UnknownTopicId), |topic| describe(image, topic));
    }
    let Some(name) = wanted.name.as_deref() else { return missing(ErrorCode::InvalidRequest) };
    if highwater_core::metadata::validate_topic_name(name).is_err() {
        return missing(ErrorCode::InvalidTopicException);
    }
    image
        .topic_named(name)
        .map_or_else(|| missing(ErrorCode::UnknownTopicOrPartition), |topic| describe(image, topic))
}

fn describe(image: &Image, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, partition_index)| {
        let PartitionRegistration { replicas, isr, leader, leader_epoch, .. } = partition;
        MetadataResponsePartition {
            error_code: match leader {
                Some(_) => ErrorCode::None as i16,
                None => ErrorCode::LeaderNotAvailable as i16,
            },
            partition_index,
            leader_id: leader.map_or(-1, |leader| leader.0),
            leader_epoch: errors::epoch_number(*leader_epoch),
            replica_nodes: broker_ids(replicas),
            isr_nodes: broker_ids(isr),
            offline_replicas: leader_hints::offline(image, partition),
        }
    });
    MetadataResponseTopic {
        name: Some(Str::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: is_internal_topic(&topic.name),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// Broker ids as the wire has them.
pub fn broker_ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

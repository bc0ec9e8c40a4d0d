//! CreateTopics (key 19).

use super::{Context, creation, errors};
use crate::wire::{
    ErrorCode, Str,
    generated::create_topics::{
        CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
        CreateTopicsResponse,
    },
};
use highwater_core::{
    metadata::{MAX_PARTITIONS_PER_TOPIC, MetadataError, NewTopic},
    types::{BrokerId, TopicId},
};
use std::collections::BTreeMap;

/// What a topic of the request came to before anything was proposed.
type Checked = Result<NewTopic, (ErrorCode, String)>;

/// Creates each topic on its own; an answer means that its partitions can be used.
pub async fn handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times_named: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times_named.entry(&topic.name).or_default() += 1;
    }
    let mut partitions = 0;
    let mut check_once = |topic: &CreatableTopic| -> Checked {
        if times_named[&*topic.name] > 1 {
            return Err((ErrorCode::InvalidRequest, "the request names the topic twice".into()));
        }
        let checked = check(&context, topic)?;
        partitions += checked.replicas.len();
        if partitions > MAX_PARTITIONS_PER_TOPIC {
            let reason =
                format!("one request creates at most {MAX_PARTITIONS_PER_TOPIC} partitions");
            return Err((ErrorCode::PolicyViolation, reason));
        }
        Ok(checked)
    };
    let checked: Vec<Checked> = request.topics.iter().map(&mut check_once).collect();
    let wanted: Vec<NewTopic> = checked.iter().filter_map(|topic| topic.clone().ok()).collect();
    let mut created = create(&context, wanted, request.validate_only).await.into_iter();
    let topics = request.topics.iter().zip(checked).map(|(topic, checked)| {
        let outcome = match checked {
            Ok(_) => created.next().expect("one outcome for each topic proposed"),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(id) => describe(&context, topic, id),
            Err((code, reason)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code as i16,
                error_message: Some(errors::text(reason)),
                configs: Some(Vec::new()),
                ..Default::default()
            },
        }
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}

fn check(context: &Context, topic: &CreatableTopic) -> Checked {
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let reason = format!("configuration {} has no value", config.name);
            return Err((ErrorCode::InvalidConfig, reason));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let replicas = if topic.assignments.is_empty() {
        counted_replicas(context, topic)?
    } else {
        assigned_replicas(topic)?
    };
    Ok(creation::new_topic(context, &topic.name, replicas, configs))
}

/// The replicas where the client gives numbers; -1 is the broker's default (KIP-464).
fn counted_replicas(
    context: &Context,
    topic: &CreatableTopic,
) -> Result<Vec<Vec<BrokerId>>, (ErrorCode, String)> {
    let config = &context.shared.config;
    let count = match topic.num_partitions {
        -1 => Some(config.num_partitions),
        count => u32::try_from(count).ok().filter(|count| *count > 0),
    };
    let count = count.ok_or_else(|| {
        let reason = format!("{} partitions: a topic has at least one", topic.num_partitions);
        (ErrorCode::InvalidPartitions, reason)
    })?;
    if count as usize > MAX_PARTITIONS_PER_TOPIC {
        let reason = format!("{count} partitions are more than a topic may have");
        return Err((ErrorCode::InvalidPartitions, reason));
    }
    let factor = match topic.replication_factor {
        -1 => config.default_replication_factor,
        factor => factor,
    };
    let factor = u32::try_from(factor).ok().filter(|factor| *factor > 0).ok_or_else(|| {
        let reason = format!("replication factor {factor}: a partition has at least one replica");
        (ErrorCode::InvalidReplicationFactor, reason)
    })?;
    let placed = creation::replicas(context, count, factor);
    placed.map_err(|error| (errors::of_metadata(&error), error.to_string()))
}

/// The replicas where the client assigns them itself.
fn assigned_replicas(topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, (ErrorCode, String)> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let reason = "an assignment excludes numPartitions and replicationFactor";
        return Err((ErrorCode::InvalidRequest, reason.into()));
    }
    let by_index: BTreeMap<i32, &Vec<i32>> =
        topic.assignments.iter().map(|one| (one.partition_index, &one.broker_ids)).collect();
    let dense = by_index.keys().copied().eq(0..i32::try_from(by_index.len()).unwrap_or(0));
    if !dense || by_index.len() != topic.assignments.len() {
        let reason = "the assigned partitions must be 0, 1, 2, … without a gap";
        return Err((ErrorCode::InvalidReplicaAssignment, reason.into()));
    }
    Ok(by_index.values().map(|ids| ids.iter().copied().map(BrokerId).collect()).collect())
}

async fn create(
    context: &Context,
    topics: Vec<NewTopic>,
    validate_only: bool,
) -> Vec<Result<TopicId, (ErrorCode, String)>> {
    if topics.is_empty() {
        return Vec::new();
    }
    let count = topics.len();
    let refuse = |error: &MetadataError| (errors::of_metadata(error), error.to_string());
    let outcomes = creation::create(context, topics, validate_only).await;
    match outcomes {
        Ok(outcomes) => {
            outcomes.into_iter().map(|outcome| outcome.map_err(|error| refuse(&error))).collect()
        }
        Err(error) => vec![Err((errors::of_proposal(&error), error.to_string())); count],
    }
}

fn describe(context: &Context, wanted: &CreatableTopic, id: TopicId) -> CreatableTopicResult {
    let shared = &context.shared;
    let image = shared.quorum.image();
    let factor = match image.topic(id) {
        Some(topic) => topic.partitions[0].replicas.len(),
        None if wanted.assignments.is_empty() && wanted.replication_factor > 0 => {
            wanted.replication_factor as usize
        }
        None => wanted
            .assignments
            .first()
            .map_or(creation::default_factor(context) as usize, |one| one.broker_ids.len()),
    };
    let partitions = match image.topic(id) {
        Some(topic) => topic.partitions.len(),
        // Only validated, or deleted again meanwhile.
        None if wanted.assignments.is_empty() => {
            usize::try_from(wanted.num_partitions).unwrap_or(shared.config.num_partitions as usize)
        }
        None => wanted.assignments.len(),
    };
    let configs = image
        .config_layers(Some(id), shared.config.node_id, &shared.static_configs)
        .describe()
        .map(|(definition, resolved)| CreatableTopicConfigs {
            name: Str::from(definition.name),
            value: Some(Str::from(resolved.value)),
            read_only: false,
            config_source: super::configs::source_code(resolved.source),
            is_sensitive: false,
        })
        .collect();
    CreatableTopicResult {
        name: wanted.name.clone(),
        topic_id: id,
        num_partitions: i32::try_from(partitions).expect("a topic's partitions fit an i32"),
        replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
        configs: Some(configs),
        ..Default::default()
    }
}

//! `highwater topic`: create, list, describe, delete and alter topics.

use super::{
    arguments::{AlterTopic, CreateTopic, DeleteTopics, ListTopics, Topic},
    check, connect, describe,
    output::Output,
};
use highwater_node::{
    client::Cluster,
    wire::{
        ErrorCode, Str,
        generated::{
            create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
            create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
            delete_topics::{DeleteTopicState, DeleteTopicsRequest},
            incremental_alter_configs::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
            },
            metadata::MetadataResponseTopic,
        },
    },
};
use serde_json::{Value, json};

/// How long the broker may take for a change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
const SET: i8 = 0;
const DELETE: i8 = 1;

pub async fn run(command: Topic, output: Output) -> anyhow::Result<()> {
    match command {
        Topic::Create(create) => create_topic(create, output).await,
        Topic::List(list) => list_topics(list, output).await,
        Topic::Describe(topics) => describe::run(topics, output).await,
        Topic::Delete(delete) => delete_topics(delete, output).await,
        Topic::Alter(alter) => alter_topic(alter, output).await,
    }
}

async fn create_topic(arguments: CreateTopic, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let setting = |(name, value): &(String, String)| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
    };
    let topic = CreatableTopic {
        name: (&arguments.name).into(),
        num_partitions: arguments.partitions.unwrap_or(-1),
        replication_factor: arguments.replication_factor.unwrap_or(-1),
        configs: arguments.config.iter().map(setting).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: CHANGE_TIMEOUT_MS,
        validate_only: false,
    };
    let answer = cluster.call(&request).await?;
    let name = &arguments.name;
    let what = format!("create topic `{name}`");
    let result = answer.topics.first();
    let result = result.ok_or_else(|| anyhow::anyhow!("cannot {what}: no answer about it"))?;
    let existed = result.error_code == ErrorCode::TopicAlreadyExists.code();
    if !(existed && arguments.if_not_exists) {
        check(&what, result.error_code, result.error_message.as_ref())?;
    }
    let id = if existed { Value::Null } else { json!(result.topic_id.to_string()) };
    output.print(
        || json!({ "topic": name, "created": !existed, "id": id }),
        |out| writeln!(out, "{} {name}", if existed { "kept" } else { "created" }),
    )
}

async fn list_topics(arguments: ListTopics, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let mut topics = cluster.metadata(None, false).await?.topics;
    topics.sort_by(|left, right| left.name.cmp(&right.name));
    let document = || {
        let topic = |topic: &MetadataResponseTopic| {
            json!({
                "topic": name_of(topic),
                "id": topic.topic_id.to_string(),
                "partitions": topic.partitions.len(),
                "internal": topic.is_internal,
            })
        };
        Value::Array(topics.iter().map(topic).collect())
    };
    output.print(document, |out| {
        topics.iter().try_for_each(|topic| writeln!(out, "{}", name_of(topic)))
    })
}

async fn delete_topics(arguments: DeleteTopics, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let named = |name: &String| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    // Versions up to 5 carry names, version 6 the states.
    let connection = cluster.any().await?;
    let version = connection.version(highwater_node::wire::ApiKey::DeleteTopics)?;
    let names = &arguments.names;
    let request = if version >= 6 {
        let topics = names.iter().map(named).collect();
        DeleteTopicsRequest { topics, timeout_ms: CHANGE_TIMEOUT_MS, ..Default::default() }
    } else {
        let topic_names = names.iter().map(Str::from).collect();
        DeleteTopicsRequest { topic_names, timeout_ms: CHANGE_TIMEOUT_MS, ..Default::default() }
    };
    let answer = connection.send(&request, version).await?;
    // One that cannot be deleted does not keep the others: say what happened to each.
    let (mut deleted, mut outcome) = (Vec::new(), Ok(()));
    for result in &answer.responses {
        let name = result.name.as_deref().unwrap_or("?");
        let what = format!("delete topic `{name}`");
        let missing = result.error_code == ErrorCode::UnknownTopicOrPartition.code();
        match check(&what, result.error_code, result.error_message.as_ref()) {
            Ok(()) => deleted.push(name),
            Err(_) if missing && arguments.if_exists => {}
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    let printed = output.print(
        || json!({ "deleted": deleted }),
        |out| deleted.iter().try_for_each(|name| writeln!(out, "deleted {name}")),
    );
    outcome.and(printed)
}

async fn alter_topic(arguments: AlterTopic, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let name = &arguments.name;
    if let Some(count) = arguments.partitions {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only: false,
        };
        for result in &cluster.call(&request).await?.results {
            let what = format!("give topic `{name}` {count} partitions");
            check(&what, result.error_code, result.error_message.as_ref())?;
        }
    }
    if !(arguments.set.is_empty() && arguments.unset.is_empty()) {
        alter_settings(&mut cluster, &arguments).await?;
    }
    output
        .print(|| json!({ "topic": name, "altered": true }), |out| writeln!(out, "altered {name}"))
}

async fn alter_settings(cluster: &mut Cluster, arguments: &AlterTopic) -> anyhow::Result<()> {
    let set = arguments.set.iter().map(|(name, value)| AlterableConfig {
        name: name.into(),
        config_operation: SET,
        value: Some(value.into()),
    });
    let unset = arguments.unset.iter().map(|name| AlterableConfig {
        name: name.into(),
        config_operation: DELETE,
        value: None,
    });
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: describe::TOPIC_RESOURCE,
            resource_name: (&arguments.name).into(),
            configs: set.chain(unset).collect(),
        }],
        validate_only: false,
    };
    for result in &cluster.call(&request).await?.responses {
        let what = format!("alter the settings of topic `{}`", arguments.name);
        check(&what, result.error_code, result.error_message.as_ref())?;
    }
    Ok(())
}

/// The topic's name.
pub fn name_of(topic: &MetadataResponseTopic) -> &str {
    topic.name.as_deref().unwrap_or_default()
}

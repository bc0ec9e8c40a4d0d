//! `highwater topic`: create, list, describe, delete and alter topics.

use super::{
    arguments::{AlterTopic, CreateTopic, DeleteTopics, DescribeTopics, ListTopics, Topic},
    check, connect,
    output::Output,
};
use highwater_core::types::PartitionIndex;
use highwater_node::{
    client::{Connection, PartitionRef},
    wire::{
        ErrorCode, Str,
        generated::{
            create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
            create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
            delete_topics::{DeleteTopicState, DeleteTopicsRequest},
            describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
            incremental_alter_configs::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
            },
            metadata::{MetadataResponsePartition, MetadataResponseTopic},
        },
    },
};
use serde_json::{Value, json};
use std::io::{self, Write};

/// How long the broker may take for a change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// The resource type of a topic in the configuration APIs.
const TOPIC_RESOURCE: i8 = 2;
/// The source of a value that was set on the topic itself.
const SET_ON_TOPIC: i8 = 1;
const SET: i8 = 0;
const DELETE: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

pub async fn run(command: Topic, output: Output) -> anyhow::Result<()> {
    match command {
        Topic::Create(create) => create_topic(create, output).await,
        Topic::List(list) => list_topics(list, output).await,
        Topic::Describe(describe) => describe_topics(describe, output).await,
        Topic::Delete(delete) => delete_topics(delete, output).await,
        Topic::Alter(alter) => alter_topic(alter, output).await,
    }
}

async fn create_topic(arguments: CreateTopic, output: Output) -> anyhow::Result<()> {
    let mut connection = connect(&arguments.at.broker).await?;
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
    let answer = connection.call(&request).await?;
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
    let mut connection = connect(&arguments.at.broker).await?;
    let mut topics = connection.metadata(None, false).await?.topics;
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

/// A topic as `describe` shows it.
struct Description {
    topic: MetadataResponseTopic,
    /// Earliest and latest offset of each partition, where the leader could tell.
    offsets: Vec<Option<(i64, i64)>>,
    /// What was set on the topic.
    settings: Vec<(Str, Option<Str>)>,
}

async fn describe_topics(arguments: DescribeTopics, output: Output) -> anyhow::Result<()> {
    let mut connection = connect(&arguments.at.broker).await?;
    let names: Vec<_> = arguments.names.iter().map(String::as_str).collect();
    let wanted = (!names.is_empty()).then_some(names.as_slice());
    let mut topics = connection.metadata(wanted, false).await?.topics;
    topics.sort_by(|left, right| left.name.cmp(&right.name));
    let mut descriptions = Vec::new();
    for mut topic in topics {
        check(&format!("describe topic `{}`", name_of(&topic)), topic.error_code, None)?;
        topic.partitions.sort_by_key(|partition| partition.partition_index);
        let mut offsets = Vec::new();
        for partition in &topic.partitions {
            offsets.push(offsets_of(&mut connection, &topic, partition).await?);
        }
        let settings = settings_of(&mut connection, name_of(&topic)).await?;
        descriptions.push(Description { topic, offsets, settings });
    }
    output.print(
        || Value::Array(descriptions.iter().map(Description::document).collect()),
        |out| descriptions.iter().try_for_each(|description| description.write(out)),
    )
}

async fn offsets_of(
    connection: &mut Connection,
    topic: &MetadataResponseTopic,
    partition: &MetadataResponsePartition,
) -> anyhow::Result<Option<(i64, i64)>> {
    let partition = PartitionRef {
        topic: name_of(topic).into(),
        topic_id: topic.topic_id,
        index: PartitionIndex(partition.partition_index.unsigned_abs()),
    };
    let earliest = connection.list_offset(&partition, EARLIEST).await?;
    let latest = connection.list_offset(&partition, LATEST).await?;
    let known = earliest.error_code == 0 && latest.error_code == 0;
    Ok(known.then_some((earliest.offset, latest.offset)))
}

async fn settings_of(
    connection: &mut Connection,
    name: &str,
) -> anyhow::Result<Vec<(Str, Option<Str>)>> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: name.into(),
            configuration_keys: None,
        }],
        ..Default::default()
    };
    let answer = connection.call(&request).await?;
    let mut settings = Vec::new();
    for result in answer.results {
        let what = format!("describe the settings of topic `{name}`");
        check(&what, result.error_code, result.error_message.as_ref())?;
        let own = result.configs.into_iter().filter(|c| c.config_source == SET_ON_TOPIC);
        settings.extend(own.map(|config| (config.name, config.value)));
    }
    Ok(settings)
}

impl Description {
    fn document(&self) -> Value {
        let partitions = self.topic.partitions.iter().zip(&self.offsets);
        let partition = |(partition, offsets): (&MetadataResponsePartition, &Option<_>)| {
            json!({
                "partition": partition.partition_index,
                "leader": partition.leader_id,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replica_nodes,
                "isr": partition.isr_nodes,
                "log_start_offset": offsets.map(|(start, _): (i64, i64)| start),
                "high_watermark": offsets.map(|(_, end): (i64, i64)| end),
            })
        };
        let setting = |(name, value): &(Str, Option<Str>)| {
            (name.to_string(), value.as_ref().map_or(Value::Null, |value| json!(value.as_str())))
        };
        json!({
            "topic": name_of(&self.topic),
            "id": self.topic.topic_id.to_string(),
            "settings": self.settings.iter().map(setting).collect::<serde_json::Map<_, _>>(),
            "partitions": partitions.map(partition).collect::<Vec<_>>(),
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let topic = &self.topic;
        let count = topic.partitions.len();
        writeln!(out, "{}  id {}  partitions {count}", name_of(topic), topic.topic_id)?;
        for (name, value) in &self.settings {
            writeln!(out, "  {name} = {}", value.as_deref().unwrap_or_default())?;
        }
        for (partition, offsets) in topic.partitions.iter().zip(&self.offsets) {
            let MetadataResponsePartition { partition_index, leader_id, leader_epoch, .. } =
                partition;
            write!(out, "  partition {partition_index}: leader {leader_id} epoch {leader_epoch}")?;
            write!(out, " replicas {:?} isr {:?}", partition.replica_nodes, partition.isr_nodes)?;
            match offsets {
                Some((start, end)) => writeln!(out, " offsets {start}..{end}")?,
                None => writeln!(out, " offsets unknown")?,
            }
        }
        Ok(())
    }
}

async fn delete_topics(arguments: DeleteTopics, output: Output) -> anyhow::Result<()> {
    let mut connection = connect(&arguments.at.broker).await?;
    let named = |name: &String| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    // Versions up to 5 carry names, version 6 the states.
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
        match check(&what, result.error_code, result.error_message.as_ref()) {
            Ok(()) => deleted.push(name),
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
    let mut connection = connect(&arguments.at.broker).await?;
    let name = &arguments.name;
    if let Some(count) = arguments.partitions {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only: false,
        };
        for result in &connection.call(&request).await?.results {
            let what = format!("give topic `{name}` {count} partitions");
            check(&what, result.error_code, result.error_message.as_ref())?;
        }
    }
    if !(arguments.set.is_empty() && arguments.unset.is_empty()) {
        alter_settings(&mut connection, &arguments).await?;
    }
    output
        .print(|| json!({ "topic": name, "altered": true }), |out| writeln!(out, "altered {name}"))
}

async fn alter_settings(connection: &mut Connection, arguments: &AlterTopic) -> anyhow::Result<()> {
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
            resource_type: TOPIC_RESOURCE,
            resource_name: (&arguments.name).into(),
            configs: set.chain(unset).collect(),
        }],
        validate_only: false,
    };
    for result in &connection.call(&request).await?.responses {
        let what = format!("alter the settings of topic `{}`", arguments.name);
        check(&what, result.error_code, result.error_message.as_ref())?;
    }
    Ok(())
}

fn name_of(topic: &MetadataResponseTopic) -> &str {
    topic.name.as_deref().unwrap_or_default()
}

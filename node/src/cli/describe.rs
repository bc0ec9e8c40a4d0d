//! `highwater topic describe`: where the partitions of topics are, and what their records have
//! survived.

use super::{arguments::DescribeTopics, check, connect, output::Output, topic::name_of};
use highwater_core::types::PartitionIndex;
use highwater_node::{
    client::{Cluster, PartitionRef},
    wire::{
        Str,
        generated::{
            describe_configs::{
                DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult,
            },
            describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest},
            list_partition_reassignments::{
                ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
            },
            metadata::{MetadataResponsePartition, MetadataResponseTopic},
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The resource type of a topic in the configuration APIs.
pub const TOPIC_RESOURCE: i8 = 2;
/// The source of a value that was set on the topic itself.
const SET_ON_TOPIC: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The most partitions asked about at a time.
const PAGE: i32 = 2_000;

/// Moves under way, by topic and partition.
pub type Moves = BTreeMap<(String, i32), Moving>;
/// A move under way.
pub type Moving = OngoingPartitionReassignment;

/// A topic as it is shown.
struct Description {
    topic: MetadataResponseTopic,
    partitions: Vec<Partition>,
    configs: Configs,
}

struct Partition {
    registered: MetadataResponsePartition,
    /// Earliest and latest offset, where the leader could tell.
    offsets: Option<(i64, i64)>,
    /// Eligible leader replicas (KIP-966), where the broker tells them.
    elr: Vec<i32>,
    moving: Option<OngoingPartitionReassignment>,
}

/// The configuration of a topic.
pub struct Configs {
    /// What was set on the topic.
    pub set: Vec<(Str, Option<Str>)>,
    /// `min.insync.replicas`, at least 1.
    pub min_insync: usize,
    /// `durability`, where the broker has it.
    durability: Option<String>,
}

pub async fn run(arguments: DescribeTopics, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let names: Vec<_> = arguments.names.iter().map(String::as_str).collect();
    let wanted = (!names.is_empty()).then_some(names.as_slice());
    let mut topics = cluster.metadata(wanted, false).await?.topics;
    topics.sort_by(|left, right| left.name.cmp(&right.name));
    for topic in &topics {
        check(&format!("describe topic `{}`", name_of(topic)), topic.error_code, None)?;
    }
    let mut moves = moves(&mut cluster).await?;
    let mut configs = configs_of(&mut cluster, &topics).await?;
    let mut elr = eligible(&mut cluster, &topics).await?;
    let mut descriptions = Vec::new();
    for mut topic in topics {
        let name = name_of(&topic).to_owned();
        let mut partitions = Vec::new();
        topic.partitions.sort_by_key(|partition| partition.partition_index);
        for registered in std::mem::take(&mut topic.partitions) {
            let at = (name.clone(), registered.partition_index);
            let offsets = offsets_of(&mut cluster, &topic, &registered).await;
            let moving = moves.remove(&at);
            let elr = elr.remove(&at).unwrap_or_default();
            partitions.push(Partition { registered, offsets, elr, moving });
        }
        let configs = configs.remove(&name).unwrap_or_else(|| Configs::of(&[]));
        descriptions.push(Description { topic, partitions, configs });
    }
    output.print(
        || Value::Array(descriptions.iter().map(Description::document).collect()),
        |out| descriptions.iter().try_for_each(|description| description.write(out)),
    )
}

/// The moves under way. A broker that cannot tell has none.
pub async fn moves(cluster: &mut Cluster) -> anyhow::Result<Moves> {
    let connection = cluster.any().await?;
    let request = ListPartitionReassignmentsRequest::default();
    if connection.version(highwater_node::wire::ApiKey::ListPartitionReassignments).is_err() {
        return Ok(Moves::new());
    }
    let answer = connection.call(&request).await?;
    check("list the reassignments", answer.error_code, answer.error_message.as_ref())?;
    let moves = answer.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        let moves = topic.partitions.into_iter();
        moves.map(move |moving| ((name.clone(), moving.partition_index), moving))
    });
    Ok(moves.collect())
}

/// The configuration of topics, by name.
pub async fn configs_of(
    cluster: &mut Cluster,
    topics: &[MetadataResponseTopic],
) -> anyhow::Result<BTreeMap<String, Configs>> {
    let resource = |topic: &MetadataResponseTopic| DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: name_of(topic).into(),
        configuration_keys: None,
    };
    let resources = topics.iter().map(resource).collect();
    let request = DescribeConfigsRequest { resources, ..Default::default() };
    let mut configs = BTreeMap::new();
    for result in cluster.call(&request).await?.results {
        let name = result.resource_name.to_string();
        let what = format!("describe the settings of topic `{name}`");
        check(&what, result.error_code, result.error_message.as_ref())?;
        configs.insert(name, Configs::of(&[result]));
    }
    Ok(configs)
}

impl Configs {
    fn of(results: &[DescribeConfigsResult]) -> Self {
        let all = || results.iter().flat_map(|result| &result.configs);
        let value = |name: &str| {
            let found = all().find(|config| *config.name == *name);
            found.and_then(|config| config.value.as_ref()).map(ToString::to_string)
        };
        let own = all().filter(|config| config.config_source == SET_ON_TOPIC);
        Self {
            set: own.map(|config| (config.name.clone(), config.value.clone())).collect(),
            min_insync: value("min.insync.replicas")
                .and_then(|text| text.parse().ok())
                .unwrap_or(1),
            durability: value("durability"),
        }
    }
}

async fn eligible(
    cluster: &mut Cluster,
    topics: &[MetadataResponseTopic],
) -> anyhow::Result<BTreeMap<(String, i32), Vec<i32>>> {
    let mut eligible = BTreeMap::new();
    let connection = cluster.any().await?;
    if connection.version(highwater_node::wire::ApiKey::DescribeTopicPartitions).is_err() {
        return Ok(eligible);
    }
    let topics = topics.iter().map(|topic| TopicRequest { name: name_of(topic).into() });
    let mut request = DescribeTopicPartitionsRequest {
        topics: topics.collect(),
        response_partition_limit: PAGE,
        ..Default::default()
    };
    while !request.topics.is_empty() {
        let answer = connection.call(&request).await?;
        for topic in answer.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            for partition in topic.partitions {
                let elr = partition.eligible_leader_replicas.unwrap_or_default();
                eligible.insert((name.to_owned(), partition.partition_index), elr);
            }
        }
        let Some(next) = answer.next_cursor else { break };
        request.cursor = Some(highwater_node::wire::generated::describe_topic_partitions::Cursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
        });
    }
    Ok(eligible)
}

async fn offsets_of(
    cluster: &mut Cluster,
    topic: &MetadataResponseTopic,
    partition: &MetadataResponsePartition,
) -> Option<(i64, i64)> {
    let reference = PartitionRef {
        topic: name_of(topic).into(),
        topic_id: topic.topic_id,
        index: PartitionIndex(partition.partition_index.unsigned_abs()),
    };
    let leader = cluster.broker(partition.leader_id).await.ok()?;
    let earliest = leader.list_offset(&reference, EARLIEST).await.ok()?;
    let latest = leader.list_offset(&reference, LATEST).await.ok()?;
    let known = earliest.error_code == 0 && latest.error_code == 0;
    known.then_some((earliest.offset, latest.offset))
}

impl Description {
    fn document(&self) -> Value {
        let setting = |(name, value): &(Str, Option<Str>)| {
            (name.to_string(), value.as_ref().map_or(Value::Null, |value| json!(value.as_str())))
        };
        json!({
            "topic": name_of(&self.topic),
            "id": self.topic.topic_id.to_string(),
            "settings": self.configs.set.iter().map(setting).collect::<serde_json::Map<_, _>>(),
            "min_insync_replicas": self.configs.min_insync,
            "durability": self.configs.durability,
            "promise": self.promise(),
            "partitions": self.partitions.iter().map(Partition::document).collect::<Vec<_>>(),
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let topic = &self.topic;
        let count = self.partitions.len();
        writeln!(out, "{}  id {}  partitions {count}", name_of(topic), topic.topic_id)?;
        if let Some(promise) = self.promise() {
            writeln!(out, "  {promise}")?;
        }
        for (name, value) in &self.configs.set {
            writeln!(out, "  {name} = {}", value.as_deref().unwrap_or_default())?;
        }
        self.partitions.iter().try_for_each(|partition| partition.write(out))
    }

    /// What an acknowledged record has survived, in a sentence.
    fn promise(&self) -> Option<String> {
        let replicas = self.partitions.iter().map(Partition::settled).min().unwrap_or(1);
        promise(self.configs.durability.as_deref()?, self.configs.min_insync, replicas)
    }
}

fn promise(durability: &str, min_insync: usize, replicas: usize) -> Option<String> {
    let copies = min_insync.min(replicas);
    let lost = match copies.saturating_sub(1) {
        0 => "not the loss of a node for good".to_owned(),
        1 => "the loss of any one node for good".to_owned(),
        lost => format!("the loss of any {lost} nodes for good"),
    };
    let at_least = if copies == 1 { "1 node".to_owned() } else { format!("{copies} nodes") };
    match (durability, copies) {
        ("fsynced", 1) => Some(format!(
            "With acks=all a record is acknowledged once it is on the disks of all nodes in sync, \
             at least {at_least}: it survives a power cut of every node, but {lost}."
        )),
        ("fsynced", _) => Some(format!(
            "With acks=all a record is acknowledged once it is on the disks of all nodes in sync, \
             at least {at_least}: it survives a power cut of every node, and {lost}."
        )),
        ("replicated", 1) => Some(
            "With acks=all a record is acknowledged once it is in the memory of all nodes in sync, \
             at least 1 node: a crash of that node may lose it."
                .to_owned(),
        ),
        ("replicated", _) => Some(format!(
            "With acks=all a record is acknowledged once it is in the memory of all nodes in sync, \
             at least {at_least}: it survives {lost}, but not a crash of all of them at once."
        )),
        _ => None,
    }
}

impl Partition {
    /// Replicas that are not being removed.
    fn settled(&self) -> usize {
        let removing = self.moving.as_ref().map_or(0, |moving| moving.removing_replicas.len());
        self.registered.replica_nodes.len() - removing
    }

    fn document(&self) -> Value {
        let partition = &self.registered;
        json!({
            "partition": partition.partition_index,
            "leader": partition.leader_id,
            "leader_epoch": partition.leader_epoch,
            "replicas": partition.replica_nodes,
            "isr": partition.isr_nodes,
            "elr": self.elr,
            "offline": partition.offline_replicas,
            "log_start_offset": self.offsets.map(|(start, _)| start),
            "high_watermark": self.offsets.map(|(_, end)| end),
            "reassignment": self.moving.as_ref().map(|moving| json!({
                "adding": moving.adding_replicas,
                "removing": moving.removing_replicas,
            })),
        })
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let MetadataResponsePartition { partition_index, leader_id, leader_epoch, .. } =
            self.registered;
        write!(out, "  partition {partition_index}: ")?;
        match leader_id {
            -1 => write!(out, "no leader")?,
            leader => write!(out, "leader {leader}")?,
        }
        let MetadataResponsePartition { replica_nodes, isr_nodes, .. } = &self.registered;
        write!(out, " epoch {leader_epoch} replicas {replica_nodes:?} isr {isr_nodes:?}")?;
        if !self.elr.is_empty() {
            write!(out, " elr {:?}", self.elr)?;
        }
        match self.offsets {
            Some((start, end)) => write!(out, " offsets {start}..{end}")?,
            None => write!(out, " offsets unknown")?,
        }
        if let Some(moving) = &self.moving {
            let (adding, removing) = (&moving.adding_replicas, &moving.removing_replicas);
            write!(out, " moving: adding {adding:?} removing {removing:?}")?;
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promise_names_what_a_record_survives() {
        let fsynced = promise("fsynced", 2, 3).expect("known");
        assert!(fsynced.contains("on the disks of all nodes in sync, at least 2 nodes"));
        assert!(fsynced.ends_with("every node, and the loss of any one node for good."));
        let alone = promise("fsynced", 3, 1).expect("known");
        assert!(alone.ends_with("every node, but not the loss of a node for good."), "{alone}");
        let replicated = promise("replicated", 3, 3).expect("known");
        assert!(replicated.contains("in the memory") && replicated.contains("any 2 nodes"));
        assert_eq!(promise("eventual", 1, 1), None);
    }
}

//! The throttles of moves: `highwater partition reassign --throttle` and `unthrottle`.

use super::{
    arguments::Unthrottle,
    check, connect,
    describe::{self, TOPIC_RESOURCE},
    output::Output,
};
use highwater_node::{
    client::Cluster,
    wire::generated::incremental_alter_configs::{
        AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    },
};
use serde_json::json;
use std::collections::BTreeSet;

const BROKER_RESOURCE: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const RATES: [&str; 2] =
    ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// Throttles a move that is about to begin: the replicas that there are as leaders, those that are
/// new as followers, and every node that has one of them.
pub async fn set(
    cluster: &mut Cluster,
    (topic, partition): (&str, i32),
    replicas: &[i32],
    bytes_per_second: u64,
) -> anyhow::Result<()> {
    let metadata = cluster.metadata(Some(&[topic]), false).await?;
    let mut present = BTreeSet::new();
    for found in &metadata.topics {
        check(&format!("find topic `{topic}`"), found.error_code, None)?;
        let of = found.partitions.iter().filter(|one| one.partition_index == partition);
        present.extend(of.flat_map(|one| one.replica_nodes.iter().copied()));
    }
    anyhow::ensure!(!present.is_empty(), "topic `{topic}` has no partition {partition}");
    let nodes: BTreeSet<i32> = present.iter().chain(replicas).copied().collect();
    let added = nodes.difference(&present);
    let rate = bytes_per_second.to_string();
    let rates = RATES.map(|name| config(name, SET, Some(&rate)));
    let mut resources: Vec<_> =
        nodes.iter().map(|node| resource(BROKER_RESOURCE, &node.to_string(), &rates)).collect();
    let lists = [
        config(LEADER_REPLICAS, APPEND, Some(&pairs(partition, &present))),
        config(FOLLOWER_REPLICAS, APPEND, Some(&pairs(partition, added))),
    ];
    resources.push(resource(TOPIC_RESOURCE, topic, &lists));
    alter(cluster, resources).await
}

/// Lifts every throttle of the cluster.
pub async fn lift(arguments: Unthrottle, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let moving = describe::moves(&mut cluster).await?.len();
    anyhow::ensure!(
        moving == 0 || arguments.now,
        "{moving} partitions are moving still; wait until `highwater partition reassignments` \
         shows none, or say --now to let them go as fast as they can"
    );
    let metadata = cluster.metadata(None, false).await?;
    let configs = describe::configs_of(&mut cluster, &metadata.topics).await?;
    let lists = [LEADER_REPLICAS, FOLLOWER_REPLICAS];
    let is_throttled = |set: &describe::Configs| {
        set.set.iter().any(|(name, _)| lists.iter().any(|list| **name == **list))
    };
    let topics = configs.iter().filter(|(_, set)| is_throttled(set)).map(|(name, _)| name);
    let topics: Vec<_> = topics.collect();
    let (lists, rates) = (lists.map(deleted), RATES.map(deleted));
    let of_topics = topics.iter().map(|topic| resource(TOPIC_RESOURCE, topic, &lists));
    let of_nodes = metadata
        .brokers
        .iter()
        .map(|broker| resource(BROKER_RESOURCE, &broker.node_id.to_string(), &rates));
    let resources = of_topics.chain(of_nodes).collect();
    alter(&mut cluster, resources).await?;
    output.print(
        || json!({ "unthrottled": topics }),
        |out| writeln!(out, "replication is not throttled any more"),
    )
}

async fn alter(cluster: &mut Cluster, resources: Vec<AlterConfigsResource>) -> anyhow::Result<()> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    for result in &cluster.call(&request).await?.responses {
        let kind = if result.resource_type == TOPIC_RESOURCE { "topic" } else { "node" };
        let what = format!("throttle {kind} {}", result.resource_name);
        check(&what, result.error_code, result.error_message.as_ref())?;
    }
    Ok(())
}

/// `partition:node` of each, separated by commas.
fn pairs<'a>(partition: i32, nodes: impl IntoIterator<Item = &'a i32>) -> String {
    let pairs = nodes.into_iter().map(|node| format!("{partition}:{node}"));
    pairs.collect::<Vec<_>>().join(",")
}

fn deleted(name: &str) -> AlterableConfig {
    config(name, DELETE, None)
}

fn config(name: &str, config_operation: i8, value: Option<&String>) -> AlterableConfig {
    AlterableConfig { name: name.into(), config_operation, value: value.map(Into::into) }
}

fn resource(resource_type: i8, name: &str, configs: &[AlterableConfig]) -> AlterConfigsResource {
    AlterConfigsResource { resource_type, resource_name: name.into(), configs: configs.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn replicas_are_named_as_kafka_names_them() {
        assert_eq!(pairs(3, &[1, 2]), "3:1,3:2");
        assert_eq!(pairs(3, &[]), "");
    }
}

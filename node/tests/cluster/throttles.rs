//! Moves of partitions that are throttled (KIP-73).

use super::support::*;
use highwater_node::{
    client::Connection,
    wire::generated::{
        alter_partition_reassignments::{
            AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
        },
        incremental_alter_configs::{
            AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
        },
    },
};
use std::time::Duration;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// At this rate the records below take half a minute.
const RATE: &str = "100000";
const BATCHES: usize = 12;
const BATCH_BYTES: usize = 256 << 10;

async fn alter(
    connection: &mut Connection,
    (resource_type, name): (i8, &str),
    operation: i8,
    configs: &[(&str, &str)],
) {
    let config = |(name, value): &(&str, &str)| AlterableConfig {
        name: (*name).into(),
        config_operation: operation,
        value: (operation == SET).then(|| (*value).into()),
    };
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.iter().map(config).collect(),
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let alter = async || connection.call(&request).await.unwrap();
    let answer = until("configured", alter, |it| !passes(it.responses[0].error_code)).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

async fn reassign(connection: &mut Connection, topic: &str, replicas: Vec<i32>) {
    let partition = ReassignablePartition { partition_index: 0, replicas: Some(replicas) };
    let topic = ReassignableTopic { name: topic.into(), partitions: vec![partition] };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: 30_000,
        topics: vec![topic],
        ..Default::default()
    };
    let reassign = async || connection.call(&request).await.unwrap();
    let answer = until("reassigned", reassign, |it| !passes(it.error_code)).await;
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
}

fn in_sync(nodes: &Nodes, topic: &str) -> usize {
    let image = nodes.values().next().unwrap().image();
    image.topic_named(topic).unwrap().partitions[0].isr.len()
}

/// A move of three megabytes that is throttled on one side.
async fn is_held_up(side: &str) {
    let dir = tempfile::tempdir().unwrap();
    let one_is_enough = |_| vec![("min.insync.replicas", "1".to_owned())];
    let nodes = start_three(dir.path(), one_is_enough).await;
    let (partition, leader) = create_topic(&nodes, "t", 1).await;
    let mut connection = connect(&nodes[&leader]).await;
    let value = vec![7; BATCH_BYTES];
    for _ in 0..BATCHES {
        produce(&mut connection, &partition, &value).await;
    }
    let new = leader % 3 + 1;
    let rate = format!("{side}.replication.throttled.rate");
    let list = format!("{side}.replication.throttled.replicas");
    let throttled = if side == "leader" { leader } else { new };
    alter(&mut connection, (TOPIC, "t"), SET, &[(&list, &format!("0:{throttled}"))]).await;
    alter(&mut connection, (BROKER, &throttled.to_string()), SET, &[(&rate, RATE)]).await;
    reassign(&mut connection, "t", vec![leader, new]).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(in_sync(&nodes, "t"), 1, "the {side} holds the move up");

    alter(&mut connection, (BROKER, &throttled.to_string()), DELETE, &[(&rate, "")]).await;
    until("two are in sync", async || in_sync(&nodes, "t"), |found| *found >= 2).await;
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_holds_up_a_replica_that_is_out_of_sync() {
    is_held_up("leader").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_out_of_sync_holds_itself_up() {
    is_held_up("follower").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_in_sync_are_never_held_up() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), |_| Vec::new()).await;
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let mut connection = connect(&nodes[&leader]).await;
    let lists = ["leader", "follower"].map(|side| format!("{side}.replication.throttled.replicas"));
    let lists: Vec<_> = lists.iter().map(|list| (list.as_str(), "*")).collect();
    alter(&mut connection, (TOPIC, "t"), SET, &lists).await;
    let rates = ["leader", "follower"].map(|side| format!("{side}.replication.throttled.rate"));
    let rates: Vec<_> = rates.iter().map(|rate| (rate.as_str(), "1")).collect();
    alter(&mut connection, (BROKER, ""), SET, &rates).await;
    for record in 0..20 {
        assert_eq!(produce(&mut connection, &partition, b"as fast as ever").await, record);
    }
    assert_eq!(in_sync(&nodes, "t"), 3);
    shut_down(nodes).await;
}

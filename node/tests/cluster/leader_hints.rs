//! Whoever asks the wrong broker is told so in every version, and who leads where there is room for it
//! (KIP-951).

use super::support::*;
use highwater_core::record::{BatchBuilder, NewRecord};
use highwater_node::wire::generated::{
    fetch::{FetchPartition, FetchRequest, FetchTopic},
    produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_broker_answers_every_version_and_names_the_leader_where_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), |_| Vec::new()).await;
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let (_, follower) = nodes.iter().find(|(node, _)| **node != leader).unwrap();
    let mut connection = connect(follower).await;
    let mut builder = BatchBuilder::new();
    builder.push(NewRecord { value: Some(b"record"), ..NewRecord::default() });
    let records = Some(builder.build());
    let by_name_or_id = |version| match version < 13 {
        true => ("t".into(), Default::default()),
        false => (Default::default(), partition.topic_id),
    };
    let check = |version, since, error_code, told: i32, endpoints: usize| {
        assert_eq!(error_code, NOT_LEADER_OR_FOLLOWER, "version {version}");
        assert_eq!(told, if version < since { -1 } else { leader }, "version {version}");
        assert_eq!(endpoints, usize::from(version >= since), "version {version}");
    };
    for version in 3..=13 {
        let data = PartitionProduceData { index: 0, records: records.clone() };
        let (name, topic_id) = by_name_or_id(version);
        let topic = TopicProduceData { name, topic_id, partition_data: vec![data] };
        let (acks, timeout_ms) = (-1, 1_000);
        let request =
            ProduceRequest { acks, timeout_ms, topic_data: vec![topic], ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        let refused = &answer.responses[0].partition_responses[0];
        let told = refused.current_leader.leader_id;
        check(version, 10, refused.error_code, told, answer.node_endpoints.len());
    }
    for version in 4..=17 {
        let of = FetchPartition { partition_max_bytes: 1_000, ..Default::default() };
        let (topic, topic_id) = by_name_or_id(version);
        let topic = FetchTopic { topic, topic_id, partitions: vec![of] };
        let request = FetchRequest { max_bytes: 1_000, topics: vec![topic], ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        let refused = &answer.responses[0].partitions[0];
        let told = refused.current_leader.leader_id;
        check(version, 16, refused.error_code, told, answer.node_endpoints.len());
    }
    shut_down(nodes).await;
}

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
    for version in 3..=13 {
        let data = PartitionProduceData { index: 0, records: records.clone() };
        let topic = TopicProduceData {
            name: if version < 13 { "t".into() } else { Default::default() },
            topic_id: if version < 13 { Default::default() } else { partition.topic_id },
            partition_data: vec![data],
        };
        let (acks, timeout_ms) = (-1, 1_000);
        let request =
            ProduceRequest { acks, timeout_ms, topic_data: vec![topic], ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, NOT_LEADER_OR_FOLLOWER, "version {version}");
        let named = if version < 10 { -1 } else { leader };
        assert_eq!(refused.current_leader.leader_id, named, "version {version}");
        assert_eq!(answer.node_endpoints.len(), usize::from(version >= 10), "version {version}");
    }
    for version in 4..=17 {
        let of = FetchPartition { partition_max_bytes: 1_000, ..Default::default() };
        let topic = FetchTopic {
            topic: if version < 13 { "t".into() } else { Default::default() },
            topic_id: if version < 13 { Default::default() } else { partition.topic_id },
            partitions: vec![of],
        };
        let request = FetchRequest { max_bytes: 1_000, topics: vec![topic], ..Default::default() };
        let answer = connection.send(&request, version).await.unwrap();
        let refused = &answer.responses[0].partitions[0];
        assert_eq!(refused.error_code, NOT_LEADER_OR_FOLLOWER, "version {version}");
        let named = if version < 16 { -1 } else { leader };
        assert_eq!(refused.current_leader.leader_id, named, "version {version}");
        assert_eq!(answer.node_endpoints.len(), usize::from(version >= 16), "version {version}");
    }
    shut_down(nodes).await;
}

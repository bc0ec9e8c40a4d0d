//! Consumers that read from a follower in their rack (KIP-392).

use super::support::*;
use highwater_core::types::LeaderEpoch;
use highwater_node::{
    client::{Connection, PartitionRef, Reader},
    wire::generated::fetch::PartitionData,
};
use std::time::Duration;

const UNKNOWN_LEADER_EPOCH: i16 = 75;
const OFFSET_NOT_AVAILABLE: i16 = 78;
const WAIT: Duration = Duration::from_secs(20);
const BYTES: i32 = 1 << 20;

fn racks(id: i32) -> Vec<(&'static str, String)> {
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    vec![("broker.rack", rack(id)), ("replica.selector.class", selector.to_owned())]
}

fn rack(id: i32) -> String {
    format!("rack-{id}")
}

async fn fetch(
    connection: &mut Connection,
    partition: &PartitionRef,
    offset: i64,
    rack: &str,
) -> PartitionData {
    let reader = Reader { rack, leader_epoch: None };
    connection.fetch_as(partition, offset, WAIT, BYTES, reader).await.unwrap()
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_reads_from_the_follower_in_its_rack() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), racks).await;
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let follower = leader % 3 + 1;
    let (mut at_leader, mut at_follower) =
        (connect(&nodes[&leader]).await, connect(&nodes[&follower]).await);
    assert_eq!(produce(&mut at_leader, &partition, b"first").await, 0);

    // The leader sends it away, at once and without records, to the follower in its rack.
    let sent = fetch(&mut at_leader, &partition, 0, &rack(follower)).await;
    assert_eq!((sent.error_code, sent.preferred_read_replica), (0, follower), "{sent:?}");
    assert!(!has_records(&sent));
    assert_eq!((sent.high_watermark, sent.log_start_offset), (1, 0));
    // It serves who is in its own rack, in none, or in one that nobody is in.
    for near in [&rack(leader), "", "elsewhere"] {
        let served = fetch(&mut at_leader, &partition, 0, near).await;
        assert_eq!((served.error_code, served.preferred_read_replica), (0, -1), "{near}");
        assert!(has_records(&served), "{near}");
    }
    // So it does where no follower is known to be as far.
    let missing = fetch(&mut at_leader, &partition, 7, &rack(follower)).await;
    assert_eq!(missing.preferred_read_replica, -1);

    // The follower serves it, also what comes while it waits there.
    let served = fetch(&mut at_follower, &partition, 0, &rack(follower)).await;
    assert_eq!((served.error_code, served.preferred_read_replica), (0, -1));
    assert!(has_records(&served));
    let near = rack(follower);
    let waiting = fetch(&mut at_follower, &partition, 1, &near);
    let (waited, offset) = tokio::join!(waiting, produce(&mut at_leader, &partition, b"second"));
    assert_eq!((waited.error_code, offset), (0, 1));
    assert!(has_records(&waited), "woken when the record was committed here");
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_does_not_say_what_only_a_leader_knows() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), racks).await;
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let follower = leader % 3 + 1;
    let mut at_follower = connect(&nodes[&follower]).await;
    let mut beyond = fetch(&mut at_follower, &partition, 9, &rack(follower)).await;
    // Until the replica is open there.
    while beyond.error_code == NOT_LEADER_OR_FOLLOWER {
        pause().await;
        beyond = fetch(&mut at_follower, &partition, 9, &rack(follower)).await;
    }
    assert_eq!(beyond.error_code, OFFSET_NOT_AVAILABLE, "the leader may have it");
    let lost = fetch(&mut at_follower, &partition, 0, "").await;
    assert_eq!(lost.error_code, NOT_LEADER_OR_FOLLOWER, "nobody has sent this one");
    let listed = at_follower.list_offset(&partition, -1).await.unwrap();
    assert_eq!(listed.error_code, NOT_LEADER_OR_FOLLOWER);
    let own = rack(follower);
    let newer = Reader { rack: &own, leader_epoch: Some(LeaderEpoch(99)) };
    let refused = at_follower.fetch_as(&partition, 0, WAIT, BYTES, newer).await.unwrap();
    assert_eq!(refused.error_code, UNKNOWN_LEADER_EPOCH);
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_selector_consumers_stay_at_the_leader() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start_three(dir.path(), |id| vec![("broker.rack", rack(id))]).await;
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let mut at_leader = connect(&nodes[&leader]).await;
    produce(&mut at_leader, &partition, b"first").await;
    let served = fetch(&mut at_leader, &partition, 0, &rack(leader % 3 + 1)).await;
    assert_eq!((served.error_code, served.preferred_read_replica), (0, -1));
    assert!(has_records(&served));
    let mut at_follower = connect(&nodes[&(leader % 3 + 1)]).await;
    let refused = fetch(&mut at_follower, &partition, 0, &rack(leader % 3 + 1)).await;
    assert_eq!(refused.error_code, NOT_LEADER_OR_FOLLOWER);
    shut_down(nodes).await;
}

//! Controllers that are no brokers, and brokers that do not vote.

use super::support::*;
use highwater_node::client::Connection;
use highwater_node::wire::{
    ApiKey,
    generated::{
        add_raft_voter::{AddRaftVoterRequest, Listener},
        api_versions::ApiVersionsRequest,
        describe_cluster::DescribeClusterRequest,
        describe_quorum::{
            DescribeQuorumPartition, DescribeQuorumRequest, DescribeQuorumTopic,
            DescribedQuorumPartition, ReplicaState,
        },
        remove_raft_voter::RemoveRaftVoterRequest,
    },
};
use std::{collections::BTreeMap, path::Path};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const DUPLICATE_VOTER: i16 = 126;

/// Brokers 1 to 3 and controller 4, which tools can ask, too.
async fn start(dir: &Path) -> (Nodes, u16) {
    let ports = free_ports::<4>();
    let voters = format!("4@127.0.0.1:{}", ports[3]);
    let start = async |id: i32| {
        let role = if id == 4 { "controller" } else { "broker" };
        let more = vec![("process.roles", role.to_owned())];
        (id, start_node(config(dir, id, (ports[id as usize - 1], &voters), more)).await)
    };
    let (one, two, three, four) = tokio::join!(start(1), start(2), start(3), start(4));
    (BTreeMap::from([one, two, three, four]), ports[0])
}

async fn quorum(connection: &mut Connection) -> DescribedQuorumPartition {
    let request = DescribeQuorumRequest {
        topics: vec![DescribeQuorumTopic {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
        }],
    };
    let answer = connection.call(&request).await.unwrap();
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.topics[0].partitions[0].clone()
}

/// Asks until it is so.
async fn quorum_when(
    connection: &mut Connection,
    is_so: impl Fn(&DescribedQuorumPartition) -> bool,
) -> DescribedQuorumPartition {
    let mut described = quorum(connection).await;
    for _ in 0..1_000 {
        if is_so(&described) {
            return described;
        }
        pause().await;
        described = quorum(connection).await;
    }
    panic!("it never was so: {described:?}");
}

fn ids(replicas: &[ReplicaState]) -> Vec<i32> {
    let mut ids: Vec<_> = replicas.iter().map(|replica| replica.replica_id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_holds_nothing_and_brokers_pass_on_what_is_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, peer_of_one) = Box::pin(start(dir.path())).await;
    let controller = nodes.remove(&4).unwrap();
    let (partition, leader) = create_topic(&nodes, "t", 3).await;
    let mut at_leader = connect(&nodes[&leader]).await;
    assert_eq!(produce(&mut at_leader, &partition, b"record").await, 0);
    let image = controller.image();
    let brokers: Vec<_> = image.brokers().map(|(id, _)| id.0).collect();
    assert_eq!(brokers, [1, 2, 3], "a controller is not registered");
    assert_eq!(controller.partition_counts(), (0, 0));
    assert!(controller.ready());

    // A broker tells what the controller knows, and names itself for what a controller does.
    let knows_all = |quorum: &DescribedQuorumPartition| {
        let known = |replica: &ReplicaState| replica.log_end_offset > 0;
        ids(&quorum.observers) == [1, 2, 3] && quorum.observers.iter().all(known)
    };
    let described = quorum_when(&mut at_leader, knows_all).await;
    assert_eq!((described.leader_id, ids(&described.current_voters)), (4, vec![4]));
    let metadata = at_leader.metadata(Some(&[]), false).await.unwrap();
    assert_eq!(metadata.controller_id, leader);

    // Who votes is changed through any broker.
    let listener =
        Listener { name: "CONTROLLER".into(), host: "127.0.0.1".into(), port: peer_of_one };
    let add = AddRaftVoterRequest {
        timeout_ms: 30_000,
        voter_id: 1,
        listeners: vec![listener],
        ..Default::default()
    };
    let mut at_two = connect(&nodes[&2]).await;
    let added = at_two.call(&add).await.unwrap();
    assert_eq!(added.error_code, 0, "{added:?}");
    quorum_when(&mut at_two, |quorum| ids(&quorum.current_voters) == [1, 4]).await;
    let again = connect(&nodes[&1]).await.call(&add).await.unwrap();
    assert_eq!(again.error_code, DUPLICATE_VOTER);
    let remove = RemoveRaftVoterRequest { voter_id: 1, ..Default::default() };
    let removed = at_two.call(&remove).await.unwrap();
    assert_eq!(removed.error_code, 0, "{removed:?}");
    quorum_when(&mut at_two, |quorum| ids(&quorum.current_voters) == [4]).await;
    shut_down(nodes).await;
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_answers_what_controllers_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (nodes, _) = Box::pin(start(dir.path())).await;
    let mut connection = connect(&nodes[&4]).await;
    let versions = connection.call(&ApiVersionsRequest::default()).await.unwrap();
    let served = |key: ApiKey| versions.api_keys.iter().any(|api| api.api_key == key as i16);
    assert!(served(ApiKey::DescribeQuorum) && served(ApiKey::AddRaftVoter));
    for of_brokers in [ApiKey::Fetch, ApiKey::Produce, ApiKey::Metadata, ApiKey::JoinGroup] {
        assert!(!served(of_brokers), "{of_brokers:?}");
    }
    assert_eq!(quorum(&mut connection).await.leader_id, 4);
    let mut describe = DescribeClusterRequest { endpoint_type: BROKERS, ..Default::default() };
    let refused = connection.call(&describe).await.unwrap();
    assert_eq!(refused.error_code, MISMATCHED_ENDPOINT_TYPE);
    describe.endpoint_type = CONTROLLERS;
    let itself = connection.call(&describe).await.unwrap();
    assert_eq!((itself.error_code, itself.controller_id, itself.brokers.len()), (0, 4, 1));
    assert_eq!(itself.brokers[0].port, i32::from(nodes[&4].listen_address().unwrap().port()));
    let mut at_broker = connect(&nodes[&1]).await;
    assert_eq!(at_broker.call(&describe).await.unwrap().error_code, MISMATCHED_ENDPOINT_TYPE);
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_needs_no_listener_for_clients() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let more = vec![
        ("process.roles", "controller".to_owned()),
        ("listeners", format!("CONTROLLER://127.0.0.1:{port}")),
    ];
    let voters = format!("1@127.0.0.1:{port}");
    let controller = start_node(config(dir.path(), 1, (port, &voters), more)).await;
    assert_eq!(controller.listen_address(), None);
    until("the controller is ready", async || controller.ready(), |ready| *ready).await;
    controller.shutdown().await;
}

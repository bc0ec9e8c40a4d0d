//! The APIs that administer a cluster, as a broker on its own answers them: real sockets, real
//! files, the project's own client.

use highwater_node::{
    client::Connection,
    config::{BrokerConfig, Settings},
    env::{Clock, Doors, NoTransport, OsClock, OsDisk, OsEntropy},
    server::Broker,
    wire::generated::{
        add_raft_voter::{AddRaftVoterRequest, Listener},
        alter_partition_reassignments::{
            AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
        },
        alter_replica_log_dirs::{
            AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
        },
        api_versions::{ApiVersionsRequest, ApiVersionsResponse},
        describe_quorum::{DescribeQuorumPartition, DescribeQuorumRequest, DescribeQuorumTopic},
        elect_leaders::{ElectLeadersRequest, TopicPartitions},
        list_config_resources::ListConfigResourcesRequest,
        list_partition_reassignments::ListPartitionReassignmentsRequest,
        remove_raft_voter::RemoveRaftVoterRequest,
        unregister_broker::UnregisterBrokerRequest,
        update_features::{FeatureUpdateKey, UpdateFeaturesRequest},
    },
};
use std::{path::Path, sync::Arc};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const INVALID_UPDATE_VERSION: i16 = 95;
const BROKER_ID_NOT_REGISTERED: i16 = 102;
const VOTER_NOT_FOUND: i16 = 127;

async fn start(dir: &Path) -> (Broker, Connection) {
    let doors = Doors {
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy),
        disk: Arc::new(OsDisk::new().unwrap()),
        transport: Arc::new(NoTransport),
    };
    let broker = Broker::start(config(dir), doors).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let address = broker.listen_address().unwrap().to_string();
    let mut connection = Connection::connect(&address, "test", clock).await.unwrap();
    let created = connection.metadata(Some(&["t"]), true).await.unwrap();
    assert_eq!(created.topics[0].error_code, 0);
    (broker, connection)
}

fn config(dir: &Path) -> BrokerConfig {
    let mut settings = Settings::new();
    settings.set("log.dirs", dir.to_str().unwrap(), "test");
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0", "test");
    settings.build().unwrap()
}

#[tokio::test]
async fn an_election_that_is_not_needed_is_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start(dir.path()).await;
    let wanted = |topic: &str, partitions: &[i32]| TopicPartitions {
        topic: topic.into(),
        partitions: partitions.to_vec(),
    };
    let mut request = ElectLeadersRequest {
        election_type: 0,
        topic_partitions: Some(vec![wanted("t", &[0, 7, -1]), wanted("none", &[0])]),
        timeout_ms: 10_000,
    };
    let answer = connection.call(&request).await.unwrap();
    assert_eq!(answer.error_code, 0);
    let results = answer.replica_election_results.iter().flat_map(|topic| {
        let name = topic.topic.to_string();
        let results = topic.partition_result.iter();
        results.map(move |result| (name.clone(), result.partition_id, result.error_code))
    });
    assert_eq!(
        results.collect::<Vec<_>>(),
        [
            ("none".to_string(), 0, UNKNOWN_TOPIC_OR_PARTITION),
            ("t".to_string(), -1, UNKNOWN_TOPIC_OR_PARTITION),
            ("t".to_string(), 0, ELECTION_NOT_NEEDED),
            ("t".to_string(), 7, UNKNOWN_TOPIC_OR_PARTITION),
        ]
    );
    // Of an election in all partitions only those are told that needed one.
    request.topic_partitions = None;
    let answer = connection.call(&request).await.unwrap();
    assert_eq!((answer.error_code, answer.replica_election_results.len()), (0, 0));
    request.election_type = 5;
    assert_eq!(connection.call(&request).await.unwrap().error_code, INVALID_REQUEST);
}

#[tokio::test]
async fn each_reassignment_is_refused_or_taken_on_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start(dir.path()).await;
    let own = broker.image().brokers().next().unwrap().0.0;
    let partition = |partition_index, replicas: Option<&[i32]>| ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    let topic = |name: &str, partitions| ReassignableTopic { name: name.into(), partitions };
    let codes = async |connection: &mut Connection, topics| {
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = connection.call(&request).await.unwrap();
        assert_eq!(answer.error_code, 0);
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.error_code).collect::<Vec<_>>()
    };
    let away: &[i32] = &[own + 1];
    let topics = vec![
        topic("t", vec![partition(0, Some(away)), partition(9, Some(away))]),
        topic("none", vec![partition(0, None)]),
    ];
    assert_eq!(
        codes(&mut connection, topics).await,
        [INVALID_REPLICA_ASSIGNMENT, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION]
    );
    let cancelled = vec![topic("t", vec![partition(0, None)])];
    assert_eq!(codes(&mut connection, cancelled).await, [NO_REASSIGNMENT_IN_PROGRESS]);
    let same = vec![topic("t", vec![partition(0, Some(&[own])), partition(0, None)])];
    assert_eq!(codes(&mut connection, same).await, [0, INVALID_REQUEST], "named twice");
    let list = ListPartitionReassignmentsRequest::default();
    assert!(connection.call(&list).await.unwrap().topics.is_empty());
}

#[tokio::test]
async fn features_are_finalized_within_what_is_supported() {
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start(dir.path()).await;
    let update = |name: &str, level, upgrade_type| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: name.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut only_tried = update("metadata.version", 1, 1);
    only_tried.validate_only = true;
    assert_eq!(connection.call(&only_tried).await.unwrap().error_code, 0);
    let versions = connection.call(&ApiVersionsRequest::default()).await.unwrap();
    let finalized = |versions: &ApiVersionsResponse| -> Vec<(String, i16)> {
        let features = versions.finalized_features.iter();
        features.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect()
    };
    let groups = ("group.version".to_string(), 1);
    assert_eq!(finalized(&versions), std::slice::from_ref(&groups), "nothing was changed");
    let supported = versions.supported_features.iter().map(|feature| &*feature.name);
    assert_eq!(supported.collect::<Vec<_>>(), ["group.version", "metadata.version"]);
    let epoch = versions.finalized_features_epoch;

    let done = connection.call(&update("metadata.version", 1, 1)).await.unwrap();
    assert_eq!((done.error_code, done.error_message), (0, None));
    let versions = connection.call(&ApiVersionsRequest::default()).await.unwrap();
    assert_eq!(finalized(&versions), [groups, ("metadata.version".to_string(), 1)]);
    assert!(versions.finalized_features_epoch > epoch);

    for (name, level, upgrade_type) in
        [("metadata.version", 2, 1), ("metadata.version", 0, 1), ("other", 1, 1), ("other", 0, 9)]
    {
        let refused = connection.call(&update(name, level, upgrade_type)).await.unwrap();
        assert_eq!(refused.error_code, INVALID_UPDATE_VERSION, "{name} {level} {upgrade_type}");
    }
    // Version 1 answers by feature.
    let by_feature = connection.send(&update("other", 1, 1), 1).await.unwrap();
    assert_eq!(by_feature.error_code, 0);
    assert_eq!(by_feature.results[0].error_code, INVALID_UPDATE_VERSION);
    let allowed = connection.call(&update("metadata.version", 0, 2)).await.unwrap();
    assert_eq!(allowed.error_code, 0, "a downgrade that is meant");
}

#[tokio::test]
async fn a_broker_on_its_own_is_a_quorum_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start(dir.path()).await;
    let own = broker.image().brokers().next().unwrap().0.0;
    let request = |name: &str| DescribeQuorumRequest {
        topics: vec![DescribeQuorumTopic {
            topic_name: name.into(),
            partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
        }],
    };
    let answer = connection.call(&request("__cluster_metadata")).await.unwrap();
    let partition = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, partition.leader_id), (0, own));
    assert_eq!(partition.current_voters.len(), 1);
    assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);
    assert!(partition.current_voters[0].last_caught_up_timestamp > 0);
    assert_eq!(connection.call(&request("t")).await.unwrap().error_code, INVALID_REQUEST);

    let listener = Listener { name: "CONTROLLER".into(), host: "h".into(), port: 1 };
    let add = AddRaftVoterRequest {
        timeout_ms: 1_000,
        voter_id: own + 1,
        listeners: vec![listener],
        ..Default::default()
    };
    let refused = connection.call(&add).await.unwrap();
    assert_eq!(refused.error_code, INVALID_REQUEST);
    assert!(refused.error_message.unwrap().contains("controller.quorum.voters"));
    let remove = RemoveRaftVoterRequest { voter_id: own + 1, ..Default::default() };
    assert_eq!(connection.call(&remove).await.unwrap().error_code, VOTER_NOT_FOUND);
}

#[tokio::test]
async fn what_has_a_configuration_is_listed_by_type() {
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;
    const GROUP: i8 = 32;
    const UNSUPPORTED_VERSION: i16 = 35;
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start(dir.path()).await;
    let own = broker.image().brokers().next().unwrap().0.to_string();
    let list = |types: &[i8]| ListConfigResourcesRequest { resource_types: types.to_vec() };
    for (types, expected) in [
        (&[][..], vec![(BROKER, own.as_str()), (TOPIC, "t")]),
        (&[TOPIC][..], vec![(TOPIC, "t")]),
        (&[GROUP, BROKER][..], vec![(BROKER, own.as_str())]),
        (&[GROUP][..], vec![]),
    ] {
        let listed = connection.call(&list(types)).await.unwrap();
        assert_eq!(listed.error_code, 0, "{types:?}");
        let resources = listed.config_resources.iter();
        let resources = resources.map(|found| (found.resource_type, &*found.resource_name));
        assert_eq!(resources.collect::<Vec<_>>(), expected, "{types:?}");
    }
    let unknown = connection.call(&list(&[TOPIC, 3])).await.unwrap();
    assert_eq!((unknown.error_code, unknown.config_resources.len()), (UNSUPPORTED_VERSION, 0));
}

#[tokio::test]
async fn a_replica_is_moved_to_the_directory_in_which_it_is_and_to_no_other() {
    const LOG_DIR_NOT_FOUND: i16 = 57;
    let dir = tempfile::tempdir().unwrap();
    let (_broker, mut connection) = start(dir.path()).await;
    let here = dir.path().to_str().unwrap();
    for (path, index, expected) in [
        (here, 0, 0),
        (here, 7, UNKNOWN_TOPIC_OR_PARTITION),
        (here, -1, UNKNOWN_TOPIC_OR_PARTITION),
        ("/elsewhere", 0, LOG_DIR_NOT_FOUND),
    ] {
        let topic = AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![index] };
        let wanted = AlterReplicaLogDir { path: path.into(), topics: vec![topic] };
        let request = AlterReplicaLogDirsRequest { dirs: vec![wanted] };
        let answer = connection.call(&request).await.unwrap();
        let result = &answer.results[0].partitions[0];
        assert_eq!((result.partition_index, result.error_code), (index, expected), "{path}");
    }
}

#[tokio::test]
async fn a_broker_that_is_alive_cannot_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut connection) = start(dir.path()).await;
    let own = broker.image().brokers().next().unwrap().0.0;
    let unregister = |broker_id| UnregisterBrokerRequest { broker_id };
    let refused = connection.call(&unregister(own)).await.unwrap();
    assert_eq!(refused.error_code, INVALID_REQUEST);
    assert!(refused.error_message.unwrap().contains("it is alive"));
    let unknown = connection.call(&unregister(own + 1)).await.unwrap();
    assert_eq!(unknown.error_code, BROKER_ID_NOT_REGISTERED);
}

//! Brokers, and members that speak the classic protocol by hand.

use bytes::Bytes;
use highwater_node::{
    client::Connection,
    config::{BrokerConfig, Settings},
    env::{Clock, Doors, NoTransport, OsClock, OsDisk, OsEntropy},
    server::Broker,
    wire::{
        ErrorCode, Str,
        generated::{
            find_coordinator::FindCoordinatorRequest,
            heartbeat::HeartbeatRequest,
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
            offset_commit::{
                OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
            },
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse},
        },
    },
};
use std::{path::Path, sync::Arc, time::Duration};

/// How long anything in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn config(dir: &Path, more: &[(&str, &str)]) -> BrokerConfig {
    let mut settings = Settings::new();
    settings.set("log.dirs", dir.to_str().unwrap(), "test");
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0", "test");
    settings.set("group.initial.rebalance.delay.ms", "0", "test");
    settings.set("offsets.topic.num.partitions", "4", "test");
    more.iter().for_each(|(key, value)| settings.set(key, value, "test"));
    settings.build().unwrap()
}

pub async fn start(dir: &Path) -> Broker {
    start_as(config(dir, &[])).await
}

async fn start_as(config: BrokerConfig) -> Broker {
    let doors = Doors {
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy),
        disk: Arc::new(OsDisk::new().unwrap()),
        transport: Arc::new(NoTransport),
    };
    Broker::start(config, doors).await.unwrap()
}

pub async fn connect(broker: &Broker) -> Connection {
    connect_to(&broker.listen_address().unwrap().to_string()).await
}

pub async fn connect_to(address: &str) -> Connection {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    Connection::connect(address, "tester", clock).await.unwrap()
}

/// A broker with a topic `t` of two partitions, whose coordinators are up.
pub async fn start_with_topic(dir: &Path) -> (Broker, Connection) {
    start_with(dir, &[]).await
}

/// The same with further settings.
pub async fn start_with(dir: &Path, more: &[(&str, &str)]) -> (Broker, Connection) {
    let broker = start_as(config(dir, more)).await;
    let mut connection = connect(&broker).await;
    create_topic(&mut connection, "t", 2).await;
    find(&mut connection, "g").await;
    (broker, connection)
}

pub async fn create_topic(connection: &mut Connection, name: &str, partitions: i32) {
    use highwater_node::wire::generated::create_topics::{CreatableTopic, CreateTopicsRequest};
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer = connection.call(&request).await.unwrap();
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// The id of a group's coordinator.
pub async fn find(connection: &mut Connection, group: &str) -> i32 {
    let request =
        FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let answer = connection.call(&request).await.unwrap();
    assert_eq!(answer.coordinators[0].error_code, 0, "{answer:?}");
    answer.coordinators[0].node_id
}

pub fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        ..Default::default()
    }
}

/// Joins as a new member, in the two steps of KIP-394.
pub async fn join_new(connection: &mut Connection, group: &str) -> JoinGroupResponse {
    let first = connection.call(&join(group, "")).await.unwrap();
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    assert!(first.member_id.starts_with("tester-"), "{}", first.member_id);
    let joined = connection.call(&join(group, &first.member_id)).await.unwrap();
    assert_eq!(joined.error_code, 0, "{joined:?}");
    joined
}

/// Syncs; `assignments` is what a leader says.
pub async fn sync(
    connection: &mut Connection,
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&Str, &'static [u8])],
) -> SyncGroupResponse {
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: (*member).clone(),
                assignment: Bytes::from_static(assignment),
            })
            .collect(),
    };
    connection.call(&request).await.unwrap()
}

/// A group of one member that is stable.
pub async fn stable(connection: &mut Connection, group: &str) -> JoinGroupResponse {
    let joined = join_new(connection, group).await;
    assert_eq!(joined.leader, joined.member_id);
    let synced = sync(connection, group, &joined, &[(&joined.member_id, b"mine")]).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
    joined
}

pub async fn heartbeat(
    connection: &mut Connection,
    group: &str,
    member: &str,
    generation: i32,
) -> i16 {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: None,
    };
    connection.call(&request).await.unwrap().error_code
}

/// A commit of one offset in `t` by name.
pub fn commit(
    group: &str,
    member: &str,
    generation: i32,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_leader_epoch: 5,
                committed_metadata: Some("note".into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Commits in version 9, and returns the partition's code.
pub async fn commit_one(connection: &mut Connection, request: &OffsetCommitRequest) -> i16 {
    let answer = connection.send(request, 9).await.unwrap();
    answer.topics[0].partitions[0].error_code
}

/// What a group has committed of a partition of `t`, and the code of the whole answer.
pub async fn committed(connection: &mut Connection, group: &str, partition: i32) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics {
        name: "t".into(),
        partition_indexes: vec![partition],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer = connection.send(&request, 9).await.unwrap();
    let group = &answer.groups[0];
    let offset = group.topics.first().map_or(-9, |topic| topic.partitions[0].committed_offset);
    (group.error_code, offset)
}

/// A moment to wait before something is looked at again.
pub async fn pause() {
    let clock = OsClock::new();
    clock.sleep_until(clock.now().monotonic.after(Duration::from_millis(10))).await;
}

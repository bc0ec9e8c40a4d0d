//! A group whose coordinator's broker goes: another broker has what it knew.

use super::{patience::until, ports::free_ports, support::*};
use highwater_node::{
    config::{BrokerConfig, HostPort, Settings},
    env::{Doors, OsClock, OsDisk, OsEntropy},
    peer::{TcpOptions, TcpTransport},
    server::Broker,
    tasks::Tasks,
    wire::{ErrorCode, generated::find_coordinator::FindCoordinatorRequest},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

fn config(dir: &Path, node: u16, peers: &[u16; 3]) -> BrokerConfig {
    let voters = (1..).zip(peers).map(|(id, port)| format!("{id}@127.0.0.1:{port}"));
    let voters = voters.collect::<Vec<_>>().join(",");
    let peer = peers[usize::from(node) - 1];
    let dir = dir.join(node.to_string());
    let mut settings = Settings::new();
    for (key, value) in [
        ("node.id", node.to_string().as_str()),
        ("cluster.id", "test-cluster"),
        ("controller.quorum.voters", &voters),
        ("listeners", &format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{peer}")),
        ("log.dir", dir.to_str().unwrap()),
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("offsets.topic.num.partitions", "3"),
        ("group.initial.rebalance.delay.ms", "0"),
        // The machine that tests run on may be busy.
        ("broker.session.timeout.ms", "10000"),
        ("controller.quorum.election.timeout.ms", "2000"),
    ] {
        settings.set(key, value, "test");
    }
    settings.build().unwrap()
}

async fn start_all(dir: &Path) -> BTreeMap<i32, Broker> {
    let peers = free_ports::<3>();
    let disk = Arc::new(OsDisk::new().unwrap());
    let start = async |node| {
        let config = config(dir, node, &peers);
        let clock = Arc::new(OsClock::new());
        let options = TcpOptions {
            node: config.node_id,
            cluster_id: "test-cluster".into(),
            listen: HostPort::clone(config.peer_listen.as_ref().unwrap()),
        };
        let voters = config.voters.clone();
        let transport = TcpTransport::new(options, clock.clone(), Tasks::default(), voters);
        let (entropy, transport) = (Arc::new(OsEntropy), Arc::new(transport));
        let doors = Doors { clock, entropy, disk: disk.clone(), transport };
        Broker::start(config, doors).await.unwrap()
    };
    let (one, two, three) = tokio::join!(start(1), start(2), start(3));
    BTreeMap::from([(1, one), (2, two), (3, three)])
}

/// The coordinator of a group, once there is one that is not `not`.
async fn coordinator(brokers: &BTreeMap<i32, Broker>, group: &str, not: i32) -> i32 {
    let (_, any) = brokers.iter().find(|(id, _)| **id != not).unwrap();
    let mut connection = connect(any).await;
    let request =
        FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    let mut last = None;
    for _ in 0..2_000 {
        let answer = connection.call(&request).await.unwrap();
        let found = &answer.coordinators[0];
        if found.error_code == 0 && found.node_id != not {
            return found.node_id;
        }
        last = Some(answer);
        pause().await;
    }
    panic!("no coordinator: {last:?}");
}

/// Whether a code says that a coordinator is about to be ready.
fn is_passing(code: i16) -> bool {
    let passing = [
        ErrorCode::NotCoordinator,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
    ];
    passing.iter().any(|passing| passing.code() == code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_with_another_coordinator() {
    let dir = tempfile::tempdir().unwrap();
    let mut brokers = start_all(dir.path()).await;
    let old = coordinator(&brokers, "g", 0).await;
    let mut connection = connect(&brokers[&old]).await;
    // It may know less than the broker that was asked for the coordinator.
    let known = async || brokers[&old].image().brokers().count();
    until("all are registered", known, |known| *known == brokers.len()).await;
    create_topic(&mut connection, "t", 2).await;
    let found = async || committed(&mut connection, "g", 0).await;
    until("the coordinator has loaded", found, |found| !is_passing(found.0)).await;
    let joined = stable(&mut connection, "g").await;
    let (member, generation) = (joined.member_id.clone(), joined.generation_id);
    assert_eq!(commit_one(&mut connection, &commit("g", &member, generation, 0, 42)).await, 0);

    // Another broker sends whoever asks away.
    let (_, other) = brokers.iter().find(|(id, _)| **id != old).unwrap();
    let mut elsewhere = connect(other).await;
    let code = heartbeat(&mut elsewhere, "g", &member, generation).await;
    assert_eq!(code, ErrorCode::NotCoordinator.code());
    assert_eq!(committed(&mut elsewhere, "g", 0).await.0, ErrorCode::NotCoordinator.code());

    let leaving = brokers.remove(&old).unwrap();
    leaving.shutdown().await;
    let new = coordinator(&brokers, "g", old).await;
    let mut connection = connect(&brokers[&new]).await;
    let found = async || committed(&mut connection, "g", 0).await;
    let found = until("the next one has loaded", found, |found| !is_passing(found.0)).await;
    assert_eq!(found, (0, 42), "what was committed is known");
    assert_eq!(heartbeat(&mut connection, "g", &member, generation).await, 0, "nobody rejoins");
    assert_eq!(commit_one(&mut connection, &commit("g", &member, generation, 0, 43)).await, 0);
    for broker in brokers.into_values() {
        broker.shutdown().await;
    }
}

//! Nodes of a cluster, and what a test asks of them.

pub use super::{patience::until, ports::free_ports};
use highwater_core::{
    record::{BatchBuilder, NewRecord},
    types::{PartitionIndex, TopicId},
};
use highwater_node::{
    client::{Connection, PartitionRef},
    config::{BrokerConfig, HostPort, Settings},
    env::{Clock, Doors, OsClock, OsDisk, OsEntropy},
    peer::{TcpOptions, TcpTransport},
    server::Broker,
    tasks::Tasks,
    wire::generated::create_topics::{CreatableTopic, CreateTopicsRequest},
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const UNKNOWN_SERVER_ERROR: i16 = -1;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const NOT_CONTROLLER: i16 = 41;
/// How long anything in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes of a cluster, by their ids.
pub type Nodes = BTreeMap<i32, Broker>;

/// Three nodes that all vote; `settings` are those of each node beside what a cluster needs.
pub async fn start_three(
    dir: &Path,
    settings: impl Fn(i32) -> Vec<(&'static str, String)>,
) -> Nodes {
    let ports = free_ports::<3>();
    let voters = (1..).zip(ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}"));
    let voters = voters.collect::<Vec<_>>().join(",");
    let start = async |id: i32| {
        let port = ports[id as usize - 1];
        let config = config(dir, id, (port, &voters), settings(id));
        (id, start_node(config).await)
    };
    let (one, two, three) = tokio::join!(start(1), start(2), start(3));
    BTreeMap::from([one, two, three])
}

/// What one node is told.
pub fn config(
    dir: &Path,
    id: i32,
    (port, voters): (u16, &str),
    more: Vec<(&'static str, String)>,
) -> BrokerConfig {
    let mut settings = Settings::new();
    for (key, value) in [
        ("node.id", id.to_string()),
        ("cluster.id", "test-cluster".to_owned()),
        ("controller.quorum.voters", voters.to_owned()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}")),
        ("log.dir", dir.join(id.to_string()).to_str().unwrap().to_owned()),
        ("default.replication.factor", "3".to_owned()),
        ("min.insync.replicas", "2".to_owned()),
        ("replica.fetch.wait.max.ms", "50".to_owned()),
        // The machine that tests run on may be busy.
        ("broker.session.timeout.ms", "10000".to_owned()),
        ("controller.quorum.election.timeout.ms", "2000".to_owned()),
    ]
    .into_iter()
    .chain(more)
    {
        settings.set(key, &value, "test");
    }
    settings.build().unwrap()
}

pub async fn start_node(config: BrokerConfig) -> Broker {
    let clock = Arc::new(OsClock::new());
    let options = TcpOptions {
        node: config.node_id,
        cluster_id: "test-cluster".into(),
        listen: HostPort::clone(config.peer_listen.as_ref().unwrap()),
    };
    let voters = config.voters.clone();
    let transport = TcpTransport::new(options, clock.clone(), Tasks::default(), voters);
    let (entropy, transport) = (Arc::new(OsEntropy), Arc::new(transport));
    let doors = Doors { clock, entropy, disk: Arc::new(OsDisk::new().unwrap()), transport };
    Broker::start(config, doors).await.unwrap()
}

pub async fn connect(node: &Broker) -> Connection {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    let address = node.listen_address().unwrap().to_string();
    let mut connection = Connection::connect(&address, "tester", clock).await.unwrap();
    connection.set_timeout(PATIENCE);
    connection
}

pub async fn pause() {
    sleep(Duration::from_millis(20)).await;
}

/// Lets real time pass.
#[expect(clippy::disallowed_methods, reason = "the test's own time, beside that of the nodes")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Creates a topic with one partition, and waits until every node knows its leader and all replicas
/// are in sync. The partition and its leader.
pub async fn create_topic(nodes: &Nodes, name: &str, replicas: usize) -> (PartitionRef, i32) {
    let any = nodes.values().next().unwrap();
    // A node that has started knows that it is registered, and not yet that the others are.
    let known = async || any.image().brokers().count();
    until("all are registered", known, |known| *known >= nodes.len()).await;
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: replicas as i16,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let mut connection = connect(any).await;
    let mut may_be_made = false;
    let create = async || {
        let answer = connection.call(&request).await.unwrap();
        // Where the quorum elects a leader meanwhile, nobody knows what became of it.
        may_be_made |= answer.topics[0].error_code == UNKNOWN_SERVER_ERROR;
        answer
    };
    let answer = until("the topic is created", create, |it| !passes(it.topics[0].error_code)).await;
    let code = answer.topics[0].error_code;
    assert!(code == 0 || may_be_made && code == TOPIC_ALREADY_EXISTS, "{answer:?}");
    for _ in 0..3_000 {
        let known: Vec<_> = nodes.values().map(|node| known_leader(node, name, replicas)).collect();
        if let Some(Some((id, leader))) = known.first()
            && known.iter().all(|other| *other == known[0])
        {
            let index = PartitionIndex(0);
            return (PartitionRef { topic: name.into(), topic_id: *id, index }, *leader);
        }
        pause().await;
    }
    panic!("the replicas of {name} are not all in sync");
}

/// Whether a change is to be tried again: the quorum has no leader at the moment, or has another one
/// since. The machine that tests run on may be busy.
pub fn passes(code: i16) -> bool {
    [NOT_CONTROLLER, UNKNOWN_SERVER_ERROR].contains(&code)
}

fn known_leader(node: &Broker, name: &str, replicas: usize) -> Option<(TopicId, i32)> {
    let image = node.image();
    let topic = image.topic_named(name)?;
    let partition = topic.partitions.first()?;
    (partition.isr.len() == replicas).then_some((topic.id, partition.leader?.0))
}

/// Sends one record with `acks=all` to the leader, as soon as it has opened the partition; the
/// record's offset.
pub async fn produce(leader: &mut Connection, partition: &PartitionRef, value: &[u8]) -> i64 {
    let mut builder = BatchBuilder::new();
    builder.push(NewRecord { value: Some(value), ..NewRecord::default() });
    let batch = builder.build();
    let mut answer = leader.produce(partition, -1, PATIENCE, batch.clone()).await.unwrap();
    while answer.error_code == NOT_LEADER_OR_FOLLOWER {
        pause().await;
        answer = leader.produce(partition, -1, PATIENCE, batch.clone()).await.unwrap();
    }
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.base_offset
}

pub async fn shut_down(nodes: Nodes) {
    for node in nodes.into_values() {
        node.shutdown().await;
    }
}

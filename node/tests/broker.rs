//! The broker end to end: real sockets, real files, the project's own client.

use bytes::Bytes;
use highwater_core::{
    record::{BatchBuilder, NewRecord, records},
    time::Timestamp,
    types::{PartitionIndex, Sequence, TopicId},
};
use highwater_node::{
    client::{Connection, PartitionRef},
    config::{BrokerConfig, Settings},
    env::{Clock, Doors, NoTransport, OsClock, OsDisk, OsEntropy},
    server::{Broker, StartError},
    wire::generated::{
        create_topics::{CreatableTopic, CreateTopicsRequest},
        delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
    },
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WAIT: Duration = Duration::from_secs(10);

fn doors() -> Doors {
    Doors {
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy),
        disk: Arc::new(OsDisk::new().unwrap()),
        transport: Arc::new(NoTransport),
    }
}

fn config(dir: &Path) -> BrokerConfig {
    let mut settings = Settings::new();
    settings.set("log.dirs", dir.to_str().unwrap(), "test");
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0", "test");
    settings.build().unwrap()
}

async fn start(dir: &Path) -> Broker {
    let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).try_init();
    Broker::start(config(dir), doors()).await.unwrap()
}

async fn connect(broker: &Broker) -> Connection {
    let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
    Connection::connect(&broker.listen_address().unwrap().to_string(), "test", clock).await.unwrap()
}

async fn partition(connection: &mut Connection, topic: &str) -> PartitionRef {
    let answer = connection.metadata(Some(&[topic]), true).await.unwrap();
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    PartitionRef {
        topic: topic.into(),
        topic_id: answer.topics[0].topic_id,
        index: PartitionIndex(0),
    }
}

fn batch(values: &[&str]) -> Bytes {
    batch_of(BatchBuilder::new(), values)
}

fn batch_of(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for (value, at) in values.iter().zip(1_000..) {
        builder.push(NewRecord {
            timestamp: Timestamp(at),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build()
}

async fn read_all(connection: &mut Connection, partition: &PartitionRef) -> Vec<(u64, String)> {
    let mut offset = connection.list_offset(partition, -2).await.unwrap().offset;
    let end = connection.list_offset(partition, -1).await.unwrap().offset;
    let mut all = Vec::new();
    while offset < end {
        let answer = connection.fetch(partition, offset, WAIT, 1 << 20).await.unwrap();
        assert_eq!(answer.error_code, 0);
        let bytes = answer.records.unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = highwater_core::record::BatchHeader::parse(rest).unwrap();
            for record in records(&rest[..header.size_in_bytes]).unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                if record.offset.0 >= u64::try_from(offset).unwrap() {
                    all.push((record.offset.0, value));
                }
            }
            offset = i64::try_from(header.next_offset().0).unwrap();
            rest = &rest[header.size_in_bytes..];
        }
    }
    all
}

#[tokio::test]
async fn records_survive_a_clean_restart_and_keep_their_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let t = partition(&mut connection, "t").await;
    for values in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        let answer = connection.produce(&t, -1, WAIT, batch(values)).await.unwrap();
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }
    let before = read_all(&mut connection, &t).await;
    assert_eq!(before.len(), 6);
    assert_eq!(before[5], (5, "f".to_string()));
    drop(connection);
    broker.shutdown().await;
    drop(broker);

    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let same = partition(&mut connection, "t").await;
    assert_eq!(same, t);
    assert_eq!(read_all(&mut connection, &t).await, before);
    let answer = connection.produce(&t, 1, WAIT, batch(&["g"])).await.unwrap();
    assert_eq!((answer.error_code, answer.base_offset), (0, 6));
}

#[tokio::test]
async fn a_retried_idempotent_batch_is_answered_with_its_first_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let t = partition(&mut connection, "t").await;
    let grant = connection.init_producer().await.unwrap();
    assert_eq!(grant.error_code, 0);
    let sequenced = |sequence, value: &str| {
        let builder = BatchBuilder::new().producer(grant.id, grant.epoch, Sequence(sequence));
        batch_of(builder, &[value])
    };
    for _ in 0..2 {
        let answer = connection.produce(&t, -1, WAIT, sequenced(0, "a")).await.unwrap();
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    }
    let answer = connection.produce(&t, -1, WAIT, sequenced(5, "gap")).await.unwrap();
    assert_eq!(answer.error_code, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(read_all(&mut connection, &t).await, [(0, "a".to_string())]);
    assert_ne!(connection.init_producer().await.unwrap().id, grant.id);
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_a_produce() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut producer = connect(&broker).await;
    let mut consumer = connect(&broker).await;
    let t = partition(&mut producer, "t").await;
    let (fetched, produced) = tokio::join!(consumer.fetch(&t, 0, WAIT, 1 << 20), async {
        producer.produce(&t, -1, WAIT, batch(&["late"])).await
    });
    assert_eq!(produced.unwrap().error_code, 0);
    let fetched = fetched.unwrap();
    assert_eq!((fetched.error_code, fetched.high_watermark), (0, 1));
    assert!(!fetched.records.unwrap().is_empty());
}

#[tokio::test]
async fn records_and_topics_can_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: "t".into(),
            num_partitions: 3,
            replication_factor: -1,
            ..Default::default()
        }],
        timeout_ms: 1_000,
        ..Default::default()
    };
    let created = connection.call(&create).await.unwrap();
    assert_eq!((created.topics[0].error_code, created.topics[0].num_partitions), (0, 3));
    let again = connection.call(&create).await.unwrap();
    assert_eq!(again.topics[0].error_code, 36, "TOPIC_ALREADY_EXISTS");
    let t = partition(&mut connection, "t").await;
    for value in ["a", "b", "c"] {
        connection.produce(&t, -1, WAIT, batch(&[value])).await.unwrap();
    }
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }],
        }],
        // For other replicas, and there are none.
        timeout_ms: 0,
    };
    let deleted = connection.call(&delete).await.unwrap();
    let answer = &deleted.topics[0].partitions[0];
    assert_eq!((answer.error_code, answer.low_watermark), (0, 2));
    assert_eq!(read_all(&mut connection, &t).await, [(2, "c".to_string())]);
    let below = connection.fetch(&t, 1, Duration::ZERO, 1 << 20).await.unwrap();
    assert_eq!(below.error_code, 1, "OFFSET_OUT_OF_RANGE");

    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some("t".into()), ..Default::default() }],
        timeout_ms: 1_000,
        ..Default::default()
    };
    let deleted = connection.call(&delete).await.unwrap();
    assert_eq!(deleted.responses[0].error_code, 0);
    assert_ne!(deleted.responses[0].topic_id, TopicId::default());
    let gone = connection.fetch(&t, 0, Duration::ZERO, 1 << 20).await.unwrap();
    assert_eq!(gone.error_code, 100, "UNKNOWN_TOPIC_ID");
}

#[tokio::test]
async fn a_corrupt_batch_is_refused_and_nothing_of_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut connection = connect(&broker).await;
    let t = partition(&mut connection, "t").await;
    let mut damaged = batch(&["a"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let answer = connection.produce(&t, -1, WAIT, damaged.into()).await.unwrap();
    assert_eq!(answer.error_code, 2, "CORRUPT_MESSAGE");
    let answer = connection.produce(&t, -1, WAIT, batch(&["b"])).await.unwrap();
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[tokio::test]
async fn hostile_bytes_cost_only_their_own_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut innocent = connect(&broker).await;
    let hostile: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9],
        &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9],
        &[0, 0, 0, 12, 0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for bytes in hostile {
        let mut socket =
            tokio::net::TcpStream::connect(broker.listen_address().unwrap()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // Closed, cleanly or by a reset: both are an end.
        let _ = socket.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{bytes:?} was answered with {rest:?}");
    }
    assert_eq!(innocent.metadata(None, false).await.unwrap().topics.len(), 0);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut socket =
        tokio::net::TcpStream::connect(broker.listen_address().unwrap()).await.unwrap();
    socket.write_all(&[0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff]).await.unwrap();
    let mut answer = [0; 20];
    socket.read_exact(&mut answer).await.unwrap();
    // Length, correlation id, UNSUPPORTED_VERSION, one key: ApiVersions 0 to 4.
    assert_eq!(answer, [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = start(dir.path()).await;
    let second = Broker::start(config(dir.path()), doors()).await;
    assert!(matches!(second.err(), Some(StartError::Locked { .. })));
}

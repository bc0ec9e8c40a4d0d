//! A client for applications: it knows leaders, makes each call once, and tells apart what was
//! refused from what nobody knows.

use crate::cluster::{WALL_AT_START, client_clock};
use crate::recorder::now_nanos;
use bytes::Bytes;
use highwater_core::{
    record::{BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, NewRecord, records},
    time::Timestamp,
    types::PartitionIndex,
};
use highwater_node::{
    client::{ClientError, Cluster, PartitionRef},
    wire::generated::create_topics::{CreatableTopic, CreateTopicsRequest},
};
use std::{collections::BTreeMap, time::Duration};
use thiserror::Error;

/// How long a call may take, in simulated time.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The broker's own deadline for what it was asked.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_000);
/// How long a fetch waits for a first byte.
const FETCH_WAIT: Duration = Duration::from_millis(50);
const FETCH_BYTES: i32 = 1 << 20;
/// All replicas that are in sync.
const ACKS_ALL: i16 = -1;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Why a call has no result.
#[derive(Debug, Error)]
pub enum CallError {
    /// A broker answered with this error code.
    #[error("the broker answered with error code {0}")]
    Answered(i16),
    /// There was no answer.
    #[error(transparent)]
    Unanswered(#[from] ClientError),
    /// The partition has no leader that is known, or does not exist. Nothing was sent.
    #[error("{topic}-{partition} has no leader that is known")]
    NoLeader {
        /// The topic's name.
        topic: String,
        /// The partition's index.
        partition: u32,
    },
    /// The answer has a batch that cannot be read.
    #[error("a batch of the answer cannot be read: {0}")]
    Malformed(String),
}

/// A record as an application sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none of a tombstone.
    pub value: Option<Bytes>,
}

/// A client of the simulated cluster.
pub struct Client {
    cluster: Cluster,
    /// Partitions whose leader was told, by topic and index.
    known: BTreeMap<(String, u32), PartitionRef>,
}

impl Client {
    pub(super) async fn connect(brokers: &[String], id: &str) -> Result<Self, CallError> {
        let addresses = brokers.join(",");
        let cluster = timed(Cluster::connect(&addresses, id, client_clock())).await?;
        Ok(Self { cluster, known: BTreeMap::new() })
    }

    /// The client that this one is made of: it can make every call that Kafka has.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Creates a topic with as many replicas as the cluster has by default. One that exists already
    /// is left as it is.
    ///
    /// # Errors
    /// The topic may or may not exist now.
    pub async fn create_topic(&mut self, name: &str, partitions: u32) -> Result<(), CallError> {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: REQUEST_TIMEOUT.as_millis() as i32,
            validate_only: false,
        };
        let answer = timed(self.cluster.call(&request)).await?;
        match answer.topics.first().map_or(-1, |topic| topic.error_code) {
            0 | TOPIC_ALREADY_EXISTS => Ok(()),
            code => Err(CallError::Answered(code)),
        }
    }

    /// Sends one record with `acks=all`; the offset that it was acknowledged with.
    ///
    /// # Errors
    /// After [`CallError::Unanswered`], and after the error codes 7 (timed out) and 20 (not enough
    /// replicas after the append), the record may have been written all the same.
    pub async fn send(
        &mut self,
        topic: &str,
        partition: u32,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<i64, CallError> {
        let timestamp = Timestamp(WALL_AT_START + (now_nanos() / 1_000_000) as i64);
        let mut batch = BatchBuilder::new();
        batch.push(NewRecord { timestamp, key, value: Some(value), headers: &[] });
        let batch = batch.build();
        let (reference, leader) = self.leader(topic, partition).await?;
        let sent = timed(async {
            let broker = self.cluster.broker(leader).await?;
            broker.produce(&reference, ACKS_ALL, REQUEST_TIMEOUT, batch).await
        })
        .await;
        let answer = self.heard(topic, partition, sent, |answer| answer.error_code)?;
        Ok(answer.base_offset)
    }

    /// Reads from an offset on, as much as one answer has; waits a little for the first record.
    ///
    /// # Errors
    /// Nothing was read.
    pub async fn read(
        &mut self,
        topic: &str,
        partition: u32,
        from: i64,
    ) -> Result<Vec<Message>, CallError> {
        let (reference, leader) = self.leader(topic, partition).await?;
        let fetched = timed(async {
            let broker = self.cluster.broker(leader).await?;
            broker.fetch(&reference, from, FETCH_WAIT, FETCH_BYTES).await
        })
        .await;
        let answer = self.heard(topic, partition, fetched, |answer| answer.error_code)?;
        let mut read = messages(&answer.records.unwrap_or_default())?;
        read.retain(|message| message.offset >= from);
        Ok(read)
    }

    /// The partition and who leads it: as it was told before, or as some broker tells now.
    async fn leader(
        &mut self,
        topic: &str,
        partition: u32,
    ) -> Result<(PartitionRef, i32), CallError> {
        let key = (topic.to_owned(), partition);
        if !self.known.contains_key(&key) {
            let metadata = timed(self.cluster.metadata(Some(&[topic]), false)).await?;
            let described = metadata.topics.first().filter(|found| found.error_code == 0);
            if let Some(found) = described {
                let index = PartitionIndex(partition);
                let topic = topic.into();
                let known = PartitionRef { topic, topic_id: found.topic_id, index };
                self.known.insert(key.clone(), known);
            }
        }
        let known = self.known.get(&key).cloned();
        let led = known.and_then(|known| Some((self.cluster.leader_of(&known)?, known)));
        led.map(|(leader, known)| (known, leader)).ok_or_else(|| {
            self.known.remove(&key);
            CallError::NoLeader { topic: topic.to_owned(), partition }
        })
    }

    /// Takes an answer; after anything but success the leader is asked for again.
    fn heard<T>(
        &mut self,
        topic: &str,
        partition: u32,
        answer: Result<T, CallError>,
        code: impl FnOnce(&T) -> i16,
    ) -> Result<T, CallError> {
        let answer = answer.and_then(|answer| match code(&answer) {
            0 => Ok(answer),
            code => Err(CallError::Answered(code)),
        });
        if answer.is_err() {
            self.known.remove(&(topic.to_owned(), partition));
            if matches!(answer, Err(CallError::Unanswered(_))) {
                self.cluster.disconnect();
            }
        }
        answer
    }
}

async fn timed<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, CallError> {
    let late = ClientError::TimedOut { address: "the cluster".into(), after: CALL_TIMEOUT };
    match madsim::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(late.into()),
    }
}

/// The records of batches one behind the other. The last batch may be cut short.
fn messages(mut bytes: &[u8]) -> Result<Vec<Message>, CallError> {
    let malformed = |error: BatchError| CallError::Malformed(error.to_string());
    let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    let mut messages = Vec::new();
    while bytes.len() >= BATCH_HEADER_BYTES {
        let header = BatchHeader::parse(bytes).map_err(malformed)?;
        let Some((batch, rest)) = bytes.split_at_checked(header.size_in_bytes) else { break };
        for record in records(batch).map_err(malformed)? {
            let record = record.map_err(malformed)?;
            messages.push(Message {
                offset: i64::try_from(record.offset.0).unwrap_or(i64::MAX),
                key: copy(record.key),
                value: copy(record.value),
            });
        }
        bytes = rest;
    }
    Ok(messages)
}

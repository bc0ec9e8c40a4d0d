//! The requests that every user of the client needs, built from few arguments.

use super::{ClientError, Connection, InFlight};
use crate::wire::{
    ApiKey, Str,
    generated::{
        fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData},
        init_producer_id::InitProducerIdRequest,
        list_offsets::{
            ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
            ListOffsetsTopic,
        },
        metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse},
        produce::{
            PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
        },
    },
};
use bytes::Bytes;
use core::time::Duration;
use highwater_core::types::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, TopicId};

/// A partition by both names of its topic: old versions carry the name, new ones the id (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRef {
    /// The topic's name.
    pub topic: Str,
    /// The topic's id, from the broker's metadata.
    pub topic_id: TopicId,
    /// The partition.
    pub index: PartitionIndex,
}

/// What a consumer says of itself when it fetches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader<'a> {
    /// Its rack (KIP-392); empty for none.
    pub rack: &'a str,
    /// The leader epoch that it knows (KIP-320): a broker with another one refuses it.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What InitProducerId answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerGrant {
    /// The error code; the rest means nothing unless it is 0.
    pub error_code: i16,
    /// The producer's id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

impl Connection {
    /// The metadata of these topics, or of all with `None`. `create` lets the broker create those
    /// that are missing.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let named =
            |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(named).collect()),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        self.call(&request).await
    }

    /// A new identity for an idempotent producer (KIP-98).
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn init_producer(&mut self) -> Result<ProducerGrant, ClientError> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let answer = self.call(&request).await?;
        Ok(ProducerGrant {
            error_code: answer.error_code,
            id: ProducerId(u64::try_from(answer.producer_id).unwrap_or(0)),
            epoch: ProducerEpoch(answer.producer_epoch),
        })
    }

    /// Submits one batch to one partition with `acks` 1 or -1 (all).
    ///
    /// # Errors
    /// It could not be sent whole.
    pub async fn submit_produce(
        &mut self,
        partition: &PartitionRef,
        acks: i16,
        timeout: Duration,
        batch: Bytes,
    ) -> Result<InFlight<ProduceRequest>, ClientError> {
        let version = self.version(ApiKey::Produce)?;
        self.submit(&produce_request(partition, acks, timeout, batch), version).await
    }

    /// Waits for the answer to [`Connection::submit_produce`].
    ///
    /// # Errors
    /// The answer did not come, or it is not about the one partition.
    pub async fn receive_produce(
        &mut self,
        submitted: InFlight<ProduceRequest>,
    ) -> Result<PartitionProduceResponse, ClientError> {
        let answer = self.receive(submitted).await?;
        let mut partitions = answer.responses.into_iter().flat_map(|t| t.partition_responses);
        self.only(ApiKey::Produce, partitions.next(), partitions.next())
    }

    /// Produces one batch to one partition and waits for the answer.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn produce(
        &mut self,
        partition: &PartitionRef,
        acks: i16,
        timeout: Duration,
        batch: Bytes,
    ) -> Result<PartitionProduceResponse, ClientError> {
        let submitted = self.submit_produce(partition, acks, timeout, batch).await?;
        self.receive_produce(submitted).await
    }

    /// Fetches from one partition, waiting up to `max_wait` for a first byte.
    ///
    /// # Errors
    /// The answer did not come. An error of the whole request stands in the partition's code.
    pub async fn fetch(
        &mut self,
        partition: &PartitionRef,
        offset: i64,
        max_wait: Duration,
        max_bytes: i32,
    ) -> Result<PartitionData, ClientError> {
        self.fetch_as(partition, offset, max_wait, max_bytes, Reader::default()).await
    }

    /// As [`Connection::fetch`], by a consumer that says where it is and what it knows. The answer
    /// may name another broker to read from instead of records.
    ///
    /// # Errors
    /// As [`Connection::fetch`].
    pub async fn fetch_as(
        &mut self,
        partition: &PartitionRef,
        offset: i64,
        max_wait: Duration,
        max_bytes: i32,
        reader: Reader<'_>,
    ) -> Result<PartitionData, ClientError> {
        let known = reader.leader_epoch.and_then(|epoch| i32::try_from(epoch.0).ok());
        let request = FetchRequest {
            rack_id: reader.rack.into(),
            max_wait_ms: millis(max_wait),
            min_bytes: 1,
            max_bytes,
            topics: vec![FetchTopic {
                topic: partition.topic.clone(),
                topic_id: partition.topic_id,
                partitions: vec![FetchPartition {
                    partition: index(partition),
                    current_leader_epoch: known.unwrap_or(-1),
                    fetch_offset: offset,
                    partition_max_bytes: max_bytes,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = self.call(&request).await?;
        if answer.error_code != 0 {
            return Ok(PartitionData { error_code: answer.error_code, ..Default::default() });
        }
        let mut partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
        self.only(ApiKey::Fetch, partitions.next(), partitions.next())
    }

    /// Looks up one offset: `timestamp` is milliseconds, -2 for the earliest, -1 for the latest, -3
    /// for that of the maximal timestamp.
    ///
    /// # Errors
    /// The answer did not come.
    pub async fn list_offset(
        &mut self,
        partition: &PartitionRef,
        timestamp: i64,
    ) -> Result<ListOffsetsPartitionResponse, ClientError> {
        let wanted = ListOffsetsPartition {
            partition_index: index(partition),
            timestamp,
            ..Default::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: partition.topic.clone(),
                partitions: vec![wanted],
            }],
            ..Default::default()
        };
        let answer = self.call(&request).await?;
        let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        self.only(ApiKey::ListOffsets, partitions.next(), partitions.next())
    }

    fn only<T>(&self, api: ApiKey, one: Option<T>, more: Option<T>) -> Result<T, ClientError> {
        match (one, more) {
            (Some(one), None) => Ok(one),
            _ => Err(ClientError::Misbehaved {
                address: self.address().to_owned(),
                what: format!("an answer to {api} that is not about the one partition asked for"),
            }),
        }
    }
}

/// A produce request of one batch to one partition.
#[must_use]
pub fn produce_request(
    partition: &PartitionRef,
    acks: i16,
    timeout: Duration,
    batch: Bytes,
) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: millis(timeout),
        topic_data: vec![TopicProduceData {
            name: partition.topic.clone(),
            topic_id: partition.topic_id,
            partition_data: vec![PartitionProduceData {
                index: index(partition),
                records: Some(batch),
            }],
        }],
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn index(partition: &PartitionRef) -> i32 {
    i32::try_from(partition.index.0).expect("partition indexes come from int32 fields")
}

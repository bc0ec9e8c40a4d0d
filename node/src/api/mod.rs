//! The served APIs, one file each: a request is decoded, handled in domain terms, and answered.
//!
//! Kafka's `-1` sentinels and error codes live here and in `wire`; they never enter core.

mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod authorized_operations;
mod configs;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod controllers;
mod create_partitions;
mod create_topics;
mod creation;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod errors;
mod fetch;
mod find_coordinator;
mod groups;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod keys;
mod leader_hints;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod raft_voters;
mod read_replicas;
mod resolve;
mod sync_group;
mod timeout;
mod unregister_broker;
mod update_features;

use crate::{
    broker::{MemoryPermit, Shared},
    env::BoxFuture,
    wire::{
        ApiKey, DecodeError, EncodeError, HeaderError, Message, Reader, Request, RequestHeader,
        Str, frame,
    },
};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};

/// An answer under way. It yields the chunks of one frame, none when the client wants no answer.
pub type Answer = BoxFuture<'static, Result<Encoded, AnswerError>>;

/// An encoded frame, with the memory that its chunks keep in use.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The frame, length prefix first; empty for no answer.
    pub chunks: Vec<Bytes>,
    /// Returned to the budget when the frame has been written.
    pub memory: Vec<MemoryPermit>,
}

/// Why a frame is not a request that can be answered; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The header cannot be read.
    #[error("unreadable request header: {0}")]
    Header(#[from] HeaderError),
    /// The body cannot be read.
    #[error("unreadable {api} v{version} request: {error}")]
    Body { api: &'static str, version: i16, error: DecodeError },
    /// The node is a controller only.
    #[error("{api} is for brokers, and this node is a controller only")]
    NotABroker { api: &'static str },
    /// We built an answer that the version cannot carry.
    #[error("{api} v{version} response cannot be encoded: {error}")]
    Encode { api: &'static str, version: i16, error: EncodeError },
}

/// Why a request that was started gets no answer; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// We built an answer that cannot be sent.
    #[error("{0}")]
    Encode(#[from] RequestError),
    /// A produce with acks=0 failed; closing is the only way to say so.
    #[error("a produce that asked for no answer failed")]
    UnansweredFailure,
}

/// What a handler knows beside its request.
pub struct Context {
    /// The broker.
    pub shared: Arc<Shared>,
    /// The request's version.
    pub version: i16,
    /// Who asks.
    pub peer: SocketAddr,
    /// What the client calls itself; empty when it has no name.
    pub client_id: Str,
}

/// Whether the answer to a frame may wait for something other than the disk.
pub fn may_wait(frame: &[u8]) -> bool {
    let waits = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup];
    waits.iter().any(|api| frame.starts_with(&(*api as i16).to_be_bytes()))
}

/// Starts a request. Produce appends before this returns, so that appends are in the order of the
/// requests; everything else happens when the answer is awaited.
pub fn start(shared: &Arc<Shared>, peer: SocketAddr, frame: Bytes) -> Result<Answer, RequestError> {
    let bytes = frame.len();
    // Structures are larger than their bytes, so the budget is that of the longest frame allowed.
    let api_key = frame.get(..2).map_or(-1, |key| i16::from_be_bytes([key[0], key[1]]));
    let mut reader = Reader::new(frame, frame::request_limit(api_key));
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(HeaderError::UnknownVersion {
            api_key: ApiKey::ApiVersions, correlation_id, ..
        }) => {
            return unsupported_api_versions(correlation_id);
        }
        Err(error) => return Err(error.into()),
    };
    let key = header.api_key;
    controllers::check(shared, key)?;
    shared.metrics.api(key as i16).request_bytes.add(bytes as u64);
    let context = Context {
        shared: shared.clone(),
        version: header.api_version,
        peer,
        // A copy: it must not keep the frame in memory while a request waits.
        client_id: header.client_id.as_deref().map_or(Str::EMPTY, Str::from),
    };
    match key {
        ApiKey::Produce => produce(context, &header, reader),
        ApiKey::Fetch => fetch(context, &header, reader),
        ApiKey::ApiVersions => answer(context, &header, reader, api_versions::handle),
        ApiKey::Metadata => answer(context, &header, reader, metadata::handle),
        ApiKey::ListOffsets => answer(context, &header, reader, list_offsets::handle),
        ApiKey::CreateTopics => answer(context, &header, reader, create_topics::handle),
        ApiKey::DeleteTopics => answer(context, &header, reader, delete_topics::handle),
        ApiKey::CreatePartitions => answer(context, &header, reader, create_partitions::handle),
        ApiKey::DeleteRecords => answer(context, &header, reader, delete_records::handle),
        ApiKey::InitProducerId => answer(context, &header, reader, init_producer_id::handle),
        ApiKey::OffsetForLeaderEpoch => {
            answer(context, &header, reader, offset_for_leader_epoch::handle)
        }
        ApiKey::DescribeConfigs => answer(context, &header, reader, configs::describe),
        ApiKey::AlterConfigs => answer(context, &header, reader, configs::replace),
        ApiKey::IncrementalAlterConfigs => answer(context, &header, reader, configs::alter),
        ApiKey::ListConfigResources => {
            answer(context, &header, reader, list_config_resources::handle)
        }
        ApiKey::DescribeCluster => answer(context, &header, reader, describe_cluster::handle),
        ApiKey::DescribeTopicPartitions => {
            answer(context, &header, reader, describe_topic_partitions::handle)
        }
        ApiKey::AlterReplicaLogDirs => {
            answer(context, &header, reader, alter_replica_log_dirs::handle)
        }
        ApiKey::DescribeLogDirs => answer(context, &header, reader, describe_log_dirs::handle),
        ApiKey::DescribeProducers => answer(context, &header, reader, describe_producers::handle),
        ApiKey::ElectLeaders => answer(context, &header, reader, elect_leaders::handle),
        ApiKey::AlterPartitionReassignments => {
            answer(context, &header, reader, alter_partition_reassignments::handle)
        }
        ApiKey::ListPartitionReassignments => {
            answer(context, &header, reader, list_partition_reassignments::handle)
        }
        ApiKey::DescribeQuorum => answer(context, &header, reader, describe_quorum::handle),
        ApiKey::UpdateFeatures => answer(context, &header, reader, update_features::handle),
        ApiKey::UnregisterBroker => answer(context, &header, reader, unregister_broker::handle),
        ApiKey::AddRaftVoter => answer(context, &header, reader, raft_voters::add),
        ApiKey::RemoveRaftVoter => answer(context, &header, reader, raft_voters::remove),
        ApiKey::FindCoordinator => answer(context, &header, reader, find_coordinator::handle),
        ApiKey::JoinGroup => answer(context, &header, reader, join_group::handle),
        ApiKey::SyncGroup => answer(context, &header, reader, sync_group::handle),
        ApiKey::Heartbeat => answer(context, &header, reader, heartbeat::handle),
        ApiKey::LeaveGroup => answer(context, &header, reader, leave_group::handle),
        ApiKey::OffsetCommit => answer(context, &header, reader, offset_commit::handle),
        ApiKey::OffsetFetch => answer(context, &header, reader, offset_fetch::handle),
        ApiKey::OffsetDelete => answer(context, &header, reader, offset_delete::handle),
        ApiKey::DescribeGroups => answer(context, &header, reader, describe_groups::handle),
        ApiKey::ListGroups => answer(context, &header, reader, list_groups::handle),
        ApiKey::DeleteGroups => answer(context, &header, reader, delete_groups::handle),
        ApiKey::ConsumerGroupHeartbeat => {
            answer(context, &header, reader, consumer_group_heartbeat::handle)
        }
        ApiKey::ConsumerGroupDescribe => {
            answer(context, &header, reader, consumer_group_describe::handle)
        }
    }
}

fn answer<R, F>(
    context: Context,
    header: &RequestHeader,
    reader: Reader,
    handle: impl FnOnce(Context, R) -> F,
) -> Result<Answer, RequestError>
where
    R: Request,
    F: Future<Output = R::Response> + Send + 'static,
{
    let request = decode::<R>(header, reader)?;
    let reply = Reply::to::<R>(&context, header);
    let handling = handle(context, request);
    Ok(Box::pin(async move { reply.encode(&handling.await, Vec::new()) }))
}

fn produce(
    context: Context,
    header: &RequestHeader,
    reader: Reader,
) -> Result<Answer, RequestError> {
    use crate::wire::generated::produce::ProduceRequest;
    let request = decode::<ProduceRequest>(header, reader)?;
    let reply = Reply::to::<ProduceRequest>(&context, header);
    let wants_answer = request.acks != 0;
    let appending = produce::start(context, request);
    Ok(Box::pin(async move {
        let response = appending.await;
        if wants_answer {
            return reply.encode(&response, Vec::new());
        }
        if produce::failed(&response) {
            return Err(AnswerError::UnansweredFailure);
        }
        Ok(Encoded::default())
    }))
}

fn fetch(context: Context, header: &RequestHeader, reader: Reader) -> Result<Answer, RequestError> {
    use crate::wire::generated::fetch::FetchRequest;
    let request = decode::<FetchRequest>(header, reader)?;
    let reply = Reply::to::<FetchRequest>(&context, header);
    Ok(Box::pin(async move {
        let (response, memory) = fetch::handle(context, request).await;
        reply.encode(&response, memory)
    }))
}

fn decode<R: Request>(header: &RequestHeader, mut reader: Reader) -> Result<R, RequestError> {
    // librdkafka 2.16 asks for all topics in a Metadata request with four bytes where one says
    // that there is no list, so three are left over. Kafka ignores what is left over.
    let leftover_is_known = R::KEY == ApiKey::Metadata;
    R::decode(&mut reader, header.api_version)
        .and_then(|request| match leftover_is_known {
            true => Ok(request),
            false => reader.finish().map(|()| request),
        })
        .map_err(|error| RequestError::Body {
            api: R::KEY.name(),
            version: header.api_version,
            error,
        })
}

/// Where an answer goes.
struct Reply {
    shared: Arc<Shared>,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    started: highwater_core::time::Instant,
}

impl Reply {
    fn to<R: Request>(context: &Context, header: &RequestHeader) -> Self {
        Self {
            shared: context.shared.clone(),
            key: R::KEY,
            version: header.api_version,
            correlation_id: header.correlation_id,
            started: context.shared.doors.clock.now().monotonic,
        }
    }

    fn encode(
        self,
        response: &impl Message,
        memory: Vec<MemoryPermit>,
    ) -> Result<Encoded, AnswerError> {
        let chunks = encode_frame(self.key, self.version, self.correlation_id, response)?;
        let took = self.shared.doors.clock.now().monotonic.since(self.started);
        let metrics = self.shared.metrics.api(self.key as i16);
        metrics.answered(response.first_error(), took);
        metrics.response_bytes.add(chunks.iter().map(|chunk| chunk.len() as u64).sum());
        Ok(Encoded { chunks, memory })
    }
}

fn encode_frame(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &impl Message,
) -> Result<Vec<Bytes>, RequestError> {
    frame::encode_response(key, version, correlation_id, response)
        .map_err(|error| RequestError::Encode { api: key.name(), version, error })
}

/// An unknown version of ApiVersions is answered in version 0 with its own range (KIP-511), so that
/// a newer client can try again. No other API can tell its client anything that it would read.
fn unsupported_api_versions(correlation_id: i32) -> Result<Answer, RequestError> {
    let response = api_versions::unsupported();
    let chunks = encode_frame(ApiKey::ApiVersions, 0, correlation_id, &response)?;
    Ok(Box::pin(std::future::ready(Ok(Encoded { chunks, memory: Vec::new() }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::generated::{
        describe_cluster::DescribeClusterRequest, metadata::MetadataRequest,
    };

    fn decoded<R: Request>(api_version: i16, body: &'static [u8]) -> Result<R, RequestError> {
        let header =
            RequestHeader { api_key: R::KEY, api_version, correlation_id: 1, client_id: None };
        decode(&header, Reader::new(Bytes::from_static(body), 1 << 10))
    }

    #[test]
    fn librdkafka_gets_all_topics_despite_the_bytes_it_leaves_over() {
        let sent = b"\0\0\0\0\x01\0\0";
        let request = decoded::<MetadataRequest>(13, sent).expect("as Kafka reads it");
        assert_eq!(request.topics, None);
    }

    #[test]
    fn bytes_left_over_are_refused_elsewhere() {
        let whole = b"\0\x01\0";
        assert!(decoded::<DescribeClusterRequest>(1, whole).is_ok());
        let longer = b"\0\x01\0\0";
        assert!(matches!(
            decoded::<DescribeClusterRequest>(1, longer),
            Err(RequestError::Body { .. })
        ));
    }
}

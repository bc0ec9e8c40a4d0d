//! Produce (key 0): appends to each partition at once, answers when all are flushed.

use super::{Context, errors, keys, leader_hints::LeaderHints, resolve};
use crate::{
    broker::{PartitionDriver, answered},
    wire::{
        ErrorCode,
        generated::produce::{
            BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
            PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
        },
    },
};
use highwater_core::{
    metadata::is_internal_topic,
    partition::{Acks, Input, Response},
    record::{Batch, BatchHeader, Origin},
    time::Instant,
    types::TopicId,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// The least time that the leader's own flush is given.
const FLUSH_TIMEOUT_MIN: Duration = Duration::from_secs(30);

/// The first version whose answers tell who leads instead (KIP-951).
const HINTS_SINCE: i16 = 10;

/// The state of one partition of the request.
enum Appending {
    Refused(ErrorCode, Option<String>),
    /// The records at these places in the batch have no key, which a compacted topic demands.
    Keyless(Vec<i32>),
    Parked(Parked),
}

struct Parked {
    driver: Arc<PartitionDriver>,
    answer: oneshot::Receiver<Response>,
    bytes: u64,
    records: u64,
}

/// Appends, and returns the future of the answer.
pub fn start(
    context: Context,
    request: ProduceRequest,
) -> impl Future<Output = ProduceResponse> + Send + 'static {
    let acks = match request.acks {
        // No answer is wanted, but the connection waits for the flush: that is its back-pressure.
        0 | 1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let mut timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    if acks != Some(Acks::All) {
        // The timeout is for waiting for replicas (KIP-679 names it so); the leader's own flush is
        // waited for as long as a disk may reasonably take.
        timeout = timeout.max(FLUSH_TIMEOUT_MIN);
    }
    let deadline = context.shared.doors.clock.now().monotonic.after(timeout);
    let transactional = request.transactional_id.is_some();
    let topics: Vec<_> = request
        .topic_data
        .into_iter()
        .map(|topic| {
            let named = resolve::Topic::of_request(&context, &topic.name, topic.topic_id);
            let partitions: Vec<_> = topic
                .partition_data
                .into_iter()
                .map(|data| {
                    let index = data.index;
                    let appending = match acks {
                        None => Appending::Refused(
                            ErrorCode::InvalidRequiredAcks,
                            Some(format!("acks is {}, not -1, 0 or 1", request.acks)),
                        ),
                        Some(_) if transactional => Appending::Refused(
                            ErrorCode::TransactionalIdAuthorizationFailed,
                            Some("transactions are not served by this broker".into()),
                        ),
                        Some(acks) => append(&context, &named, data, acks, deadline),
                    };
                    (index, appending)
                })
                .collect();
            (topic.name, topic.topic_id, partitions)
        })
        .collect();
    async move {
        let mut response = ProduceResponse::default();
        for (name, topic_id, partitions) in topics {
            let mut answers = Vec::with_capacity(partitions.len());
            for (index, appending) in partitions {
                answers.push(finish(&context, index, appending, deadline).await);
            }
            hint_at_leaders(&context, &mut response.node_endpoints, &name, topic_id, &mut answers);
            response.responses.push(TopicProduceResponse {
                name,
                topic_id,
                partition_responses: answers,
            });
        }
        response
    }
}

/// Tells with each refusal who leads instead (KIP-951).
fn hint_at_leaders(
    context: &Context,
    endpoints: &mut Vec<NodeEndpoint>,
    name: &str,
    topic_id: TopicId,
    answers: &mut [PartitionProduceResponse],
) {
    if answers.iter().all(|answer| answer.error_code == ErrorCode::None as i16) {
        return;
    }
    let mut hints = LeaderHints::new(context, HINTS_SINCE);
    let topic_id = hints.topic_id(name, topic_id);
    for answer in answers {
        if let Some(hint) = hints.for_code(answer.error_code, topic_id, answer.index) {
            answer.current_leader =
                LeaderIdAndEpoch { leader_id: hint.leader_id, leader_epoch: hint.leader_epoch };
        }
    }
    for node in hints.endpoints() {
        if endpoints.iter().all(|known| known.node_id != node.id) {
            let (node_id, host, port, rack) = (node.id, node.host, node.port, node.rack);
            endpoints.push(NodeEndpoint { node_id, host, port, rack });
        }
    }
}

/// Whether any partition was refused.
pub fn failed(response: &ProduceResponse) -> bool {
    response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .any(|partition| partition.error_code != ErrorCode::None as i16)
}

fn append(
    context: &Context,
    topic: &resolve::Topic,
    data: PartitionProduceData,
    acks: Acks,
    deadline: Instant,
) -> Appending {
    let driver = match topic.partition(context, data.index) {
        Ok(driver) => driver,
        Err(code) => {
            if code == ErrorCode::NotLeaderOrFollower {
                note_refused(context, topic, data);
            }
            return Appending::Refused(code, None);
        }
    };
    if is_internal_topic(&driver.id.topic) {
        let reason = "the topic is the cluster's own: clients do not write to it".to_string();
        return Appending::Refused(ErrorCode::InvalidTopicException, Some(reason));
    }
    let Some(records) = data.records else {
        let reason = "there is no record batch for the partition".to_string();
        return Appending::Refused(ErrorCode::InvalidRecord, Some(reason));
    };
    let bytes = records.len() as u64;
    let (max_bytes, compacts) = driver.inspect(|machine| {
        let config = machine.config();
        (config.max_message_bytes as usize, config.cleanup_policy.compact)
    });
    let batch = match Batch::parse(records, max_bytes, Origin::Client) {
        Ok(batch) => batch,
        Err(error) => {
            tracing::debug!(peer = %context.peer, partition = %driver.id, %error, "batch refused");
            return Appending::Refused(errors::of_batch(&error), Some(error.to_string()));
        }
    };
    if compacts {
        match keys::keyless_records(&batch) {
            Ok(keyless) if keyless.is_empty() => {}
            Ok(keyless) => return Appending::Keyless(keyless),
            Err(reason) => return Appending::Refused(ErrorCode::InvalidRecord, Some(reason)),
        }
    }
    let records = u64::from(batch.header.record_count);
    let answer = driver.request(|request| Input::Produce { request, acks, batch, deadline });
    Appending::Parked(Parked { driver, answer, bytes, records })
}

/// Lets the partition know, when it is opened, which batch comes first.
fn note_refused(context: &Context, topic: &resolve::Topic, data: PartitionProduceData) {
    let batch = data.records.map(|records| Batch::parse(records, usize::MAX, Origin::Client));
    if let Some(Ok(Batch { header: BatchHeader { producer: Some(producer), .. }, .. })) = batch {
        topic.note_refused(context, data.index, producer);
    }
}

async fn finish(
    context: &Context,
    index: i32,
    appending: Appending,
    deadline: Instant,
) -> PartitionProduceResponse {
    let Parked { driver, answer, bytes, records } = match appending {
        Appending::Refused(code, reason) => return refusal(index, code, reason),
        Appending::Keyless(places) => return keyless(index, &places),
        Appending::Parked(parked) => parked,
    };
    let mut answer = answered(answer);
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        () = context.shared.doors.clock.sleep_until(deadline) => {
            driver.tell(Input::Tick);
            answer.await
        }
    };
    match response {
        Response::Produced { base_offset, log_append_time, log_start_offset } => {
            context.shared.metrics.produced(&driver.metrics, bytes, records);
            context.shared.metrics.produce_request(&driver.metrics, false);
            PartitionProduceResponse {
                index,
                base_offset: errors::offset(base_offset),
                log_append_time_ms: log_append_time.map_or(-1, |time| time.0),
                log_start_offset: errors::offset(log_start_offset),
                ..Default::default()
            }
        }
        Response::Error(error) => {
            context.shared.metrics.produce_request(&driver.metrics, true);
            refusal(index, errors::of_partition(&error), Some(error.to_string()))
        }
        other => unreachable!("a produce was answered with {other:?}"),
    }
}

fn keyless(index: i32, places: &[i32]) -> PartitionProduceResponse {
    let reason = "a record of a compacted topic must have a key";
    let errors = places.iter().map(|place| BatchIndexAndErrorMessage {
        batch_index: *place,
        batch_index_error_message: Some(errors::text(reason.to_owned())),
    });
    PartitionProduceResponse {
        record_errors: errors.collect(),
        ..refusal(index, ErrorCode::InvalidRecord, Some(reason.to_owned()))
    }
}

fn refusal(index: i32, code: ErrorCode, reason: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code as i16,
        base_offset: -1,
        error_message: reason.map(errors::text),
        ..Default::default()
    }
}

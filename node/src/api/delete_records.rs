//! DeleteRecords (key 21): moves log starts forward, and answers when that is durable on every
//! in-sync replica. Below `min.insync.replicas` it does not answer before the timeout: a replica
//! that has not deleted them may yet be elected. The timeout bounds the wait for other replicas
//! only, as Kafka's does.

use super::{Context, errors, resolve, timeout};
use crate::{
    broker::{PartitionDriver, answered},
    wire::{
        ErrorCode,
        generated::delete_records::{
            DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
            DeleteRecordsTopicResult,
        },
    },
};
use highwater_core::{
    partition::{Input, Response},
    types::{Offset, RequestId},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Deletes the records below each offset; -1 stands for the high watermark. What the replicas have
/// not done within the request's timeout goes on without an answer.
pub async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let started = context.shared.doors.clock.now().monotonic;
    // All of them begin before any is waited for: they share the one timeout.
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let named = resolve::Topic::named(&context, &topic.name);
        let begin = |index, offset| (index, begin(&context, &named, index, offset));
        let begun = topic.partitions.iter().map(|one| begin(one.partition_index, one.offset));
        let begun: Vec<_> = begun.collect();
        topics.push((topic.name, begun));
    }
    let mut response = DeleteRecordsResponse::default();
    for (name, begun) in topics {
        let mut partitions = Vec::with_capacity(begun.len());
        for (partition_index, deletion) in begun {
            let spent = context.shared.doors.clock.now().monotonic.since(started);
            let outcome = match deletion {
                Ok(deletion) => deletion.finish(&context, left(request.timeout_ms, spent)).await,
                Err(code) => Err(code),
            };
            let (low_watermark, code) = match outcome {
                Ok(low_watermark) => (errors::offset(low_watermark), ErrorCode::None),
                Err(code) => (-1, code),
            };
            let error_code = code as i16;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index,
                low_watermark,
                error_code,
            });
        }
        response.topics.push(DeleteRecordsTopicResult { name, partitions });
    }
    response
}

/// A deletion under way; it is parked until every in-sync replica has done it.
struct Deletion {
    driver: Arc<PartitionDriver>,
    request: RequestId,
    answer: Option<oneshot::Receiver<Response>>,
}

impl Deletion {
    async fn finish(mut self, context: &Context, timeout_ms: i32) -> Result<Offset, ErrorCode> {
        let answer = self.answer.take().expect("it is finished once");
        let mut answer = answered(answer);
        let response = match timeout::within(context, timeout_ms, &mut answer).await {
            Some(response) => response,
            None => {
                self.driver.tell(Input::DeletionOverdue { request: self.request });
                answer.await
            }
        };
        match response {
            Response::RecordsDeleted { low_watermark } => Ok(low_watermark),
            Response::Error(error) => Err(errors::of_partition(&error)),
            other => unreachable!("a deletion of records was answered with {other:?}"),
        }
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        self.driver.cancel(self.request);
    }
}

fn begin(
    context: &Context,
    topic: &resolve::Topic,
    index: i32,
    offset: i64,
) -> Result<Deletion, ErrorCode> {
    let driver = topic.partition(context, index)?;
    let before = match offset {
        -1 => None,
        offset => Some(Offset(u64::try_from(offset).map_err(|_| ErrorCode::OffsetOutOfRange)?)),
    };
    let (request, answer) = driver.start(|request| Input::DeleteRecords { request, before });
    Ok(Deletion { driver, request, answer: Some(answer) })
}

/// What is left of a timeout, in milliseconds.
fn left(timeout_ms: i32, spent: Duration) -> i32 {
    let spent = i32::try_from(spent.as_millis()).unwrap_or(i32::MAX);
    timeout_ms.saturating_sub(spent)
}

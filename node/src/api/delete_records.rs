//! DeleteRecords (key 21): moves log starts forward, and answers when that is durable.

use super::{Context, errors, resolve};
use crate::{
    broker::answered,
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
    types::Offset,
};

/// Deletes the records below each offset; -1 stands for the high watermark.
pub async fn handle(context: Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let named = resolve::Topic::named(&context, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let deleted = delete(&context, &named, wanted.partition_index, wanted.offset).await;
            let (low_watermark, code) = match deleted {
                Ok(low_watermark) => (errors::offset(low_watermark), ErrorCode::None),
                Err(code) => (-1, code),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark,
                error_code: code as i16,
            });
        }
        response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    response
}

async fn delete(
    context: &Context,
    topic: &resolve::Topic,
    index: i32,
    offset: i64,
) -> Result<Offset, ErrorCode> {
    let driver = topic.partition(context, index)?;
    let before = match offset {
        -1 => None,
        offset => Some(Offset(u64::try_from(offset).map_err(|_| ErrorCode::OffsetOutOfRange)?)),
    };
    let parked = driver.request(|request| Input::DeleteRecords { request, before });
    match answered(parked).await {
        Response::RecordsDeleted { low_watermark } => Ok(low_watermark),
        Response::Error(error) => Err(errors::of_partition(&error)),
        other => unreachable!("a deletion of records was answered with {other:?}"),
    }
}

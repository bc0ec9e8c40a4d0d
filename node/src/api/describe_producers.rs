//! DescribeProducers (key 61): the idempotent producers that a partition remembers (KIP-664).

use super::{Context, errors, resolve};
use crate::wire::{
    ErrorCode,
    generated::describe_producers::{
        DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
        TopicResponse,
    },
};
use highwater_core::{
    partition::{Input, Response},
    producers::ProducerDescription,
};
use std::collections::BTreeSet;

/// Describes the producers of each partition.
pub async fn handle(
    context: Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut response = DescribeProducersResponse::default();
    for topic in request.topics {
        let named = resolve::Topic::named(&context, &topic.name);
        let once: BTreeSet<i32> = topic.partition_indexes.into_iter().collect();
        let partitions = once
            .into_iter()
            .map(|partition_index| match describe(&context, &named, partition_index) {
                Ok(active_producers) => {
                    PartitionResponse { partition_index, active_producers, ..Default::default() }
                }
                Err((code, reason)) => PartitionResponse {
                    partition_index,
                    error_code: code as i16,
                    error_message: reason.map(errors::text),
                    ..Default::default()
                },
            })
            .collect();
        response.topics.push(TopicResponse { name: topic.name, partitions });
    }
    response
}

fn describe(
    context: &Context,
    topic: &resolve::Topic,
    index: i32,
) -> Result<Vec<ProducerState>, (ErrorCode, Option<String>)> {
    let driver = topic.partition(context, index).map_err(|code| (code, None))?;
    match driver.ask(|request| Input::DescribeProducers { request }) {
        Response::Producers(producers) => Ok(producers.iter().map(state).collect()),
        Response::Error(error) => Err((errors::of_partition(&error), Some(error.to_string()))),
        other => unreachable!("a description of producers was answered with {other:?}"),
    }
}

fn state(producer: &ProducerDescription) -> ProducerState {
    ProducerState {
        producer_id: errors::producer_id(producer.id),
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.map_or(-1, |sequence| sequence.0),
        last_timestamp: producer.last_timestamp.map_or(-1, |timestamp| timestamp.0),
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}

//! AlterPartitionReassignments (key 45): begins, replaces and cancels moves of partitions between
//! brokers (KIP-455).

use super::{Context, errors, timeout};
use crate::wire::{
    ErrorCode, Str,
    generated::alter_partition_reassignments::{
        AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
        ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
    },
};
use highwater_core::{
    metadata::{Command, Image, Reply},
    types::{BrokerId, PartitionIndex, TopicId},
};
use std::collections::BTreeSet;

type Change = (TopicId, PartitionIndex, Option<Vec<BrokerId>>);
type Refusal = (ErrorCode, String);

/// Changes the reassignments, each on its own. The answer means that they have begun; what is under
/// way is told by ListPartitionReassignments.
pub async fn handle(
    context: Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = context.shared.quorum.image();
    let mut changes = Vec::new();
    let checked: Vec<Vec<Result<(), Refusal>>> = {
        let mut named = BTreeSet::new();
        let topics = request.topics.iter().map(|topic| {
            let mut check = |wanted: &ReassignablePartition| {
                let change = change(&image, &topic.name, wanted)?;
                if !named.insert((change.0, change.1)) {
                    let reason = "the request names the partition twice".to_string();
                    return Err((ErrorCode::InvalidRequest, reason));
                }
                changes.push(change);
                Ok(())
            };
            topic.partitions.iter().map(&mut check).collect()
        });
        topics.collect()
    };
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let mut response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change,
        ..Default::default()
    };
    let altered = if changes.is_empty() {
        Ok(Vec::new())
    } else {
        let command =
            Command::AlterReassignments { changes, force: false, allow_replication_factor_change };
        propose(&context, request.timeout_ms, command).await
    };
    let mut altered = match altered {
        Ok(altered) => altered.into_iter(),
        Err((code, reason)) => {
            response.error_code = code as i16;
            response.error_message = Some(errors::text(reason));
            return response;
        }
    };
    let topics = request.topics.iter().zip(checked).map(|(topic, checked)| {
        let partitions = topic.partitions.iter().zip(checked).map(|(partition, checked)| {
            let outcome =
                checked.and_then(|()| altered.next().expect("one outcome for each change"));
            answer(partition.partition_index, outcome)
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    response.responses = topics.collect();
    response
}

async fn propose(
    context: &Context,
    timeout_ms: i32,
    command: Command,
) -> Result<Vec<Result<(), Refusal>>, Refusal> {
    let proposed = context.shared.change(command);
    match timeout::within(context, timeout_ms, proposed).await {
        Some(Ok(Reply::ReassignmentsAltered(altered))) => {
            let told = |outcome: Result<(), _>| {
                outcome.map_err(|error| (errors::of_metadata(&error), error.to_string()))
            };
            Ok(altered.into_iter().map(told).collect())
        }
        Some(Ok(other)) => unreachable!("a reassignment was answered with {other:?}"),
        Some(Err(error)) => Err((errors::of_proposal(&error), error.to_string())),
        None => {
            let reason = "the metadata quorum did not answer in time; list the reassignments";
            Err((ErrorCode::RequestTimedOut, reason.to_string()))
        }
    }
}

fn change(image: &Image, topic: &Str, wanted: &ReassignablePartition) -> Result<Change, Refusal> {
    let unknown = || (ErrorCode::UnknownTopicOrPartition, "no such topic or partition".to_string());
    let topic = image.topic_named(topic).ok_or_else(unknown)?;
    let index = u32::try_from(wanted.partition_index).map_err(|_| unknown())?;
    if index as usize >= topic.partitions.len() {
        return Err(unknown());
    }
    let target = wanted.replicas.as_ref();
    let target = target.map(|replicas| replicas.iter().copied().map(BrokerId).collect());
    Ok((topic.id, PartitionIndex(index), target))
}

fn answer(partition_index: i32, outcome: Result<(), Refusal>) -> ReassignablePartitionResponse {
    let (code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err((code, reason)) => (code, Some(errors::text(reason))),
    };
    ReassignablePartitionResponse { partition_index, error_code: code as i16, error_message }
}

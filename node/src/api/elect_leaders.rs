//! ElectLeaders (key 43): makes preferred leaders lead again, or lets any live replica lead where
//! nobody does (KIP-460).

use super::{Context, errors, timeout};
use crate::wire::{
    ErrorCode,
    generated::elect_leaders::{
        ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    },
};
use highwater_core::{
    metadata::{Command, ElectionKind, Image, Reply},
    types::{PartitionIndex, TopicId},
};
use std::collections::BTreeMap;

/// A partition's code with the reason.
type Outcome = (ErrorCode, Option<String>);
/// The outcomes by topic name and partition.
type Outcomes = BTreeMap<String, BTreeMap<i32, Outcome>>;

/// Holds the elections. Without a list it is all partitions, and those that needed no election are
/// left out of the answer, as in Kafka.
pub async fn handle(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let kind = match request.election_type {
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        // No field of the answer can carry a reason.
        _ => return failed(context.version, ErrorCode::InvalidRequest, &request),
    };
    let image = context.shared.quorum.image();
    let mut outcomes = Outcomes::new();
    let partitions =
        request.topic_partitions.is_some().then(|| known(&image, &request, &mut outcomes));
    if partitions.as_ref().is_some_and(Vec::is_empty) {
        return answer(outcomes);
    }
    let command = Command::ElectLeaders { partitions, kind };
    let proposed = context.shared.change(command);
    let code = match timeout::within(&context, request.timeout_ms, proposed).await {
        Some(Ok(Reply::LeadersElected(elected))) => {
            // A topic that was created since is known to the image of now.
            let image = context.shared.quorum.image();
            for ((topic, index), outcome) in elected {
                let Some(topic) = image.topic(topic) else { continue };
                let outcome = match outcome {
                    Ok(()) => (ErrorCode::None, None),
                    Err(error) => (errors::of_metadata(&error), Some(error.to_string())),
                };
                let index = i32::try_from(index.0).expect("a topic's partitions fit an i32");
                outcomes.entry(topic.name.clone()).or_default().insert(index, outcome);
            }
            return answer(outcomes);
        }
        Some(Ok(other)) => unreachable!("an election was answered with {other:?}"),
        Some(Err(error)) => errors::of_proposal(&error),
        None => ErrorCode::RequestTimedOut,
    };
    failed(context.version, code, &request)
}

/// The partitions of the request that exist, each once; the others get their outcome.
fn known(
    image: &Image,
    request: &ElectLeadersRequest,
    outcomes: &mut Outcomes,
) -> Vec<(TopicId, PartitionIndex)> {
    let mut known = Vec::new();
    for topic in request.topic_partitions.iter().flatten() {
        let found = image.topic_named(&topic.topic);
        let results = outcomes.entry(topic.topic.to_string()).or_default();
        for number in &topic.partitions {
            let index = u32::try_from(*number).ok().map(PartitionIndex);
            let exists =
                found.zip(index).filter(|(topic, at)| (at.0 as usize) < topic.partitions.len());
            let reason = "no such topic or partition".to_string();
            let unknown = (ErrorCode::UnknownTopicOrPartition, Some(reason));
            if results.insert(*number, unknown).is_none() {
                known.extend(exists.map(|(topic, at)| (topic.id, at)));
            }
        }
    }
    known
}

fn answer(outcomes: Outcomes) -> ElectLeadersResponse {
    let result = |(partition_id, (code, reason)): (i32, Outcome)| PartitionResult {
        partition_id,
        error_code: code as i16,
        error_message: reason.map(errors::text),
    };
    let topics = outcomes.into_iter().map(|(topic, partitions)| ReplicaElectionResult {
        topic: topic.into(),
        partition_result: partitions.into_iter().map(result).collect(),
    });
    ElectLeadersResponse { replica_election_results: topics.collect(), ..Default::default() }
}

/// A failure of the whole request. Version 0 has no code for it, only those of the partitions.
fn failed(version: i16, code: ErrorCode, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    if version > 0 {
        return ElectLeadersResponse { error_code: code as i16, ..Default::default() };
    }
    let mut outcomes = Outcomes::new();
    for topic in request.topic_partitions.iter().flatten() {
        let failed = topic.partitions.iter().map(|partition| (*partition, (code, None)));
        outcomes.entry(topic.topic.to_string()).or_default().extend(failed);
    }
    answer(outcomes)
}

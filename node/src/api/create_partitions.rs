//! CreatePartitions (key 37).

use super::{Context, creation, errors};
use crate::wire::{
    ErrorCode,
    generated::create_partitions::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
        CreatePartitionsTopicResult,
    },
};
use highwater_core::{
    metadata::{Command, MetadataError, is_internal_topic},
    mutant::Mutant,
    types::{BrokerId, PartitionIndex},
};

/// Grows each topic to its count of partitions.
pub async fn handle(
    context: Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut response = CreatePartitionsResponse::default();
    for topic in request.topics {
        let outcome = match command(&context, &topic) {
            Ok(command) => carry_out(&context, command, request.validate_only).await,
            Err(refused) => Err(refused),
        };
        let mut result = CreatePartitionsTopicResult { name: topic.name, ..Default::default() };
        if let Err((code, reason)) = outcome {
            result.error_code = code as i16;
            result.error_message = Some(errors::text(reason));
        }
        response.results.push(result);
    }
    response
}

fn command(
    context: &Context,
    wanted: &CreatePartitionsTopic,
) -> Result<Command, (ErrorCode, String)> {
    let image = context.shared.quorum.image();
    let topic = image
        .topic_named(&wanted.name)
        .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, "no such topic".to_string()))?;
    if is_internal_topic(&topic.name) {
        // Which partition holds a group follows from their number.
        let reason = format!("the number of partitions of {} cannot change", topic.name);
        return Err((ErrorCode::InvalidRequest, reason));
    }
    let current = topic.partitions.len();
    let count = usize::try_from(wanted.count).unwrap_or(0);
    if count <= current || count > highwater_core::metadata::MAX_PARTITIONS_PER_TOPIC {
        let error = MetadataError::InvalidPartitions { count, current };
        return Err((ErrorCode::InvalidPartitions, error.to_string()));
    }
    let added = count - current;
    let replicas = match &wanted.assignments {
        Some(assigned) if assigned.len() != added => {
            let reason = format!("{} assignments for {added} new partitions", assigned.len());
            return Err((ErrorCode::InvalidReplicaAssignment, reason));
        }
        Some(assigned) => assigned
            .iter()
            .map(|one| one.broker_ids.iter().copied().map(BrokerId).collect())
            .collect(),
        None => {
            let factor = topic.partitions[0].replicas.len() as u32;
            let placed = creation::replicas(context, added as u32, factor);
            placed.map_err(|error| (errors::of_metadata(&error), error.to_string()))?
        }
    };
    Ok(Command::CreatePartitions {
        topic: topic.id,
        first: PartitionIndex(current as u32),
        replicas,
    })
}

/// Proposes a command, or only tries it on a copy of the image.
pub async fn carry_out(
    context: &Context,
    command: Command,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    if Mutant::ChangeAnsweredUnagreed.is_planted() && !validate_only {
        let shared = context.shared.clone();
        context.shared.tasks.spawn("unagreed-change", async move {
            let _ = shared.change(command).await;
        });
        return Ok(());
    }
    match context.shared.carry_out(command, validate_only).await {
        Ok(_) => Ok(()),
        Err(error) => Err((errors::of_proposal(&error), error.to_string())),
    }
}

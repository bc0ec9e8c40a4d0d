//! DeleteTopics (key 20).

use super::{Context, errors};
use crate::wire::{
    ErrorCode, Str,
    generated::delete_topics::{
        DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    },
};
use highwater_core::{metadata::Command, types::TopicId};

/// Deletes each topic; an answer means that it is gone for every client.
pub async fn handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    // From version 6 on a topic is named by id or by name, before by name only.
    let by_name = request.topic_names.into_iter();
    let by_name = by_name.map(|name| DeleteTopicState { name: Some(name), ..Default::default() });
    let mut response = DeleteTopicsResponse::default();
    for wanted in request.topics.into_iter().chain(by_name) {
        let outcome = delete(&context, &wanted).await;
        let mut result = DeletableTopicResult {
            name: wanted.name.clone(),
            topic_id: wanted.topic_id,
            ..Default::default()
        };
        match outcome {
            Ok((name, id)) => {
                result.name = Some(Str::from(name));
                result.topic_id = id;
            }
            Err((code, reason)) => {
                result.error_code = code as i16;
                result.error_message = Some(errors::text(reason));
            }
        }
        response.responses.push(result);
    }
    response
}

async fn delete(
    context: &Context,
    wanted: &DeleteTopicState,
) -> Result<(String, TopicId), (ErrorCode, String)> {
    if !context.shared.config.delete_topics {
        let reason = "delete.topic.enable is false on this broker";
        return Err((ErrorCode::TopicDeletionDisabled, reason.into()));
    }
    let image = context.shared.quorum.image();
    let topic = match (&wanted.name, wanted.topic_id) {
        (Some(_), id) if id != TopicId::default() => {
            let reason = "a topic is named by its name or by its id, not by both";
            return Err((ErrorCode::InvalidRequest, reason.into()));
        }
        (Some(name), _) => image
            .topic_named(name)
            .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, "no such topic".to_string())),
        (None, id) => image
            .topic(id)
            .ok_or_else(|| (ErrorCode::UnknownTopicId, "no topic has that id".to_string())),
    }?;
    let (name, id) = (topic.name.clone(), topic.id);
    match context.shared.change(Command::DeleteTopic { topic: id }).await {
        Ok(_) => Ok((name, id)),
        Err(error) => Err((errors::of_proposal(&error), error.to_string())),
    }
}

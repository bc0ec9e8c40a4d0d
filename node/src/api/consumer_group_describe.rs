//! ConsumerGroupDescribe (key 69, KIP-848): consumer groups and what their members own.

use super::{
    Context, errors,
    groups::{self, generation_number, group_id, index_number},
};
use crate::wire::{
    ErrorCode, Str,
    generated::consumer_group_describe::{
        Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
        Member, TopicPartitions,
    },
};
use highwater_core::{
    group::{
        ConsumerDescribed, ConsumerDescribedMember, Request, Response, TopicPartitions as Owned,
    },
    metadata::Image,
};

const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;
/// The epoch of a static member that has left and will be back.
const AWAY: i32 = -2;

/// Describes each group on its own.
pub async fn handle(
    context: Context,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let mut response = ConsumerGroupDescribeResponse::default();
    let in_use = groups::consumer_groups_are_in_use(&context);
    for group in request.group_ids {
        let described = match in_use {
            true => describe(&context, &group).await,
            false => refusal(ErrorCode::UnsupportedVersion, groups::NOT_IN_USE),
        };
        response.groups.push(DescribedGroup { group_id: group, ..described });
    }
    response
}

async fn describe(context: &Context, group: &Str) -> DescribedGroup {
    let body = Request::DescribeConsumer { group: group_id(group) };
    match groups::ask(context, group, body).await {
        Ok(Response::ConsumerDescribed(Ok(described))) => shown(context, described),
        Ok(Response::ConsumerDescribed(Err(error))) => {
            refusal(errors::of_group(&error), error.to_string())
        }
        Ok(other) => groups::mismatch(&other),
        Err(code) => DescribedGroup { error_code: code as i16, ..Default::default() },
    }
}

fn shown(context: &Context, described: ConsumerDescribed) -> DescribedGroup {
    let image = context.shared.quorum.image();
    DescribedGroup {
        group_state: Str::from_static(described.state.name()),
        group_epoch: generation_number(described.epoch),
        assignment_epoch: generation_number(described.assignment_epoch),
        assignor_name: Str::from(described.assignor),
        members: described
            .members
            .into_iter()
            .map(|one| member(&image, context.version, one))
            .collect(),
        ..Default::default()
    }
}

fn member(image: &Image, version: i16, member: ConsumerDescribedMember) -> Member {
    Member {
        member_id: Str::from(&*member.member),
        instance_id: member.instance.map(|id| Str::from(&*id)),
        rack_id: member.rack.map(Str::from),
        member_epoch: member.epoch.map_or(AWAY, generation_number),
        client_id: Str::from(member.client_id),
        client_host: Str::from(member.client_host),
        subscribed_topic_names: member.topics.iter().map(|topic| Str::from(&**topic)).collect(),
        subscribed_topic_regex: member.regular_expression.map(|regex| Str::from(&*regex)),
        assignment: assignment(image, &member.assignment),
        target_assignment: assignment(image, &member.target),
        member_type: match (version, member.is_classic) {
            (0, _) => -1,
            (_, true) => CLASSIC,
            (_, false) => CONSUMER,
        },
    }
}

/// Topics with their names; one that was deleted has none any more and is left out.
fn assignment(image: &Image, owned: &Owned) -> Assignment {
    let topics = owned.iter().filter_map(|(topic_id, partitions)| {
        let topic = image.topic(*topic_id)?;
        Some(TopicPartitions {
            topic_id: *topic_id,
            topic_name: Str::from(topic.name.as_str()),
            partitions: partitions.iter().map(|index| index_number(*index)).collect(),
        })
    });
    Assignment { topic_partitions: topics.collect() }
}

fn refusal(code: ErrorCode, reason: impl Into<String>) -> DescribedGroup {
    DescribedGroup {
        error_code: code as i16,
        error_message: Some(errors::text(reason)),
        ..Default::default()
    }
}
